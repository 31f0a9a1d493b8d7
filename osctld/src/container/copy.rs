//! Copying a container: its data, and its configuration but for what no two can have.
//!
//! Order: as with a new container (`create`), and meanwhile the original is stopped for as long as
//! its data have to stand still: until there is a snapshot of them, or until they are copied.

use std::sync::Arc;

use osctl_api::container::State;
use osctl_api::copies as api;
use osctl_api::names::{GroupPath, Name};

use super::config::Config;
use super::create::{complete, discard, existing_user, finish, no_group, own_user, stage, unstage};
use super::interruption::USUAL;
use super::netif::Netif;
use super::pace::Pace;
use super::verdict::Request;
use super::{Container, Hold, lengthy};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::failpoint;
use crate::handlers::{Cancel, ProgressSender};
use crate::pool::Pool;
use crate::storage::transfer::{Along, Transfer, temporary_snapshot};
use crate::storage::{self, Watch};

/// Who hears of an operation, and who can end it.
#[derive(Debug, Clone)]
pub struct Audience {
    /// Where progress goes.
    pub progress: ProgressSender,
    /// Ends it early.
    pub cancel: Cancel,
    /// How fast it copies.
    pub pace: Pace,
}

impl Audience {
    /// The same, for what somebody waits for: as fast as it can be.
    pub(super) fn in_a_hurry(&self) -> Audience {
        Audience {
            pace: Pace::FREE,
            ..self.clone()
        }
    }
}

impl Audience {
    /// The same for an operation on this pool, which ends early when the pool is exported by force.
    pub(super) fn within(self, pool: &Pool) -> Audience {
        Audience {
            cancel: self.cancel.or(pool.ending()),
            ..self
        }
    }
}

/// What copying data failed with.
pub(super) fn failed(error: storage::Error) -> Error {
    match error {
        storage::Error::Cancelled => Error::cancelled("cancelled"),
        storage::Error::Unsupported(why) => Error::unsupported(why),
        error => Error::backend("its data can't be copied", error),
    }
}

/// Runs one step of a transfer, telling how far it is. Blocks.
pub(super) fn watched(
    audience: &Audience,
    message: &'static str,
    step: impl FnOnce(Watch<'_>) -> storage::Result<()>,
) -> Result<(), Error> {
    let cancelled = || audience.cancel.is_cancelled();
    let tell = audience.progress.by_mebibytes(message);
    let watch = Watch::new(&cancelled, &tell);
    audience
        .pace
        .keep(&audience.cancel, watch, step)
        .map_err(failed)
}

impl Container {
    /// Copies it to a pool, its own or another.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` for user or group, `InvalidState`, `Cancelled`, `Unsupported`,
    /// `Backend`: then nothing is left of the copy. When the original does not start again, its copy
    /// is there all the same.
    pub async fn copy(
        self: &Arc<Self>,
        target: &Arc<Pool>,
        params: api::Copy,
        audience: Audience,
    ) -> Result<Arc<Container>, Error> {
        self.settle().await;
        self.judge(Request::Export, "copy")?;
        let hold = self.hold("ct cp")?;
        self.judge(Request::Export, "copy")?;
        let (daemon, pool) = self.home()?;
        let (_gate, _target) = (pool.enter()?, target.enter()?);
        let audience = audience.within(&pool).within(target);
        self.check_can_stop(params.live, "copy")?;
        let new = &params.new_id.name;
        let copy = self
            .stage_as(&daemon, target, new, params.group.as_ref())
            .await?;
        let copy_hold = copy.hold("ct cp")?;
        let (made, stopped) = self
            .fill_copy(&daemon, (&copy, target), &params, &hold, &audience)
            .await;
        if stopped {
            audience.progress.say("starting the original again");
        }
        let started = match stopped {
            true => self.start_again(&daemon, &hold).await,
            false => Ok(()),
        };
        finish(&daemon, target, &copy, copy_hold, made).await?;
        started.map_err(|e| e.hint("its copy is complete"))?;
        Ok(copy)
    }

    /// Refuses what is frozen, and would have to be stopped.
    pub(super) fn check_can_stop(&self, live: bool, what: &str) -> Result<(), Error> {
        if live {
            return Ok(());
        }
        if self.run().is_some() && self.runs_image() {
            return Err(Error::state(format!(
                "cannot {what} container {}: it runs from an image, and would not do so any more",
                self.label()
            ))
            .hint("stop it first; its own files stand still meanwhile with --no-consistent"));
        }
        if self.state() != State::Frozen {
            return Ok(());
        }
        Err(Error::state(format!(
            "cannot {what} container {}: it is frozen, and can't be stopped for that",
            self.label()
        ))
        .hint("`osctl ct unfreeze` it first"))
    }

    /// Takes an id for a container that gets its configuration from this one.
    pub(super) async fn stage_as(
        &self,
        daemon: &Arc<Daemon>,
        target: &Arc<Pool>,
        new: &Name,
        group: Option<&GroupPath>,
    ) -> Result<Arc<Container>, Error> {
        let mut placeholder = (*self.config()).clone();
        placeholder.netifs.clear();
        placeholder.forget_operations();
        placeholder.user = new.clone();
        if let Some(group) = group {
            placeholder.group = group.clone();
        }
        let group = placeholder.group.clone();
        let staged = stage(daemon, target, new, placeholder).await?;
        // After it is counted among the group's containers, the group can't be deleted any more.
        if !target.has_group(&group) {
            unstage(target, &staged);
            return Err(no_group(target, &group).hint("make it, or name another one with --group"));
        }
        Ok(staged)
    }

    /// Makes user, data and configuration of the copy. Tells also whether the original was stopped
    /// and is not started again yet.
    async fn fill_copy(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        (copy, target): (&Arc<Container>, &Arc<Pool>),
        params: &api::Copy,
        hold: &Hold,
        audience: &Audience,
    ) -> (Result<Config, Error>, bool) {
        let mut stopped = false;
        let made = async {
            let (_, pool) = self.home()?;
            let user = match &params.user {
                Some(user) => existing_user(target, user)?,
                None => own_user(daemon, target, copy).await?,
            };
            failpoint!("copy.user");
            let snapshots = self.transfer_to(&pool, target, copy, |t| {
                t.check().map(|()| t.has_snapshots())
            });
            let snapshots = snapshots.await?;
            if self.state() == State::Running && !params.live {
                audience.progress.say("stopping the container");
                self.stop_for_a_while(daemon, USUAL, hold).await?;
                stopped = true;
                failpoint!("copy.stopped");
            }
            let snapshot = snapshots.then(|| temporary_snapshot("copy"));
            if let Some(name) = snapshot.clone() {
                let take = move |t: &Transfer<'_>| t.from.snapshot(t.id, &name, None);
                self.transfer_to(&pool, target, copy, take).await?;
            }
            let copied = async {
                if snapshot.is_some() && std::mem::take(&mut stopped) {
                    audience.progress.say("starting it again");
                    self.start_again(daemon, hold).await?;
                }
                // What is in a snapshot stands still, and what is copied live need not.
                if !stopped && (params.live || snapshot.is_some()) {
                    hold.lend_power();
                }
                let (told, name) = (audience.clone(), snapshot.clone());
                let copied = self.transfer(&pool, target, copy, move |t| {
                    watched(&told, "copying its data", |watch| {
                        t.copy(name.as_deref(), Along::Nothing, watch)
                    })
                });
                copied.await
            };
            let copied = copied.await;
            if let Some(name) = snapshot {
                self.forget_snapshots(&pool, (copy, target), vec![name])
                    .await;
            }
            copied?;
            failpoint!("copy.data");
            let config = copied_config(&self.config(), user, copy.group(), params.no_netifs)?;
            self.keep_as(&pool, (copy, target), &config).await?;
            failpoint!("copy.config");
            Ok(config)
        };
        (made.await, stopped)
    }

    /// Runs a step of taking its data elsewhere where blocking is allowed.
    pub(super) async fn transfer<T: Send + 'static>(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        target: &Arc<Pool>,
        new: &Arc<Container>,
        step: impl FnOnce(&Transfer<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (this, pool) = (Arc::clone(self), Arc::clone(pool));
        let (target, new) = (Arc::clone(target), Arc::clone(new));
        lengthy(move || {
            step(&Transfer {
                from: pool.storage.as_ref(),
                id: this.id.as_str(),
                to: target.storage.as_ref(),
                new: new.id.as_str(),
            })
        })
        .await
    }

    /// The same, for what fails as storage does.
    pub(super) async fn transfer_to<T: Send + 'static>(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        target: &Arc<Pool>,
        new: &Arc<Container>,
        step: impl FnOnce(&Transfer<'_>) -> storage::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.transfer(pool, target, new, |t| step(t).map_err(failed))
            .await
    }

    /// Destroys snapshots that were there for an operation, here and of what was made; what stays
    /// is destroyed at the next import.
    pub(super) async fn forget_snapshots(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        (new, target): (&Arc<Container>, &Arc<Pool>),
        names: Vec<String>,
    ) {
        let forget = move |t: &Transfer<'_>| {
            for name in &names {
                for (storage, id) in [(t.from, t.id), (t.to, t.new)] {
                    match storage.destroy_snapshot(id, name) {
                        Ok(())
                        | Err(
                            storage::Error::NoSnapshot { .. }
                            | storage::Error::NotFound(_)
                            | storage::Error::Unsupported(_),
                        ) => {}
                        Err(e) => {
                            let why = crate::error::chain(&e);
                            tracing::warn!(id, name, %why, "a temporary snapshot stays");
                        }
                    }
                }
            }
            Ok(())
        };
        let _ = self.transfer(pool, target, new, forget).await;
    }

    /// Gives the new data their quota, hooks and configuration; without, nothing is left of them.
    pub(super) async fn keep_as(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        (new, target): (&Arc<Container>, &Arc<Pool>),
        config: &Config,
    ) -> Result<(), Error> {
        let (config, place) = (config.clone(), (Arc::clone(new), Arc::clone(target)));
        let (from, old) = (Arc::clone(pool), self.id.clone());
        self.transfer(pool, target, new, move |t| {
            let (new, target) = place;
            let kept = keep_quota(t)
                .and_then(|()| config.check())
                .and_then(|()| target.write_new_hooks(&new.id, &from.read_hooks(&old)?))
                .and_then(|()| target.save_container(&new.id, &config, 1));
            if let Err(error) = kept {
                target.remove_new_hooks(&new.id);
                discard(&target, &new.id);
                return Err(error);
            }
            target.accept_hooks(&new.id);
            complete(&target, &new.id);
            Ok(())
        })
        .await
    }
}

/// The bounds of what the files may take go along, to where there are any.
fn keep_quota(t: &Transfer<'_>) -> Result<(), Error> {
    if t.has_streams() {
        let space = t.from.dataset_space(t.id).map_err(failed)?;
        for (dataset, space) in space.iter().filter(|(dataset, _)| !dataset.is_empty()) {
            if space.quota.is_some() {
                let set = t.to.set_dataset_quota(t.new, dataset, space.quota);
                set.map_err(failed)?;
            }
        }
    }
    let space = t.from.space().map_err(failed)?;
    let Some(quota) = space.get(t.id).and_then(|space| space.quota) else {
        return Ok(());
    };
    match t.to.set_quota(t.new, Some(quota)) {
        Err(storage::Error::Unsupported(_)) => {
            tracing::warn!(
                id = t.new,
                quota,
                "the copy has no quota: its pool has none"
            );
            Ok(())
        }
        set => set.map_err(failed),
    }
}

/// The configuration of a copy.
pub(super) fn copied_config(
    original: &Config,
    user: Name,
    group: GroupPath,
    no_netifs: bool,
) -> Result<Config, Error> {
    let mut config = original.clone();
    config.user = user;
    config.group = group;
    config.forget_operations();
    config.netifs = match no_netifs {
        true => Vec::new(),
        false => original
            .netifs
            .iter()
            .map(Netif::copied)
            .collect::<Result<_, _>>()?,
    };
    Ok(config)
}
