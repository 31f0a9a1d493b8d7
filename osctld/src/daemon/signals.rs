//! Signals that tell the daemon to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// Signals that the daemon listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Starts listening.
    ///
    /// # Errors
    /// `Backend`.
    pub(super) fn new() -> Result<Signals> {
        let listen = |kind| signal(kind).map_err(|e| Error::backend("cannot listen to signals", e));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            // Handled and not ignored: programs that the daemon starts would inherit that.
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits until the daemon is told to stop; returns by what.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => tracing::info!("SIGHUP: there is nothing to reload"),
            }
        }
    }
}
