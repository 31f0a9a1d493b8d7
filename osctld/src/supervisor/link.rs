//! A connection to a supervisor: requests with their replies, and events.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sync::Mutex;
use osctl_runtime::control::{
    self, Command, Connection, ExitRecord, Message, Reply, Request, Status,
};
use tokio::sync::{mpsc, oneshot};

use super::socket::Socket;
use crate::error::Error;

/// For what a guest's program does in a moment, also on a busy machine.
const GUEST_LIMIT: Duration = Duration::from_secs(15);

/// What a supervisor tells unasked.
#[derive(Debug)]
pub enum Event {
    /// Its namespaces exist; init waits for `Proceed` if its specification holds it. With its
    /// network namespace: nothing of the guest's has run in it yet.
    Created(OwnedFd),
    /// Init runs.
    Started {
        /// Process id on the host.
        pid: u32,
        /// What was not as asked.
        warnings: Vec<String>,
        /// When, in seconds since 1970; earlier versions don't tell.
        started_at: Option<u64>,
    },
    /// It could not be started.
    Failed {
        /// Name of the step.
        step: String,
        /// Why.
        error: String,
    },
    /// It ended.
    Exited(ExitRecord),
}

/// Events of one supervisor; ends when the supervisor is gone.
pub type Events = mpsc::Receiver<Event>;

type Answer = (Reply, Vec<OwnedFd>);
type Pending = Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>;

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Link {
    socket: Arc<Socket>,
    next: AtomicU64,
    pending: Arc<Pending>,
    reader: tokio::task::AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn gone() -> Error {
    Error::unavailable("the supervisor of the container is gone")
}

impl Link {
    /// Starts to read from `connection`.
    pub fn over(connection: Connection) -> Result<(Arc<Link>, Events), Error> {
        let socket = Socket::new(connection)
            .map_err(|e| Error::backend("cannot watch a supervisor's socket", e))?;
        let socket = Arc::new(socket);
        let pending: Arc<Pending> = Arc::new(Mutex::new(Some(HashMap::new())));
        let (sender, events) = mpsc::channel(16);
        let reader =
            tokio::spawn(read(Arc::clone(&socket), Arc::clone(&pending), sender)).abort_handle();
        let link = Link {
            socket,
            next: AtomicU64::new(1),
            pending,
            reader,
        };
        Ok((Arc::new(link), events))
    }

    /// Asks for something; `fds` go along.
    ///
    /// # Errors
    /// `Unavailable` when the supervisor is gone, `Backend` when it refuses.
    pub async fn request(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<Answer, Error> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        match self.pending.lock().as_mut() {
            Some(pending) => pending.insert(seq, sender),
            None => return Err(gone()),
        };
        let command = Command { seq, request };
        match self.socket.send(|c| c.send(&command, fds)).await {
            Ok(()) => {}
            Err(control::Error::Closed) => return Err(gone()),
            Err(e) => return Err(Error::backend("cannot ask the supervisor", e)),
        }
        match receiver.await {
            Ok((Reply::Error(why), _)) => Err(Error::backend(
                "the supervisor of the container refused",
                why,
            )),
            Ok(answer) => Ok(answer),
            Err(_) => Err(gone()),
        }
    }

    /// What the supervisor knows of its container.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub async fn status(&self) -> Result<Status, Error> {
        Ok(self.inspect().await?.0)
    }

    /// What the supervisor knows of its container, and the container's network namespace once it
    /// has one: that which it was made with, whatever the guest does in it.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub async fn inspect(&self) -> Result<(Status, Option<OwnedFd>), Error> {
        match self.request(Request::Status, &[]).await? {
            (Reply::Status(status), fds) => Ok((status, netns_of(fds))),
            _ => Err(Error::internal(
                "the supervisor replied something else than its status",
            )),
        }
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// As [`Link::request`]; `InvalidState` before it has one.
    pub async fn netns(&self) -> Result<OwnedFd, Error> {
        let (_, netns) = self.inspect().await?;
        netns.ok_or_else(|| Error::state("the container has no network namespace yet"))
    }

    /// Lets a held container run its init.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub async fn proceed(&self) -> Result<(), Error> {
        self.request(Request::Proceed, &[]).await.map(drop)
    }

    /// Sends a signal to init.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub async fn signal(&self, signal: i32) -> Result<(), Error> {
        self.request(Request::Signal { signal }, &[])
            .await
            .map(drop)
    }

    /// Kills the container.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub async fn kill(&self) -> Result<(), Error> {
        self.request(Request::Kill, &[]).await.map(drop)
    }

    /// Ends the container with the last of what entered it.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub async fn end_when_idle(&self) -> Result<(), Error> {
        self.request(Request::EndWhenIdle, &[]).await.map(drop)
    }

    /// Attaches a client to the console; returns the client's end.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub async fn console(&self) -> Result<OwnedFd, Error> {
        let (client, supervisor) = session_pair()?;
        self.request(Request::Console, &[supervisor.as_fd()])
            .await?;
        Ok(client)
    }

    /// Enters the container; returns the client's end of the session.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub async fn enter(
        &self,
        action: control::Action,
        fds: &[BorrowedFd<'_>],
    ) -> Result<OwnedFd, Error> {
        let (client, supervisor) = session_pair()?;
        let mut all = vec![supervisor.as_fd()];
        all.extend_from_slice(fds);
        self.request(Request::Enter(control::Enter { action }), &all)
            .await?;
        Ok(client)
    }
}

fn session_pair() -> Result<(OwnedFd, OwnedFd), Error> {
    osctl_linux::seqpacket::pair().map_err(|e| Error::backend("cannot make a session", e))
}

async fn read(socket: Arc<Socket>, pending: Arc<Pending>, events: mpsc::Sender<Event>) {
    loop {
        let (message, fds) = match socket.receive(Connection::recv).await {
            Ok(received) => received,
            Err(control::Error::Closed) => break,
            Err(e) => {
                tracing::warn!(error = %e, "a supervisor sent what can't be understood");
                break;
            }
        };
        let event = match message {
            Message::Hello { .. } => continue,
            Message::Reply { seq, reply } => {
                let waiter = pending.lock().as_mut().and_then(|p| p.remove(&seq));
                if let Some(waiter) = waiter {
                    // A requester that gave up needs no answer.
                    let _ = waiter.send((reply, fds));
                }
                continue;
            }
            Message::Event(control::Event::Created { .. }) => match netns_of(fds) {
                Some(netns) => Event::Created(netns),
                // Its end is reported next: there was no namespace to be opened any more.
                None => continue,
            },
            Message::Event(control::Event::Started {
                pid,
                warnings,
                started_at,
            }) => Event::Started {
                pid: unsigned(pid),
                warnings,
                started_at,
            },
            Message::Event(control::Event::Failed { step, error }) => Event::Failed { step, error },
            Message::Event(control::Event::Exited(record)) => Event::Exited(record),
        };
        if events.send(event).await.is_err() {
            break;
        }
    }
    *pending.lock() = None;
}

/// Of the descriptors of init, a pidfd and its network namespace, the second.
fn netns_of(mut fds: Vec<OwnedFd>) -> Option<OwnedFd> {
    (fds.len() == 2).then(|| fds.pop()).flatten()
}

/// Process ids are positive; anything else is no process.
pub fn unsigned(pid: i32) -> u32 {
    u32::try_from(pid).unwrap_or(0)
}

/// What came of a session whose client is the daemon itself.
///
/// # Errors
/// `Backend` with the session's own reason; `Unavailable` when the container ended meanwhile.
pub async fn finish(session: OwnedFd) -> Result<i32, Error> {
    let socket = Socket::new(Connection::new(session))
        .map_err(|e| Error::backend("cannot watch a session", e))?;
    loop {
        match socket.receive(Connection::recv_session).await {
            Ok((control::SessionMessage::Exited(code), _)) => return Ok(code),
            Ok((control::SessionMessage::Signaled(signal), _)) => return Ok(128 + signal),
            Ok((control::SessionMessage::Failed { code, error }, _)) => {
                return Err(failure(code, error));
            }
            Ok((control::SessionMessage::Warning(why), _)) => {
                tracing::warn!(%why, "something in a container was not as asked");
            }
            Ok((control::SessionMessage::Pid(_), _)) => {}
            Err(_) => return Err(gone()),
        }
    }
}

/// As [`finish`], for what takes a moment unless the guest means harm: what it has stopped, or
/// replaced by a program that never ends, is ended.
///
/// # Errors
/// `Timeout`, too.
pub async fn finish_soon(session: OwnedFd) -> Result<i32, Error> {
    match tokio::time::timeout(GUEST_LIMIT, finish(session)).await {
        Ok(done) => done,
        Err(_) => Err(Error::timeout(format!(
            "what was started in the container did not end within {} seconds",
            GUEST_LIMIT.as_secs()
        ))),
    }
}

fn failure(code: i32, why: String) -> Error {
    match code {
        127 => Error::not_found(why),
        126 => Error::invalid(why),
        _ => Error::backend("cannot enter the container", why),
    }
}
