//! Containers that are stopped only for a while: for a copy of what stands still.
//!
//! That one is to be started again is noted first, so that the next daemon does it when this one
//! dies. The note does not outlive the host's run: what starts after a boot is autostart's business.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use osctl_api::container::{STOP_TIMEOUT, StopMode};

use super::plan::Mode;
use super::{Container, Hold};
use crate::daemon::Daemon;
use crate::error::Error;

/// How a container is stopped: how hard, for how long it is waited for, what its users are told.
pub(super) type How<'a> = (StopMode, Duration, Option<&'a str>);

/// How it is stopped for an operation that says nothing about it.
pub(super) const USUAL: How<'static> = (
    StopMode::ShutdownOrKill,
    Duration::from_secs(STOP_TIMEOUT),
    None,
);

impl Container {
    /// Stops it, noting that it is to be started again.
    ///
    /// # Errors
    /// As stop; then it is not noted.
    pub(super) async fn stop_for_a_while(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        (mode, limit, message): How<'_>,
        hold: &Hold,
    ) -> Result<(), Error> {
        self.note_interruption(daemon)?;
        let stopped = self.stop_for_more(mode, limit, message, hold).await;
        if stopped.is_err() {
            self.forget_interruption(daemon);
        }
        stopped
    }

    /// Starts it again.
    ///
    /// # Errors
    /// As start.
    pub(super) async fn start_again(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        hold: &Hold,
    ) -> Result<(), Error> {
        let started = self.start_held(Mode::Boot, hold).await;
        self.forget_interruption(daemon);
        started
    }

    fn interruption(&self, daemon: &Daemon) -> PathBuf {
        let dir = daemon.pool_run_dir(&self.pool).join("interrupted");
        dir.join(self.id.as_str())
    }

    /// Notes that it is stopped only for a while.
    ///
    /// # Errors
    /// `Backend`.
    pub(super) fn note_interruption(&self, daemon: &Daemon) -> Result<(), Error> {
        let path = self.interruption(daemon);
        let made = match path.parent() {
            Some(dir) => std::fs::create_dir_all(dir),
            None => Ok(()),
        };
        made.and_then(|()| File::create(&path))
            .map(drop)
            .map_err(|e| Error::backend(format!("cannot write {}", path.display()), e))
    }

    /// It runs again, or is known not to.
    pub(super) fn forget_interruption(&self, daemon: &Daemon) {
        match std::fs::remove_file(self.interruption(daemon)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(container = %self.label(), error = %e, "it may be started once more");
            }
            _ => {}
        }
    }

    /// Whether it was stopped only for a while, by a daemon that is no more.
    pub(super) fn was_interrupted(&self, daemon: &Daemon) -> bool {
        self.interruption(daemon).exists()
    }
}
