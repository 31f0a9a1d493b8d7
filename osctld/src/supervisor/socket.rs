//! A control connection or session, waited for with tokio.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use osctl_runtime::control::{Connection, Error};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// A connection and its readiness.
#[derive(Debug)]
pub struct Socket {
    connection: Connection,
    /// The same socket once more: tokio knows no SEQPACKET, and only ever asks whether it is ready.
    ready: UnixStream,
}

impl Socket {
    /// Watches `connection`.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn new(connection: Connection) -> io::Result<Socket> {
        let twin: OwnedFd = connection.as_fd().try_clone_to_owned()?;
        let twin = std::os::unix::net::UnixStream::from(twin);
        twin.set_nonblocking(true)?;
        Ok(Socket {
            connection,
            ready: UnixStream::from_std(twin)?,
        })
    }

    /// Calls `receive` until it has something.
    pub async fn receive<T>(
        &self,
        receive: impl Fn(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.when(Interest::READABLE, receive).await
    }

    /// Calls `send` until there is room.
    pub async fn send<T>(
        &self,
        send: impl Fn(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.when(Interest::WRITABLE, send).await
    }

    async fn when<T>(
        &self,
        interest: Interest,
        attempt: impl Fn(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            self.ready
                .ready(interest)
                .await
                .map_err(|_| Error::Closed)?;
            let mut done = None;
            let tried = self
                .ready
                .try_io(interest, || match attempt(&self.connection) {
                    Err(Error::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
                    other => {
                        done = Some(other);
                        Ok(())
                    }
                });
            match (done, tried) {
                (Some(result), _) => return result,
                (None, Err(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                (None, _) => return Err(Error::Closed),
            }
        }
    }
}
