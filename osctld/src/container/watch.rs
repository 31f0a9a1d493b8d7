//! Watching a container that runs: what happens when it ends, by itself or by force.

use std::sync::Arc;

use osctl_api::container::State;
use osctl_runtime::control::{ExitRecord, How};

use super::Container;
use super::plan::Mode;
use crate::failpoint;
use crate::supervisor::{Event, Events};

/// Follows a run until its supervisor is gone, then cleans up after it.
pub(super) async fn watch(container: Arc<Container>, mut events: Events) {
    let mut record = None;
    // The supervisor's last word comes before its socket closes; only then is it out of the way.
    while let Some(event) = events.recv().await {
        if let Event::Exited(last) = event {
            record = Some(last);
        }
    }
    container.finished(record).await;
}

/// How a container ended, for people.
pub(super) fn describe(how: &How) -> String {
    match how {
        How::Reboot => "reboot".to_owned(),
        How::Halt => "halt".to_owned(),
        How::Exit(code) => format!("init exited with status {code}"),
        How::Signal(signal) => format!("init was killed by signal {signal}"),
        How::Killed => "killed".to_owned(),
        How::Failed { step, error } => format!("did not start: {step}: {error}"),
    }
}

impl Container {
    /// It ended: cleans up, and starts it again or deletes it where that is wanted.
    pub(super) async fn finished(self: &Arc<Self>, record: Option<ExitRecord>) {
        let Ok((daemon, pool)) = self.home() else {
            return;
        };
        let booted;
        let reboot = {
            let mut seen = self.seen.lock();
            if seen.released {
                return;
            }
            booted = seen.run.take().is_none_or(|run| run.mode == Mode::Boot);
            seen.last_exit = Some(match &record {
                Some(record) => describe(&record.how),
                None => "its supervisor was killed".to_owned(),
            });
            matches!(
                record,
                Some(ExitRecord {
                    how: How::Reboot,
                    ..
                })
            ) && !*self.stopping.borrow()
        };
        self.set_state(State::Stopping);
        failpoint!("stop.ended");
        if let Err(error) = self.clean_up(&daemon).await {
            self.fail(&error);
            return;
        }
        failpoint!("stop.cleaned");
        let of_image = self.runs_image();
        if let Err(error) = self.end_boot().await {
            let error = error.chain();
            tracing::error!(container = %self.label(), %error, "what it ran from stays until it is started again");
        }
        let reboot = reboot && pool.is_active() && !daemon.is_shutting_down();
        if reboot && self.boot_again().await {
            return;
        }
        // Who goes on with it may do so at once.
        let goes_on = self.seen.lock().goes_on;
        self.set_state(State::Stopped);
        if self.config().ephemeral
            && !goes_on
            && booted
            && !of_image
            && !daemon.is_shutting_down()
            && let Err(error) = self.delete_ephemeral().await
        {
            let error = error.chain();
            tracing::error!(container = %self.label(), %error, "cannot delete an ephemeral container");
        }
    }

    /// Its guest reboots: starts it again, or tells that somebody wants it to stop, as may happen
    /// while it waits for its turn.
    async fn boot_again(self: &Arc<Self>) -> bool {
        let mut stopping = self.stopping.subscribe();
        let hold = tokio::select! {
            biased;
            _ = stopping.wait_for(|wanted| *wanted) => return false,
            hold = self.hold_power_wait("reboot") => hold,
        };
        let Ok(hold) = hold else {
            return false;
        };
        if let Err(error) = self.start_held(Mode::Boot, &hold).await {
            if self.state() == State::Stopping {
                self.set_state(State::Stopped);
            }
            tracing::error!(container = %self.label(), error = %error.chain(), "cannot reboot");
        }
        true
    }
}
