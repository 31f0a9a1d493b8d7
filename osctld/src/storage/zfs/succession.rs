//! Data that take the place of a container's and keep its snapshots.
//!
//! They are a clone of the newest snapshot, emptied and filled anew. When they take the old ones'
//! place they are promoted: with that all snapshots are theirs, and the old data are a clone of one,
//! which nobody needs.

use osctl_linux::beneath::{Mounts, Root, Symlinks};

use super::mounts::{self, Allow};
use super::names::CT;
use super::{ROOTFS, ZfsStorage, failed, unmounted};
use crate::failpoint;
use crate::storage::snapshots::check_name;
use crate::storage::{Error, Populate, Result, Storage};

impl ZfsStorage {
    pub(super) fn make_successor(
        &self,
        (id, name): (&str, &str),
        to: &str,
        populate: Populate<'_>,
    ) -> Result<()> {
        check_name(name)?;
        let snapshot = format!("{}@{name}", self.base.container(id)?);
        let target = self.base.container(to)?;
        if self.exists(to)? {
            return Err(Error::Exists(to.to_owned()));
        }
        self.mark(to)?;
        let cloned = self.zfs()?.clone(&snapshot, &target, &unmounted());
        if let Err(e) = cloned {
            // A mark without a container means nothing; should this fail, the next start does it.
            let _ = self.unmark(to);
            return Err(failed("make", format!("data of container {to}"))(e));
        }
        let relative = format!("{CT}/{to}");
        let filled = self
            .empty(&relative, id)
            .and_then(|()| self.fill_mounted(&relative, to, populate));
        let made = filled.and(mounts::detach(&self.at(&relative)));
        if made.is_err() {
            // The first error is the one that counts; should this fail, the next start does it.
            let _ = self.trash(to);
            return made;
        }
        failpoint!("storage.created");
        Ok(())
    }

    /// Removes the root directory in a dataset.
    fn empty(&self, relative: &str, id: &str) -> Result<()> {
        let what = || format!("old data of {id}");
        let failed = |e: osctl_linux::error::Error| Error::io("remove", what(), e);
        let path = self.ensure_at(relative, Allow::Data)?;
        let top = Root::open_tree(&path, Symlinks::Refuse, Mounts::Refuse).map_err(failed)?;
        let removed = top.remove_some(ROOTFS, u64::MAX).map_err(failed)?;
        match removed.errors.into_iter().next() {
            Some(e) => Err(failed(e)),
            None => Ok(()),
        }
    }

    /// Gives data all snapshots of those that they are a clone of; fine when they are no such clone,
    /// or none any more.
    pub(super) fn move_snapshots(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (self.base.container(from)?, self.base.container(to)?);
        let rows = self.ask(&["get", "-Hp", "-o", "value", "origin", &target])?;
        let origin = rows.first().and_then(|row| row.first()?.split_once('@'));
        if origin.is_none_or(|(dataset, _)| dataset != source) {
            return Ok(());
        }
        self.unmount_snapshots(from)?;
        self.ask(&["promote", &target])?;
        failpoint!("storage.promoted");
        Ok(())
    }
}
