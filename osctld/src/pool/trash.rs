//! Removing deleted data, in the background and a portion at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use osctl_api::trash_bin as api;
use tokio::sync::OwnedRwLockWriteGuard;

use super::Pool;
use crate::blocking::blocking;
use crate::error::{Error, Result, chain};
use crate::storage::{self, Note, Trashed};

/// Objects that are removed before others get a turn.
const PORTION: u64 = 10_000;
/// What can't be removed is tried again after this, and every time after twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Doublings of it: the longest is 17 minutes.
const MOST_DOUBLINGS: u32 = 10;

/// Nothing is being removed.
pub(super) const IDLE: u8 = 0;
/// The trash is being emptied.
const BUSY: u8 = 1;
/// The trash is being emptied, and something may have come in that was not seen.
const AGAIN: u8 = 2;

/// What became of a portion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Portion {
    /// There is more that can be removed.
    More,
    /// What is left waits for something that exists, if anything is left.
    Done,
    /// Something could not be removed.
    Stuck,
}

/// When what is stuck is tried again. However often it is tried in between for other reasons, there
/// is one timer, and only what it was tried in vain for makes the next pause longer.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// A timer runs.
    pending: bool,
    /// How often in a row it ran out in vain.
    in_vain: u32,
}

impl Retries {
    /// The trash was gone through: how long to wait before that is done again, if a timer has to be
    /// set.
    fn ended(&mut self, last: Portion) -> Option<Duration> {
        if last != Portion::Stuck {
            self.in_vain = 0;
            return None;
        }
        if std::mem::replace(&mut self.pending, true) {
            return None;
        }
        Some(FIRST_RETRY * (1 << self.in_vain.min(MOST_DOUBLINGS)))
    }

    /// The timer has run out.
    fn due(&mut self) {
        self.pending = false;
        self.in_vain = self.in_vain.saturating_add(1);
    }
}

impl Pool {
    /// What waits in the trash, and why. Blocks.
    ///
    /// # Errors
    /// `Backend`.
    pub fn trash_items(&self) -> Result<Vec<api::Item>> {
        let listed = self.storage.trashed();
        let listed = listed.map_err(|e| Error::backend("cannot list the trash", e))?;
        let stuck = self.stuck_for.lock().clone();
        let emptying = self.emptying.load(Ordering::Acquire) != IDLE;
        let reason = |item: &Trashed| match (
            stuck.iter().find(|why| why.contains(&item.name)),
            item.needed_by.is_empty(),
        ) {
            (Some(why), _) => why.clone(),
            (None, false) => format!("needed by {}", item.needed_by.join(", ")),
            (None, true) if emptying => "it is being removed".to_owned(),
            (None, true) => "it waits for its turn".to_owned(),
        };
        let item = |item: Trashed| api::Item {
            pool: self.name.clone(),
            reason: reason(&item),
            deleted_at: item.deleted_at,
            used: item.used,
            name: item.name,
        };
        Ok(listed.into_iter().map(item).collect())
    }

    /// Moves a dataset to the trash that is no container's.
    ///
    /// # Errors
    /// `InvalidState` for one that somebody needs; `InvalidArgument` for one that can't be moved
    /// there; `Busy` while something is being made, which looks like what nobody needs.
    pub async fn add_to_trash(self: &Arc<Pool>, dataset: String) -> Result<()> {
        self.answers()?;
        let whole = self.alone()?;
        let pool = Arc::clone(self);
        blocking(move || {
            let added = pool.trash_foreign(&dataset);
            drop(whole);
            added
        })
        .await?;
        self.empty_trash();
        Ok(())
    }

    fn trash_foreign(&self, dataset: &str) -> Result<()> {
        let below = self.dataset.as_ref().map(|base| format!("{base}/ct/"));
        let data = below.as_ref().and_then(|below| dataset.strip_prefix(below));
        let data = data.and_then(|data| data.split('/').next());
        let containers = self.containers.read().clone();
        for container in containers.values() {
            let config = container.config();
            let mut all = config.other_data().chain([container.id.as_str()]);
            if data.is_some_and(|data| all.any(|own| own == data)) {
                let error = format!(
                    "dataset {dataset} belongs to container {}",
                    container.label()
                );
                return Err(
                    Error::state(error).hint("use `osctl ct del` or `osctl ct dataset del`")
                );
            }
        }
        // One that could not be read is no container, and has data all the same.
        let kept = data.and_then(|data| self.conf.containers.load(data).transpose());
        if kept.is_some() {
            let error = format!("dataset {dataset} belongs to a container that can't be read");
            return Err(Error::state(error).hint("`osctl pool show` tells why"));
        }
        self.storage.discard_foreign(dataset).map_err(|e| match e {
            storage::Error::Unsupported(why) => Error::unsupported(why),
            e @ (storage::Error::Layout { .. } | storage::Error::Name(_)) => {
                Error::invalid(e.to_string())
            }
            e => Error::backend(format!("cannot move {dataset} to the trash"), e),
        })
    }

    /// Keeps everybody else from changing the pool.
    fn alone(&self) -> Result<OwnedRwLockWriteGuard<()>> {
        let alone = Arc::clone(&self.gate).try_write_owned();
        alone.map_err(|_| {
            Error::busy(format!(
                "something is being made or changed on pool {}",
                self.name
            ))
        })
    }

    /// Removes what operations have left that did not end; tells what it did and what is odd.
    ///
    /// # Errors
    /// `Busy` while something is being made or changed.
    pub async fn collect_garbage(self: &Arc<Pool>) -> Result<Vec<String>> {
        // Whatever is being made looks like what was left.
        let whole = self.alone()?;
        let pool = Arc::clone(self);
        let notes = blocking(move || {
            let containers = pool.containers.read().clone();
            let configs = containers.values().map(|c| c.config());
            let others: BTreeSet<String> = configs
                .flat_map(|c| c.other_data().map(str::to_owned).collect::<Vec<_>>())
                .collect();
            let known = |id: &str| containers.contains_key(id) || others.contains(id);
            let notes = pool.storage.recover(&known);
            drop(whole);
            Ok(notes)
        })
        .await?;
        self.empty_trash();
        let text = |note| match note {
            Note::Done(text) | Note::Odd(text) => text,
        };
        Ok(notes.into_iter().map(text).collect())
    }

    /// Starts to empty the trash; if that is being done already, it is done once more after that.
    pub fn empty_trash(self: &Arc<Pool>) {
        if self.emptying.swap(AGAIN, Ordering::AcqRel) != IDLE {
            return;
        }
        let pool = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            loop {
                pool.emptying.store(BUSY, Ordering::Release);
                let last = loop {
                    match pool.empty_portion() {
                        Portion::More => {}
                        last => break last,
                    }
                };
                let idle =
                    pool.emptying
                        .compare_exchange(BUSY, IDLE, Ordering::AcqRel, Ordering::Acquire);
                if idle.is_ok() {
                    pool.try_again_later(last);
                    break;
                }
            }
        });
    }

    /// Has what is stuck tried again: no event tells when a dataset is no longer busy.
    fn try_again_later(self: &Arc<Pool>, last: Portion) {
        let Some(pause) = self.retries.lock().ended(last) else {
            return;
        };
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let Some(pool) = pool.upgrade() else { return };
            pool.retries.lock().due();
            // An exported pool is nobody's any more; one that does not answer may do so later.
            if pool.answers().is_err() || pool.finish_in().is_ok() {
                pool.empty_trash();
            }
        });
    }

    /// Removes a portion.
    fn empty_portion(&self) -> Portion {
        match self.storage.empty_trash(PORTION) {
            Ok(emptied) => {
                let why: Vec<String> = emptied.errors.iter().map(|e| chain(e)).collect();
                for why in &why {
                    tracing::warn!(pool = %self.name, "deleted data stay: {why}");
                }
                *self.stuck_for.lock() = why;
                match emptied {
                    e if e.done => Portion::Done,
                    e if e.removed > 0 => Portion::More,
                    e if e.errors.is_empty() => Portion::Done,
                    _ => Portion::Stuck,
                }
            }
            Err(e) => {
                tracing::warn!(pool = %self.name, "cannot remove deleted data: {}", chain(&e));
                Portion::Stuck
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_timer_however_often_the_trash_is_emptied() {
        let mut retries = Retries::default();
        let timers = (0..100).filter_map(|_| retries.ended(Portion::Stuck));
        assert_eq!(timers.collect::<Vec<_>>(), [FIRST_RETRY]);
        // A day of it, with a deletion before each retry.
        let (mut now, mut rounds) = (FIRST_RETRY, 0);
        let mut longest = Duration::ZERO;
        while now < Duration::from_secs(24 * 3600) {
            retries.due();
            rounds += 1;
            let pause = retries.ended(Portion::Stuck).unwrap();
            assert_eq!(retries.ended(Portion::Stuck), None);
            assert!(pause <= longest * 2 || rounds == 1);
            longest = longest.max(pause);
            now += pause;
        }
        assert!((80..100).contains(&rounds), "{rounds}");
        assert_eq!(longest, FIRST_RETRY * 1024);
        // Once it is empty, the next thing that is busy is tried again soon.
        retries.due();
        assert_eq!(retries.ended(Portion::Done), None);
        assert_eq!(retries.ended(Portion::Stuck), Some(FIRST_RETRY));
    }

    #[test]
    fn what_is_busy_for_a_moment_is_tried_again_soon_after_many_deletions() {
        let mut retries = Retries::default();
        for _ in 0..10 {
            retries.ended(Portion::Stuck);
        }
        retries.due();
        assert_eq!(retries.ended(Portion::Stuck), Some(FIRST_RETRY * 2));
    }
}
