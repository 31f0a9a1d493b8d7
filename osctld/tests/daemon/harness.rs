//! Daemons in directories of their own.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use osctl_api::client::Client;
use osctl_api::{Method, pool, user};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for anything.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Whether this process may do what the daemon does; says so when it may not.
pub fn able() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A directory with everything that a daemon has; all of it goes when this is dropped.
pub struct Home {
    dir: tempfile::TempDir,
    cgroup: String,
}

impl Home {
    pub fn new() -> Home {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = Home {
            dir: tempfile::tempdir().unwrap(),
            cgroup: format!("osctl-test-{}-{number}", std::process::id()),
        };
        home.configure("");
        home
    }

    /// Writes the configuration: what every test needs, and `more`.
    pub fn configure(&self, more: &str) {
        // No test here runs a container: any file will do.
        let runtime = self.path("runtime");
        fs::write(&runtime, "").unwrap();
        let (cgroup, runtime) = (&self.cgroup, runtime.display());
        let text =
            format!("cgroup_root = '{cgroup}'\nlog = 'debug'\nruntime = '{runtime}'\n{more}");
        fs::write(self.path("osctld.toml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/osctld.sock")
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osctld"));
        command
            .arg("--run-dir")
            .arg(self.path("run"))
            .arg("--config")
            .arg(self.path("osctld.toml"))
            .stdin(Stdio::null());
        command
    }

    pub fn start(&self) -> Daemon<'_> {
        self.start_with(|_| {})
    }

    /// Starts a daemon and waits until it has imported its pools.
    pub fn start_with(&self, adapt: impl FnOnce(&mut Command)) -> Daemon<'_> {
        let notify = self.path("notify");
        let _ = fs::remove_file(&notify);
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(LIMIT)).unwrap();
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = self.command();
        command.env("NOTIFY_SOCKET", &notify).stderr(log);
        adapt(&mut command);
        let daemon = Daemon {
            home: self,
            child: command.spawn().unwrap(),
        };
        let mut told = [0; 256];
        loop {
            let n = manager.recv(&mut told).unwrap_or_else(|e| {
                panic!("the daemon did not start: {e}\n{}", self.log());
            });
            if told[..n].starts_with(b"STATUS=Pools imported") {
                return daemon;
            }
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The document of an object on a pool.
    pub fn conf(&self, pool: &str, file: &str) -> PathBuf {
        self.path(pool).join("conf").join(file)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let mounts = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
        let mut roots: Vec<PathBuf> = mounts.flatten().map(|e| e.path()).collect();
        roots.push("/sys/fs/cgroup".into());
        for root in roots {
            remove_cgroup(&root.join(&self.cgroup));
        }
    }
}

fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// A running daemon; it is killed when this is dropped.
pub struct Daemon<'a> {
    pub home: &'a Home,
    child: Child,
}

impl Daemon<'_> {
    pub fn client(&self) -> Client {
        Client::connect(&self.home.socket()).unwrap()
    }

    /// Calls a method on a connection of its own.
    pub fn call<M: Method>(&self, params: M) -> Result<M::Reply, osctl_api::Error> {
        match M::KIND {
            osctl_api::Kind::Progress => self.client().call_progress(&params, |_| {}),
            _ => self.client().call(&params),
        }
    }

    pub fn raw(&self) -> Raw {
        Raw::new(UnixStream::connect(self.home.socket()).unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid() as i32).unwrap(), signal).unwrap();
    }

    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub fn install(&self, pool: &str) -> pool::Pool {
        self.call(pool::Install {
            pool: pool.parse().unwrap(),
            dir: Some(self.home.path(pool).display().to_string()),
            dataset: None,
        })
        .unwrap()
    }

    pub fn new_user(&self, user: &str) -> Result<user::User, osctl_api::Error> {
        self.call(new_user(user))
    }

    pub fn users(&self) -> Vec<user::User> {
        self.call(user::List::default()).unwrap().users
    }

    pub fn pool(&self, name: &str) -> pool::Pool {
        let pool = name.parse().unwrap();
        self.call(pool::Show { pool }).unwrap()
    }

    /// Fails when the daemon doesn't answer somebody new.
    pub fn assert_serves(&self) {
        self.raw().ask("org.osctl.Ping");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.home.log());
        }
    }
}

pub fn new_user(user: &str) -> user::New {
    user::New {
        user: user.parse().unwrap(),
        id_range: None,
        id_range_block_index: None,
        map: Vec::new(),
        map_uid: Vec::new(),
        map_gid: Vec::new(),
        no_standalone: false,
    }
}

/// A connection of raw bytes.
pub struct Raw {
    pub socket: UnixStream,
    read: Vec<u8>,
}

impl Raw {
    pub fn new(socket: UnixStream) -> Raw {
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
        Raw {
            socket,
            read: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    pub fn send_fds(&mut self, bytes: &[u8], fds: &[impl AsFd]) {
        let n = osctl_api::wire::send(self.socket.as_fd(), bytes, fds).unwrap();
        assert_eq!(n, bytes.len());
    }

    /// The next message; `None` at the end of the stream.
    pub fn message(&mut self) -> Option<Value> {
        loop {
            if let Some(at) = self.read.iter().position(|b| *b == 0) {
                let rest = self.read.split_off(at + 1);
                let bytes = std::mem::replace(&mut self.read, rest);
                return Some(serde_json::from_slice(&bytes[..at]).unwrap());
            }
            let mut chunk = [0; 65536];
            match self.socket.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.read.is_empty(), "half a message: {:?}", self.read);
                    return None;
                }
                Ok(n) => self.read.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("cannot read a reply: {e}"),
            }
        }
    }

    /// Calls a method without parameters; its reply.
    pub fn ask(&mut self, method: &str) -> Value {
        self.call(&format!("{{\"method\":\"{method}\"}}"))
    }

    /// Sends a call as JSON text; its reply.
    pub fn call(&mut self, json: &str) -> Value {
        self.send(format!("{json}\0"));
        self.message().expect("a reply")
    }
}
