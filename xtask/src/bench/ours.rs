//! This project's side: a daemon of its own in the scratch directory, and the
//! commands that are measured. Owns that neither it nor a container of it is
//! left.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Action;
use super::cgroups::Cgroups;
use super::memory;
use crate::error::{Error, FileContext as _, Result};
use crate::process;

const POOL: &str = "bench";
/// The container of the rounds.
const CONTAINER: &str = "b0";
/// How long a daemon may take to find its containers, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon and its containers.
#[derive(Debug)]
pub struct Ours {
    programs: PathBuf,
    directory: PathBuf,
    daemon: Option<Child>,
    cgroups: Cgroups,
}

impl Ours {
    /// No daemon yet; `programs` is where they are built, `scratch` where all
    /// of its files will be.
    pub fn new(programs: PathBuf, scratch: &Path) -> Result<Self> {
        let ours = Self {
            programs,
            directory: scratch.join("osctl"),
            daemon: None,
            cgroups: Cgroups::new("osctl"),
        };
        fs::create_dir(&ours.directory).of("create", &ours.directory)?;
        let text = format!("cgroup_root = \"{}\"\n", ours.cgroups.name());
        fs::write(ours.config(), text).of("write", ours.config())?;
        Ok(ours)
    }

    fn config(&self) -> PathBuf {
        self.directory.join("osctld.toml")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("run/osctld.sock")
    }

    /// Starts the daemon and waits until it answers.
    pub fn start_daemon(&mut self) -> Result<()> {
        self.spawn_daemon()?;
        self.run(&["ping", "30"])
    }

    fn spawn_daemon(&mut self) -> Result<()> {
        let path = self.directory.join("osctld.log");
        let log = File::options().create(true).append(true).open(&path);
        let log = log.of("open", &path)?;
        let log_too = log.try_clone().of("open", &path)?;
        // In a network of its own, which goes with it: nothing of this host's is touched.
        let mut command = Command::new("unshare");
        command.arg("--net").arg(self.programs.join("osctld"));
        command.arg("--run-dir").arg(self.directory.join("run"));
        command.arg("--config").arg(self.config()).current_dir("/");
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        // Ctrl-C is for the task, which needs the daemon to clean up.
        let child = command.process_group(0).spawn();
        self.daemon = Some(child.map_err(|source| Error::Spawn {
            program: "osctld".to_owned(),
            source,
        })?);
        Ok(())
    }

    /// Makes the pool that all containers are in.
    pub fn make_pool(&self) -> Result<()> {
        let directory = self.directory.join("pool").display().to_string();
        self.run(&["pool", "install", POOL, "--dir", &directory])
    }

    /// Process id of the daemon.
    pub fn daemon_pid(&self) -> Result<u32> {
        let daemon = self.daemon.as_ref();
        daemon
            .map(Child::id)
            .ok_or_else(|| Error::Other("osctld does not run".to_owned()))
    }

    /// Process id of a running container's init.
    pub fn init(&self, id: &str) -> Result<u32> {
        let mut command = self.command(&["--json", "ct", "show", id]);
        let text = process::output(&mut command, "osctl ct show")?;
        let shown: Shown = serde_json::from_str(&text)
            .map_err(|error| Error::Other(format!("osctl ct show: {error}")))?;
        shown
            .init_pid
            .ok_or_else(|| Error::Other(format!("container {id} does not run")))
    }

    /// Process id of a running container's supervisor.
    pub fn supervisor(&self, id: &str) -> Result<u32> {
        memory::parent(self.init(id)?)
    }

    /// Makes a container of an image.
    pub fn create(&self, id: &str, image: &Path) -> Result<()> {
        let mut command = self.creation(id, image);
        process::output(command.arg("--quiet"), "osctl ct new").map(drop)
    }

    /// The command that makes a container of an image.
    pub fn creation(&self, id: &str, image: &Path) -> Command {
        let mut command = self.command(&["ct", "new", "--from-archive"]);
        command.arg(image).arg(id);
        command
    }

    /// Makes a container without files.
    pub fn create_empty(&self, id: &str) -> Result<()> {
        self.run(&[
            "ct",
            "new",
            "--skip-image",
            "--distribution",
            "busybox",
            "--version",
            "1",
            id,
        ])
    }

    /// What is done to the container of the rounds.
    pub fn action(&self, action: Action) -> Command {
        self.command(match action {
            Action::Start => &["ct", "start", CONTAINER],
            Action::Exec => &["ct", "exec", CONTAINER, "/bin/true"],
            Action::List => &["ct", "ls"],
            Action::Stop => &["ct", "stop", "--kill", CONTAINER],
        })
    }

    /// Kills the daemon, starts another one and waits until it has found
    /// `running` containers; the time since the start of the new one.
    pub fn replace_daemon(&mut self, running: usize) -> Result<Duration> {
        if let Some(daemon) = &mut self.daemon {
            daemon.kill().of("kill", "osctld")?;
            daemon.wait().of("wait for", "osctld")?;
        }
        let start = Instant::now();
        self.spawn_daemon()?;
        self.run(&["ping", "30"])?;
        while start.elapsed() < PATIENCE {
            let mut command = self.command(&["ct", "ls", "-H", "-S", "running", "-o", "id"]);
            let found = process::output(&mut command, "osctl ct ls")?;
            if found.lines().count() == running {
                return Ok(start.elapsed());
            }
        }
        Err(Error::Other(format!(
            "osctld did not find {running} containers within {PATIENCE:?}"
        )))
    }

    /// Runs a command that is not measured.
    pub fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(arguments);
        let name = format!("osctl {}", arguments.join(" "));
        process::output(command.arg("--quiet"), &name).map(drop)
    }

    /// A program in the network namespace of the daemon.
    pub fn in_network(&self, program: &str) -> Result<Command> {
        let mut command = Command::new("nsenter");
        let netns = format!("--net=/proc/{}/ns/net", self.daemon_pid()?);
        command.args([&netns, program]);
        Ok(command)
    }

    /// The command line with these arguments, to be measured.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("osctl"));
        command.env("OSCTL_SOCKET", self.socket()).args(arguments);
        command
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        // Not a task's program any more: it runs also after an interrupt.
        let mut shutdown = self.command(&["shutdown", "--force"]);
        shutdown.process_group(0).stdin(Stdio::null());
        let _ = shutdown
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(|mut child| end(&mut child, None));
        end(&mut daemon, Some(Signal::TERM));
        // A supervisor ends when its container does.
        self.cgroups.clear();
    }
}

/// Sends `signal` and waits until the process has ended; kills it when that
/// takes too long.
fn end(child: &mut Child, signal: Option<Signal>) {
    if let Ok(pidfd) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
        if let Some(signal) = signal {
            let _ = pidfd_send_signal(&pidfd, signal);
        }
        let patience = Timespec {
            tv_sec: PATIENCE.as_secs() as i64,
            tv_nsec: 0,
        };
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The part of `osctl --json ct show` that matters here.
#[derive(serde::Deserialize)]
struct Shown {
    #[serde(default)]
    init_pid: Option<u32>,
}
