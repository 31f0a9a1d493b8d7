//! How a long job is watched, slowed down and stopped from another thread.

use super::throttle::Throttle;

/// Progress, pace and cancellation of one job.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    cancelled: &'a (dyn Fn() -> bool + Sync),
    progress: &'a (dyn Fn(u64, Option<u64>) + Sync),
    throttle: Option<&'a Throttle<'a>>,
}

impl<'a> Watch<'a> {
    /// A job that stops soon after `cancelled` says so, and calls `progress` now and then with
    /// the bytes that are done and, when known, the bytes there are. Both are called often.
    pub fn new(
        cancelled: &'a (dyn Fn() -> bool + Sync),
        progress: &'a (dyn Fn(u64, Option<u64>) + Sync),
    ) -> Watch<'a> {
        Watch {
            cancelled,
            progress,
            throttle: None,
        }
    }

    /// The same job, at no more than a rate.
    #[must_use]
    pub fn throttled(self, throttle: &'a Throttle<'a>) -> Watch<'a> {
        Watch {
            throttle: Some(throttle),
            ..self
        }
    }

    /// A job that nobody watches and that is never cancelled.
    pub fn none() -> Watch<'static> {
        Watch {
            cancelled: &|| false,
            progress: &|_, _| {},
            throttle: None,
        }
    }

    /// Whether the job is to stop.
    pub fn is_cancelled(&self) -> bool {
        (self.cancelled)()
    }

    /// Tells that bytes were moved; waits where the job is to be slower, until it is to stop.
    pub fn spend(&self, bytes: u64) {
        if let Some(throttle) = self.throttle {
            throttle.spend(bytes);
        }
    }

    /// How many of `most` bytes to move before the next [`Watch::spend`].
    pub fn portion(&self, most: u64) -> u64 {
        self.throttle.map_or(most, |t| t.portion().min(most))
    }

    /// Tells how far the job is, in bytes.
    pub fn progress(&self, done: u64, total: Option<u64>) {
        (self.progress)(done, total);
    }
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
