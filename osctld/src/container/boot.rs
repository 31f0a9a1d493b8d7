//! Running a container from other data than its own, until it stops: from an image (`ct boot`), or
//! from a copy of its own that is thrown away (impermanence).
//!
//! The configuration says so for as long as it does. The data count as new for all that time, so
//! that they go with whatever becomes of the container; its own are not touched.

use std::path::PathBuf;
use std::sync::Arc;

use osctl_api::copies as api;
use osctl_api::names::Name;

use super::config::{Booted, Config};
use super::copy::Audience;
use super::mount::{Found, Mount, Source, Time};
use super::plan::Mode;
use super::verdict::Request;
use super::{Container, blocking, lengthy, reinstall};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::failpoint;
use crate::pool::Pool;
use crate::storage;

impl Config {
    /// Names of data that are its own beside those of its id: what it runs from, and what takes
    /// their place.
    pub fn other_data(&self) -> impl Iterator<Item = &str> {
        let booted = self.booted.as_ref().map(|b| b.data.as_str());
        let replacement = self.replacement.as_ref().map(|r| r.data.as_str());
        booted.into_iter().chain(replacement)
    }

    /// Whether it runs from an image.
    pub fn runs_image(&self) -> bool {
        self.booted.as_ref().is_some_and(|b| b.image.is_some())
    }

    /// What holds while it runs, which is not the same as what is kept while it runs from an image:
    /// that has a system of its own, with the container's network, limits and devices.
    pub(super) fn in_force(&self) -> Config {
        let mut config = self.clone();
        let image = self.booted.as_ref().and_then(|b| b.image.as_ref());
        let Some(system) = image else {
            return config;
        };
        system.apply(&mut config);
        config.init_cmd.clear();
        config.mounts.clear();
        config
    }
}

impl Container {
    /// By which name storage knows the data that it runs from, or would.
    pub(super) fn data(&self) -> String {
        match &self.config().booted {
            Some(booted) => booted.data.clone(),
            None => self.id.to_string(),
        }
    }

    /// Whether it runs from an image.
    pub(super) fn runs_image(&self) -> bool {
        self.config().runs_image()
    }

    /// Starts it from an image, once.
    ///
    /// # Errors
    /// `InvalidState` while it runs; `InvalidArgument` for an image that can't be used; why it did
    /// not start: then nothing is left of it.
    pub async fn boot(
        self: &Arc<Self>,
        params: api::Boot,
        audience: Audience,
    ) -> Result<(), Error> {
        let path = PathBuf::from(reinstall::checked_image(&params.from_archive)?);
        self.settle().await;
        let hold = self.hold("ct boot")?;
        if params.force {
            // What can be known before is no reason to have stopped it.
            let path = path.clone();
            blocking(move || reinstall::check_opens(&path)).await?;
            self.stop_by_force(&hold).await?;
        }
        self.judge(Request::Rebuild, "boot")?;
        let (daemon, pool) = self.home()?;
        let audience = audience.within(&pool);
        self.end_boot().await?;
        let limits = daemon.config.image.limits();
        // Until it is noted, what is made looks like what was left.
        let gate = pool.enter()?;
        let booted = {
            let (this, pool) = (Arc::clone(self), Arc::clone(&pool));
            lengthy(move || {
                let image = reinstall::Image {
                    path: &path,
                    said: [&params.distribution, &params.version, &params.arch],
                    otherwise: ["other", "unknown", std::env::consts::ARCH],
                    limits: &limits,
                    audience: &audience,
                };
                let (data, system) = this.make_of_image(&pool, &image, None)?;
                Ok(Booted {
                    data,
                    own_at: params.mount_root_dataset.clone(),
                    image: Some(system),
                })
            })
            .await?
        };
        self.note_boot(&pool, booted).await?;
        drop(gate);
        self.start_noted(Mode::Boot, &hold).await
    }

    /// Makes the copy that an impermanent container runs from.
    pub(super) async fn prepare_impermanent(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
    ) -> Result<(), Error> {
        let config = self.config();
        if !config.impermanence {
            return Ok(());
        }
        // Until it is noted, what is made looks like what was left.
        let _gate = pool.enter()?;
        let (this, place) = (Arc::clone(self), Arc::clone(pool));
        let data = blocking(move || {
            let data = storage::fresh_id(this.id.as_str());
            let made = place.storage.copy_own(this.id.as_str(), &data);
            made.map_err(|e| Error::backend("cannot copy its data for this run", e))?;
            let bounded = this.keep_quota(&place, &data);
            bounded.inspect_err(|_| drop(reinstall::discard(&place, &data)))?;
            Ok(data)
        })
        .await?;
        let booted = Booted {
            data,
            own_at: None,
            image: None,
        };
        self.note_boot(pool, booted).await
    }

    async fn note_boot(&self, pool: &Arc<Pool>, booted: Booted) -> Result<(), Error> {
        failpoint!("boot.made");
        let data = booted.data.clone();
        let noted = self.reconfigure(|config| {
            config.booted = Some(booted);
            Ok(())
        });
        if let Err(error) = noted.await {
            let pool = Arc::clone(pool);
            let _ = blocking(move || reinstall::discard(&pool, &data)).await;
            return Err(error);
        }
        failpoint!("boot.noted");
        Ok(())
    }

    /// Nothing runs any more: what it ran from is thrown away, if it was not its own.
    ///
    /// # Errors
    /// `Backend`: then it is thrown away before the next start.
    pub(super) async fn end_boot(&self) -> Result<(), Error> {
        let Some(booted) = self.config().booted.clone() else {
            return Ok(());
        };
        let (_daemon, pool) = self.home()?;
        let place = Arc::clone(&pool);
        blocking(move || reinstall::discard(&place, &booted.data)).await?;
        failpoint!("boot.ended");
        // Also while its pool is being exported, which keeps others from changing it.
        self.save_changed(&pool, |config| {
            config.booted = None;
            Ok(())
        })
        .await?;
        pool.empty_trash();
        Ok(())
    }

    /// Mounts of the container's own data in the image that it runs from: of its root directory, and
    /// of its datasets as they would be there.
    pub(super) fn mounts_of_own(
        &self,
        daemon: &Daemon,
        pool: &Pool,
    ) -> Result<Vec<osctl_runtime::spec::Mount>, Error> {
        let config = self.config();
        let Some(at) = config.booted.as_ref().and_then(|b| b.own_at.clone()) else {
            return Ok(Vec::new());
        };
        let id = self.id.as_str();
        let mounted = pool.storage.ensure_mounted(id);
        let own = mounted.and_then(|()| pool.storage.rootfs(id));
        let own = own.map_err(|e| Error::backend("cannot mount its own files", e))?;
        let top = Mount {
            source: Source::Tmpfs,
            mountpoint: at.clone(),
            opts: "create=dir"
                .parse()
                .map_err(|e| Error::invalid_with("options", e))?,
            automount: true,
        };
        let mut planned = vec![top.spec(Found::Dataset(own), Time::Start)];
        let datasets = config.mounts.iter().filter(|mount| mount.automount);
        for mount in datasets.filter(|mount| matches!(mount.source, Source::Dataset(_))) {
            let inside = format!("{at}{}", mount.mountpoint);
            let moved = Mount {
                mountpoint: inside
                    .parse()
                    .map_err(|e| Error::invalid_with(format!("cannot mount on {inside}"), e))?,
                ..mount.clone()
            };
            let found = self.find_source(daemon, pool, &moved)?;
            planned.push(moved.spec(found, Time::Start));
        }
        Ok(planned)
    }
}

/// What containers run from that did not run when the last daemon ended is thrown away. To
/// be called before data without a configuration are discarded.
pub(super) fn settle_boots(
    pool: &Pool,
    configs: &mut [(Name, Config, u64)],
    may_run: impl Fn(&Name) -> bool,
) {
    for (id, config, generation) in configs {
        let Some(booted) = config.booted.clone() else {
            continue;
        };
        if may_run(id) {
            continue;
        }
        let mut done = config.clone();
        done.booted = None;
        let ended = reinstall::discard(pool, &booted.data)
            .and_then(|()| pool.save_container(id, &done, *generation + 1));
        match ended {
            Ok(()) => {
                tracing::info!(pool = %pool.name, %id, "threw away what it had run from");
                *config = done;
                *generation += 1;
            }
            Err(e) => pool.add_problem(format!("container {id}"), e.chain()),
        }
    }
}
