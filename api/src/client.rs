//! A blocking client: one connection, one call at a time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::{Code, Error};
use crate::methods::{Method, Progress, Step};
use crate::wire::{self, Decoded, Decoder};

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    decoder: Decoder,
    cli: Option<String>,
}

/// The last reply of a call and the file descriptors that came with it.
#[derive(Debug)]
pub struct Answer<T> {
    /// The reply.
    pub reply: T,
    /// File descriptors.
    pub fds: Vec<OwnedFd>,
}

impl Client {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// `Unavailable` when nobody listens there, `PermissionDenied` when the caller may not connect.
    pub fn connect(path: &Path) -> Result<Client, Error> {
        let socket = UnixStream::connect(path).map_err(|e| {
            let message = format!("cannot connect to the daemon at {}", path.display());
            match e.kind() {
                io::ErrorKind::PermissionDenied => {
                    Error::with_source(Code::PermissionDenied, message, &e)
                        .hint("be root or a member of the group that owns the socket")
                }
                _ => Error::with_source(Code::Unavailable, message, &e).hint(
                    "check that osctld runs, or name its socket with --socket or OSCTL_SOCKET",
                ),
            }
        })?;
        Ok(Client::over(socket))
    }

    /// A client over a connected socket.
    pub fn over(socket: UnixStream) -> Client {
        Client {
            socket,
            decoder: Decoder::new(wire::MAX_REPLY),
            cli: None,
        }
    }

    /// Limits how long a call waits for the daemon each time it sends or receives.
    ///
    /// # Errors
    /// When the duration is zero.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)?;
        self.socket.set_write_timeout(timeout)
    }

    /// Tells the daemon the command line of all calls to come, for its history.
    #[must_use]
    pub fn with_cli(mut self, cli: String) -> Client {
        self.cli = Some(cli);
        self
    }

    /// Calls a method that replies once.
    ///
    /// # Errors
    /// What the daemon replies; `Unavailable` when the connection is lost.
    pub fn call<M: Method>(&mut self, params: &M) -> Result<M::Reply, Error> {
        Ok(self.call_fds(params, &[] as &[OwnedFd])?.reply)
    }

    /// Calls a method that replies once; `read` is given its reply as JSON text and may take only
    /// part of it.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_read<M: Method, T>(
        &mut self,
        params: &M,
        read: impl FnOnce(&str) -> serde_json::Result<T>,
    ) -> Result<T, Error> {
        self.send(params, false, &[] as &[OwnedFd])?;
        let frame = self.receive_frame()?;
        match wire::read_reply(&frame.bytes, read)? {
            Decoded::Last(reply) | Decoded::Continues(reply) => Ok(reply),
        }
    }

    /// Calls a method that replies once, with file descriptors both ways.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_fds<M: Method>(
        &mut self,
        params: &M,
        fds: &[impl AsFd],
    ) -> Result<Answer<M::Reply>, Error> {
        self.send(params, false, fds)?;
        match self.receive()? {
            (Decoded::Last(reply) | Decoded::Continues(reply), fds) => Ok(Answer { reply, fds }),
        }
    }

    /// Calls a method that replies with progress; `progress` is given each step.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_progress<M: Method>(
        &mut self,
        params: &M,
        progress: impl FnMut(Progress),
    ) -> Result<M::Reply, Error> {
        self.call_progress_fds(params, &[] as &[OwnedFd], progress)
    }

    /// Calls a method that replies with progress, with file descriptors; `progress` is given each
    /// step.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_progress_fds<M: Method>(
        &mut self,
        params: &M,
        fds: &[impl AsFd],
        mut progress: impl FnMut(Progress),
    ) -> Result<M::Reply, Error> {
        self.send(params, true, fds)?;
        loop {
            let (decoded, _) = self.receive::<Step<M::Reply>>()?;
            let (Decoded::Last(step) | Decoded::Continues(step)) = decoded;
            if let Some(p) = step.progress {
                progress(p);
            }
            if let Some(result) = step.result {
                return Ok(result);
            }
        }
    }

    /// Calls a method that replies with events; `each` is given every one until it returns `false`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_events<M: Method>(
        &mut self,
        params: &M,
        mut each: impl FnMut(M::Reply) -> bool,
    ) -> Result<(), Error> {
        self.send(params, true, &[] as &[OwnedFd])?;
        loop {
            match self.receive()?.0 {
                Decoded::Continues(event) => {
                    if !each(event) {
                        return Ok(());
                    }
                }
                Decoded::Last(event) => {
                    each(event);
                    return Ok(());
                }
            }
        }
    }

    /// The socket, to wait for.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn send<M: Method>(&mut self, params: &M, more: bool, fds: &[impl AsFd]) -> Result<(), Error> {
        let bytes = wire::encode_call(params, more, self.cli.as_deref())?;
        let mut at = 0;
        while at < bytes.len() {
            let sent = if at == 0 {
                wire::send(self.socket.as_fd(), &bytes, fds)
            } else {
                wire::send(self.socket.as_fd(), &bytes[at..], &[] as &[OwnedFd])
            };
            match sent {
                Ok(n) => at += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(lost(Some(&e))),
            }
        }
        Ok(())
    }

    fn receive<T: serde::de::DeserializeOwned>(
        &mut self,
    ) -> Result<(Decoded<T>, Vec<OwnedFd>), Error> {
        let frame = self.receive_frame()?;
        Ok((wire::decode_reply(&frame.bytes)?, frame.fds))
    }

    fn receive_frame(&mut self) -> Result<wire::Frame, Error> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            match self.decoder.receive(self.socket.as_fd()) {
                Ok(0) => return Err(lost(None)),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(lost(Some(&e))),
            }
        }
    }
}

fn lost(e: Option<&io::Error>) -> Error {
    if e.is_some_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
        return Error::new(Code::Timeout, "the daemon did not answer in time");
    }
    let message = "the connection to the daemon was lost";
    match e {
        Some(e) => Error::with_source(Code::Unavailable, message, e),
        None => Error::new(Code::Unavailable, message),
    }
    .hint("what was asked for may have been done or not: look before you repeat it")
}
