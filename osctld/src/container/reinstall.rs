//! Putting a new root file system in the place of a container's.
//!
//! The new data are made beside the old ones, as those of a new container, or as their successor,
//! which keeps their snapshots. Then the configuration says that they take their place, which is
//! finished whatever happens after that.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use osctl_api::copies as api;
use osctl_api::names::Name;

use super::config::{Config, Distribution, Replacement};
use super::copy::Audience;
use super::verdict::Request;
use super::{Container, blocking, lengthy, schedule, snapshots};
use crate::error::Error;
use crate::events::Change;
use crate::failpoint;
use crate::image;
use crate::pool::Pool;
use crate::storage::{self, Watch};

/// An image to make data from.
pub(super) struct Image<'a> {
    pub(super) path: &'a Path,
    /// Distribution, version and architecture, as far as somebody said what they are.
    pub(super) said: [&'a Option<String>; 3],
    /// What they are when the image does not tell either.
    pub(super) otherwise: [&'a str; 3],
    pub(super) limits: &'a image::Limits,
    pub(super) audience: &'a Audience,
}

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
        self.check_stays()?;
        if params.force {
            // What can be known before is no reason to have stopped it.
            let (this, path, params) = (Arc::clone(self), path.clone(), params.clone());
            blocking(move || {
                let (_daemon, pool) = this.home()?;
                this.check_snapshots(&pool, &params)?;
                check_opens(&path)
            })
            .await?;
            self.stop_by_force(&hold).await?;
        }
        self.judge(Request::Rebuild, "reinstall")?;
        let (daemon, pool) = self.home()?;
        let audience = audience.within(&pool);
        let _gate = pool.enter()?;
        let limits = daemon.config.image.limits();
        // The only one that is made after the others.
        let snapshot = params.snapshot.then(|| self.snapshot_name(&params));
        let replacement = {
            let (this, pool, kept) = (Arc::clone(self), Arc::clone(&pool), snapshot.clone());
            lengthy(move || {
                this.check_snapshots(&pool, &params)?;
                let config = this.config();
                let image = Image {
                    path: &path,
                    said: [&params.distribution, &params.version, &params.arch],
                    otherwise: [&config.distribution, &config.version, &config.arch],
                    limits: &limits,
                    audience: &audience,
                };
                this.make_replacement(&pool, &image, kept.as_deref())
            })
            .await?
        };
        failpoint!("reinstall.made");
        let data = replacement.data.clone();
        let noted = self.reconfigure(|config| {
            config.replacement = Some(replacement);
            Ok(())
        });
        if let Err(error) = noted.await {
            let (this, pool) = (Arc::clone(self), Arc::clone(&pool));
            let undone = blocking(move || {
                discard(&pool, &data)?;
                this.forget_old(&pool, snapshot.as_deref());
                Ok(())
            });
            let _ = undone.await;
            return Err(error);
        }
        failpoint!("reinstall.marked");
        if let Err(error) = self.finish_reinstallation().await {
            self.fail(&error);
            return Err(error.hint("`osctl ct recover state` goes on with it"));
        }
        if let Some(name) = snapshot {
            self.tell_snapshot(&name, Change::Add);
        }
        Ok(())
    }

    /// Puts the new data in place that its configuration names, if it names any.
    ///
    /// # Errors
    /// `Backend`: then it can be gone on with.
    pub(super) async fn finish_reinstallation(&self) -> Result<(), Error> {
        let Some(replacement) = self.config().replacement.clone() else {
            return Ok(());
        };
        let (_daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        let (place, id, data) = (Arc::clone(&pool), self.id.clone(), replacement.data.clone());
        blocking(move || replace(&place, &id, &data)).await?;
        failpoint!("reinstall.replaced");
        let done = self.reconfigure(|config| {
            replacement.apply(config);
            Ok(())
        });
        done.await?;
        pool.empty_trash();
        Ok(())
    }

    fn snapshot_name(&self, params: &api::Reinstall) -> String {
        let named = params.snapshot_name.clone().map(String::from);
        named.unwrap_or_else(|| schedule::time(snapshots::now()))
    }

    /// Refuses to use data that are to be replaced: what is written to them would be lost then.
    ///
    /// # Errors
    /// `InvalidState` while it is not reinstalled to the end, and does not run.
    pub(super) fn check_reinstalled(&self) -> Result<(), Error> {
        if self.run().is_some() || self.config().replacement.is_none() {
            return Ok(());
        }
        let unfinished = format!("the reinstallation of {} is not finished", self.label());
        Err(Error::state(unfinished).hint("`osctl ct recover state` goes on with it"))
    }

    fn check_snapshots(&self, pool: &Pool, params: &api::Reinstall) -> Result<(), Error> {
        let all = pool.storage.snapshots(self.id.as_str());
        let all = all.map_err(|e| Error::backend("cannot list its snapshots", e))?;
        let of_user = all.iter().filter(|s| !s.is_temporary());
        let names: Vec<&str> = of_user.clone().map(|s| s.name.as_str()).collect();
        if params.snapshot {
            if !snapshots::has_snapshots(pool) {
                return Err(Error::unsupported(format!(
                    "cannot keep the old files of container {} as a snapshot: a pool in a directory \
                     has no snapshots",
                    self.label()
                )));
            }
            let name = self.snapshot_name(params);
            if names.contains(&name.as_str()) {
                return Err(Error::exists(format!(
                    "snapshot {name} of container {} exists already",
                    self.label()
                )));
            }
            let mounted = of_user.clone().find(|s| s.mounted.is_some());
            return match mounted {
                None => Ok(()),
                Some(s) => Err(Error::state(format!(
                    "snapshot {} of container {} is mounted",
                    s.name,
                    self.label()
                ))
                .hint("take it out of the file tree with `osctl ct snapshot umount`")),
            };
        }
        if params.remove_snapshots || names.is_empty() {
            return Ok(());
        }
        Err(Error::state(format!(
            "container {} has snapshots, which would go with its old files: {}",
            self.label(),
            names.join(", ")
        ))
        .hint("keep them and the old files with --snapshot, or use --remove-snapshots"))
    }

    /// Makes the new data; `kept` is the snapshot that the old ones become.
    fn make_replacement(
        &self,
        pool: &Pool,
        image: &Image<'_>,
        kept: Option<&str>,
    ) -> Result<Replacement, Error> {
        if let Some(name) = kept {
            let made = pool.storage.snapshot(self.id.as_str(), name, None);
            let cannot = format!("cannot make snapshot {name} of container {}", self.label());
            made.map_err(snapshots::failed(cannot))?;
            let progress = &image.audience.progress;
            progress.say(format!("its old files are in snapshot {name}"));
        }
        match self.make_of_image(pool, image, kept) {
            Ok((data, system)) => Ok(Replacement { data, system }),
            Err(e) => {
                self.forget_old(pool, kept);
                Err(e)
            }
        }
    }

    /// Destroys a snapshot that was made in vain.
    fn forget_old(&self, pool: &Pool, name: Option<&str>) {
        let Some(name) = name else { return };
        // What was cloned of it goes first.
        let emptied = pool.storage.empty_trash(u64::MAX);
        let gone = emptied.and_then(|_| pool.storage.destroy_snapshot(self.id.as_str(), name));
        if let Err(e) = gone {
            let why = crate::error::chain(&e);
            tracing::warn!(id = %self.id, name, %why, "a snapshot that was made in vain stays");
        }
    }

    /// Makes new data from an image, with the quota of its own: what they are called, and what runs
    /// in them. With `kept`, they are the successor of its own in that snapshot.
    pub(super) fn make_of_image(
        &self,
        pool: &Pool,
        image: &Image<'_>,
        kept: Option<&str>,
    ) -> Result<(String, Distribution), Error> {
        let (data, path) = (storage::fresh_id(self.id.as_str()), image.path);
        let cancelled = || image.audience.cancel.is_cancelled();
        let tell = image.audience.progress.by_mebibytes("unpacking the image");
        let watch = Watch::new(&cancelled, &tell);
        let storage = pool.storage.as_ref();
        let made = match kept {
            None => {
                let cache = pool.images.as_ref();
                image::create_from(storage, cache, &data, path, image.limits, watch)
            }
            Some(name) => {
                image::unpack_by(storage.path(), path, image.limits, watch, &mut |populate| {
                    storage.create_successor(self.id.as_str(), name, &data, populate)
                })
            }
        };
        let facts = made
            .map_err(|e| Error::invalid_with(format!("cannot use image {}", path.display()), e))?;
        let found = [facts.distribution, facts.version, facts.arch];
        let [name, version, arch] = [0, 1, 2].map(|i| {
            let said = image.said[i].clone().or_else(|| found[i].clone());
            said.unwrap_or_else(|| image.otherwise[i].to_owned())
        });
        let system = Distribution::checked(name, version, arch)
            .and_then(|system| self.keep_quota(pool, &data).map(|()| system));
        system
            .map(|system| (data.clone(), system))
            .inspect_err(|_| {
                // The first error is the one that counts; should this fail, the next start does it.
                let _ = discard(pool, &data);
            })
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

/// Refuses an image that can't be opened. Blocks.
pub(super) fn check_opens(path: &Path) -> Result<(), Error> {
    // One that nobody writes to must not be waited for.
    let opened = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path);
    let failed = |e| Error::invalid_with(format!("cannot use image {}", path.display()), e);
    opened.map(drop).map_err(failed)
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

/// Leaves a container the data that it has, whatever was to take their place.
fn keep_own(pool: &Pool, id: &Name, data: &str) -> Result<(), Error> {
    let failed = |e| Error::backend(format!("cannot keep the data of {id}"), e);
    if pool.storage.exists(data).map_err(failed)? {
        // Those datasets and snapshots that were handed over already.
        let back = pool.storage.hand_over(data, id.as_str());
        back.map_err(failed)?;
    }
    discard(pool, data)
}

/// Finishes what was interrupted; a container that was started since, from its own data, keeps
/// those. To be called before data without a configuration are discarded.
pub(super) fn finish_replacements(
    pool: &Pool,
    configs: &mut [(Name, Config, u64)],
    may_run: impl Fn(&Name) -> bool,
) {
    for (id, config, generation) in configs {
        let Some(replacement) = config.replacement.clone() else {
            continue;
        };
        let mut done = config.clone();
        let has_own = || pool.storage.exists(id.as_str()).unwrap_or(true);
        let (settled, how) = match may_run(id) && has_own() {
            true => {
                done.replacement = None;
                (keep_own(pool, id, &replacement.data), "gave up")
            }
            false => {
                replacement.apply(&mut done);
                (replace(pool, id, &replacement.data), "finished")
            }
        };
        let settled = settled.and_then(|()| pool.save_container(id, &done, *generation + 1));
        match settled {
            Ok(()) => {
                tracing::info!(pool = %pool.name, %id, "{how} its reinstallation");
                *config = done;
                *generation += 1;
            }
            Err(e) => pool.add_problem(format!("container {id}"), e.chain()),
        }
    }
}
