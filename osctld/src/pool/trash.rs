//! Removing deleted data, in the background and a portion at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Pool;
use crate::error::chain;

/// Objects that are removed before others get a turn.
const PORTION: u64 = 10_000;

/// Nothing is being removed.
pub(super) const IDLE: u8 = 0;
/// The trash is being emptied.
const BUSY: u8 = 1;
/// The trash is being emptied, and something may have come in that was not seen.
const AGAIN: u8 = 2;

impl Pool {
    /// Starts to empty the trash; if that is being done already, it is done once more after that.
    pub fn empty_trash(self: &Arc<Pool>) {
        if self.emptying.swap(AGAIN, Ordering::AcqRel) != IDLE {
            return;
        }
        let pool = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            loop {
                pool.emptying.store(BUSY, Ordering::Release);
                while pool.empty_portion() {}
                let idle =
                    pool.emptying
                        .compare_exchange(BUSY, IDLE, Ordering::AcqRel, Ordering::Acquire);
                if idle.is_ok() {
                    break;
                }
            }
        });
    }

    /// Removes a portion; tells whether there is more that can be removed.
    fn empty_portion(&self) -> bool {
        match self.storage.empty_trash(PORTION) {
            Ok(emptied) => {
                for error in &emptied.errors {
                    tracing::warn!(pool = %self.name, "deleted data stay: {}", chain(error));
                }
                !emptied.done && emptied.removed > 0
            }
            Err(e) => {
                tracing::warn!(pool = %self.name, "cannot remove deleted data: {}", chain(&e));
                false
            }
        }
    }
}
