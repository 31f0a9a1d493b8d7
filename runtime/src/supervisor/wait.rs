//! The poll of the supervisor: what is waited for, and who handles it.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use osctl_linux::error::{Error, Result};
use osctl_linux::seqpacket;

use super::entries::Source as EntrySource;
use super::{Phase, Supervisor};

/// Something that is ready.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    Signals,
    Stage,
    Master(PollFlags),
    Client(usize, PollFlags),
    Entry(usize, EntrySource),
    Peer(usize),
    Listener,
}

impl Supervisor {
    /// Waits for anything. The listener comes last: a new connection moves the others' positions.
    pub(super) fn wait(&self) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        let mut fds = Vec::new();
        let mut add = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::new(fd, flags));
        };
        let input = PollFlags::POLLIN;
        add(Source::Signals, self.signals.as_fd(), input);
        if self.phase != Phase::Running && self.failure.is_none() {
            add(Source::Stage, self.launched.channel.as_fd(), input);
        }
        let blocked = self.console.has_input();
        if let Some(master) = self.console.master() {
            let output = if blocked {
                PollFlags::POLLOUT
            } else {
                PollFlags::empty()
            };
            add(Source::Master(PollFlags::empty()), master, input | output);
        }
        for (index, (client, behind)) in self.console.clients().enumerate() {
            let mut flags = if blocked { PollFlags::empty() } else { input };
            flags.set(PollFlags::POLLOUT, behind);
            add(Source::Client(index, flags), client, flags);
        }
        for (index, source, fd) in self.entries.sources() {
            add(Source::Entry(index, source), fd, input);
        }
        for (index, fd) in self.peers.sockets() {
            add(Source::Peer(index), fd, input);
        }
        add(Source::Listener, self.listener.as_fd(), input);
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new("poll", errno)),
        }
        let ready = fds.iter().zip(sources).filter_map(|(fd, source)| {
            let events = fd.revents().filter(|events| !events.is_empty())?;
            Some(match source {
                Source::Master(_) => Source::Master(events),
                Source::Client(index, _) => Source::Client(index, events),
                other => other,
            })
        });
        Ok(ready.collect())
    }

    /// Handles what is ready; never waits.
    pub(super) fn handle(&mut self, source: Source) {
        match source {
            // Which child it was is asked of the kernel: signals are merged.
            Source::Signals => while let Ok(Some(_)) = self.signals.read_signal() {},
            Source::Stage => self.read_reports(),
            Source::Master(events) => {
                if events.contains(PollFlags::POLLOUT) {
                    self.console.write_input();
                }
                self.console.read_output();
            }
            Source::Client(index, events) => {
                let mut stays = true;
                if events.contains(PollFlags::POLLOUT) {
                    stays = self.console.catch_up(index);
                }
                if events != PollFlags::POLLOUT {
                    stays &= self.console.read_client(index);
                }
                if !stays {
                    self.console.remove_client(index);
                }
            }
            Source::Entry(index, source) => self.entries.ready(index, source, &self.cgroups),
            Source::Peer(index) => {
                while let Some((command, fds)) = self.peers.recv(index) {
                    self.command(index, command, fds);
                }
            }
            Source::Listener => {
                while let Ok(Some(socket)) = seqpacket::accept(self.listener.as_fd()) {
                    self.peers.add(socket);
                }
            }
        }
    }
}
