//! Deleting a container.
//!
//! Order: the configuration is marked first, so that a crash later means going on with the
//! deletion, never half a container.

use std::sync::Arc;

use osctl_api::container::State;
use osctl_api::names::Name;

use super::change::Taken;
use super::config::Config;
use super::verdict::Request;
use super::{Container, Hold, blocking};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::events::Change;
use crate::failpoint;
use crate::handlers::ProgressSender;
use crate::pool::Pool;
use crate::storage;

/// Moves the data to the trash; data that are gone already are fine.
pub(super) fn trash(pool: &Pool, id: &Name) -> Result<(), Error> {
    match pool.storage.trash(id.as_str()) {
        Ok(()) | Err(storage::Error::NotFound(_)) => Ok(()),
        Err(e) => Err(Error::backend(format!("cannot remove the data of {id}"), e)),
    }
}

/// Removes what a container has on its pool; last its configuration, which is marked.
fn remove(pool: &Pool, id: &Name, config: Option<&Config>) -> Result<(), Error> {
    let mut others = config.into_iter().flat_map(Config::other_data);
    others.try_for_each(|data| super::reinstall::discard(pool, data))?;
    trash(pool, id)?;
    failpoint!("delete.data");
    pool.remove_hooks(id);
    pool.remove_container_log(id);
    pool.forget_container(id)
}

/// What becomes of a configuration that says at the import of its pool that it is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    /// There is nothing else of that id: the deletion is finished.
    Alone,
    /// A configuration beside it was written later: that one holds.
    Outlived,
    /// There is a run of it: it was started again since, and is not being deleted any more.
    Runs,
}

/// Finishes the deletion of a container, or takes it back where the container is in use again.
/// Runtime state and cgroups are swept later, as those of any id that is not known. Blocks.
pub(super) fn settle_deletion(
    pool: &Pool,
    id: &Name,
    marked: Marked,
    config: Option<&Config>,
) -> Result<(), Error> {
    let label = format!("{}:{id}", pool.name);
    match marked {
        Marked::Alone => remove(pool, id, config),
        Marked::Outlived => {
            tracing::warn!("container {label} was to be deleted, but was changed since: it stays");
            pool.forget_container(id)
        }
        Marked::Runs => {
            tracing::warn!("container {label} was to be deleted, but was started since: it stays");
            pool.unmark_container(id)
        }
    }
}

impl Container {
    /// What a deletion has left that failed is to be deleted, and nothing else, if it had begun.
    async fn note_half_deleted(&self, pool: &Arc<Pool>) {
        let (pool, id) = (Arc::clone(pool), self.id.clone());
        let begun = blocking(move || Ok(pool.is_container_marked(&id)));
        let begun = begun.await.unwrap_or(true);
        self.seen.lock().half_deleted = begun;
    }

    /// Deletes it and its data; with `force` also when it runs or is in state error. When its pool
    /// does not answer, `progress` hears what is done then.
    ///
    /// # Errors
    /// `InvalidState`; `Backend` when something of it can't be removed: then it is in state error.
    pub async fn delete(
        self: &Arc<Self>,
        force: bool,
        progress: &ProgressSender,
    ) -> Result<(), Error> {
        let request = if force {
            Request::ForceDelete
        } else {
            Request::Delete
        };
        self.settle().await;
        self.judge(request, "delete")?;
        let (_daemon, pool) = self.home()?;
        // Before anything of it is killed.
        match pool.answers() {
            Err(trouble) if force => return self.condemn(&trouble, progress).await,
            answers => answers?,
        }
        let runs = !matches!(self.state(), State::Stopped | State::Error | State::Staged);
        if force && runs {
            self.kill().await?;
        }
        let hold = if force {
            self.hold_wait("ct del").await?
        } else {
            self.hold("ct del")?
        };
        match self.check_stays() {
            Err(unsettled) if force => progress.say(unsettled.to_string()),
            stays => stays?,
        }
        self.judge(request, "delete")?;
        let _gate = pool.enter()?;
        self.delete_held(hold).await
    }

    /// Deletes an ephemeral container that has stopped, unless somebody else does, also while its
    /// pool is being exported.
    ///
    /// # Errors
    /// As [`Container::delete`].
    pub(super) async fn delete_ephemeral(self: &Arc<Self>) -> Result<(), Error> {
        let hold = match self.hold_wait("ephemeral").await {
            Err(e) if e.code() == osctl_api::Code::NotFound => return Ok(()),
            hold => hold?,
        };
        if self.state() != State::Stopped || !self.config().ephemeral {
            return Ok(());
        }
        let (_daemon, pool) = self.home()?;
        let _gate = pool.finish_in()?;
        self.delete_held(hold).await
    }

    /// The compiled profile may stay where it can't be removed: it is of no use to anybody.
    pub(super) fn forget_profile(&self, daemon: &Daemon) {
        let forgotten = daemon.apparmor.forget(self.pool.as_str(), self.id.as_str());
        if let Err(e) = forgotten {
            tracing::warn!(container = %self.label(), "{}", crate::error::chain(&e));
        }
    }

    pub(super) async fn delete_held(self: &Arc<Self>, hold: Hold) -> Result<(), Error> {
        let (daemon, pool) = self.home()?;
        let id = self.id.clone();
        let removed = async {
            self.undo_rename(Taken::Perhaps).await?;
            {
                let (pool, id) = (Arc::clone(&pool), id.clone());
                blocking(move || pool.mark_container_deleted(&id)).await?;
            }
            failpoint!("delete.marked");
            self.clean_up(&daemon).await?;
            failpoint!("delete.cgroup");
            let (pool, id) = (Arc::clone(&pool), id.clone());
            let config = self.config();
            blocking(move || remove(&pool, &id, Some(&config))).await
        };
        if let Err(error) = removed.await {
            self.note_half_deleted(&pool).await;
            self.fail(&error);
            return Err(error.hint("`osctl ct del --force` tries again"));
        }
        failpoint!("delete.config");
        let user = self.config().user.clone();
        self.seen.lock().deleted = true;
        pool.remove_container(&id);
        daemon.book.release(&self.owner());
        daemon.update_bridge_later(&self.config().netifs, &[]).await;
        self.forget_firewall(&daemon);
        self.forget_profile(&daemon);
        drop(hold);
        pool.drop_user_if_unused(&daemon, &user).await;
        daemon
            .events
            .db("container", &pool.name, &id, Change::Remove);
        pool.empty_trash();
        // Whoever waits for a state of it learns that it is no more.
        self.state.send_replace(State::Stopped);
        Ok(())
    }
}
