//! What a handler knows of the call it answers, and what it can send besides its reply.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use osctl_api::wire::{self, MAX_FDS};
use osctl_api::{Progress, Step};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::server::Peer;

/// Tells whether the client of a call is gone, or the daemon ends.
#[derive(Debug, Clone)]
pub struct Cancel(Vec<watch::Receiver<bool>>);

impl Cancel {
    /// The token and the sender that cancels it.
    pub fn new() -> (watch::Sender<bool>, Cancel) {
        let (sender, receiver) = watch::channel(false);
        (sender, Cancel(vec![receiver]))
    }

    /// A token that is never cancelled.
    pub fn never() -> Cancel {
        Cancel::new().1
    }

    /// Whether nobody waits for the reply any more.
    pub fn is_cancelled(&self) -> bool {
        self.0.iter().any(|cancelled| *cancelled.borrow())
    }

    /// Waits until nobody waits for the reply any more; for ever, if that never happens.
    pub async fn cancelled(&self) {
        let mut waiting: Vec<_> = self
            .0
            .iter()
            .cloned()
            .map(cancelled)
            .map(Box::pin)
            .collect();
        std::future::poll_fn(|cx| {
            match waiting
                .iter_mut()
                .any(|one| one.as_mut().poll(cx).is_ready())
            {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// The same, cancelled by another one, too.
    #[must_use]
    pub fn or(mut self, other: &Cancel) -> Cancel {
        self.0.extend(other.0.iter().cloned());
        self
    }
}

async fn cancelled(mut receiver: watch::Receiver<bool>) {
    if receiver.wait_for(|gone| *gone).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Where the progress of an operation goes; a clone can be handed to whatever does the work.
#[derive(Debug, Clone)]
pub struct ProgressSender(Option<mpsc::Sender<Vec<u8>>>);

impl ProgressSender {
    /// A sender of progress that nobody reads.
    pub fn none() -> ProgressSender {
        ProgressSender(None)
    }

    /// Tells the client what is being done. Never waits: a client that reads too slowly misses it.
    pub fn say(&self, message: impl Into<String>) {
        self.send(message.into(), None, None);
    }

    /// Tells the client how much of how much is done.
    pub fn done(&self, message: impl Into<String>, done: u64, total: Option<u64>) {
        self.send(message.into(), Some(done), total);
    }

    /// A function that tells the client how much of how much is done, each time that another
    /// mebibyte is.
    pub fn by_mebibytes(&self, message: &'static str) -> impl Fn(u64, Option<u64>) {
        let next = AtomicU64::new(0);
        move |done, total| {
            if done >= next.load(Ordering::Relaxed) || Some(done) == total {
                next.store(done.saturating_add(1 << 20), Ordering::Relaxed);
                self.done(message, done, total);
            }
        }
    }

    fn send(&self, message: String, done: Option<u64>, total: Option<u64>) {
        let Some(sender) = &self.0 else { return };
        let step = Step::<()> {
            progress: Some(Progress {
                message,
                done,
                total,
            }),
            result: None,
        };
        if let Ok(frame) = wire::encode_reply(&step, true) {
            // A full channel is a client that doesn't read; an operation doesn't wait for it.
            let _ = sender.try_send(frame);
        }
    }
}

/// A call: who made it, with which file descriptors, and where replies go.
#[derive(Debug)]
pub struct Context {
    /// The daemon.
    pub daemon: Arc<Daemon>,
    /// Who calls.
    pub peer: Peer,
    /// The command line that the client told.
    pub cli: Option<String>,
    /// Whether the client takes more than one reply.
    pub more: bool,
    pub(crate) fds: Vec<Option<OwnedFd>>,
    pub(crate) reply_fds: Vec<OwnedFd>,
    pub(crate) cancel: Cancel,
    /// Absent when the client takes one reply only.
    pub(crate) replies: Option<mpsc::Sender<Vec<u8>>>,
}

impl Context {
    /// Tells the client what is being done.
    pub fn progress(&self, message: impl Into<String>) {
        self.progress_sender().say(message);
    }

    /// Where progress goes, to hand to whatever does the work.
    pub fn progress_sender(&self) -> ProgressSender {
        ProgressSender(self.replies.clone())
    }

    /// Sends one of many replies; waits until the client takes it.
    ///
    /// # Errors
    /// `Cancelled` when the client is gone.
    pub async fn event<T: Serialize>(&self, event: &T) -> Result<()> {
        let gone = || Error::cancelled("the client is gone");
        let frame = wire::encode_reply(event, true)
            .map_err(|e| Error::with(osctl_api::Code::Internal, "cannot encode an event", e))?;
        let sender = self.replies.as_ref().ok_or_else(gone)?;
        sender.send(frame).await.map_err(|_| gone())
    }

    /// Takes the file descriptor at `index` from the call.
    ///
    /// # Errors
    /// `InvalidArgument` when there is none.
    pub fn take_fd(&mut self, index: usize) -> Result<OwnedFd> {
        let got = self.fds.len();
        self.fds
            .get_mut(index)
            .and_then(Option::take)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "the call needs a file descriptor at index {index}, and came with {got}"
                ))
            })
    }

    /// How many file descriptors came with the call.
    pub fn fd_count(&self) -> usize {
        self.fds.len()
    }

    /// Sends a file descriptor with the reply; returns its index in the reply.
    ///
    /// # Errors
    /// `Internal` when there are too many.
    pub fn reply_fd(&mut self, fd: OwnedFd) -> Result<u32> {
        if self.reply_fds.len() >= MAX_FDS {
            return Err(Error::internal("too many file descriptors in a reply"));
        }
        self.reply_fds.push(fd);
        Ok(self.reply_fds.len() as u32 - 1)
    }

    /// Whether nobody waits for the reply any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Waits until nobody waits for the reply any more.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// The token of cancellation, to hand to whatever waits.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_either_cancels_is_cancelled() {
        for n in 0..2 {
            let (one, two) = (Cancel::new(), Cancel::new());
            let both = one.1.clone().or(&two.1);
            assert!(!both.is_cancelled());
            let waiting = tokio::spawn(async move { both.cancelled().await });
            [one.0, two.0][n].send_replace(true);
            waiting.await.unwrap();
            assert_eq!(
                (one.1.is_cancelled(), two.1.is_cancelled()),
                (n == 0, n == 1)
            );
        }
    }
}
