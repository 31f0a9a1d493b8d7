//! All containers of a pool at once: when it has become active, and when it is exported.

use std::cmp::Reverse;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use osctl_api::container::{STOP_TIMEOUT, State, StopMode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::plan::Mode;
use super::{Container, Pending};
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::handlers::{Cancel, ProgressSender};
use crate::pool::Pool;

/// Whether containers are started by themselves once they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autostart {
    /// Those that are set to.
    Yes,
    /// None.
    No,
}

/// How containers are stopped when their pool is exported.
#[derive(Debug, Clone)]
pub struct StopAll {
    /// Message to the users who are logged in.
    pub message: Option<String>,
    /// Where progress goes.
    pub progress: ProgressSender,
    /// Ends it early.
    pub cancel: Cancel,
}

/// Starts a container that was stopped for a while when the last daemon died.
pub(super) fn restart(daemon: &Arc<Daemon>, container: &Arc<Container>) {
    let (daemon, container) = (Arc::clone(daemon), Arc::clone(container));
    tokio::spawn(async move {
        if let Err(e) = container.start(Mode::Boot).await {
            tracing::error!(container = %container.label(), error = %e.chain(), "cannot start it again");
        }
        container.forget_interruption(&daemon);
    });
}

/// Called once the pool is active: carries out what containers asked for while no daemon looked,
/// and starts those that start by themselves and were not started since the host was booted.
pub async fn loaded(daemon: &Arc<Daemon>, pool: &Arc<Pool>, autostart: Autostart) {
    for container in pool.containers() {
        let pending = container.seen.lock().pending.take();
        match pending {
            Some(Pending::Reboot) => {
                tokio::spawn(async move {
                    if let Err(e) = container.start(Mode::Boot).await {
                        tracing::error!(container = %container.label(), error = %e.chain(), "cannot carry out a reboot");
                    }
                });
            }
            // Where it is will be known when another pool is there.
            Some(Pending::Restart) if container.config().going_to.is_some() => {}
            Some(Pending::Restart) => restart(daemon, &container),
            Some(Pending::Delete) => {
                tokio::spawn(async move {
                    if let Err(e) = container.delete_ephemeral().await {
                        tracing::error!(container = %container.label(), error = %e.chain(), "cannot delete an ephemeral container");
                    }
                });
            }
            None => {}
        }
    }
    if autostart == Autostart::Yes {
        pool.autostart.queue_new(daemon, pool);
    }
}

/// How long a container that is being stopped keeps others from it. One that takes its time, or
/// that ignores what it is asked, goes on beside them.
const TURN: Duration = Duration::from_secs(10);

/// Stops all containers of a pool that is being exported, `parallel_stop` at a time, those that
/// started last first. Each has its time from when it is asked.
///
/// # Errors
/// `Cancelled`; anything else when one can't be stopped, after all others were.
pub async fn stop_all(_daemon: &Arc<Daemon>, pool: &Arc<Pool>, how: &StopAll) -> Result<()> {
    let mut running: Vec<Arc<Container>> = pool.containers();
    running.retain(|c| !matches!(c.state(), State::Stopped | State::Staged | State::Error));
    running.sort_by_key(|c| Reverse(c.run().map_or(0, |r| r.started_at)));
    let total = running.len() as u64;
    let places = Arc::new(Semaphore::new(pool.parallel_stop() as usize));
    let mut tasks = tokio::task::JoinSet::new();
    for container in running {
        let (places, how) = (Arc::clone(&places), how.clone());
        tasks.spawn(async move {
            let place = places.acquire().await;
            if how.cancel.is_cancelled() {
                return Err(Error::cancelled("stopping the containers was cancelled"));
            }
            how.progress.say(format!("stopping {}", container.label()));
            let limit = Duration::from_secs(STOP_TIMEOUT);
            let mut stopped = pin!(container.stop_for_export(limit, how.message.as_deref()));
            if let Ok(stopped) = timeout(TURN, &mut stopped).await {
                return stopped;
            }
            drop(place);
            stopped.await
        });
    }
    let (mut done, mut result) = (0, Ok(()));
    while let Some(joined) = tasks.join_next().await {
        done += 1;
        how.progress.done("containers stopped", done, Some(total));
        let stopped = joined
            .unwrap_or_else(|e| Err(Error::internal(format!("a task of the daemon failed: {e}"))));
        if result.is_ok() {
            result = stopped;
        }
    }
    result
}

/// Lets go of all containers of a pool without stopping them.
pub async fn release_all(_daemon: &Arc<Daemon>, pool: &Arc<Pool>) {
    for container in pool.containers() {
        let run = {
            let mut seen = container.seen.lock();
            seen.released = true;
            seen.run.take()
        };
        drop(run);
    }
}

impl Container {
    /// Stops it whoever holds it, when that operation has ended; kills it when it can't be stopped.
    async fn stop_for_export(
        self: &Arc<Self>,
        limit: Duration,
        message: Option<&str>,
    ) -> Result<()> {
        let asked = async {
            let hold = self.hold_power_wait("pool export").await?;
            self.stop_held(StopMode::ShutdownOrKill, limit, message, &hold)
                .await
        };
        let booted = self.run().is_none_or(|run| run.mode == Mode::Boot) && !self.runs_image();
        match timeout(limit, asked).await {
            Ok(Ok(())) => {}
            // It was deleted meanwhile.
            Ok(Err(e)) if e.code() == osctl_api::Code::NotFound => return Ok(()),
            _ => self.kill().await?,
        }
        if booted && self.config().ephemeral {
            // Whoever watched it would do so, too, but nobody waits for that.
            return self.delete_ephemeral().await;
        }
        Ok(())
    }
}
