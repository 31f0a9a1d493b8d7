//! Deleting a container whose pool does not answer.
//!
//! Nothing of its data can be touched: whoever asks anything of a pool of ZFS that is suspended
//! waits in the kernel, where no signal reaches it. So the container is killed as far as that can
//! be, and forgotten; that it is deleted is noted outside of the pool. The rest is done when the
//! pool answers again: by this daemon, or by the next one when it imports the pool. The note does
//! not outlive the host's run: on a pool that may have been elsewhere meanwhile, nothing is deleted
//! for what was said before.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use osctl_api::names::Name;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::lifecycle::MESSAGE_LIMIT;
use super::{Container, blocking};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::events::Change;
use crate::failpoint;
use crate::handlers::ProgressSender;
use crate::pool::Pool;
use crate::store::{Document, Objects, Stored};
use crate::sync::Mutex;

/// How long processes may take to go away; those that wait for the pool don't.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// A pool that does not answer is looked at again after this, and every time after twice as long.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// The longest time between two looks.
const LAST_LOOK: Duration = Duration::from_secs(64);

/// That a container is deleted, for the next daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Condemned {
    /// Generation of its configuration: another one is of another container, or was changed since.
    of_generation: u64,
}

impl Document for Condemned {
    const KIND: &'static str = "deleted container";
    const VERSION: u32 = 1;
}

/// The containers of a pool that are deleted, and whose data are still there.
#[derive(Debug, Default)]
pub struct Waiting {
    containers: Mutex<BTreeMap<Name, Arc<Container>>>,
    /// The same for the next daemon, once the pool is loaded.
    notes: OnceLock<Objects<Condemned>>,
    /// Whether a task sees to them.
    attended: AtomicBool,
    /// Somebody has found that the pool answers.
    answered: Notify,
}

impl Waiting {
    /// Whether this is one of them.
    pub fn has(&self, id: &Name) -> bool {
        self.containers.lock().contains_key(id)
    }

    /// Notes that the pool answers.
    pub fn pool_answers(&self) {
        self.answered.notify_waiters();
    }

    /// What an earlier daemon was to delete, by id, with the generation that it was to delete.
    /// Blocks.
    pub(super) fn load(&self, dir: &Path) -> Result<BTreeMap<String, u64>, Error> {
        let failed = |e| Error::store("cannot read what was deleted", e);
        if let Some(parent) = dir.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|e| Error::backend(format!("cannot make {}", parent.display()), e))?;
        }
        let opened = Objects::open(dir).map_err(failed)?;
        let notes = self.notes.get_or_init(|| opened);
        let all = notes.load_all().map_err(failed)?;
        let (forgotten, known): (Vec<_>, Vec<_>) = all.into_iter().partition(|note| note.deleting);
        for note in forgotten {
            notes.forget(&note.key).map_err(failed)?;
        }
        let known = known
            .into_iter()
            .map(|note| Ok((note.key, note.object?.value.of_generation)));
        known.collect::<Result<_, _>>().map_err(failed)
    }

    fn notes(&self) -> Result<&Objects<Condemned>, Error> {
        self.notes
            .get()
            .ok_or_else(|| Error::unavailable("its pool is not loaded yet"))
    }

    fn note(&self, id: &Name, generation: u64) -> Result<(), Error> {
        let mut note = Stored::new(Condemned {
            of_generation: generation,
        });
        self.notes()?
            .save(id.as_str(), &mut note)
            .map_err(|e| Error::store("cannot note that it is deleted", e))
    }

    /// Forgets that something was to be deleted. Blocks.
    pub(super) fn forget(&self, id: &str) {
        let forgotten = self.notes().and_then(|notes| {
            let gone = notes.mark_deleting(id).and_then(|()| notes.forget(id));
            gone.map_err(|e| Error::store("cannot forget what was deleted", e))
        });
        if let Err(e) = forgotten {
            tracing::warn!(id, "{}", e.chain());
        }
    }

    fn all(&self) -> Vec<Arc<Container>> {
        self.containers.lock().values().cloned().collect()
    }
}

impl Container {
    /// Deletes it as far as that can be while its pool does not answer, and has the rest done when
    /// it does.
    ///
    /// # Errors
    /// `Busy` when an operation is at work on it, which waits for the pool, too; `Backend` when it
    /// can't be noted. Then nothing was done.
    pub(super) async fn condemn(
        self: &Arc<Self>,
        trouble: &Error,
        progress: &ProgressSender,
    ) -> Result<(), Error> {
        let hold = self.hold("ct del").map_err(|e| {
            e.context(trouble.to_string())
                .hint("it can be deleted when the pool answers again")
        })?;
        let (daemon, pool) = self.home()?;
        let (at, id) = (Arc::clone(&pool), self.id.clone());
        let generation = self.seen.lock().generation;
        blocking(move || at.condemned.note(&id, generation)).await?;
        failpoint!("condemn.noted");
        self.seen.lock().condemned = true;
        pool.condemned
            .containers
            .lock()
            .insert(self.id.clone(), Arc::clone(self));
        pool.remove_container(&self.id);
        drop(hold);
        let left = self.kill_what_can_be(&daemon).await;
        self.let_go(&daemon).await;
        daemon
            .events
            .db("container", &pool.name, &self.id, Change::Remove);
        pool.carry_out_deletions();
        tracing::warn!(container = %self.label(), left, "is deleted; {trouble}");
        self.tell_condemned(trouble, left, progress);
        Ok(())
    }

    fn tell_condemned(&self, trouble: &Error, left: usize, progress: &ProgressSender) {
        progress.say(format!(
            "{trouble}: container {} is forgotten, and its data are still there",
            self.label()
        ));
        if left > 0 {
            progress.say(format!(
                "{left} of its processes could not be killed: they wait for the pool, and end when \
                 it answers"
            ));
        }
        progress.say(format!(
            "its data are deleted as soon as pool {} answers; should the host be booted before \
             that, the container is back, and has to be deleted again",
            self.pool
        ));
    }

    /// Kills its processes; how many did not go away.
    async fn kill_what_can_be(self: &Arc<Self>, daemon: &Arc<Daemon>) -> usize {
        self.stopping.send_replace(true);
        if let Some(run) = self.run() {
            // The cgroup is killed below all the same: this only tells the supervisor why.
            let _ = timeout(MESSAGE_LIMIT, run.link.kill()).await;
        }
        let (this, cgroups) = (Arc::clone(self), daemon.cgroups.clone());
        let left = blocking(move || {
            let node = this.node()?;
            let killed = cgroups.kill(&node, KILL_LIMIT);
            match killed.and_then(|()| cgroups.procs(&node)) {
                Ok(left) => Ok(left.len()),
                Err(_) => Ok(cgroups.procs(&node).map_or(1, |left| left.len().max(1))),
            }
        });
        left.await.unwrap_or(1)
    }

    /// Gives back what others may want: its interfaces, its addresses. Its id map stays its own
    /// until its data are gone.
    async fn let_go(self: &Arc<Self>, daemon: &Arc<Daemon>) {
        let wanted = self.ask_wanted(daemon, &self.config()).await;
        let detached = match wanted {
            Ok(wanted) => {
                let daemon = Arc::clone(daemon);
                blocking(move || daemon.network.detach(&wanted)).await
            }
            Err(e) => Err(e),
        };
        if let Err(e) = detached {
            tracing::warn!(container = %self.label(), "an interface is left: {}", e.chain());
        }
        daemon.book.release(&self.owner());
        daemon.update_bridge_later(&self.config().netifs, &[]).await;
        self.forget_firewall(daemon);
    }

    /// Does the rest of its deletion.
    async fn carry_out(self: &Arc<Self>) -> Result<(), Error> {
        let (_daemon, pool) = self.home()?;
        let _gate = pool.finish_in()?;
        if self.is_active() {
            // Those that waited for the pool can be killed now.
            self.kill().await?;
        }
        let hold = self.hold_deleted("ct del").await;
        self.delete_held(hold).await?;
        failpoint!("condemn.carried");
        let id = self.id.clone();
        blocking(move || {
            pool.condemned.forget(id.as_str());
            Ok(())
        })
        .await
    }
}

impl Pool {
    /// Has deletions carried out that wait for the pool to answer. No event tells that it does:
    /// whoever uses it finds out, else it is looked at again and again.
    fn carry_out_deletions(self: &Arc<Pool>) {
        if self.condemned.attended.swap(true, Ordering::AcqRel) {
            return;
        }
        let (pool, waiting) = (Arc::downgrade(self), Arc::clone(&self.condemned));
        tokio::spawn(async move {
            let mut pause = FIRST_LOOK;
            loop {
                let answered = waiting.answered.notified();
                // An exported pool is nobody's any more.
                let Some(pool) = pool.upgrade() else { return };
                pool.carry_out_now().await;
                drop(pool);
                if waiting.all().is_empty() {
                    break;
                }
                let _ = timeout(pause, answered).await;
                pause = (pause * 2).min(LAST_LOOK);
            }
            waiting.attended.store(false, Ordering::Release);
            if let (Some(pool), false) = (pool.upgrade(), waiting.all().is_empty()) {
                // One that came in just now.
                pool.carry_out_deletions();
            }
        });
    }

    async fn carry_out_now(self: &Arc<Pool>) {
        for container in self.condemned.all() {
            if self.answers().is_err() {
                return;
            }
            match container.carry_out().await {
                Ok(()) => {
                    self.condemned.containers.lock().remove(&container.id);
                }
                Err(e) => {
                    let why = e.chain();
                    tracing::warn!(container = %container.label(), %why, "its deletion is not finished");
                }
            }
        }
    }
}
