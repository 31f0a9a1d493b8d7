//! Snapshots of containers: made, destroyed, returned to, mounted, by hand and by schedule.

use std::sync::Arc;

use jiff::Timestamp;
use osctl_api::names::Ref;
use osctl_api::snapshot as api;
use osctl_api::snapshot::{Keep, SnapshotName};

use super::config::Config;
use super::copy::copied_config;
use super::create::{existing_user, finish, own_user};
use super::schedule;
use super::verdict::Request;
use super::{Container, blocking};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::events::Change;
use crate::pool::Pool;
use crate::storage::{self, Snapshot};

pub use crate::storage::Newer;

/// What storage says, as the domain says it.
pub(super) fn failed(cannot: String) -> impl FnOnce(storage::Error) -> Error {
    use storage::Error as E;
    move |e| match e {
        E::Unsupported(why) => Error::unsupported(format!("{cannot}: {why}")),
        E::SnapshotName(_) => Error::invalid_with(cannot, e),
        E::SnapshotExists { .. } => Error::with(osctl_api::Code::AlreadyExists, cannot, e),
        E::NoSnapshot { .. } => Error::with(osctl_api::Code::NotFound, cannot, e),
        E::InUse(_) => Error::with(osctl_api::Code::InvalidState, cannot, e)
            .hint("see `osctl ct snapshot ls` for clones and mounts"),
        E::OverQuota { .. } => Error::with(osctl_api::Code::InvalidState, cannot, e)
            .hint("raise the quota: `osctl ct set quota`, `osctl ct dataset set quota`"),
        E::HalfReturned { .. } => {
            Error::backend(cannot, e).hint("`osctl ct recover state` goes on with it")
        }
        E::Newer { .. } => Error::with(osctl_api::Code::InvalidState, cannot, e)
            .hint("--destroy-newer destroys them"),
        e => Error::backend(cannot, e),
    }
}

/// Whether containers of a pool can have any.
pub(super) fn has_snapshots(pool: &Pool) -> bool {
    pool.storage.backend() == "zfs"
}

pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

impl Container {
    /// Does something about its snapshots, holding it.
    async fn with_snapshots<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        cannot: String,
        work: impl FnOnce(&Pool, &str) -> storage::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.judge(Request::Configure, operation)?;
        let _hold = self.hold(operation)?;
        self.snapshots_held(cannot, work).await
    }

    pub(super) async fn snapshots_held<T: Send + 'static>(
        self: &Arc<Self>,
        cannot: String,
        work: impl FnOnce(&Pool, &str) -> storage::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (_daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        let id = self.id.clone();
        let cannot = format!("cannot {cannot} of container {}", self.label());
        blocking(move || work(&pool, id.as_str()).map_err(failed(cannot))).await
    }

    pub(super) fn tell_snapshot(&self, name: &str, change: Change) {
        if let Some(daemon) = self.daemon.upgrade() {
            let id = format!("{}@{name}", self.id);
            daemon.events.db("snapshot", &self.pool, id, change);
        }
    }

    /// Makes a snapshot of it, named after the time unless told.
    ///
    /// # Errors
    /// `AlreadyExists`, `Unsupported`, `InvalidState`, `Backend`.
    pub async fn make_snapshot(
        self: &Arc<Self>,
        name: Option<SnapshotName>,
    ) -> Result<api::Snapshot, Error> {
        let name = name.map_or_else(|| schedule::time(now()), String::from);
        let cannot = format!("make snapshot {name}");
        let made = name.clone();
        let snapshots = self.with_snapshots("ct snapshot new", cannot, move |pool, id| {
            pool.storage.snapshot(id, &made, None)?;
            pool.storage.snapshots(id)
        });
        let snapshots = snapshots.await?;
        self.tell_snapshot(&name, Change::Add);
        let found = snapshots.iter().find(|s| s.name == name);
        let found = found.map(|s| self.snapshot_info(s, &snapshots));
        found.ok_or_else(|| Error::not_found(format!("snapshot {name} is gone already")))
    }

    /// Destroys a snapshot of it.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` when it is in use; `Backend`.
    pub async fn destroy_snapshot(self: &Arc<Self>, name: &SnapshotName) -> Result<(), Error> {
        let gone = name.clone();
        let destroyed = self.with_snapshots(
            "ct snapshot del",
            format!("destroy snapshot {name}"),
            move |pool, id| pool.storage.destroy_snapshot(id, gone.as_str()),
        );
        destroyed.await?;
        self.tell_snapshot(name.as_str(), Change::Remove);
        Ok(())
    }

    /// Makes a container of a snapshot of it, on the same pool.
    ///
    /// # Errors
    /// `AlreadyExists`; `NotFound` for snapshot, user or group; `Backend`: then nothing is left of
    /// it.
    pub async fn clone_snapshot(
        self: &Arc<Self>,
        params: api::Clone,
    ) -> Result<Arc<Container>, Error> {
        self.judge(Request::Configure, "clone")?;
        let _hold = self.hold("ct snapshot clone")?;
        let (daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        let clone = self
            .stage_as(&daemon, &pool, &params.new_id, params.group.as_ref())
            .await?;
        let clone_hold = clone.hold("ct snapshot clone")?;
        let made = self.fill_clone(&daemon, &pool, &clone, &params).await;
        finish(&daemon, &pool, &clone, clone_hold, made).await?;
        Ok(clone)
    }

    async fn fill_clone(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        pool: &Arc<Pool>,
        clone: &Arc<Container>,
        params: &api::Clone,
    ) -> Result<Config, Error> {
        let user = match &params.user {
            Some(user) => existing_user(pool, user)?,
            None => own_user(daemon, pool, clone).await?,
        };
        let (name, to) = (params.snapshot.clone(), clone.id.clone());
        let cloned = self.snapshots_held(format!("clone snapshot {name}"), move |pool, id| {
            pool.storage.clone_snapshot(id, name.as_str(), to.as_str())
        });
        cloned.await?;
        let mut config = copied_config(&self.config(), user, clone.group(), false)?;
        // Whoever wants it for a try would not want its snapshots to pile up.
        config.snapshots = None;
        self.keep_as(pool, (clone, pool), &config).await?;
        Ok(config)
    }

    /// Mounts a snapshot of it, to be read; where its root directory is.
    ///
    /// # Errors
    /// `NotFound`, `Backend`.
    pub async fn mount_snapshot(self: &Arc<Self>, name: &SnapshotName) -> Result<String, Error> {
        let (cannot, name) = (format!("mount snapshot {name}"), name.clone());
        let mounted = self.with_snapshots("ct snapshot mount", cannot, move |pool, id| {
            pool.storage.mount_snapshot(id, name.as_str())
        });
        Ok(mounted.await?.display().to_string())
    }

    /// Unmounts a snapshot of it.
    ///
    /// # Errors
    /// `InvalidState` when it is not mounted; `Backend`.
    pub async fn unmount_snapshot(self: &Arc<Self>, name: &SnapshotName) -> Result<(), Error> {
        let (cannot, which) = (format!("unmount snapshot {name}"), name.clone());
        let unmounted = self.with_snapshots("ct snapshot umount", cannot, move |pool, id| {
            pool.storage.unmount_snapshot(id, which.as_str())
        });
        match unmounted.await? {
            true => Ok(()),
            false => Err(Error::state(format!(
                "snapshot {name} of container {} is not mounted",
                self.label()
            ))),
        }
    }

    /// Has snapshots of it made by schedule, or not any more.
    ///
    /// # Errors
    /// `Unsupported` on a pool without snapshots; `Backend`.
    pub async fn schedule_snapshots(self: &Arc<Self>, keep: Option<Keep>) -> Result<(), Error> {
        self.judge(Request::Configure, "configure")?;
        let hold = self.hold("ct set snapshots")?;
        let (daemon, pool) = self.home()?;
        if keep.is_some() && !has_snapshots(&pool) {
            return Err(Error::unsupported(format!(
                "cannot make snapshots of container {}: a pool in a directory has no snapshots",
                self.label()
            ))
            .hint("keep the container in a pool of ZFS"));
        }
        let set = self.reconfigure(|config| {
            config.snapshots = keep;
            Ok(())
        });
        set.await?;
        drop(hold);
        daemon.schedules.notify_one();
        Ok(())
    }

    /// Carries out what its schedule wants now.
    pub(super) async fn keep_schedule(
        self: &Arc<Self>,
        snapshots: &[Snapshot],
        now: i64,
    ) -> Result<(), Error> {
        let Some(keep) = self.config().snapshots.clone() else {
            return Ok(());
        };
        let wanted = schedule::todo(&keep, snapshots, now);
        if wanted.make.is_empty() && wanted.destroy.is_empty() {
            return Ok(());
        }
        self.judge(Request::Configure, "make snapshots of")?;
        let _hold = self.hold("snapshots by schedule")?;
        for period in wanted.make {
            let name = schedule::name(period, now);
            let made = name.clone();
            let made = self.snapshots_held(format!("make snapshot {name}"), move |pool, id| {
                pool.storage.snapshot(id, &made, Some(period.as_str()))
            });
            made.await?;
            self.tell_snapshot(&name, Change::Add);
        }
        for name in wanted.destroy {
            self.expire(&name).await?;
        }
        Ok(())
    }

    /// Destroys a snapshot whose time is over; one that is in use goes when it no longer is.
    async fn expire(self: &Arc<Self>, name: &str) -> Result<(), Error> {
        let gone = name.to_owned();
        let destroyed = self.snapshots_held(format!("destroy snapshot {name}"), move |pool, id| {
            match pool.storage.destroy_snapshot(id, &gone) {
                Err(storage::Error::InUse(why)) => {
                    tracing::info!(pool = %pool.name, "a snapshot that has expired stays: {why}");
                    Ok(false)
                }
                destroyed => destroyed.map(|()| true),
            }
        });
        if destroyed.await? {
            self.tell_snapshot(name, Change::Remove);
        }
        Ok(())
    }

    /// A snapshot, one of `all` of it, as clients see it.
    fn snapshot_info(&self, snapshot: &Snapshot, all: &[Snapshot]) -> api::Snapshot {
        let config = self.config();
        let keep = config.snapshots.as_ref();
        let mounted = snapshot.mounted.as_ref();
        api::Snapshot {
            pool: self.pool.clone(),
            id: self.id.clone(),
            name: snapshot.name.clone(),
            created: i64::try_from(snapshot.created).unwrap_or(i64::MAX),
            used: snapshot.used,
            referenced: snapshot.referenced,
            schedule: snapshot.schedule.clone(),
            expires: keep.and_then(|keep| schedule::expires(keep, all, snapshot, now())),
            clones: snapshot.clones.clone(),
            mounted: mounted.map(|path| path.join("private").display().to_string()),
        }
    }
}

/// The snapshots that a listing asks for. Blocks.
///
/// # Errors
/// `NotFound` for a container that was named; `Backend` when all are of one pool that can't tell.
pub fn list_snapshots(daemon: &Daemon, wanted: &api::List) -> Result<Vec<api::Snapshot>, Error> {
    let mut found = Vec::new();
    let mut of = |container: &Container, all: &[Snapshot]| {
        let shown = all.iter().filter(|s| !s.is_temporary());
        found.extend(shown.map(|s| container.snapshot_info(s, all)));
    };
    let on = |id: &Ref| id.clone().on(wanted.pool.as_ref());
    for id in wanted.ids.iter().map(on) {
        let container = daemon.container(&id)?;
        let (_daemon, pool) = container.home()?;
        let cannot = format!("cannot list snapshots of container {}", container.label());
        let all = pool.storage.snapshots(container.id.as_str());
        of(&container, &all.map_err(failed(cannot))?);
    }
    if !wanted.ids.is_empty() {
        return Ok(found);
    }
    for pool in daemon.all_pools() {
        if wanted.pool.as_ref().is_some_and(|name| *name != pool.name) {
            continue;
        }
        let cannot = format!("cannot list snapshots of pool {}", pool.name);
        let all = pool.storage.all_snapshots().map_err(failed(cannot))?;
        for container in pool.containers() {
            if let Some(snapshots) = all.get(container.id.as_str()) {
                of(&container, snapshots);
            }
        }
    }
    Ok(found)
}

/// Carries out what the schedules of a pool's containers want now; when something is due next.
pub async fn keep_schedules(pool: Arc<Pool>) -> Option<i64> {
    /// Seconds until what did not work is tried again.
    const AGAIN: i64 = 60;
    let mut scheduled = pool.containers();
    scheduled.retain(|c| c.config().snapshots.is_some());
    if scheduled.is_empty() || !pool.is_active() || !has_snapshots(&pool) {
        return None;
    }
    let now = now();
    let asked = Arc::clone(&pool);
    let cannot = format!("cannot list snapshots of pool {}", pool.name);
    let all = blocking(move || asked.storage.all_snapshots().map_err(failed(cannot))).await;
    let all = match all {
        Ok(all) => all,
        Err(e) => {
            tracing::warn!("no snapshots by schedule: {}", e.chain());
            return Some(now + AGAIN);
        }
    };
    let mut next = None;
    for container in scheduled {
        let snapshots = all
            .get(container.id.as_str())
            .map_or(&[][..], Vec::as_slice);
        let kept = container.keep_schedule(snapshots, now).await;
        let config = container.config();
        let mut due = config
            .snapshots
            .as_ref()
            .and_then(|k| schedule::next(k, now));
        if let Err(e) = kept {
            let label = container.label();
            tracing::warn!(container = %label, "no snapshot by schedule: {}", e.chain());
            due = Some(now + AGAIN);
        }
        next = next.into_iter().chain(due).min();
    }
    next
}
