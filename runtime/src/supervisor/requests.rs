//! What the commands of a daemon do.

use std::os::fd::{AsFd, OwnedFd};

use osctl_linux::process;
use osctl_runtime::control::{Command, Enter, Reply, Request, Status};

use super::entries::{Entries, Inside};
use super::{Phase, Supervisor};
use crate::fault::{During, Fault, Outcome};

impl Supervisor {
    /// Carries out one command and answers it.
    pub(super) fn command(&mut self, peer: usize, command: Command, fds: Vec<OwnedFd>) {
        if command.request == Request::Status {
            let reply = Reply::Status(self.status());
            let mut peers = std::mem::take(&mut self.peers);
            peers.reply(peer, command.seq, reply, &self.init_fds());
            self.peers = peers;
            return;
        }
        let reply = match self.carry_out(command.request, fds) {
            Ok(()) => Reply::Done,
            Err(fault) => Reply::Error(fault.text()),
        };
        self.peers.reply(peer, command.seq, reply, &[]);
    }

    fn carry_out(&mut self, request: Request, fds: Vec<OwnedFd>) -> Outcome {
        match request {
            Request::Status => Ok(()),
            Request::Proceed => self.release(),
            Request::Signal { signal } => {
                let init = self.launched.init.pidfd.as_fd();
                Ok(process::pidfd_signal(init, signal)?)
            }
            Request::Kill => {
                self.kill();
                Ok(())
            }
            Request::EndWhenIdle => {
                self.end_when_idle = true;
                Ok(())
            }
            Request::Enter(enter) => self.enter(enter, fds),
            Request::Console => self.attach(fds),
            Request::DeviceAdd(device) => {
                let dev = &self.launched.dev;
                dev.add(&device)
                    .during(|| format!("cannot make device {:?}", device.path))
            }
            Request::DeviceDel { path } => {
                let dev = &self.launched.dev;
                dev.del(&path)
                    .during(|| format!("cannot remove device {path:?}"))
            }
        }
    }

    fn release(&mut self) -> Outcome {
        if !self.spec.hold || self.proceed {
            return Err(Fault::refused("the container is not held"));
        }
        self.proceed = true;
        Ok(())
    }

    fn attach(&mut self, mut fds: Vec<OwnedFd>) -> Outcome {
        match (fds.pop(), fds.is_empty()) {
            (Some(client), true) => match self.console.attach(client) {
                true => Ok(()),
                false => Err(Fault::refused("too many console clients")),
            },
            _ => Err(Fault::refused("one descriptor is needed")),
        }
    }

    fn enter(&mut self, enter: Enter, fds: Vec<OwnedFd>) -> Outcome {
        if self.phase != Phase::Running {
            return Err(Fault::refused("the container is not running yet"));
        }
        let (entries, inside) = self.inside();
        entries.start(enter, fds, inside)
    }

    /// Entries, and what they need.
    pub(super) fn inside(&mut self) -> (&mut Entries, Inside<'_>) {
        let inside = Inside {
            spec: &self.spec,
            pidfd: self.launched.init.pidfd.as_fd(),
            userns: self.launched.userns.as_fd(),
            cgroups: &self.cgroups,
            proc: &self.proc,
            oom_score_adj: self.oom_score_adj,
            witness: &self.witness,
        };
        (&mut self.entries, inside)
    }

    fn status(&self) -> Status {
        Status {
            id: self.spec.id.clone(),
            state: self.state(),
            pid: Some(self.launched.init.pid),
            started_at: self.started_at,
            warnings: self.warnings.clone(),
            console_clients: self.console.clients().count() as u32,
            sessions: self.entries.len() as u32,
            ending: self.kill_requested || (self.end_when_idle && self.entries.len() == 0),
        }
    }
}
