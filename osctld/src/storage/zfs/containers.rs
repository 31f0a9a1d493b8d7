//! Making, renaming and measuring containers.
//!
//! A new container is marked by a file before its dataset gets its name. All that is written to a
//! pool of ZFS gets to the disk in the order of writing, at the latest with the next operation
//! on datasets, so that the mark is there whenever the dataset is.

use nix::errno::Errno;
use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks};
use osctl_linux::zfs::InUse;

use super::mounts::{self, Allow};
use super::names::{CT, staging};
use super::snapshots::temporary;
use super::{ROOTFS, ZfsStorage, failed, program, unmounted};
use crate::failpoint;
use crate::storage::transfer::temporary_snapshot;
use crate::storage::{Error, Populate, Result, Space, Storage, check_id};

use std::collections::BTreeMap;

/// Directory of the marks of new containers.
pub(super) const MARKS: &str = "ct/.new";

/// A failure of what is done in the pool's directory.
fn io(
    action: &'static str,
    what: impl Into<String>,
) -> impl FnOnce(osctl_linux::error::Error) -> Error {
    let what = what.into();
    move |e| Error::io(action, what, e)
}

impl ZfsStorage {
    fn mark_path(id: &str) -> String {
        format!("{MARKS}/{id}")
    }

    /// Notes that a container is new; fine when it is noted.
    pub(super) fn mark(&self, id: &str) -> Result<()> {
        let made = self
            .root()?
            .mknod(Self::mark_path(id), Kind::File, 0o600, (0, 0));
        match made {
            Err(e) if e.errno() != Errno::EEXIST => {
                Err(io("mark", format!("data of container {id}"))(e))
            }
            _ => Ok(()),
        }
    }

    /// Notes that a container is new no more, or gone; fine when it is noted.
    pub(super) fn unmark(&self, id: &str) -> Result<()> {
        match self.root()?.unlink(Self::mark_path(id)) {
            Err(e) if e.errno() != Errno::ENOENT => {
                Err(io("complete", format!("data of container {id}"))(e))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn is_marked(&self, id: &str) -> Result<bool> {
        let stat = self.root()?.try_stat(Self::mark_path(id));
        Ok(stat.map_err(io("examine", MARKS))?.is_some())
    }

    /// Makes a dataset below the pool with a filled root directory in it, not mounted after that.
    pub(super) fn fill(&self, relative: &str, id: &str, populate: Populate<'_>) -> Result<()> {
        let dataset = self.base.below(relative);
        let what = || format!("data of {id}");
        let made = self.zfs()?.create(&dataset, &unmounted());
        made.map_err(failed("make", what()))?;
        let filled = self.fill_mounted(relative, id, populate);
        let detached = mounts::detach(&self.at(relative));
        filled.and(detached)
    }

    pub(super) fn fill_mounted(
        &self,
        relative: &str,
        id: &str,
        populate: Populate<'_>,
    ) -> Result<()> {
        let what = || format!("data of {id}");
        let path = self.ensure_at(relative, Allow::Data)?;
        let top =
            Root::open_tree(&path, Symlinks::Refuse, Mounts::Refuse).map_err(io("open", what()))?;
        top.chmod(".", 0o700).map_err(io("make", what()))?;
        top.mkdir(ROOTFS, 0o700).map_err(io("make", what()))?;
        top.chmod(ROOTFS, 0o755).map_err(io("make", what()))?;
        let tree = top.dir(ROOTFS).map_err(io("open", what()))?;
        populate(&tree).map_err(|source| Error::populate(id, source))?;
        failpoint!("storage.populated");
        let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY;
        let dir = top.open(".", flags, 0).map_err(io("open", what()))?;
        mounts::sync(&dir, &what())
    }

    pub(super) fn make_container(&self, id: &str, populate: Populate<'_>) -> Result<()> {
        let target = self.base.container(id)?;
        if self.exists(id)? {
            return Err(Error::Exists(id.to_owned()));
        }
        let new = staging(CT, id);
        let made = self.fill(&new, id, populate).and_then(|()| {
            self.mark(id)?;
            match self.zfs()?.rename(&self.base.below(&new), &target) {
                Ok(()) => Ok(()),
                Err(e) if e.is(Errno::EEXIST) => Err(Error::Exists(id.to_owned())),
                Err(e) => Err(failed("make", format!("data of container {id}"))(e)),
            }
        });
        if made.is_err() {
            // The first error is the one that counts; should this fail, the next start does it.
            let _ = self.discard(&new, id);
            return made;
        }
        failpoint!("storage.created");
        Ok(())
    }

    pub(super) fn clone_container(&self, id: &str, image: &str) -> Result<()> {
        let (snapshot, target) = (self.base.image_snapshot(image)?, self.base.container(id)?);
        if self.exists(id)? {
            return Err(Error::Exists(id.to_owned()));
        }
        self.mark(id)?;
        let cloned = self.zfs()?.clone(&snapshot, &target, &unmounted());
        cloned.map_err(|e| {
            if e.is(Errno::EEXIST) {
                return Error::Exists(id.to_owned());
            }
            // A mark without a container means nothing; should this fail, the next start does it.
            let _ = self.unmark(id);
            match e.is(Errno::ENOENT) {
                true => Error::NoImage(image.to_owned()),
                false => failed("make", format!("data of container {id}"))(e),
            }
        })?;
        failpoint!("storage.created");
        Ok(())
    }

    /// Clones what a container has now. The snapshot for that goes with the clone.
    pub(super) fn clone_own(&self, id: &str, to: &str) -> Result<()> {
        let (source, target) = (self.base.container(id)?, self.base.container(to)?);
        if !self.exists(id)? {
            return Err(Error::NotFound(id.to_owned()));
        }
        if self.exists(to)? {
            return Err(Error::Exists(to.to_owned()));
        }
        let snapshot = format!("{source}@{}", temporary_snapshot("run"));
        let made = self.zfs()?.snapshot(&[&snapshot], &temporary());
        made.map_err(failed("make", &snapshot))?;
        self.mark(to)?;
        let cloned = self.zfs()?.clone(&snapshot, &target, &unmounted());
        let dropped = self.zfs()?.destroy_snapshots(&[&snapshot], InUse::Later);
        if let Err(e) = cloned {
            // A mark without a container means nothing; should this fail, the next start does it.
            let _ = self.unmark(to);
            return Err(failed("make", format!("data of container {to}"))(e));
        }
        failpoint!("storage.created");
        if let Err(e) = dropped {
            // It is a temporary one: the next import destroys it.
            tracing::warn!("cannot release {snapshot}: {e}");
        }
        Ok(())
    }

    pub(super) fn rename_container(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (self.base.container(from)?, self.base.container(to)?);
        if !self.exists(from)? {
            return Err(Error::NotFound(from.to_owned()));
        }
        if self.exists(to)? {
            return Err(Error::Exists(to.to_owned()));
        }
        if self.is_marked(from)? {
            self.mark(to)?;
        }
        let renamed = self.zfs()?.rename(&source, &target);
        renamed.map_err(failed("rename", format!("data of container {from}")))?;
        // It is mounted again at its new place when it is needed.
        mounts::detach(&self.at(&format!("{CT}/{from}")))?;
        self.unmount_snapshots(from)?;
        self.unmark(from)
    }

    /// Moves the datasets below a container's own to another one's.
    pub(super) fn move_children(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (self.base.container(from)?, self.base.container(to)?);
        let below = format!("{source}/");
        let mut mounted = mounts::all()?;
        mounted.retain(|mount| mount.dataset.starts_with(&below));
        // The innermost was mounted last.
        for mount in mounted.iter().rev() {
            mounts::detach(&mount.path)?;
        }
        for child in self.children(&format!("{CT}/{from}"))? {
            let (old, new) = (format!("{source}/{child}"), format!("{target}/{child}"));
            let renamed = self.zfs()?.rename(&old, &new);
            renamed.map_err(failed("move", old))?;
        }
        Ok(())
    }

    /// Names of the file systems right below a dataset of the pool.
    pub(super) fn children(&self, relative: &str) -> Result<Vec<String>> {
        let parent = self.base.below(relative);
        let rows = self.ask(&[
            "list",
            "-Hp",
            "-r",
            "-d",
            "1",
            "-t",
            "filesystem",
            "-o",
            "name",
            &parent,
        ])?;
        let names = rows.iter().filter_map(|row| row.first());
        let below = names.filter_map(|name| name.strip_prefix(&parent)?.strip_prefix('/'));
        Ok(below.map(str::to_owned).collect())
    }

    pub(super) fn all_space(&self) -> Result<BTreeMap<String, Space>> {
        let rows = self.space_below(&self.base.below(CT))?;
        Ok(sums(rows))
    }

    pub(super) fn container_usage(&self, id: &str) -> Result<u64> {
        let dataset = self.base.container(id)?;
        if !self.exists(id)? {
            return Err(Error::NotFound(id.to_owned()));
        }
        let rows = self.ask(&["get", "-Hp", "-o", "value", "used", &dataset])?;
        let used = rows.first().and_then(|row| program::number(row.first()?));
        used.ok_or_else(|| Error::io("measure", dataset, "zfs did not tell"))
    }

    pub(super) fn set_container_quota(&self, id: &str, bytes: Option<u64>) -> Result<()> {
        check_id(id)?;
        if !self.exists(id)? {
            return Err(Error::NotFound(id.to_owned()));
        }
        self.bound(&self.base.container(id)?, bytes)
    }

    /// Bounds what the files of one dataset may take.
    pub(super) fn bound(&self, dataset: &str, bytes: Option<u64>) -> Result<()> {
        let value = bytes.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
        let property = format!("refquota={value}");
        self.ask(&["set", &property, dataset]).map(drop)
    }
}

/// What each container takes, of what the datasets below `ct` take; what is in its own dataset
/// counts as used by that already.
fn sums(rows: Vec<(String, Space)>) -> BTreeMap<String, Space> {
    let mut all = BTreeMap::<String, Space>::new();
    for (name, space) in rows {
        let (id, below) = name.split_once('/').unwrap_or((&name, ""));
        if check_id(id).is_err() {
            continue;
        }
        let sum = all.entry(id.to_owned()).or_default();
        sum.referenced += space.referenced;
        if below.is_empty() {
            (sum.used, sum.quota) = (space.used, space.quota);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containers_take() {
        let space = |used, referenced, quota| Space {
            used,
            referenced,
            quota,
        };
        let rows = [
            ("", space(99, 0, None)),
            ("a", space(9, 2, Some(8))),
            ("a/b", space(4, 4, None)),
            ("a/b/c", space(3, 1, Some(5))),
            ("gone.x.1-2", space(1, 1, None)),
            ("new.a.1-2", space(1, 1, None)),
        ];
        let sums = sums(rows.map(|(name, space)| (name.to_owned(), space)).into());
        assert_eq!(sums.len(), 1);
        assert_eq!(sums["a"], space(9, 7, Some(8)));
    }
}
