//! A host of its own for one test: a directory with a daemon's run directory, configuration and
//! pool, a cgroup, and the programs that were built.
//!
//! Dropping it ends and removes all of it, also when the test fails.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};

use osctl_api::client::Client;
use osctl_api::daemon::Ping;
use osctl_api::{Error, Kind, Method};
use serde_json::json;
use tempfile::TempDir;

use crate::container::Ct;
use crate::daemon::{self, Daemon, Paths, Start};
use crate::{Network, Rootfs, cgroups, leaks, processes, stale, wait};

/// The pool that every host has.
pub const POOL: &str = "tank";

/// A host of its own.
#[derive(Debug)]
pub struct Host {
    dir: Option<TempDir>,
    programs: Mutex<PathBuf>,
    daemon: Mutex<Option<Daemon>>,
    network: Option<Network>,
    /// Name of its cgroup in every hierarchy.
    pub cgroup: String,
}

/// Parameters of a method, from JSON.
#[track_caller]
pub fn params<M: Method>(value: serde_json::Value) -> M {
    serde_json::from_value(value).unwrap()
}

/// Why no test can run here, if so.
pub fn cannot_run() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    if cgroups::mounts().is_empty() {
        return Some("needs cgroups");
    }
    None
}

/// The directory of the programs that were built.
pub fn built() -> PathBuf {
    if let Some(dir) = std::env::var_os("OSCTL_BIN_DIR") {
        return dir.into();
    }
    let exe = std::env::current_exe().unwrap();
    exe.parent().and_then(Path::parent).unwrap().to_owned()
}

/// The images that were built: `cargo xtask template`.
pub fn image(name: &str) -> Option<PathBuf> {
    let dir = match std::env::var_os("OSCTL_TEST_IMAGES") {
        Some(dir) => PathBuf::from(dir),
        None => built().parent()?.join("images"),
    };
    Some(dir.join(name)).filter(|p| p.exists())
}

/// A host with a daemon, a pool and the image `minimal.tar`; returns from the test when there can
/// be none.
#[macro_export]
macro_rules! host {
    () => {{
        if let Some(why) = $crate::host::cannot_run() {
            $crate::skip!("{why}");
        }
        $crate::Host::with_pool("")
    }};
    ($config:expr) => {{
        if let Some(why) = $crate::host::cannot_run() {
            $crate::skip!("{why}");
        }
        $crate::Host::with_pool($config)
    }};
}

/// As [`host!`](crate::host!), with a network of its own: see [`crate::network`].
#[macro_export]
macro_rules! networked_host {
    () => {
        $crate::networked_host!("")
    };
    ($config:expr) => {{
        if let Some(why) = $crate::host::cannot_run() {
            $crate::skip!("{why}");
        }
        $crate::Host::networked($config)
    }};
}

impl Host {
    /// A host whose daemon has not been started; `config` is added to the daemon's.
    pub fn new(config: &str) -> Host {
        processes::adopt_orphans();
        let programs = built();
        for name in ["osctld", "osctl", "osctl-runtime"] {
            assert!(
                programs.join(name).exists(),
                "{} is missing: cargo build --workspace --bins",
                programs.join(name).display()
            );
        }
        stale::sweep();
        let dir = tempfile::Builder::new()
            .prefix(stale::PREFIX)
            .tempdir()
            .unwrap();
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        let host = Host {
            cgroup: name.to_owned(),
            programs: Mutex::new(programs),
            daemon: Mutex::new(None),
            network: None,
            dir: Some(dir),
        };
        let text = format!(
            "cgroup_root = {:?}\nlog = \"debug\"\n{config}\n",
            host.cgroup
        );
        fs::write(host.path("osctld.toml"), text).unwrap();
        stale::claim(&host.path(""));
        host
    }

    /// A host with a daemon and the pool [`POOL`].
    #[track_caller]
    pub fn with_pool(config: &str) -> Host {
        let host = Host::new(config);
        host.start_daemon();
        host.install(POOL);
        host
    }

    /// A host with a network of its own, in which the daemon runs, and a pool.
    #[track_caller]
    pub fn networked(config: &str) -> Host {
        let mut host = Host::new(config);
        host.network = Some(Network::new());
        host.start_daemon();
        host.install(POOL);
        host
    }

    /// Its network, if it has one of its own.
    #[track_caller]
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the host has a network")
    }

    pub(crate) fn own_network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// Runs something in the host's network namespace.
    #[track_caller]
    pub fn in_host_ns<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.network {
            Some(network) => network.host.run(work),
            None => work(),
        }
    }

    /// Runs something in the namespace of what the host reaches.
    #[track_caller]
    pub fn in_world<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.network().world.run(work)
    }

    /// A path in the host's directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.as_ref().unwrap().path().join(name)
    }

    /// The daemon's run directory.
    pub fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// The directory of a pool.
    pub fn pool_dir(&self, pool: &str) -> PathBuf {
        self.path(format!("pool-{pool}"))
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("osctld.sock")
    }

    /// A program that was built.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.lock().unwrap().join(name)
    }

    /// Uses the programs of another directory from the next start on.
    pub fn use_programs(&self, dir: &Path) {
        *self.programs.lock().unwrap() = dir.to_owned();
    }

    /// What the daemon said so far, its last lines.
    pub fn log(&self) -> String {
        daemon::tail(&self.path("osctld.log"), 120)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Starts the daemon and waits until it has imported its pools.
    #[track_caller]
    pub fn start_daemon(&self) {
        if let Err(status) = self.try_start_daemon(&Start::default()) {
            panic!("the daemon ended at its start: {status}\n{}", self.log());
        }
    }

    /// Starts the daemon.
    ///
    /// # Errors
    /// How it ended, when it did before it had imported its pools.
    #[track_caller]
    pub fn try_start_daemon(&self, start: &Start) -> Result<(), std::process::ExitStatus> {
        let mut slot = self.slot();
        assert!(slot.is_none(), "the daemon runs already");
        let paths = Paths {
            program: self.program("osctld"),
            run_dir: self.run_dir(),
            config: Some(self.path("osctld.toml")),
            log: self.path("osctld.log"),
            notify: self.path("notify"),
        };
        let daemon = self.in_host_ns(|| Daemon::start(&paths, start))?;
        let pid = daemon.pid();
        *slot = Some(daemon);
        drop(slot);
        let ready = wait::find(wait::SOON, || {
            if processes::ended(pid, std::time::Duration::ZERO) {
                return Some(false);
            }
            let pong = self.connect().ok()?.call(&Ping::default()).ok()?;
            pong.initialized.then_some(true)
        });
        match ready {
            Some(true) => Ok(()),
            Some(false) => Err(self.daemon_ended()),
            None => panic!("the daemon does not import its pools\n{}", self.log()),
        }
    }

    /// The daemon's process id.
    pub fn daemon_pid(&self) -> u32 {
        self.slot().as_ref().map(Daemon::pid).unwrap()
    }

    /// Waits until the daemon has ended by itself.
    #[track_caller]
    pub fn daemon_ended(&self) -> std::process::ExitStatus {
        let daemon = self.slot().take().unwrap();
        match daemon.ended(wait::SOON) {
            Ok(status) => status,
            Err(_) => panic!("the daemon goes on\n{}", self.log()),
        }
    }

    /// Kills the daemon.
    pub fn kill_daemon(&self) {
        if let Some(daemon) = self.slot().take() {
            daemon.kill();
        }
    }

    /// Ends the daemon as a service manager does.
    #[track_caller]
    pub fn stop_daemon(&self) {
        let status = self.slot().take().unwrap().stop();
        assert!(status.success(), "the daemon ended: {status}");
    }

    /// Whether the daemon runs.
    pub fn daemon_runs(&self) -> bool {
        let daemon = self.slot().as_ref().map(Daemon::pid);
        daemon.is_some_and(|pid| !processes::ended(pid, std::time::Duration::ZERO))
    }

    /// A connection to the daemon whose replies have a deadline.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(&self) -> Result<Client, Error> {
        let socket = UnixStream::connect(self.socket())
            .map_err(|e| Error::with_source(osctl_api::Code::Unavailable, "cannot connect", &e))?;
        let limit = std::time::Duration::from_secs(120);
        socket.set_read_timeout(Some(limit)).unwrap();
        Ok(Client::over(socket))
    }

    /// A connection to the daemon.
    #[track_caller]
    pub fn client(&self) -> Client {
        self.connect()
            .unwrap_or_else(|e| panic!("{e}\n{}", self.log()))
    }

    /// Calls a method on a connection of its own.
    ///
    /// # Errors
    /// What the daemon replies.
    pub fn try_call<M: Method>(&self, params: &M) -> Result<M::Reply, Error> {
        let mut client = self.connect()?;
        match M::KIND {
            Kind::Progress => client.call_progress(params, |_| ()),
            _ => client.call(params),
        }
    }

    /// Calls a method that succeeds.
    #[track_caller]
    pub fn call<M: Method>(&self, params: &M) -> M::Reply {
        self.try_call(params)
            .unwrap_or_else(|e| panic!("{}: {e}", M::NAME))
    }

    /// Calls a method with parameters as JSON.
    ///
    /// # Errors
    /// What the daemon replies.
    #[track_caller]
    pub fn try_json<M: Method>(&self, value: serde_json::Value) -> Result<M::Reply, Error> {
        self.try_call(&params::<M>(value))
    }

    /// Calls a method that succeeds, with parameters as JSON.
    #[track_caller]
    pub fn json<M: Method>(&self, value: serde_json::Value) -> M::Reply {
        self.call(&params::<M>(value))
    }

    /// Makes a pool.
    #[track_caller]
    pub fn install(&self, pool: &str) {
        let dir = self.pool_dir(pool);
        self.json::<osctl_api::pool::Install>(json!({ "pool": pool, "dir": dir }));
    }

    /// The command line, ready to be run against this daemon.
    pub fn osctl_command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(self.program("osctl"));
        command
            .args(arguments)
            .env("OSCTL_SOCKET", self.socket())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Runs the command line.
    #[track_caller]
    pub fn try_osctl<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Output {
        processes::output(&mut self.osctl_command(arguments))
    }

    /// Runs a command that succeeds; what it prints.
    #[track_caller]
    pub fn osctl<A: AsRef<OsStr> + std::fmt::Debug>(&self, arguments: &[A]) -> String {
        let out = self.try_osctl(arguments);
        assert!(
            out.status.success(),
            "osctl {arguments:?}: {}\n{}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }

    /// The minimal image, as a tarball of its root file system.
    pub fn minimal(&self) -> PathBuf {
        let path = self.path("minimal.tar");
        if !path.exists() {
            let half = self.path(format!("minimal.{:?}", std::thread::current().id()));
            Rootfs::minimal().write(&half);
            fs::rename(half, &path).unwrap();
        }
        path
    }

    /// Makes a container of the minimal image.
    #[track_caller]
    pub fn new_ct(&self, id: &str) -> Ct<'_> {
        let image = self.minimal();
        self.ct_from(id, &image)
    }

    /// Makes a container of a root file system.
    #[track_caller]
    pub fn ct_of(&self, id: &str, rootfs: &Rootfs) -> Ct<'_> {
        let path = self.path(format!("{id}.tar"));
        rootfs.write(&path);
        self.ct_from(id, &path)
    }

    /// Makes a container of an image.
    #[track_caller]
    pub fn ct_from(&self, id: &str, image: &Path) -> Ct<'_> {
        self.try_ct_from(id, image)
            .unwrap_or_else(|e| panic!("cannot make {id}: {e}"))
    }

    /// Makes a container of an image.
    ///
    /// # Errors
    /// What the daemon replies.
    pub fn try_ct_from(&self, id: &str, image: &Path) -> Result<Ct<'_>, Error> {
        self.try_json::<osctl_api::container::New>(json!({ "id": id, "from_archive": image }))?;
        Ok(self.ct(id))
    }

    /// A container that is there.
    pub fn ct(&self, id: &str) -> Ct<'_> {
        Ct::new(self, id)
    }

    /// Ids of all containers.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        let list = self.call(&osctl_api::container::List::default());
        list.containers.iter().map(|c| c.id.to_string()).collect()
    }

    /// Panics when anything is left of what is no more; see [`leaks`].
    #[track_caller]
    pub fn assert_clean(&self) {
        leaks::assert_clean(self);
    }
}

impl Host {
    /// What serves the default bridge outlives the daemon: after a test that failed, it is there.
    fn kill_dnsmasq(&self) {
        let dir = self.run_dir().join("bridge");
        let pid = std::fs::read_to_string(dir.join("dnsmasq.pid"));
        let Some(pid) = pid.ok().and_then(|p| p.trim().parse().ok()) else {
            return;
        };
        if processes::cmdline(pid).contains(&dir.display().to_string()) {
            processes::kill(pid);
            processes::ended(pid, std::time::Duration::from_secs(5));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- the daemon's log ends with:\n{}\n---", self.log());
        }
        self.kill_daemon();
        self.kill_dnsmasq();
        cgroups::remove(&self.cgroup);
        leaks::unmount_below(&self.path(""));
        processes::reap_orphans();
        if let Some(dir) = self.dir.take()
            && let Err(e) = dir.close()
        {
            println!("cannot remove the directory of the test: {e}");
        }
    }
}
