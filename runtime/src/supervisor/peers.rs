//! Control connections: receiving commands, sending replies and events. Not what commands do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use osctl_linux::seqpacket;
use osctl_runtime::control::{Command, Event, MAX_MESSAGE, Message, Reply, VERSION};

/// Connections at the same time.
const PEERS: usize = 16;

/// The connections of a supervisor.
#[derive(Debug, Default)]
pub struct Peers(Vec<Option<OwnedFd>>);

impl Peers {
    /// Takes a connection in and greets it. One that is not root's, or one too many, is closed.
    pub fn add(&mut self, socket: OwnedFd) {
        let root = seqpacket::peer(socket.as_fd()).is_ok_and(|(_, uid, _)| uid == 0);
        self.0.retain(Option::is_some);
        if !root || self.0.len() >= PEERS {
            return;
        }
        self.0.push(Some(socket));
        let hello = Message::Hello {
            version: VERSION,
            pid: std::process::id() as i32,
        };
        self.send(self.0.len() - 1, &hello, &[]);
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// To be polled, with their positions.
    pub fn sockets(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let peers = self.0.iter().enumerate();
        peers.filter_map(|(index, peer)| peer.as_ref().map(|socket| (index, socket.as_fd())))
    }

    /// The next command of a connection. One that breaks the rules is closed.
    pub fn recv(&mut self, index: usize) -> Option<(Command, Vec<OwnedFd>)> {
        let socket = self.0.get(index)?.as_ref()?;
        let packet = match seqpacket::recv(socket.as_fd(), MAX_MESSAGE, true) {
            Ok(packet) => packet,
            Err(error) if error.errno() == Errno::EAGAIN => return None,
            Err(_) => None,
        };
        let message = packet.and_then(|packet| {
            let command = serde_json::from_slice(&packet.data).ok()?;
            Some((command, packet.fds))
        });
        if message.is_none() {
            self.0[index] = None;
        }
        message
    }

    /// Answers a command.
    pub fn reply(&mut self, index: usize, seq: u64, reply: Reply, fds: &[BorrowedFd<'_>]) {
        self.send(index, &Message::Reply { seq, reply }, fds);
    }

    /// Tells everybody.
    pub fn broadcast(&mut self, event: Event, fds: &[BorrowedFd<'_>]) {
        let message = Message::Event(event);
        for index in 0..self.0.len() {
            self.send(index, &message, fds);
        }
    }

    /// A connection that takes no message, for whatever reason, is closed.
    fn send(&mut self, index: usize, message: &Message, fds: &[BorrowedFd<'_>]) {
        let Some(Some(socket)) = self.0.get(index) else {
            return;
        };
        let sent = serde_json::to_vec(message)
            .is_ok_and(|data| seqpacket::send(socket.as_fd(), &data, fds, true).is_ok());
        if !sent {
            self.0[index] = None;
        }
    }
}
