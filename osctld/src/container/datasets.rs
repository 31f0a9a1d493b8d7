//! Datasets of a container: made, mounted in it, deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use osctl_api::mounts::{self as api, DatasetName, MountOptions, Mountpoint};

use super::mount::{self, Mount, Source};
use super::{Container, blocking};
use crate::error::Error;
use crate::failpoint;
use crate::pool::Pool;
use crate::storage;

/// A new dataset, and where it is mounted, if so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Planned {
    name: DatasetName,
    mount: Option<Mount>,
}

/// Where datasets are mounted in the container.
fn place_of<'a>(mut mounts: impl Iterator<Item = &'a Mount>, name: &DatasetName) -> Option<String> {
    let is_it = |m: &&'a Mount| m.source == Source::Dataset(name.clone());
    Some(mounts.find(is_it)?.mountpoint.to_string())
}

/// The place of a dataset that is told none: in that of the one above it.
fn default_place(mounts: &[Mount], name: &DatasetName) -> String {
    let above = match name.parent() {
        None => String::new(),
        Some(parent) => {
            let known = place_of(mounts.iter(), &parent);
            known.unwrap_or_else(|| default_place(mounts, &parent))
        }
    };
    format!("{above}/{}", name.base())
}

/// What has to be made for a new dataset: those above it that are missing, and itself.
fn plan(
    there: &BTreeSet<String>,
    mounts: &[Mount],
    name: &DatasetName,
    place: Option<Mountpoint>,
    mounted: bool,
) -> Result<Vec<Planned>, Error> {
    let mut missing = vec![name.clone()];
    while let Some(parent) = missing.last().and_then(DatasetName::parent)
        && !there.contains(parent.as_str())
    {
        missing.push(parent);
    }
    let mut mounts = mounts.to_vec();
    let mut planned = Vec::new();
    for dataset in missing.into_iter().rev() {
        let mountpoint = match &place {
            Some(place) if dataset == *name => place.clone(),
            _ => default_place(&mounts, &dataset)
                .parse()
                .map_err(|e| Error::invalid_with(format!("{dataset} needs a mountpoint"), e))?,
        };
        let mount = mounted.then(|| Mount {
            source: Source::Dataset(dataset.clone()),
            mountpoint,
            opts: MountOptions::of_dataset(false),
            automount: true,
        });
        mounts.extend(mount.clone());
        planned.push(Planned {
            name: dataset,
            mount,
        });
    }
    mount::check_all(mounts.iter())?;
    Ok(planned)
}

fn failed(e: storage::Error, what: String) -> Error {
    match e {
        storage::Error::Unsupported(why) => Error::unsupported(format!("{what}: {why}")),
        storage::Error::NoDataset { .. } => Error::not_found(e.to_string()),
        storage::Error::DatasetExists { .. } => Error::exists(e.to_string()),
        storage::Error::Name(_) => Error::invalid_with(what, e),
        e => Error::backend(what, e),
    }
}

impl Container {
    /// Its datasets as clients see them. Blocks.
    ///
    /// # Errors
    /// `Unsupported`, `Backend`.
    pub fn dataset_infos(&self, pool: &Pool) -> Result<Vec<api::Dataset>, Error> {
        let space = pool.storage.dataset_space(self.id.as_str());
        let cannot = || format!("cannot list the datasets of container {}", self.label());
        let space = space.map_err(|e| failed(e, cannot()))?;
        let config = self.config();
        let place = |name: &str| match name {
            "" => Some("/".to_owned()),
            name => place_of(config.mounts.iter(), &name.parse().ok()?),
        };
        let info = |(name, space): (String, storage::Space)| api::Dataset {
            mountpoint: place(&name),
            dataset: self.dataset(pool).join(&name).display().to_string(),
            name: match name.is_empty() {
                true => "/".to_owned(),
                false => name,
            },
            used: space.used,
            referenced: space.referenced,
            quota: space.quota,
        };
        Ok(space.into_iter().map(info).collect())
    }

    async fn dataset_names(&self, pool: &Arc<Pool>) -> Result<BTreeSet<String>, Error> {
        let (pool, id) = (Arc::clone(pool), self.id.clone());
        let cannot = format!("cannot list the datasets of container {}", self.label());
        blocking(move || {
            let names = pool.storage.datasets(id.as_str());
            Ok(names.map_err(|e| failed(e, cannot))?.into_iter().collect())
        })
        .await
    }

    /// Makes a dataset with those above it that are missing, and mounts them.
    ///
    /// # Errors
    /// `Unsupported`, `AlreadyExists`, `InvalidArgument`, `Backend`. Then all is as it was.
    pub async fn new_dataset(
        self: &Arc<Self>,
        name: &DatasetName,
        place: Option<Mountpoint>,
        mounted: bool,
    ) -> Result<(), Error> {
        if place.is_some() && !mounted {
            return Err(Error::invalid("what is not mounted needs no mountpoint"));
        }
        let _hold = self.hold_mounts("ct dataset new")?;
        let (_daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        let there = self.dataset_names(&pool).await?;
        if there.contains(name.as_str()) {
            let exists = format!("container {} has a dataset {name} already", self.label());
            return Err(Error::exists(exists)
                .hint("if it is not mounted, `osctl ct mounts dataset` mounts it"));
        }
        let planned = plan(&there, &self.all_mounts(), name, place, mounted)?;
        let mut made = Vec::new();
        let mut done = Ok(());
        for part in &planned {
            done = self.make_dataset(&pool, &part.name).await;
            if done.is_err() {
                break;
            }
            made.push(part.name.clone());
        }
        if done.is_ok() {
            done = self.mount_datasets(&planned).await;
        }
        if let (Err(_), Some(first)) = (&done, made.first()) {
            // The first error is the one that counts. All others are in that one.
            let _ = self.drop_dataset(&pool, first).await;
        }
        done
    }

    async fn mount_datasets(self: &Arc<Self>, planned: &[Planned]) -> Result<(), Error> {
        let mounts: Vec<Mount> = planned.iter().filter_map(|p| p.mount.clone()).collect();
        for (index, mount) in mounts.iter().enumerate() {
            if let Err(e) = self.add_mount_held(mount.clone()).await {
                for done in mounts[..index].iter().rev() {
                    let _ = self.remove_mount(&done.mountpoint).await;
                }
                return Err(e);
            }
        }
        Ok(())
    }

    async fn make_dataset(&self, pool: &Arc<Pool>, name: &DatasetName) -> Result<(), Error> {
        let (pool, id, name) = (Arc::clone(pool), self.id.clone(), name.clone());
        let cannot = format!("cannot make dataset {name} of container {}", self.label());
        blocking(move || {
            let made = pool.storage.create_dataset(id.as_str(), name.as_str());
            made.map_err(|e| failed(e, cannot))
        })
        .await
    }

    /// Bounds what the files of a dataset may take, in bytes; `None` for no bound.
    ///
    /// # Errors
    /// `NotFound`, `Unsupported`, `Backend`.
    pub async fn set_dataset_quota(
        self: &Arc<Self>,
        name: &DatasetName,
        bytes: Option<u64>,
    ) -> Result<(), Error> {
        let _hold = self.hold_mounts("ct dataset set")?;
        let (_daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        let (of, id, name) = (Arc::clone(&pool), self.id.clone(), name.clone());
        let cannot = format!(
            "cannot set the quota of dataset {name} of container {}",
            self.label()
        );
        blocking(move || {
            let set = of
                .storage
                .set_dataset_quota(id.as_str(), name.as_str(), bytes);
            set.map_err(|e| failed(e, cannot))
        })
        .await
    }

    /// Moves a dataset to the trash with all in it.
    async fn drop_dataset(&self, pool: &Arc<Pool>, name: &DatasetName) -> Result<(), Error> {
        let (of, id, name) = (Arc::clone(pool), self.id.clone(), name.clone());
        let cannot = format!("cannot delete dataset {name} of container {}", self.label());
        let dropped = blocking(move || {
            let dropped = of.storage.discard_dataset(id.as_str(), name.as_str());
            dropped.map_err(|e| failed(e, cannot))
        });
        dropped.await?;
        pool.empty_trash();
        Ok(())
    }

    /// Deletes a dataset: with those below it when `recursive`, and unmounted first when `unmount`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` when there are datasets below it, or it is mounted; why it can't
    /// be unmounted or deleted.
    pub async fn delete_dataset(
        self: &Arc<Self>,
        name: &DatasetName,
        recursive: bool,
        unmount: bool,
    ) -> Result<(), Error> {
        let _hold = self.hold_mounts("ct dataset del")?;
        let (_daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        let there = self.dataset_names(&pool).await?;
        if !there.contains(name.as_str()) {
            let missing = format!("container {} has no dataset {name}", self.label());
            return Err(Error::not_found(missing));
        }
        let inside = format!("{name}/");
        if !recursive && there.iter().any(|other| other.starts_with(&inside)) {
            let full = format!("dataset {name} has others in it");
            return Err(Error::state(full).hint("use -r to delete them too"));
        }
        let concerned = |m: &Mount| match &m.source {
            Source::Dataset(other) => other == name || name.contains(other),
            _ => false,
        };
        let mounts = self.all_mounts().into_iter().filter(concerned);
        let mounts = mount::in_order(mounts.collect());
        if let (Some(mount), false) = (mounts.first(), unmount) {
            let mounted = format!("dataset {name} is mounted on {}", mount.mountpoint);
            return Err(Error::state(mounted).hint("use -u to unmount it"));
        }
        for mount in mounts.iter().rev() {
            self.remove_mount(&mount.mountpoint).await?;
        }
        failpoint!("dataset.unmounted");
        self.drop_dataset(&pool, name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(
        there: &[&str],
        mounts: &[(&str, &str)],
        name: &str,
        place: Option<&str>,
    ) -> Result<Vec<(String, String)>, Error> {
        let mount = |(name, place): &(&str, &str)| Mount {
            source: Source::Dataset(name.parse().unwrap()),
            mountpoint: place.parse().unwrap(),
            opts: MountOptions::of_dataset(true),
            automount: true,
        };
        let mounts: Vec<Mount> = mounts.iter().map(mount).collect();
        let there = there.iter().map(|name| (*name).to_owned()).collect();
        let place = place.map(|p| p.parse().unwrap());
        let all = plan(&there, &mounts, &name.parse().unwrap(), place, true)?;
        let row = |p: Planned| (p.name.to_string(), p.mount.unwrap().mountpoint.to_string());
        Ok(all.into_iter().map(row).collect())
    }

    fn pairs(rows: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        rows.iter().map(owned).collect()
    }

    #[test]
    fn what_is_missing_is_made_and_mounted_in_what_is_above_it() {
        let one = planned(&[""], &[], "var", None).unwrap();
        assert_eq!(one, pairs(&[("var", "/var")]));
        let two = planned(&[""], &[], "var/lib", None).unwrap();
        assert_eq!(two, pairs(&[("var", "/var"), ("var/lib", "/var/lib")]));
        let told = planned(&[""], &[], "a/b", Some("/srv")).unwrap();
        assert_eq!(told, pairs(&[("a", "/a"), ("a/b", "/srv")]));
        let elsewhere = planned(&["", "a"], &[("a", "/mnt/a")], "a/b/c", None).unwrap();
        assert_eq!(
            elsewhere,
            pairs(&[("a/b", "/mnt/a/b"), ("a/b/c", "/mnt/a/b/c")])
        );
        let unmounted = planned(&["", "a"], &[], "a/b", None).unwrap();
        assert_eq!(unmounted, pairs(&[("a/b", "/a/b")]));
    }

    #[test]
    fn places_that_are_taken_or_not_to_be_had_are_refused_before_anything_is_made() {
        let taken = planned(&["", "a"], &[("a", "/b")], "b", None).unwrap_err();
        assert_eq!(taken.code(), osctl_api::Code::AlreadyExists);
        let reserved = planned(&[""], &[], "dev/x", None).unwrap_err();
        assert_eq!(reserved.code(), osctl_api::Code::InvalidArgument);
    }
}
