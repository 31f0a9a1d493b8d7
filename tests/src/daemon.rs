//! One run of the daemon: started, watched, ended.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::processes;
use crate::wait;

/// How a daemon is started.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Environment to add.
    pub env: Vec<(String, String)>,
}

impl Start {
    /// With the fail point `name` armed.
    pub fn failing_at(name: &str) -> Start {
        Start {
            env: vec![("OSCTLD_FAILPOINT".to_owned(), name.to_owned())],
        }
    }
}

/// Paths that a daemon is started with.
#[derive(Debug)]
pub struct Paths {
    /// The program.
    pub program: PathBuf,
    /// Its run directory.
    pub run_dir: PathBuf,
    /// Its configuration, if it has one.
    pub config: Option<PathBuf>,
    /// Where its log is added to.
    pub log: PathBuf,
    /// Where it says that it is ready.
    pub notify: PathBuf,
}

/// A running daemon; it is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// It goes on telling how it does.
    _notify: UnixDatagram,
}

impl Daemon {
    /// Starts a daemon and waits until it is ready.
    ///
    /// # Errors
    /// How it ended, when it did before.
    pub fn start(paths: &Paths, start: &Start) -> Result<Daemon, ExitStatus> {
        let _ = fs::remove_file(&paths.notify);
        let notify = UnixDatagram::bind(&paths.notify).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&paths.log)
            .unwrap();
        let mut command = Command::new(&paths.program);
        command
            .arg("--run-dir")
            .arg(&paths.run_dir)
            .env("NOTIFY_SOCKET", &paths.notify)
            .env("RUST_BACKTRACE", "1")
            .env_remove("OSCTLD_FAILPOINT")
            .envs(start.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(config) = &paths.config {
            command.arg("--config").arg(config);
        }
        let mut daemon = Daemon {
            child: processes::spawn(&mut command),
            _notify: notify.try_clone().unwrap(),
        };
        let pidfd = processes::pidfd(daemon.pid()).unwrap();
        loop {
            match wait::readable(&[&notify, &pidfd], wait::SOON)[..] {
                [true, _] => {
                    let mut text = [0; 256];
                    let n = notify.recv(&mut text).unwrap();
                    if text[..n].starts_with(b"READY=1") {
                        return Ok(daemon);
                    }
                }
                [_, true] => return Err(daemon.child.wait().unwrap()),
                _ => panic!("the daemon is not ready within {:?}", wait::SOON),
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as the kernel's OOM killer would.
    pub fn kill(mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Asks it to stop, and waits until it has.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        processes::signal(self.pid(), Signal::SIGTERM);
        assert!(
            processes::ended(self.pid(), wait::SOON),
            "the daemon does not stop within {:?}",
            wait::SOON
        );
        self.child.wait().unwrap()
    }

    /// Waits until it ends by itself; gives it back when it doesn't within `limit`.
    ///
    /// # Errors
    /// The daemon that still runs.
    pub fn ended(mut self, limit: Duration) -> Result<ExitStatus, Daemon> {
        if processes::ended(self.pid(), limit) {
            Ok(self.child.wait().unwrap())
        } else {
            Err(self)
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
