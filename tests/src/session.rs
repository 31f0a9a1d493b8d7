//! The client's end of exec and console sessions.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use osctl_api::session::{FromSession, MAX_PACKET, ToSession};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};

use crate::wait;

/// One packet, with what file descriptors came along; `None` at the end.
pub fn packet(fd: &OwnedFd, limit: Duration) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    assert!(
        wait::readable(&[fd], limit)[0],
        "the session says nothing within {limit:?}"
    );
    let mut bytes = vec![0; MAX_PACKET];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [std::io::IoSliceMut::new(&mut bytes)];
    let got = rustix::net::recvmsg(fd, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    bytes.truncate(got.bytes);
    (got.bytes > 0).then_some((bytes, fds))
}

/// Sends one packet.
///
/// # Errors
/// When the other end is gone.
pub fn send(fd: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<()> {
    rustix::net::send(fd, bytes, SendFlags::NOSIGNAL).map(drop)
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With a status.
    Exited(u8),
    /// By a signal.
    Signaled(i32),
    /// It did not start: code for the client, and why.
    Failed(u8, String),
    /// Nobody said.
    Lost,
}

/// A running exec session.
#[derive(Debug)]
pub struct Session {
    /// The session's socket.
    pub fd: OwnedFd,
    /// Master of the terminal, when there is one.
    pub terminal: Option<OwnedFd>,
    /// Process id on the host, once it was told.
    pub pid: Option<u32>,
    /// What it warned of.
    pub warnings: Vec<String>,
    end: Option<End>,
}

impl Session {
    /// A session from its socket.
    pub fn new(fd: OwnedFd) -> Session {
        Session {
            fd,
            terminal: None,
            pid: None,
            warnings: Vec::new(),
            end: None,
        }
    }

    fn step(&mut self, limit: Duration) {
        let Some((bytes, fds)) = packet(&self.fd, limit) else {
            self.end = Some(End::Lost);
            return;
        };
        self.terminal = fds.into_iter().next().or(self.terminal.take());
        match serde_json::from_slice(&bytes).unwrap() {
            FromSession::Pid(pid) => self.pid = Some(pid),
            FromSession::Warning(text) => self.warnings.push(text),
            FromSession::Exited(status) => self.end = Some(End::Exited(status)),
            FromSession::Signaled(signal) => self.end = Some(End::Signaled(signal)),
            FromSession::Failed { code, error } => self.end = Some(End::Failed(code, error)),
        }
    }

    /// Waits until the program runs; its process id on the host.
    #[track_caller]
    pub fn started(&mut self) -> u32 {
        while self.pid.is_none() {
            assert!(self.end.is_none(), "it does not run: {:?}", self.end);
            self.step(wait::SOON);
        }
        self.pid.unwrap()
    }

    /// Waits until the program has ended.
    #[track_caller]
    pub fn end(&mut self) -> End {
        self.end_within(wait::SOON)
    }

    /// Waits until the program has ended, for at most `limit`.
    #[track_caller]
    pub fn end_within(&mut self, limit: Duration) -> End {
        let until = Instant::now() + limit;
        while self.end.is_none() {
            self.step(until.saturating_duration_since(Instant::now()));
        }
        self.end.clone().unwrap()
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: i32) {
        let text = serde_json::to_vec(&ToSession::Signal(signal)).unwrap();
        send(&self.fd, &text).unwrap();
    }
}

/// Reads a stream to its end in a thread.
pub fn collect(fd: impl Into<OwnedFd>) -> Receiver<Vec<u8>> {
    let mut file = File::from(fd.into());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = file.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Reads from `fd` until `text` was seen; all that was read.
#[track_caller]
pub fn read_until(fd: &impl AsFd, text: &str, limit: Duration) -> String {
    let end = Instant::now() + limit;
    let mut seen = Vec::new();
    loop {
        let shown = String::from_utf8_lossy(&seen).into_owned();
        if shown.contains(text) {
            return shown;
        }
        let left = end.saturating_duration_since(Instant::now());
        assert!(
            wait::readable(&[&fd.as_fd()], left)[0],
            "no {text:?} in {shown:?}"
        );
        let mut buffer = [0; 4096];
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO) => panic!("no {text:?} before the end of {shown:?}"),
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(e) => panic!("read: {e}"),
        }
    }
}
