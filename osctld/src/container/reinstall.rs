//! Putting a new root file system in the place of a container's.
//!
//! The new data are made beside the old ones, as those of a new container. Then the configuration
//! says that they take their place, which is finished whatever happens after that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use osctl_api::copies as api;
use osctl_api::names::Name;

use super::config::{Config, Distribution, Replacement};
use super::copy::Audience;
use super::verdict::Request;
use super::{Container, blocking};
use crate::error::Error;
use crate::failpoint;
use crate::image;
use crate::pool::Pool;
use crate::storage::{self, Watch};

impl Container {
    /// Puts a new root file system in the place of its own.
    ///
    /// # Errors
    /// `InvalidState` while it runs or has snapshots; `InvalidArgument` for an image that can't be
    /// used, `Cancelled`: then it is as it was.
    pub async fn reinstall(
        self: &Arc<Self>,
        params: api::Reinstall,
        audience: Audience,
    ) -> Result<(), Error> {
        let path = PathBuf::from(checked_image(&params.from_archive)?);
        self.settle().await;
        let hold = self.hold("ct reinstall")?;
        if params.force {
            self.stop_by_force(&hold).await?;
        }
        self.judge(Request::Rebuild, "reinstall")?;
        let (daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        let limits = daemon.config.image.limits();
        let replacement = {
            let (this, pool, params) = (Arc::clone(self), Arc::clone(&pool), params.clone());
            blocking(move || {
                this.check_snapshots(&pool, &params)?;
                this.make_replacement(&pool, &path, &params, (&limits, &audience))
            })
            .await?
        };
        failpoint!("reinstall.made");
        let (data, marked) = (replacement.data.clone(), replacement.clone());
        let noted = self.reconfigure(|config| {
            config.replacement = Some(marked);
            Ok(())
        });
        if let Err(error) = noted.await {
            let pool = Arc::clone(&pool);
            let _ = blocking(move || discard(&pool, &data)).await;
            return Err(error);
        }
        failpoint!("reinstall.marked");
        let replaced = {
            let (pool, id) = (Arc::clone(&pool), self.id.clone());
            blocking(move || replace(&pool, &id, &data)).await
        };
        if let Err(error) = replaced {
            self.fail(&error);
            return Err(error.hint("it is gone on with when the pool is imported"));
        }
        failpoint!("reinstall.replaced");
        let done = self.reconfigure(|config| {
            replacement.apply(config);
            Ok(())
        });
        done.await?;
        pool.empty_trash();
        Ok(())
    }

    fn check_snapshots(&self, pool: &Pool, params: &api::Reinstall) -> Result<(), Error> {
        let snapshots = pool.storage.snapshots(self.id.as_str());
        let snapshots = snapshots.map_err(|e| Error::backend("cannot list its snapshots", e))?;
        let names: Vec<&str> = snapshots
            .iter()
            .filter(|s| !s.is_temporary())
            .map(|s| s.name.as_str())
            .collect();
        if params.remove_snapshots || names.is_empty() {
            return Ok(());
        }
        Err(Error::state(format!(
            "container {} has snapshots, which would go with its old files: {}",
            self.label(),
            names.join(", ")
        ))
        .hint("delete them, or use --remove-snapshots"))
    }

    fn make_replacement(
        &self,
        pool: &Pool,
        path: &Path,
        params: &api::Reinstall,
        (limits, audience): (&image::Limits, &Audience),
    ) -> Result<Replacement, Error> {
        let data = storage::fresh_id(self.id.as_str());
        let cancelled = || audience.cancel.is_cancelled();
        let tell = audience.progress.by_mebibytes("unpacking the image");
        let watch = Watch::new(&cancelled, &tell);
        let storage = pool.storage.as_ref();
        let made = image::create_from(storage, pool.images.as_ref(), &data, path, limits, watch);
        let facts = made
            .map_err(|e| Error::invalid_with(format!("cannot use image {}", path.display()), e))?;
        let config = self.config();
        let choose = |said: &Option<String>, found: Option<String>, now: &String| {
            said.clone().or(found).unwrap_or_else(|| now.clone())
        };
        let finished = Distribution::checked(
            choose(
                &params.distribution,
                facts.distribution,
                &config.distribution,
            ),
            choose(&params.version, facts.version, &config.version),
            choose(&params.arch, facts.arch, &config.arch),
        )
        .and_then(|distribution| {
            self.keep_quota(pool, &data)?;
            Ok(Replacement {
                data: data.clone(),
                distribution: distribution.name,
                version: distribution.version,
                arch: distribution.arch,
            })
        });
        if finished.is_err() {
            discard(pool, &data)?;
        }
        finished
    }

    /// Gives other data the bound of its own.
    pub(super) fn keep_quota(&self, pool: &Pool, data: &str) -> Result<(), Error> {
        let failed = |e| Error::backend("cannot keep its quota", e);
        let space = pool.storage.space().map_err(failed)?;
        match space.get(self.id.as_str()).and_then(|space| space.quota) {
            Some(quota) => pool.storage.set_quota(data, Some(quota)).map_err(failed),
            None => Ok(()),
        }
    }
}

/// Refuses what is no path of an image.
pub(super) fn checked_image(path: &str) -> Result<&str, Error> {
    if !path.starts_with('/') || path.contains('\0') {
        let wrong = format!("image {path:?} is not an absolute path");
        return Err(Error::invalid(wrong));
    }
    Ok(path)
}

/// Throws away data that are nobody's; fine when there are none.
pub(super) fn discard(pool: &Pool, data: &str) -> Result<(), Error> {
    match pool.storage.trash(data) {
        Ok(()) | Err(storage::Error::NotFound(_)) => Ok(()),
        Err(e) => Err(Error::backend(
            "cannot remove data that were made in vain",
            e,
        )),
    }
}

fn replace(pool: &Pool, id: &Name, data: &str) -> Result<(), Error> {
    let replaced = pool.storage.replace(id.as_str(), data);
    replaced.map_err(|e| Error::backend(format!("cannot put the new data of {id} in place"), e))
}

/// Finishes what was interrupted. To be called before data without a configuration are discarded.
pub(super) fn finish_replacements(pool: &Pool, configs: &mut [(Name, Config, u64)]) {
    for (id, config, generation) in configs {
        let Some(replacement) = config.replacement.clone() else {
            continue;
        };
        let mut done = config.clone();
        replacement.apply(&mut done);
        let finished = replace(pool, id, &replacement.data)
            .and_then(|()| pool.save_container(id, &done, *generation + 1));
        match finished {
            Ok(()) => {
                tracing::info!(pool = %pool.name, %id, "finished its reinstallation");
                *config = done;
                *generation += 1;
            }
            Err(e) => pool.add_problem(format!("container {id}"), e.chain()),
        }
    }
}
