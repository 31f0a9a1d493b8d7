//! What a new process and its supervisor tell each other until the process is what it should be.
//!
//! Both sides are this binary in the same version, the socket is close-on-exec: its end tells the
//! supervisor that the program runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use osctl_linux::error::{Error, Result};
use osctl_linux::seqpacket;
use osctl_runtime::control::MAX_MESSAGE;
use serde::{Deserialize, Serialize};

/// From the new process to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// All namespaces but that of cgroups exist.
    Namespaces,
    /// The container's console. Descriptors: master, slave.
    Console,
    /// Something is not as asked.
    Warning(String),
    /// Everything is done but the exec.
    Ready,
    /// The next thing is the exec (or what takes its place).
    Exec,
    /// It went wrong, in this step; the process ends.
    Failed { step: String, error: String },
    /// The entering process made the one that stays. Descriptor: its pidfd.
    Spawned { pid: i32 },
    /// A terminal was made. Descriptor: its master.
    Terminal,
    /// The container's limit allows one process, but not a second: to be tried from outside.
    Crowded,
    /// Entering went wrong, with this exit code for the client; the process ends.
    Rejected { code: i32, error: String },
}

/// From the supervisor to the new process.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The id maps are written.
    Mapped,
    /// Descriptors: the trees of the root file system and of `/dev`.
    Base,
    /// Descriptor: the tree of the next bind mount.
    Bind,
    /// The next bind mount has no source.
    NoBind(String),
    /// All cgroups are joined.
    Placed,
    /// Go on to the exec.
    Go,
}

/// One end of the socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Channel {
    /// The supervisor's end and that of the new process, which has a number that no standard
    /// stream will take.
    pub fn pair() -> Result<(Channel, Channel)> {
        let (a, b) = seqpacket::pair()?;
        Ok((Channel(a), Channel(osctl_linux::fds::high_copy(b.as_fd())?)))
    }

    /// Sends a message; waits for room.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let data = serde_json::to_vec(message)
            .map_err(|_| Error::new("serialize", nix::errno::Errno::EINVAL))?;
        seqpacket::send(self.as_fd(), &data, fds, false)
    }

    /// Waits for a message; None at the end.
    pub fn recv<T: for<'de> Deserialize<'de>>(&self) -> Result<Option<(T, Vec<OwnedFd>)>> {
        self.receive(false)
    }

    /// Takes a message; EAGAIN when there is none, None at the end.
    pub fn try_recv<T: for<'de> Deserialize<'de>>(&self) -> Result<Option<(T, Vec<OwnedFd>)>> {
        self.receive(true)
    }

    fn receive<T: for<'de> Deserialize<'de>>(
        &self,
        nonblocking: bool,
    ) -> Result<Option<(T, Vec<OwnedFd>)>> {
        let Some(packet) = seqpacket::recv(self.as_fd(), MAX_MESSAGE, nonblocking)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&packet.data) {
            Ok(message) => Ok(Some((message, packet.fds))),
            Err(_) => Err(Error::new("recvmsg", nix::errno::Errno::EBADMSG)),
        }
    }
}
