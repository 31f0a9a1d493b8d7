//! One virtual machine: its process, its power, and its console.

use std::fs::{self, File};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::frame::Kind;
use super::http::Server;
use super::qemu::{self, Disk};
use super::qmp::Monitor;
use super::settings::{Console, Netboot, Root, Settings};
use super::state::State;
use crate::{processes, stale, wait};

/// Longest that anything in an emulated machine may take: it is there to end
/// what hangs, on a machine that is busy with other things.
pub(super) const DEADLINE: Duration = Duration::from_secs(300);

/// A machine; its power is cut when this is dropped, and nothing is left.
#[derive(Debug)]
pub struct Machine {
    pub(super) directory: tempfile::TempDir,
    dist: PathBuf,
    settings: Settings,
    disks: Vec<Disk>,
    server: Option<Server>,
    /// What its disks are based on.
    state: Option<State>,
    pub(super) running: Option<Running>,
}

#[derive(Debug)]
pub(super) struct Running {
    qemu: Child,
    pub(super) agent: UnixStream,
    monitor: Monitor,
    pub(super) keyboard: Option<UnixStream>,
}

/// Makes a disk of a size in MiB.
fn blank(path: &Path, size: u64) {
    let file = File::create_new(path).unwrap();
    file.set_len(size * 1024 * 1024).unwrap();
}

impl Machine {
    /// Boots the image that the environment names; `None`, having said why,
    /// where there is none.
    #[track_caller]
    pub fn boot(settings: Settings) -> Option<Machine> {
        Some(Machine::booted(dist()?, settings))
    }

    /// A host whose services run and for which `settings.prepare` is done: as
    /// [`boot`](Machine::boot), but in a fraction of the time where its state
    /// is there.
    #[track_caller]
    pub fn ready(settings: Settings) -> Option<Machine> {
        let dist = dist()?;
        if let Some(state) = State::ensure(&dist, &settings)
            && let Some(machine) = Machine::restored(&dist, &settings, state)
        {
            return Some(machine);
        }
        let mut machine = Machine::booted(dist, settings);
        machine.settle();
        Some(machine)
    }

    /// One that is off, with empty disks.
    pub fn new(settings: Settings) -> Option<Machine> {
        Some(Machine::blank(dist()?, settings))
    }

    fn blank(dist: PathBuf, settings: Settings) -> Machine {
        let mut machine = Machine::off(dist, settings);
        let here = machine.directory.path().to_owned();
        machine.add_disks(&here);
        if let Some(size) = machine.settings.pool {
            blank(&here.join(qemu::POOL), size);
        }
        machine
    }

    fn booted(dist: PathBuf, settings: Settings) -> Machine {
        let mut machine = Machine::blank(dist, settings);
        machine.start();
        machine
    }

    fn restored(dist: &Path, settings: &Settings, state: State) -> Option<Machine> {
        let mut machine = Machine::off(dist.to_owned(), settings.clone());
        machine.disks = state.disks(machine.directory.path(), settings.disks.len());
        machine.power_on(Some(state.source()));
        if let Err(why) = machine.load() {
            println!("the host is booted, as its state cannot be restored: {why}");
            state.discard();
            return None;
        }
        machine.state = Some(state);
        Some(machine)
    }

    /// One without disks that has not been switched on.
    pub(super) fn off(dist: PathBuf, settings: Settings) -> Machine {
        stale::sweep();
        let directory = tempfile::Builder::new().prefix(stale::PREFIX).tempdir();
        let directory = directory.unwrap();
        stale::claim(directory.path());
        let server = match settings.root {
            Root::Disk => None,
            Root::Network => Some(Server::start(&dist)),
            Root::Netboot(_) => Some(Server::start(&netboot())),
        };
        Machine {
            server,
            directory,
            dist,
            settings,
            disks: Vec::new(),
            state: None,
            running: None,
        }
    }

    /// Adds its empty disks, as files in `directory`.
    pub(super) fn add_disks(&mut self, directory: &Path) {
        for (index, size) in self.settings.disks.iter().enumerate() {
            let path = directory.join(format!("disk{index}"));
            blank(&path, *size);
            let format = "raw";
            self.disks.push(Disk { path, format });
        }
    }

    /// The file of a disk, which the machine must not have while it is written to.
    pub fn disk(&self, index: usize) -> &Path {
        &self.disks[index].path
    }

    /// Words to add to the kernel's command line from the next start on.
    pub fn set_words(&mut self, words: &str) {
        words.clone_into(&mut self.settings.append);
    }

    /// Switches the machine on, without waiting for anything.
    #[track_caller]
    pub fn switch_on(&mut self) {
        self.power_on(None);
    }

    /// Switches the machine on and waits for its agent.
    #[track_caller]
    pub fn start(&mut self) {
        self.power_on(None);
        self.ask(Kind::Hello, b"");
        self.answer(Kind::Done);
        self.name();
    }

    #[track_caller]
    fn power_on(&mut self, state: Option<String>) {
        assert!(self.running.is_none(), "the machine runs");
        let here = self.directory.path();
        let errors = File::create(here.join("qemu.log")).unwrap();
        let root = match &self.server {
            Some(server) => format!("httproot={}/root.squashfs", server.url()),
            None => "root=/dev/vda".to_owned(),
        };
        self.serve_firmware();
        let mut command = qemu::Machine {
            dist: &self.dist,
            settings: &self.settings,
            root: &root,
            here,
            disks: &self.disks,
            state,
        }
        .command();
        if self.settings.console == Console::File {
            let output = errors.try_clone().unwrap();
            command.stdin(Stdio::null()).stdout(output);
        }
        command.stderr(errors);
        // The machine's ports are made before it starts, so that there is
        // nothing to wait for: QEMU gets our ends' other ends.
        let agent = listen(&here.join("agent"));
        let monitor = listen(&here.join("monitor"));
        let qemu = processes::spawn(&mut command);
        let accept = |listener: &UnixListener| {
            let ready = wait::readable(&[listener], wait::SOON);
            assert!(ready[0], "QEMU does not start: {}", self.errors());
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.set_write_timeout(Some(DEADLINE)).unwrap();
            stream
        };
        let agent = accept(&agent);
        let monitor = Monitor::new(accept(&monitor));
        self.running = Some(Running {
            qemu,
            agent,
            monitor,
            keyboard: None,
        });
    }

    /// Makes what the firmware fetches: the directory that is built, and before
    /// it what is this machine's own.
    fn serve_firmware(&self) {
        let (Root::Netboot(how), Some(server)) = (self.settings.root, &self.server) else {
            return;
        };
        let tftp = self.directory.path().join("tftp");
        if tftp.exists() {
            return;
        }
        fs::create_dir(&tftp).unwrap();
        for entry in fs::read_dir(netboot()).unwrap() {
            let entry = entry.unwrap();
            std::os::unix::fs::symlink(entry.path(), tftp.join(entry.file_name())).unwrap();
        }
        let url = match how {
            Netboot::Http => server.url(),
            Netboot::Tftp => String::new(),
        };
        let script = format!(
            "#!ipxe\nset netboot-url {url}\nset netboot-words {} {}\n\
             chain boot.ipxe\n",
            qemu::WORDS,
            self.settings.append
        );
        fs::write(tftp.join("first.ipxe"), script).unwrap();
    }

    /// Waits for the services that tests are about, and prepares the host.
    #[track_caller]
    pub(super) fn settle(&mut self) {
        self.sh("sv -w 240 start osctld dhcp-eth0 > /dev/null").ok();
        if let Some(path) = self.settings.closure.clone() {
            self.copy_closure(&path);
        }
        if !self.settings.prepare.is_empty() {
            let script = self.settings.prepare.clone();
            self.sh(&script).ok();
        }
    }

    /// Saves memory and devices to where QEMU writes to. Disks are as they have to be for it.
    pub(super) fn save(&mut self, to: &str) -> Result<(), String> {
        self.sh("sync").ok();
        let monitor = &mut self.running.as_mut().unwrap().monitor;
        monitor.command("stop", &json!({}));
        // Nothing runs that a slow migration would be kind to.
        monitor.command(
            "migrate-set-parameters",
            &json!({ "max-bandwidth": 1_u64 << 40 }),
        );
        monitor.command("migrate", &json!({ "uri": to }));
        let ended = wait::find(DEADLINE, || {
            let status = monitor.command("query-migrate", &json!({}));
            let word = status["status"].as_str().unwrap_or_default().to_owned();
            ["completed", "failed", "cancelled"]
                .contains(&word.as_str())
                .then_some(word)
        });
        match ended.as_deref() {
            Some("completed") => Ok(()),
            other => Err(format!("QEMU's migration: {other:?}")),
        }
    }

    /// Lets a machine go on that is restored, as a host of its own.
    fn load(&mut self) -> Result<(), String> {
        let running = self.running.as_mut().unwrap();
        let loaded = wait::find(DEADLINE, || {
            match running.monitor.try_command("query-status", &json!({})) {
                Ok(status) if status["status"] == "inmigrate" => None,
                Ok(_) => Some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        });
        match loaded {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(format!("{error}: {}", self.errors().trim())),
            None => return Err("it takes too long".to_owned()),
        }
        running.monitor.command("cont", &json!({}));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap();
        // Two hosts that come from one state must not guess each other's keys.
        let script = format!(
            "date -u -s @{}.{:09} > /dev/null
            for try in {{1..600}}; do
                dmesg | grep -q 'reseeded due to virtual machine fork' && exit
                sleep 0.05
            done
            echo 'the random numbers are those of the state' >&2; exit 1",
            now.as_secs(),
            now.subsec_nanos()
        );
        self.sh(&script).ok();
        self.name();
        Ok(())
    }

    /// Gives the host its name and its address on the wire.
    #[track_caller]
    fn name(&mut self) {
        let Settings { name, .. } = &self.settings;
        let mac = self.settings.mac();
        let script =
            format!("echo {name} > /proc/sys/kernel/hostname && ip link set eth1 address {mac}");
        self.sh(&script).ok();
    }

    /// Cuts the power. Disks keep what was written to them.
    pub fn cut(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.qemu.kill();
            let _ = running.qemu.wait();
        }
    }

    /// Waits until it is off, for as long as it takes.
    pub fn ended(mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.qemu.wait();
        }
    }

    /// Asks the host to power off, and waits until it has.
    #[track_caller]
    pub fn power_off(&mut self) {
        self.go_down("poweroff");
    }

    /// Asks the host to boot anew, and waits for its agent.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.go_down("reboot");
        self.start();
    }

    #[track_caller]
    fn go_down(&mut self, command: &str) {
        assert!(self.sh(command).ok().stdout.is_empty());
        self.ends();
    }

    /// Waits until the machine powers off or reboots by itself.
    #[track_caller]
    pub fn ends(&mut self) {
        let mut running = self.running.take().expect("the machine is off");
        // QEMU ends at a reboot, too.
        let ended = processes::ended(running.qemu.id(), DEADLINE);
        if !ended {
            let _ = running.qemu.kill();
        }
        let status = running.qemu.wait().unwrap();
        assert!(
            ended && status.success(),
            "the host does not go down:\n{}",
            self.console()
        );
    }

    /// Whether it goes on from a state that was saved.
    pub fn is_restored(&self) -> bool {
        self.state.is_some()
    }

    /// Whether the machine runs or is stopped, as QEMU calls it.
    pub fn state(&mut self) -> String {
        let running = self.running.as_mut().expect("the machine is off");
        let status = running.monitor.command("query-status", &json!({}));
        status["status"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("qemu.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.running.is_some() {
            let Settings { name, .. } = &self.settings;
            println!(
                "--- the console of {name} ends with:\n{}\n---",
                self.console()
            );
        }
        self.cut();
    }
}

/// The image, as one path however it is named.
fn dist() -> Option<PathBuf> {
    let Some(dist) = std::env::var_os("OSCTL_VM_DIST") else {
        println!("skipped: cargo xtask vm test builds the image that this boots");
        return None;
    };
    Some(fs::canonicalize(dist).unwrap())
}

/// Where hosts boot from that boot from the network.
fn netboot() -> PathBuf {
    let directory = std::env::var_os("OSCTL_VM_NETBOOT");
    fs::canonicalize(directory.expect("OSCTL_VM_NETBOOT")).unwrap()
}

fn listen(path: &Path) -> UnixListener {
    let _ = fs::remove_file(path);
    UnixListener::bind(path).unwrap()
}
