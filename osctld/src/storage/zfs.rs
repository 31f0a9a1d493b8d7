//! The back end `zfs`: a dataset tree, containers that are clones of images.
//!
//! ```text
//! POOL/ct/ID                  a container; its root directory is private/ in it, ids unshifted
//! POOL/ct/new.ID.RAND         one that is being made
//! POOL/ct/ID/REL…             a dataset in it
//! POOL/ct/ID@NAME             a snapshot of it; POOL/ct/ID/REL…@NAME of the same moment
//! POOL/repository/KEY@image   an image, which containers are cloned of
//! POOL/repository/new.KEY.RAND
//! POOL/trash/NAME.RAND        what is to be destroyed
//! POOL/ct/gone.ID.RAND        such a container, when there was no room in the trash
//! POOL/conf POOL/log POOL/hook     others' business; made here
//! ```
//! In the file tree it looks like a pool in a directory. `ct/.new/ID` is there while a container
//! has no configuration yet. The names of datasets are the truth; what is mounted where follows
//! from them, and is made good whenever it is needed: ZFS itself mounts nothing of it.

mod containers;
mod datasets;
mod images;
mod keys;
mod layout;
mod mounts;
mod names;
mod program;
mod property;
mod recover;
mod rollback;
mod rows;
mod settle;
mod snapshots;
mod state;
mod streams;
mod succession;
mod trash;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use osctl_linux::beneath::{Mounts, Root, Symlinks};
use osctl_linux::zfs::{Value, Zfs};

use self::mounts::Allow;
use self::names::{Base, CT, gone};
use super::datasets::ROOTFS;
use super::{
    Along, Disk, Emptied, Error, Form, Note, Populate, Result, Space, Storage, Trashed, Watch,
    check_id, text,
};

pub use keys::unlock;
pub use property::{Installed, check, install, installed, uninstall};

/// Why nothing of what is done on ZFS is limited.
pub(super) const NO_IO_LIMITS: Error = Error::Unsupported(
    "ZFS reads and writes in threads of its own, which the kernel charges to no container, \
     and OpenZFS has no limits of its own",
);

/// `canmount=noauto`, as the kernel numbers it: mounted by us only.
const NOAUTO: u64 = 2;

/// A pool in ZFS.
#[derive(Debug)]
pub struct ZfsStorage {
    base: Base,
    path: PathBuf,
    tree: Root,
}

fn failed(action: &'static str, what: impl Into<String>) -> impl FnOnce(Failure) -> Error {
    let what = what.into();
    move |e| Error::io(action, what, e)
}

/// Destroys a dataset of a test with all that is in it.
#[cfg(test)]
pub(super) fn destroy(dataset: &str) -> Result<()> {
    let pool = Base::new(dataset)?;
    program::zfs(pool.pool(), &["destroy", "-R", "-f", dataset]).map(drop)
}

type Failure = osctl_linux::zfs::Error;

/// Properties of a dataset that we mount ourselves.
fn unmounted() -> [(&'static str, Value); 1] {
    [("canmount", Value::Number(NOAUTO))]
}

impl ZfsStorage {
    /// The library, for one call: whether the pool answers is asked each time.
    fn zfs(&self) -> Result<&'static Zfs> {
        state::library(self.base.pool())
    }

    /// What the program says.
    fn ask(&self, args: &[&str]) -> Result<Vec<program::Row>> {
        program::zfs(self.base.pool(), args)
    }

    /// The pool's directory, for one call.
    fn root(&self) -> Result<&Root> {
        state::check(self.base.pool()).map(|()| &self.tree)
    }

    /// Where a dataset below the pool is mounted.
    fn at(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    fn exists_below(&self, relative: &str) -> Result<bool> {
        let dataset = self.base.below(relative);
        let exists = self.zfs()?.exists(&dataset);
        exists.map_err(failed("look for", dataset))
    }

    /// Mounts a dataset below the pool at its place, unless it is there.
    fn ensure_at(&self, relative: &str, allow: Allow) -> Result<PathBuf> {
        let path = self.at(relative);
        if mounts::is_mountpoint(&path)? {
            return Ok(path);
        }
        match mounts::mount(&self.base.below(relative), &path, allow) {
            // Somebody else was quicker.
            Err(_) if mounts::is_mountpoint(&path)? => Ok(path),
            Err(_) if keys::is_locked(&self.base.below(relative)) => {
                Err(Error::Locked(self.base.below(relative)))
            }
            result => result.map(|()| path),
        }
    }

    /// Moves a dataset below the pool to the trash, busy or not; false when there is none.
    fn discard(&self, relative: &str, what: &str) -> Result<bool> {
        let from = self.base.below(relative);
        let is_container = Path::new(relative).parent() == Some(Path::new(CT));
        let moved = match self.zfs()?.rename(&from, &self.base.trashed(what)) {
            // What changes its parent is counted anew, and is too much for a pool that is overfull
            // already; and a clone of what has a key of its own stays below that key's parent.
            Err(e) if (e.is(Errno::ENOSPC) || e.is(Errno::EACCES)) && is_container => {
                self.zfs()?.rename(&from, &self.base.below(&gone(what)))
            }
            moved => moved,
        };
        match moved {
            Ok(()) => {
                crate::failpoint!("storage.trashed");
                mounts::detach(&self.at(relative))?;
                Ok(true)
            }
            Err(e) if e.is(Errno::ENOENT) => Ok(false),
            Err(e) => Err(failed("discard", what)(e)),
        }
    }

    fn open_private(&self, id: &str) -> Result<Root> {
        let path = self.rootfs(id)?;
        Root::open_tree(path, Symlinks::Refuse, Mounts::Refuse)
            .map_err(|e| Error::io("open", format!("data of container {id}"), e))
    }
}

impl Storage for ZfsStorage {
    fn backend(&self) -> &'static str {
        "zfs"
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn ensure_layout(&self) -> Result<Vec<String>> {
        self.make_layout()
    }

    fn recover(&self, known: &dyn Fn(&str) -> bool) -> Vec<Note> {
        self.tidy_up(known)
    }

    fn create(&self, id: &str, populate: Populate<'_>) -> Result<()> {
        self.make_container(id, populate)
    }

    fn create_from(&self, id: &str, image: &str, _watch: Watch<'_>) -> Result<()> {
        self.clone_container(id, image)
    }

    fn copy_own(&self, id: &str, to: &str) -> Result<()> {
        self.clone_own(id, to)
    }

    fn is_new(&self, id: &str) -> Result<bool> {
        Ok(self.is_marked(id)? && self.exists(id)?)
    }

    fn complete(&self, id: &str) -> Result<()> {
        match self.exists(id)? {
            true => self.unmark(id),
            false => Err(Error::NotFound(id.to_owned())),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_container(from, to)
    }

    fn create_successor(
        &self,
        id: &str,
        name: &str,
        to: &str,
        populate: Populate<'_>,
    ) -> Result<()> {
        self.make_successor((id, name), to, populate)
    }

    fn hand_over(&self, from: &str, to: &str) -> Result<()> {
        self.move_snapshots(from, to)?;
        self.move_children(from, to)
    }

    fn trash(&self, id: &str) -> Result<()> {
        check_id(id)?;
        if !self.discard(&format!("{CT}/{id}"), id)? {
            return Err(Error::NotFound(id.to_owned()));
        }
        self.unmount_snapshots(id)?;
        self.forget_rollbacks_of(id)?;
        self.unmark(id)
    }

    fn trashed(&self) -> Result<Vec<Trashed>> {
        self.list_trash()
    }

    fn empty_trash(&self, limit: u64) -> Result<Emptied> {
        self.destroy_some(limit)
    }

    fn keep_image(&self, key: &str, populate: Populate<'_>) -> Result<()> {
        self.put_image(key, populate)
    }

    fn has_image(&self, key: &str) -> Result<bool> {
        let snapshot = self.base.image_snapshot(key)?;
        let exists = self.zfs()?.exists(&snapshot);
        exists.map_err(failed("look for", snapshot))
    }

    fn images(&self) -> Result<Vec<String>> {
        self.image_keys()
    }

    fn discard_image(&self, key: &str) -> Result<()> {
        self.drop_image(key)
    }

    fn dataset(&self, id: &str) -> Result<PathBuf> {
        check_id(id)?;
        Ok(self.at(&format!("{CT}/{id}")))
    }

    fn rootfs(&self, id: &str) -> Result<PathBuf> {
        Ok(self.dataset(id)?.join(ROOTFS))
    }

    fn ensure_mounted(&self, id: &str) -> Result<()> {
        if !self.exists(id)? {
            return Err(Error::NotFound(id.to_owned()));
        }
        self.ensure_at(&format!("{CT}/{id}"), Allow::Setuid)
            .map(drop)
    }

    fn open_rootfs(&self, id: &str) -> Result<Root> {
        self.ensure_mounted(id)?;
        self.open_private(id)
    }

    fn exists(&self, id: &str) -> Result<bool> {
        check_id(id)?;
        self.exists_below(&format!("{CT}/{id}"))
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut ids = self.children(CT)?;
        ids.retain(|id| check_id(id).is_ok());
        ids.sort();
        Ok(ids)
    }

    fn usage(&self, id: &str, watch: Watch<'_>) -> Result<u64> {
        if watch.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.container_usage(id)
    }

    fn space(&self) -> Result<BTreeMap<String, Space>> {
        self.all_space()
    }

    fn disk(&self) -> Result<Disk> {
        Err(NO_IO_LIMITS)
    }

    fn set_quota(&self, id: &str, bytes: Option<u64>) -> Result<()> {
        self.set_container_quota(id, bytes)
    }

    fn send(
        &self,
        id: &str,
        dataset: &str,
        from: Option<&str>,
        to: &str,
        form: Form,
        out: BorrowedFd<'_>,
    ) -> Result<()> {
        self.write_stream((id, dataset), (from, to), form, out)
    }

    fn send_size(
        &self,
        id: &str,
        dataset: &str,
        from: Option<&str>,
        to: &str,
        form: Form,
    ) -> Result<u64> {
        self.stream_size((id, dataset), (from, to), form)
    }

    fn receive(&self, id: &str, dataset: &str, input: BorrowedFd<'_>) -> Result<Vec<String>> {
        self.read_stream(id, dataset, input)
    }

    fn send_all(
        &self,
        id: &str,
        dataset: &str,
        (from, to): (&str, &str),
        form: Form,
        out: BorrowedFd<'_>,
    ) -> Result<()> {
        self.write_streams((id, dataset), (from, to), form, out)
    }

    fn settle(&self, id: &str, along: Along) -> Result<Vec<String>> {
        self.settle_received(id, along)
    }

    fn trouble(&self) -> Option<String> {
        let answers = state::check(self.base.pool());
        answers.err().map(|e| text(&e))
    }

    fn close(&self) {
        // What is unmounted of a suspended pool is waited for too.
        match self.trouble() {
            Some(trouble) => tracing::warn!("{trouble}; it stays mounted"),
            None => self.unmount_all(),
        }
    }
}
