//! How a long job is watched and stopped from another thread.

/// Progress and cancellation of one job.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    cancelled: &'a (dyn Fn() -> bool + Sync),
    progress: &'a (dyn Fn(u64, Option<u64>) + Sync),
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
        }
    }

    /// A job that nobody watches and that is never cancelled.
    pub fn none() -> Watch<'static> {
        Watch {
            cancelled: &|| false,
            progress: &|_, _| {},
        }
    }

    /// Whether the job is to stop.
    pub fn is_cancelled(&self) -> bool {
        (self.cancelled)()
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
