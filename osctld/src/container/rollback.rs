//! Returning a container to a snapshot of it.

use std::sync::Arc;

use osctl_api::container::State;
use osctl_api::snapshot::SnapshotName;

use super::interruption::USUAL;
use super::snapshots::{Newer, failed};
use super::verdict::{Request, Verdict};
use super::{Container, blocking};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::events::Change;
use crate::pool::Pool;
use crate::storage;

impl Container {
    /// Returns it to a snapshot; with `restart` it is stopped for that and started again.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` when it runs, when there are newer snapshots that are to be kept,
    /// or those are in use, or its quota is less than what the snapshot has; `Backend`. One that
    /// was returned in part is in state `error` then.
    pub async fn roll_back(
        self: &Arc<Self>,
        name: &SnapshotName,
        newer: Newer,
        restart: bool,
    ) -> Result<(), Error> {
        self.settle().await;
        let what = "roll back";
        let runs = restart && self.judge(Request::Shutdown, what)? == Verdict::Go;
        if !runs {
            self.judge(Request::Rebuild, what)?;
        }
        let hold = self.hold("ct snapshot rollback")?;
        self.check_stays()?;
        let (daemon, _pool) = self.home()?;
        // What can be refused is refused before anything is stopped.
        let (to, cannot) = (name.clone(), format!("return to snapshot {name}"));
        let checked = self.snapshots_held(cannot, move |pool, id| {
            pool.storage.check_rollback(id, to.as_str(), newer)
        });
        checked.await?;
        if runs {
            self.stop_for_a_while(&daemon, USUAL, &hold).await?;
        }
        self.judge(Request::Rebuild, what)?;
        let returned = self.return_held(&daemon, name, newer).await;
        // It ran before: also what could not be returned runs again. A mixture of two states does
        // not.
        let started = match runs && self.state() == State::Stopped {
            true => self.start_again(&daemon, &hold).await,
            false => Ok(()),
        };
        for name in returned? {
            self.tell_snapshot(&name, Change::Remove);
        }
        started
    }

    /// Returns it, which is stopped and held; the snapshots that are gone.
    async fn return_held(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        name: &SnapshotName,
        newer: Newer,
    ) -> Result<Vec<String>, Error> {
        let to = name.clone();
        let returned = move |pool: &Pool, id: &str| {
            let before = pool.storage.snapshots(id)?;
            match pool.storage.rollback(id, to.as_str(), newer) {
                Err(half @ storage::Error::HalfReturned { .. }) => return Ok(Err(half)),
                done => done?,
            }
            let after = pool.storage.snapshots(id)?;
            let gone = before
                .into_iter()
                .filter(|b| after.iter().all(|a| a.name != b.name));
            Ok(Ok(gone.map(|s| s.name).collect()))
        };
        let cannot = format!("return to snapshot {name}");
        let returned = self.snapshots_held(cannot, returned).await?;
        returned.map_err(|half| {
            let error = failed(format!("cannot return to snapshot {name}"))(half);
            self.fail(&error);
            self.forget_interruption(daemon);
            error
        })
    }

    /// Finishes a rollback that did not end.
    ///
    /// # Errors
    /// Why it can't be; then it may not run.
    pub(super) async fn finish_rollback(self: &Arc<Self>) -> Result<(), Error> {
        let (_daemon, pool) = self.home()?;
        let this = Arc::clone(self);
        blocking(move || {
            let finished = pool.storage.finish_rollback(this.id.as_str());
            finished.map_err(failed(format!("container {} can't be used", this.label())))
        })
        .await
    }
}
