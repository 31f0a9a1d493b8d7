//! The demo's daemon: one that outlives the task and is found again by the
//! next one. Owns the scratch directory, the process and what is left of it
//! in the cgroup trees; knows no containers.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, FileContext as _, Result};
use crate::{process, ui};

/// Name of its cgroup in every hierarchy.
const CGROUP: &str = "osctl-demo";

/// How long it may take to tell something, and to stop.
const START_SECONDS: i64 = 60;
const STOP_SECONDS: i64 = 60;

/// The daemon of a scratch directory.
#[derive(Debug)]
pub struct Daemon {
    directory: PathBuf,
}

/// The running process.
struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    /// Whether its program was replaced by a newer one.
    is_outdated: bool,
}

impl Daemon {
    /// The one that has its files in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The scratch directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.run_directory().join("osctld.sock")
    }

    /// Where its pool is.
    pub fn pool_directory(&self) -> PathBuf {
        self.directory.join("pool")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("osctld.log")
    }

    fn run_directory(&self) -> PathBuf {
        self.directory.join("run")
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("osctld.pid")
    }

    /// Starts it, unless it runs. A running one whose program is no longer the
    /// built one is replaced; its containers do not notice.
    pub fn ensure_running(&self, programs: &Path) -> Result<()> {
        match self.process() {
            Some(process) if !process.is_outdated => Ok(()),
            Some(_) => {
                self.stop()?;
                self.start(programs)
            }
            None => self.start(programs),
        }
    }

    fn start(&self, programs: &Path) -> Result<()> {
        ui::step(format!("starting osctld in {}", self.directory.display()));
        let run = self.run_directory();
        fs::create_dir_all(&run).of("create", &run)?;
        let config = self.directory.join("osctld.toml");
        fs::write(&config, format!("cgroup_root = \"{CGROUP}\"\n")).of("write", &config)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .of("open", self.log())?;
        let log_too = log.try_clone().of("open", self.log())?;
        let notify = self.directory.join("notify.sock");
        if notify.exists() {
            fs::remove_file(&notify).of("remove", &notify)?;
        }
        let told = UnixDatagram::bind(&notify).of("bind", &notify)?;
        // A session of its own: it gets no signal of this terminal.
        let mut command = Command::new("setsid");
        command
            .arg(programs.join("osctld"))
            .arg("--run-dir")
            .arg(&run);
        command.arg("--config").arg(&config).current_dir("/");
        command.env("NOTIFY_SOCKET", &notify);
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        let failed = |source| Error::Spawn {
            program: "osctld".to_owned(),
            source,
        };
        let child = command.spawn().map_err(failed)?;
        fs::write(self.pid_file(), format!("{}\n", child.id())).of("write", self.pid_file())?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        self.wait_until_ready(&told, &pidfd.map_err(|error| failed(error.into()))?)
    }

    /// Waits until it has its pools, which is the last that it tells.
    fn wait_until_ready(&self, told: &UnixDatagram, pidfd: &OwnedFd) -> Result<()> {
        let failed =
            |what: &str| Error::Other(format!("osctld {what}: see {}", self.log().display()));
        let timeout = Timespec {
            tv_sec: START_SECONDS,
            tv_nsec: 0,
        };
        let mut message = [0; 4096];
        loop {
            let mut ready = [
                PollFd::new(told, PollFlags::IN),
                PollFd::new(pidfd, PollFlags::IN),
            ];
            match poll(&mut ready, Some(&timeout)) {
                Ok(0) => return Err(failed("did not start in time")),
                Err(Errno::INTR) => process::check_interrupted()?,
                Err(error) => return Err(failed(&format!("can not be waited for ({error})"))),
                Ok(_) if ready[0].revents().is_empty() => return Err(failed("did not start")),
                Ok(_) => {
                    let read = told.recv(&mut message).of("read", "the notify socket")?;
                    if message[..read].starts_with(b"STATUS=Pools imported") {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The process of the pid file, if it still is this daemon.
    fn process(&self) -> Option<Process> {
        let pid: i32 = fs::read_to_string(self.pid_file())
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let pid = Pid::from_raw(pid)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Read after the pidfd holds the process, so that they are the same.
        let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let arguments = fs::read(proc.join("cmdline")).ok()?;
        let run = self.run_directory();
        let is_ours = arguments
            .split(|byte| *byte == 0)
            .any(|it| it == run.as_os_str().as_encoded_bytes());
        let program = fs::read_link(proc.join("exe")).ok()?;
        let is_outdated = program
            .as_os_str()
            .as_encoded_bytes()
            .ends_with(b" (deleted)");
        is_ours.then_some(Process {
            pid,
            pidfd,
            is_outdated,
        })
    }

    /// Ends it, which leaves its containers as they are.
    pub fn stop(&self) -> Result<()> {
        let Some(process) = self.process() else {
            return Ok(());
        };
        ui::step(format!(
            "stopping osctld, process {}",
            process.pid.as_raw_nonzero()
        ));
        let cannot = |error| Error::Other(format!("cannot stop osctld: {error}"));
        pidfd_send_signal(&process.pidfd, Signal::TERM).map_err(cannot)?;
        let timeout = Timespec {
            tv_sec: STOP_SECONDS,
            tv_nsec: 0,
        };
        let mut ended = [PollFd::new(&process.pidfd, PollFlags::IN)];
        match poll(&mut ended, Some(&timeout)).map_err(cannot)? {
            0 => Err(Error::Other(format!(
                "osctld did not stop within {STOP_SECONDS} s"
            ))),
            _ => Ok(()),
        }
    }

    /// Removes its cgroups, which are empty once its containers are stopped.
    pub fn remove_cgroups(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mounts").of("read", "/proc/self/mounts")?;
        for mount in mounts.lines() {
            let mut fields = mount.split(' ').skip(1);
            let (Some(point), Some(kind)) = (fields.next(), fields.next()) else {
                continue;
            };
            let root = Path::new(point).join(CGROUP);
            if kind.starts_with("cgroup") && root.exists() {
                remove_tree(&root)?;
            }
        }
        Ok(())
    }
}

/// A cgroup can be removed once those below it are.
fn remove_tree(cgroup: &Path) -> Result<()> {
    for entry in fs::read_dir(cgroup).of("read", cgroup)? {
        let entry = entry.of("read", cgroup)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup).of("remove", cgroup)
}
