//! One virtual machine: its process, its console, and the agent in it.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::frame::{self, Kind};
use super::http::Server;
use super::qmp::Monitor;
use crate::{processes, wait};

/// All that QEMU can emulate but cmpxchg16b, whose flags QEMU 7.2 gets wrong:
/// the kernel's allocator, which uses it where it is there, brings it down.
const CPU: &str = "max,-cx16";

/// Longest that anything in an emulated machine may take: it is there to end
/// what hangs, on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(300);

/// How many lines of the console a failure shows.
const SHOWN: usize = 60;

/// Where a machine has its root from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// A disk, before all others.
    Disk,
    /// The network: stage 1 downloads it.
    Network,
}

/// What a machine is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Memory in MiB.
    pub memory: u32,
    /// Where the root comes from.
    pub root: Root,
    /// Sizes of empty disks in MiB: `/dev/vdb` and so on, `/dev/vda` without a
    /// root on a disk.
    pub disks: Vec<u64>,
    /// Words to add to the kernel's command line.
    pub append: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            memory: 1024,
            root: Root::Disk,
            disks: Vec::new(),
            append: String::new(),
        }
    }
}

/// What a program in a machine has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; the signal below zero when one ended it.
    pub status: i32,
    /// What it wrote to its stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to its stderr.
    pub stderr: Vec<u8>,
}

/// A machine that runs; its power is cut when this is dropped.
#[derive(Debug)]
pub struct Machine {
    directory: tempfile::TempDir,
    dist: PathBuf,
    settings: Settings,
    server: Option<Server>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    qemu: Child,
    agent: UnixStream,
    monitor: Monitor,
}

impl Machine {
    /// Boots the image that the environment names; `None`, having said why,
    /// where there is none.
    pub fn boot(settings: Settings) -> Option<Machine> {
        let Some(dist) = std::env::var_os("OSCTL_VM_DIST") else {
            println!("skipped: cargo xtask vm test builds the image that this boots");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        for (index, size) in settings.disks.iter().enumerate() {
            let disk = File::create_new(disk(directory.path(), index)).unwrap();
            disk.set_len(size * 1024 * 1024).unwrap();
        }
        let dist = PathBuf::from(dist);
        let from_network = settings.root == Root::Network;
        let mut machine = Machine {
            server: from_network.then(|| Server::start(&dist.join("root.squashfs"))),
            directory,
            dist,
            settings,
            running: None,
        };
        machine.start();
        Some(machine)
    }

    /// Switches the machine on and waits for its agent.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.running.is_none(), "the machine runs");
        let here = self.directory.path();
        let errors = File::create(here.join("qemu.log")).unwrap();
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(errors.try_clone().unwrap())
            .stderr(errors);
        // The machine's ports are made before it starts, so that there is
        // nothing to wait for: QEMU gets our ends' other ends.
        let agent = listen(&here.join("agent"));
        let monitor = listen(&here.join("monitor"));
        let qemu = processes::spawn(&mut command);
        let accept = |listener: &std::os::unix::net::UnixListener| {
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
        });
        self.ask(Kind::Hello, b"");
        self.answer(Kind::Done);
    }

    fn command(&self) -> Command {
        let here = self.directory.path();
        let params = fs::read_to_string(self.dist.join("kernel-params")).unwrap();
        let console = here.join("console");
        let root = match &self.server {
            Some(server) => format!("httproot={}", server.url()),
            None => "root=/dev/vda".to_owned(),
        };
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg", "-cpu", CPU, "-smp", "2", "-no-reboot"])
            .args(["-nodefaults", "-display", "none", "-m"])
            .arg(self.settings.memory.to_string())
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-chardev")
            .arg(format!(
                "socket,id=agent,path={}",
                here.join("agent").display()
            ))
            .args(["-device", "virtio-serial-pci", "-device"])
            .arg("virtserialport,chardev=agent,name=osctl.agent")
            .arg("-qmp")
            .arg(format!("unix:{}", here.join("monitor").display()))
            .args(["-nic", "user,model=virtio-net-pci", "-kernel"])
            .arg(self.dist.join("bzImage"))
            .arg("-initrd")
            .arg(self.dist.join("initrd"))
            .arg("-append")
            .arg(format!(
                "{} {root} osctl.agent {}",
                params.trim(),
                self.settings.append
            ));
        if self.server.is_none() {
            let root = self.dist.join("root.squashfs");
            let root = root.display();
            qemu.arg("-drive")
                .arg(format!("file={root},format=raw,if=virtio,readonly=on"));
        }
        for index in 0..self.settings.disks.len() {
            let disk = disk(here, index);
            qemu.arg("-drive")
                .arg(format!("file={},format=raw,if=virtio", disk.display()));
        }
        qemu
    }

    /// Cuts the power. Disks keep what was written to them.
    pub fn cut(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.qemu.kill();
            let _ = running.qemu.wait();
        }
    }

    /// Asks the host to power off, and waits until it has.
    #[track_caller]
    pub fn power_off(&mut self) {
        assert!(self.sh("poweroff").ok().stdout.is_empty());
        let mut running = self.running.take().unwrap();
        let ended = processes::ended(running.qemu.id(), DEADLINE);
        if !ended {
            let _ = running.qemu.kill();
        }
        let status = running.qemu.wait().unwrap();
        assert!(
            ended && status.success(),
            "the host does not power off:\n{}",
            self.console()
        );
    }

    /// Whether the machine runs or is stopped, as QEMU calls it.
    pub fn state(&mut self) -> String {
        let running = self.running.as_mut().expect("the machine is off");
        let status = running.monitor.command("query-status", &json!({}));
        status["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Runs a program with an empty stdin.
    #[track_caller]
    pub fn run(&mut self, argv: &[&str]) -> Output {
        self.run_with(argv, b"")
    }

    /// Runs a script of bash.
    #[track_caller]
    pub fn sh(&mut self, script: &str) -> Output {
        self.run(&["bash", "-c", script])
    }

    /// Runs a program.
    #[track_caller]
    pub fn run_with(&mut self, argv: &[&str], stdin: &[u8]) -> Output {
        let length = u32::try_from(stdin.len()).unwrap();
        let mut request = length.to_le_bytes().to_vec();
        request.extend_from_slice(stdin);
        for argument in argv {
            request.extend_from_slice(argument.as_bytes());
            request.push(0);
        }
        self.ask(Kind::Run, &request);
        let stdout = self.answer(Kind::Stdout);
        let stderr = self.answer(Kind::Stderr);
        let status = self.answer(Kind::Exit);
        Output {
            status: i32::from_le_bytes(status.try_into().unwrap()),
            stdout,
            stderr,
        }
    }

    /// Writes a file in the host.
    #[track_caller]
    pub fn push(&mut self, path: &str, mode: u32, content: &[u8]) {
        let mut request = mode.to_le_bytes().to_vec();
        request.extend_from_slice(path.as_bytes());
        request.push(0);
        request.extend_from_slice(content);
        self.ask(Kind::Push, &request);
        self.answer(Kind::Done);
    }

    /// Reads a file of the host.
    #[track_caller]
    pub fn pull(&mut self, path: &str) -> Vec<u8> {
        self.ask(Kind::Pull, path.as_bytes());
        self.answer(Kind::File)
    }

    #[track_caller]
    fn ask(&mut self, kind: Kind, content: &[u8]) {
        let running = self.running.as_mut().expect("the machine is off");
        if let Err(error) = frame::write(&mut running.agent, kind, content) {
            panic!("the agent takes nothing: {error}\n{}", self.console());
        }
    }

    #[track_caller]
    fn answer(&mut self, wanted: Kind) -> Vec<u8> {
        let running = self.running.as_mut().expect("the machine is off");
        match frame::read(&mut running.agent) {
            Ok((kind, content)) if kind == wanted => content,
            Ok((kind, content)) => panic!(
                "the agent answers {kind:?} {}\n{}",
                String::from_utf8_lossy(&content),
                self.console()
            ),
            Err(error) => panic!("no answer: {error}\n{}\n{}", self.errors(), self.console()),
        }
    }

    /// The last lines of the console.
    pub fn console(&self) -> String {
        crate::daemon::tail(&self.directory.path().join("console"), SHOWN)
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("qemu.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Output {
    /// This, when the program ended with 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        assert_eq!(
            self.status,
            0,
            "stdout: {}\nstderr: {}",
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr)
        );
        self
    }

    /// What it wrote to its stdout, without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

fn disk(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("disk{index}"))
}

fn listen(path: &Path) -> std::os::unix::net::UnixListener {
    let _ = fs::remove_file(path);
    std::os::unix::net::UnixListener::bind(path).unwrap()
}
