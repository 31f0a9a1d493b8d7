//! Removing deleted data, in the background and a portion at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Pool;
use crate::error::chain;

/// Objects that are removed before others get a turn.
const PORTION: u64 = 10_000;

impl Pool {
    /// Starts to empty the trash, unless that is being done already.
    pub fn empty_trash(self: &Arc<Pool>) {
        if self.emptying.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            // What comes in while the last portion is removed is seen to by another round.
            while pool.empty_portion() {}
            pool.emptying.store(false, Ordering::Release);
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
