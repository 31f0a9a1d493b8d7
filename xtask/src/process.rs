//! Running programs so that a signal ends them first and the task after them,
//! with everything that has to be removed still removed.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

struct Running {
    pid: u32,
    pidfd: OwnedFd,
    stop: Signal,
}

/// From now on SIGINT, SIGTERM and SIGHUP end the running program and make
/// the task fail with [`Error::Interrupted`].
pub fn handle_signals() -> Result<()> {
    ctrlc::set_handler(|| {
        INTERRUPTED.store(true, Ordering::SeqCst);
        for running in RUNNING
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&running.pidfd, running.stop);
        }
    })
    .map_err(|error| Error::Other(format!("cannot handle signals: {error}")))
}

/// Fails once the user has asked to stop.
pub fn check_interrupted() -> Result<()> {
    match INTERRUPTED.load(Ordering::SeqCst) {
        true => Err(Error::Interrupted),
        false => Ok(()),
    }
}

/// What ends a program when the task is interrupted.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// It is asked to.
    Gently,
    /// It is killed: for one that takes all its children with it.
    AtOnce,
}

/// A program that runs and is ended when the task is interrupted or drops it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
}

impl Program {
    /// Starts `command`; `name` is what errors call it.
    pub fn spawn(command: &mut Command, name: &str, stop: Stop) -> Result<Self> {
        // Held over the start: an interrupt now finds the program in the list.
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        check_interrupted()?;
        let failed = |source| Error::Spawn {
            program: name.to_owned(),
            source,
        };
        let mut child = command.spawn().map_err(failed)?;
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => {
                let stop = match stop {
                    Stop::Gently => Signal::TERM,
                    Stop::AtOnce => Signal::KILL,
                };
                running.push(Running {
                    pid: child.id(),
                    pidfd,
                    stop,
                });
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(error.into()));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// Its piped streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for its end, which has to be a good one.
    pub fn wait(mut self) -> Result<()> {
        let status = self.child.wait();
        check_interrupted()?;
        let status = status.map_err(|source| Error::Spawn {
            program: self.name.clone(),
            source,
        })?;
        match status.success() {
            true => Ok(()),
            false => Err(Error::Program {
                program: self.name.clone(),
                status,
            }),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|entry| entry.pid != self.child.id());
    }
}

/// Runs a program to its end, with the task's own output.
pub fn run(command: &mut Command, name: &str) -> Result<()> {
    Program::spawn(command.stdin(Stdio::null()), name, Stop::Gently)?.wait()
}

/// Runs a program to its end and gives back what it printed on stdout.
pub fn output(command: &mut Command, name: &str) -> Result<String> {
    let (status, text) = output_of_any(command, name)?;
    match status.success() {
        true => Ok(text),
        false => Err(Error::Program {
            program: name.to_owned(),
            status,
        }),
    }
}

/// As [`output`], for a program that may fail.
pub fn output_of_any(command: &mut Command, name: &str) -> Result<(ExitStatus, String)> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut program = Program::spawn(command, name, Stop::Gently)?;
    let failed = |source| Error::Spawn {
        program: name.to_owned(),
        source,
    };
    let mut text = Vec::new();
    if let Some(stdout) = &mut program.child.stdout {
        stdout.read_to_end(&mut text).map_err(failed)?;
    }
    let status = program.child.wait().map_err(failed)?;
    check_interrupted()?;
    match String::from_utf8(text) {
        Ok(text) => Ok((status, text)),
        Err(_) => Err(Error::Other(format!("{name} did not print text"))),
    }
}
