//! Changing what is mounted in a container: kept first, then done in what runs.

use std::path::Path;
use std::sync::Arc;

use osctl_api::Code;
use osctl_api::container::State;
use osctl_api::mounts::{self as api, Mountpoint};
use osctl_runtime::control::Action;
use osctl_runtime::spec;

use super::config::Config;
use super::mount::{self, Found, Mount, Registered, Source, Time};
use super::mount_source::{self, Protected};
use super::verdict::Request;
use super::{Container, Run, blocking};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::failpoint;
use crate::pool::Pool;
use crate::storage;
use crate::store::{Objects, Stored};
use crate::supervisor::finish_soon;

/// Directory, in that of a container's runtime state, for what is registered; its only document.
const REGISTERED: &str = "mounts";

impl Container {
    /// Its mounts as clients see them.
    pub fn mount_infos(&self) -> Vec<api::Mount> {
        let seen = self.seen.lock();
        let kept = seen.config.mounts.iter().map(|m| m.info(false));
        let registered = seen.registered.iter().map(|m| m.info(true));
        kept.chain(registered).collect()
    }

    /// All its mounts, registered ones too.
    pub(super) fn all_mounts(&self) -> Vec<Mount> {
        let seen = self.seen.lock();
        let all = seen.config.mounts.iter().chain(&seen.registered);
        all.cloned().collect()
    }

    /// The mount on this place.
    fn mount_on(&self, place: &Mountpoint) -> Result<Mount, Error> {
        let mut all = self.all_mounts().into_iter();
        let found = all.find(|m| m.mountpoint == *place);
        found.ok_or_else(|| {
            Error::not_found(format!(
                "container {} has no mount on {place}",
                self.label()
            ))
        })
    }

    /// What is mounted, on the host. Blocks.
    pub(super) fn find_source(
        &self,
        daemon: &Daemon,
        pool: &Pool,
        mount: &Mount,
    ) -> Result<Found, Error> {
        match &mount.source {
            Source::Host(path) => mount_source::find(path, &mount.opts, &Protected::of(daemon)),
            Source::Tmpfs => Ok(Found::Tmpfs),
            Source::Dataset(name) => {
                let ensured = pool.storage.ensure_dataset(self.id.as_str(), name.as_str());
                ensured.map(Found::Dataset).map_err(|e| match e {
                    storage::Error::NoDataset { .. } => Error::not_found(e.to_string()),
                    storage::Error::Unsupported(why) => Error::unsupported(why),
                    e => Error::backend(format!("cannot mount dataset {name}"), e),
                })
            }
            Source::Unknown => Err(Error::state(format!(
                "what is mounted on {} is not known: it was registered without --fs",
                mount.mountpoint
            ))),
        }
    }

    /// What the runtime is to mount when it starts. Blocks.
    ///
    /// # Errors
    /// Why one can't be mounted that is not optional.
    pub(super) fn plan_mounts(
        &self,
        daemon: &Daemon,
        pool: &Pool,
        config: &Config,
    ) -> Result<Vec<spec::Mount>, Error> {
        let wanted = config.mounts.iter().filter(|m| m.automount).cloned();
        let mut planned = Vec::new();
        for mount in mount::in_order(wanted.collect()) {
            match self.find_source(daemon, pool, &mount) {
                Ok(found) => planned.push(mount.spec(found, Time::Start)),
                Err(e) if mount.opts.is_optional() => {
                    let (at, why) = (&mount.mountpoint, e.chain());
                    tracing::warn!(container = %self.label(), "nothing is mounted on {at}: {why}");
                }
                Err(e) => return Err(e.context(format!("cannot mount {}", mount.mountpoint))),
            }
        }
        Ok(planned)
    }

    /// Adds a mount, and mounts it if it runs and the mount is to be there at every start.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`, `PermissionDenied`, `AlreadyExists`; `Backend` when it can't be
    /// mounted in what runs. Then all is as it was.
    pub async fn add_mount(self: &Arc<Self>, mount: Mount) -> Result<(), Error> {
        let _hold = self.hold_mounts("ct mounts new")?;
        self.add_mount_held(mount).await
    }

    /// As [`Container::add_mount`], for who holds it.
    pub(super) async fn add_mount_held(self: &Arc<Self>, mount: Mount) -> Result<(), Error> {
        let found = self.found(&mount).await?;
        let run = self.run().filter(|_| mount.automount);
        self.keep_mount(mount.clone()).await?;
        failpoint!("mounts.kept");
        let Some(run) = run else {
            return Ok(());
        };
        let mounted = self.mount_live(&run, &mount, found).await;
        if mounted.is_err() {
            self.forget_mount(&mount.mountpoint).await?;
        }
        mounted
    }

    /// Notes a mount until it stops. With `on_start` also while somebody holds it to start it.
    ///
    /// # Errors
    /// `InvalidState` when it neither runs nor starts; `Busy`; `AlreadyExists`.
    pub async fn register_mount(
        self: &Arc<Self>,
        mount: Mount,
        on_start: bool,
    ) -> Result<(), Error> {
        let _hold = match on_start {
            true => None,
            false => Some(self.hold("ct mounts register")?),
        };
        if !matches!(
            self.state(),
            State::Starting | State::Running | State::Frozen
        ) {
            return Err(Error::state(format!(
                "mounts can be registered while a container runs, and {} does not",
                self.label()
            ))
            .hint("use `osctl ct mounts new` for what is there at every start"));
        }
        {
            let mut seen = self.seen.lock();
            let all = seen.config.mounts.iter().chain(&seen.registered);
            mount::check_all(all.chain([&mount]))?;
            seen.registered.push(mount);
        }
        self.note_registered().await
    }

    /// Mounts in it what it has on this place.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` when it does not run, and why it can't be mounted.
    pub async fn activate_mount(self: &Arc<Self>, place: &Mountpoint) -> Result<(), Error> {
        let run = self.entered("mount something in")?;
        let _hold = self.hold("ct mounts activate")?;
        let mount = self.mount_on(place)?;
        let found = self.found(&mount).await?;
        self.mount_live(&run, &mount, found).await
    }

    /// Unmounts in it what it has on this place; fine when it is not mounted.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` when it does not run, and why it can't be unmounted.
    pub async fn deactivate_mount(self: &Arc<Self>, place: &Mountpoint) -> Result<(), Error> {
        let run = self.entered("unmount something in")?;
        let _hold = self.hold("ct mounts deactivate")?;
        self.mount_on(place)?;
        self.unmount_live(&run, place).await
    }

    /// Removes a mount, from what runs too.
    ///
    /// # Errors
    /// `NotFound`; why it can't be unmounted, and then it is kept.
    pub async fn delete_mount(self: &Arc<Self>, place: &Mountpoint) -> Result<(), Error> {
        let _hold = self.hold_mounts("ct mounts del")?;
        self.mount_on(place)?;
        self.remove_mount(place).await
    }

    /// Removes all its mounts, from what runs too.
    ///
    /// # Errors
    /// Why one can't be unmounted; those that could are removed.
    pub async fn clear_mounts(self: &Arc<Self>) -> Result<(), Error> {
        let _hold = self.hold_mounts("ct mounts clear")?;
        let mut done = Ok(());
        // What is in another one's place first.
        for mount in mount::in_order(self.all_mounts()).iter().rev() {
            done = done.and(self.remove_mount(&mount.mountpoint).await);
        }
        done
    }

    /// Takes it to change its mounts: those of one that runs are changed as well.
    pub(super) fn hold_mounts(self: &Arc<Self>, name: &'static str) -> Result<super::Hold, Error> {
        self.judge(Request::Configure, "configure")?;
        let hold = self.hold(name)?;
        if self.run().is_some() {
            self.judge(Request::Enter, "change the mounts of")?;
        }
        Ok(hold)
    }

    pub(super) async fn remove_mount(self: &Arc<Self>, place: &Mountpoint) -> Result<(), Error> {
        if let Some(run) = self.run() {
            self.unmount_live(&run, place).await?;
        }
        failpoint!("mounts.unmounted");
        self.forget_mount(place).await
    }

    async fn keep_mount(&self, mount: Mount) -> Result<(), Error> {
        let registered = self.seen.lock().registered.clone();
        let kept = self.reconfigure(|config| {
            config.mounts.push(mount);
            mount::check_all(config.mounts.iter().chain(&registered))
        });
        kept.await.map(drop)
    }

    async fn forget_mount(&self, place: &Mountpoint) -> Result<(), Error> {
        let is_other = |m: &Mount| m.mountpoint != *place;
        let forgotten = self.reconfigure(|config| {
            config.mounts.retain(is_other);
            Ok(())
        });
        forgotten.await?;
        let was_registered = {
            let mut seen = self.seen.lock();
            let before = seen.registered.len();
            seen.registered.retain(is_other);
            seen.registered.len() != before
        };
        match was_registered {
            true => self.note_registered().await,
            false => Ok(()),
        }
    }

    async fn found(self: &Arc<Self>, mount: &Mount) -> Result<Found, Error> {
        let (daemon, pool) = self.home()?;
        let (this, mount) = (Arc::clone(self), mount.clone());
        blocking(move || {
            let _gate = pool.enter()?;
            this.find_source(&daemon, &pool, &mount)
        })
        .await
    }

    async fn mount_live(&self, run: &Run, mount: &Mount, found: Found) -> Result<(), Error> {
        self.act(run, Action::Mount(mount.spec(found, Time::Live)))
            .await
    }

    async fn unmount_live(&self, run: &Run, place: &Mountpoint) -> Result<(), Error> {
        let target = place.as_str().into();
        match self.act(run, Action::Unmount { target }).await {
            Err(e) if e.code() == Code::NotFound => Ok(()),
            done => done,
        }
    }

    async fn act(&self, run: &Run, action: Action) -> Result<(), Error> {
        let session = run.link.enter(action, &[]).await?;
        let done = finish_soon(session).await.map(drop);
        done.map_err(|e| {
            e.context(format!(
                "cannot change mounts of container {}",
                self.label()
            ))
        })
    }

    /// Keeps what is registered beside its supervisor's socket, for the next daemon.
    async fn note_registered(&self) -> Result<(), Error> {
        let (daemon, _pool) = self.home()?;
        let dir = daemon
            .container_run_dir(&self.pool, &self.id)
            .join(REGISTERED);
        let mounts = self.seen.lock().registered.clone();
        blocking(move || {
            let failed = |e| Error::store("cannot keep what is registered", e);
            let documents = Objects::open(dir).map_err(failed)?;
            let mut document = Stored::new(Registered { mounts });
            documents.save(REGISTERED, &mut document).map_err(failed)
        })
        .await
    }
}

/// What was registered for the run that has its state in this directory.
pub(super) fn registered(run_dir: &Path) -> Result<Vec<Mount>, Error> {
    let dir = run_dir.join(REGISTERED);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let failed = |e| Error::store("cannot read what is registered", e);
    let documents = Objects::<Registered>::open(dir).map_err(failed)?;
    let document = documents.load(REGISTERED).map_err(failed)?;
    Ok(document.map(|d| d.value.mounts).unwrap_or_default())
}
