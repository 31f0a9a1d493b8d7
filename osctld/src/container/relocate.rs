//! Moving a container to another pool.
//!
//! Two configurations can't be changed at once. The old one says first where the container goes,
//! then the new one is written, which says where it came from: from then on the new one is it. What
//! is left of the old one goes, and last what the new one says of it. [`settle`] finishes or undoes
//! that, once both pools are there.

use std::sync::Arc;

use osctl_api::container as api;
use osctl_api::container::State;
use osctl_api::names::Name;

use super::config::{Config, Elsewhere};
use super::copy::{Audience, watched};
use super::create::{existing_user, finish_held, own_user};
use super::interruption::USUAL;
use super::plan::Mode;
use super::verdict::Request;
use super::{Container, Hold, Pending, blocking};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::events::Change;
use crate::failpoint;
use crate::pool::Pool;
use crate::storage::transfer::{Along, Transfer, temporary_snapshot};

/// Where a container goes, under which name.
type Place<'a> = (&'a Arc<Container>, &'a Arc<Pool>);

impl Container {
    fn as_elsewhere(&self) -> Elsewhere {
        Elsewhere {
            pool: self.pool.clone(),
            id: self.id.clone(),
        }
    }

    /// Moves it to another pool.
    ///
    /// # Errors
    /// As [`Container::copy`]: then it is where it was.
    pub async fn relocate(
        self: &Arc<Self>,
        target: &Arc<Pool>,
        params: &api::Move,
        audience: Audience,
    ) -> Result<(), Error> {
        self.settle().await;
        self.judge(Request::Export, "move")?;
        let hold = self.hold("ct mv")?;
        self.judge(Request::Export, "move")?;
        let (daemon, pool) = self.home()?;
        let (_gate, _target) = (pool.enter()?, target.enter()?);
        let audience = audience.within(&pool).within(target);
        self.check_settled()?;
        self.check_can_stop(false, "move")?;
        let new = &params.new_id.name;
        let moved = self
            .stage_as(&daemon, target, new, params.group.as_ref())
            .await?;
        let moved_hold = moved.hold("ct mv")?;
        let mut ran = false;
        let made = self
            .fill_moved(
                &daemon,
                (&moved, target),
                params,
                (&hold, &mut ran),
                &audience,
            )
            .await;
        match &made {
            Ok(_) => self.hand_over(&daemon, &moved, ran),
            Err(_) if ran => {
                audience.progress.say("starting it again where it was");
                if let Err(e) = self.start_again(&daemon, &hold).await {
                    let error = e.chain();
                    tracing::error!(container = %self.label(), %error, "cannot start it again");
                }
            }
            Err(_) => {}
        }
        finish_held(&daemon, target, &moved, &moved_hold, made).await?;
        let id = &moved.id;
        daemon.events.db("container", &target.name, id, Change::Add);
        let left = self.leave(&daemon, &moved, hold).await;
        if ran {
            audience.progress.say("starting it on its new pool");
            moved.start_again(&daemon, &moved_hold).await?;
        }
        left
    }

    /// Makes user, data and configuration in the other pool. `ran` tells whether it was stopped for
    /// that.
    async fn fill_moved(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        (moved, target): Place<'_>,
        params: &api::Move,
        (hold, ran): (&Hold, &mut bool),
        audience: &Audience,
    ) -> Result<Config, Error> {
        let (_, pool) = self.home()?;
        let user = match &params.user {
            Some(user) => existing_user(target, user)?,
            None => own_user(daemon, target, moved).await?,
        };
        failpoint!("move.user");
        let streams = self
            .transfer_to(&pool, target, moved, |t| {
                t.check().map(|()| t.has_streams())
            })
            .await?;
        let mut snapshots = Vec::new();
        let carried = self
            .carry(
                (moved, target),
                streams,
                &mut snapshots,
                (hold, ran),
                audience,
            )
            .await;
        self.forget_snapshots(&pool, (moved, target), snapshots)
            .await;
        carried?;
        let kept = self.transfer_to(&pool, target, moved, |t| t.keep_schedules());
        if let Err(error) = kept.await {
            let (place, id) = (Arc::clone(target), moved.id.clone());
            let _ = blocking(move || super::delete::trash(&place, &id)).await;
            return Err(error);
        }
        failpoint!("move.data");
        let mut config = (*self.config()).clone();
        config.forget_operations();
        config.user = user;
        config.group = moved.group();
        config.came_from = Some(self.as_elsewhere());
        let arrives = async {
            self.going_to(Some(moved.as_elsewhere())).await?;
            failpoint!("move.leaving");
            if *ran {
                moved.note_interruption(daemon)?;
            }
            self.keep_as(&pool, (moved, target), &config).await
        };
        if let Err(error) = arrives.await {
            moved.forget_interruption(daemon);
            let (place, id) = (Arc::clone(target), moved.id.clone());
            let _ = blocking(move || super::delete::trash(&place, &id)).await;
            self.going_to(None).await?;
            return Err(error);
        }
        failpoint!("move.arrived");
        Ok(config)
    }

    /// Copies its data, most of them while it runs where that can be; in the end it stands still.
    async fn carry(
        self: &Arc<Self>,
        (moved, target): Place<'_>,
        streams: bool,
        snapshots: &mut Vec<String>,
        (hold, ran): (&Hold, &mut bool),
        audience: &Audience,
    ) -> Result<(), Error> {
        let (daemon, pool) = self.home()?;
        let runs = self.state() == State::Running;
        let take = |name: String| {
            let taking = move |t: &Transfer<'_>| t.from.snapshot(t.id, &name, None);
            self.transfer_to(&pool, target, moved, taking)
        };
        let mut base = None;
        if runs && streams {
            let name = temporary_snapshot("move");
            snapshots.push(name.clone());
            take(name.clone()).await?;
            hold.lend_power();
            let copied = self
                .copy_to((moved, target), Some(name.clone()), audience)
                .await;
            hold.take_power_back().await;
            copied?;
            failpoint!("move.base");
            base = Some(name);
        }
        // Its guest may have halted or be rebooting meanwhile.
        if self.is_active() {
            audience.progress.say("stopping the container");
            // One that is up for a command only is not to be booted.
            let boots = self.run().is_none_or(|run| run.mode == Mode::Boot);
            self.stop_for_a_while(&daemon, USUAL, hold).await?;
            *ran = boots;
            failpoint!("move.stopped");
        }
        if !streams {
            return self.copy_to((moved, target), None, audience).await;
        }
        let name = temporary_snapshot("move");
        snapshots.push(name.clone());
        take(name.clone()).await?;
        let Some(base) = base else {
            return self.copy_to((moved, target), Some(name), audience).await;
        };
        let told = audience.in_a_hurry();
        let update = move |t: &Transfer<'_>| {
            watched(&told, "copying what has changed", |watch| {
                t.update(&base, &name, Along::Snapshots, watch)
            })
        };
        self.transfer(&pool, target, moved, update).await
    }

    async fn copy_to(
        self: &Arc<Self>,
        (moved, target): Place<'_>,
        snapshot: Option<String>,
        audience: &Audience,
    ) -> Result<(), Error> {
        let (_, pool) = self.home()?;
        let told = audience.clone();
        let copy = move |t: &Transfer<'_>| {
            watched(&told, "copying its data", |watch| {
                t.copy(snapshot.as_deref(), Along::Snapshots, watch)
            })
        };
        self.transfer(&pool, target, moved, copy).await
    }

    /// Notes in its configuration where it goes, or that it stays.
    async fn going_to(&self, place: Option<Elsewhere>) -> Result<(), Error> {
        let noted = self.reconfigure(|config| {
            config.going_to = place;
            Ok(())
        });
        noted.await.map(drop)
    }

    /// What others know it by is the new one's from now on.
    fn hand_over(&self, daemon: &Daemon, moved: &Arc<Container>, ran: bool) {
        daemon.book.rename(&self.owner(), &moved.owner());
        if ran {
            self.forget_interruption(daemon);
        }
    }

    /// Removes what is left of it here, and forgets that it was.
    async fn leave(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        moved: &Arc<Container>,
        hold: Hold,
    ) -> Result<(), Error> {
        let (_, pool) = self.home()?;
        let (_, target) = moved.home()?;
        let (old, new) = (self.id.clone(), moved.id.clone());
        blocking(move || {
            pool.copy_container_log(&old, &target, &new);
            Ok(())
        })
        .await?;
        self.delete_held(hold).await?;
        failpoint!("move.left");
        // After a crash, the old one had them until now.
        moved.claim_possible(daemon);
        moved.arrived().await
    }

    /// Forgets where it came from.
    async fn arrived(&self) -> Result<(), Error> {
        self.note_place(|config| config.came_from = None).await
    }

    /// Changes what its configuration says of moves, also while its pool is being loaded.
    async fn note_place(&self, change: impl FnOnce(&mut Config)) -> Result<(), Error> {
        let (_, pool) = self.home()?;
        let _saving = self.saving.lock().await;
        let mut config = (*self.config()).clone();
        change(&mut config);
        let generation = self.seen.lock().generation + 1;
        let (id, kept) = (self.id.clone(), config.clone());
        blocking(move || pool.save_container(&id, &kept, generation)).await?;
        let mut seen = self.seen.lock();
        seen.generation = generation;
        seen.config = Arc::new(config);
        Ok(())
    }

    /// Refuses to give another name to what is known on another pool by the one that it has.
    ///
    /// # Errors
    /// `InvalidState`.
    pub(super) fn check_settled(&self) -> Result<(), Error> {
        self.check_stays()?;
        let Some(place) = self.config().came_from.clone() else {
            return Ok(());
        };
        let (daemon, _pool) = self.home()?;
        let me = self.as_elsewhere();
        if let Some((_pool, old)) = at(&daemon, &place)
            && old.is_none_or(|old| old.config().going_to.as_ref() != Some(&me))
        {
            // Nothing is left of it there.
            return Ok(());
        }
        Err(Error::state(format!(
            "container {} was being moved here from {place} when the daemon died",
            self.label()
        ))
        .hint(format!(
            "import pool {}: what is left there is removed then",
            place.pool
        )))
    }

    /// Refuses to use, change or remove what may be on another pool already, or be all there is.
    ///
    /// # Errors
    /// `InvalidState`.
    pub(super) fn check_stays(&self) -> Result<(), Error> {
        let Some(place) = &self.config().going_to else {
            return Ok(());
        };
        Err(Error::state(format!(
            "container {} was being moved to {place} when the daemon died",
            self.label()
        ))
        .hint(format!(
            "import pool {}: then it is known where it is",
            place.pool
        )))
    }
}

/// Finishes moves between pools that are both there, or undoes them; to be called when the
/// containers of a pool are loaded.
pub(super) async fn settle(daemon: &Arc<Daemon>) {
    // Two pools that are imported at the same time would do it both.
    static SETTLING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _settling = SETTLING.lock().await;
    let all = || {
        daemon
            .all_pools()
            .into_iter()
            .flat_map(|pool| pool.containers())
    };
    for container in all().filter(|c| c.config().came_from.is_some()) {
        if let Err(e) = container.settle_arrival(daemon).await {
            let error = e.chain();
            tracing::error!(container = %container.label(), %error, "cannot finish its move");
        }
    }
    for container in all().filter(|c| c.config().going_to.is_some()) {
        if let Err(e) = container.settle_departure(daemon).await {
            let error = e.chain();
            tracing::error!(container = %container.label(), %error, "cannot undo its move");
        }
    }
}

fn at(daemon: &Daemon, place: &Elsewhere) -> Option<(Arc<Pool>, Option<Arc<Container>>)> {
    let pool = daemon
        .pool(&place.pool)
        .ok()
        .filter(|pool| pool.is_loaded())?;
    let container = pool.container(&place.id);
    Some((pool, container))
}

impl Container {
    async fn settle_arrival(self: &Arc<Self>, daemon: &Arc<Daemon>) -> Result<(), Error> {
        // Whoever holds it is moving it, and finishes that.
        let Ok(_hold) = self.hold("ct mv") else {
            return Ok(());
        };
        let Some(from) = self.config().came_from.clone() else {
            return Ok(());
        };
        let Some((_, old)) = at(daemon, &from) else {
            return Ok(());
        };
        let me = self.as_elsewhere();
        match old.filter(|old| old.config().going_to.as_ref() == Some(&me)) {
            Some(old) => {
                tracing::info!(container = %self.label(), from = %old.label(), "finishing its move");
                let Ok(hold) = old.hold("ct mv") else {
                    return Ok(());
                };
                old.forget_interruption(daemon);
                old.leave(daemon, self, hold).await
            }
            None => self.arrived().await,
        }
    }

    async fn settle_departure(self: &Arc<Self>, daemon: &Arc<Daemon>) -> Result<(), Error> {
        let Ok(hold) = self.hold("ct mv") else {
            return Ok(());
        };
        let Some(to) = self.config().going_to.clone() else {
            return Ok(());
        };
        let Some((_, new)) = at(daemon, &to) else {
            return Ok(());
        };
        let me = self.as_elsewhere();
        if new.is_some_and(|new| new.config().came_from.as_ref() == Some(&me)) {
            return Ok(());
        }
        tracing::info!(container = %self.label(), %to, "undoing its move");
        let (_, pool) = self.home()?;
        self.note_place(|config| config.going_to = None).await?;
        drop(hold);
        if !self.was_interrupted(daemon) || self.state() != State::Stopped {
            return Ok(());
        }
        match pool.is_active() {
            true => super::all::restart(daemon, self),
            false => self.seen.lock().pending = Some(Pending::Restart),
        }
        Ok(())
    }
}

impl Pool {
    /// The log and what is remembered of the network go along; what can't stays behind. Blocks.
    fn copy_container_log(&self, old: &Name, target: &Pool, new: &Name) {
        self.copy_net_state(old, target, new);
        match std::fs::copy(self.container_log(old), target.container_log(new)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%old, %new, error = %e, "the log of a container stays behind");
            }
            _ => {}
        }
    }
}
