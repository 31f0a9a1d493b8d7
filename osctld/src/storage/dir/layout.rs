//! The directories of a pool: made, checked and repaired.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks};

use super::{CT, DirStorage, failed};
use crate::failpoint;
use crate::storage::layout::{LAYOUT, ensure_dir};
use crate::storage::{Error, Result};

/// What tells a pool from any other directory.
const MARKS: [&str; 2] = ["ct", "conf"];

impl DirStorage {
    /// Makes a pool of the directory at `path`, which is made when it is missing. One that holds
    /// anything but a pool is refused.
    pub fn install(path: impl Into<PathBuf>) -> Result<DirStorage> {
        let path = path.into();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|e| Error::io("make", path.display().to_string(), e))?;
        let storage = DirStorage::unchecked(path)?;
        if !storage.is_pool()? && !storage.is_empty()? {
            return Err(Error::NotEmpty(storage.path));
        }
        storage.ensure_dirs()?;
        Ok(storage)
    }

    /// Opens the pool at `path`. Its directories are seen to by [`Storage::ensure_layout`].
    pub fn open(path: impl Into<PathBuf>) -> Result<DirStorage> {
        let storage = DirStorage::unchecked(path.into())?;
        if !storage.is_pool()? {
            return Err(Error::NotAPool(storage.path));
        }
        Ok(storage)
    }

    fn unchecked(path: PathBuf) -> Result<DirStorage> {
        let root = Root::open_tree(&path, Symlinks::Refuse, Mounts::Refuse)
            .map_err(failed("open", path.display().to_string()))?;
        Ok(DirStorage { path, root })
    }

    fn is_pool(&self) -> Result<bool> {
        for mark in MARKS {
            if self.stat_kind(mark)? != Some(Kind::Dir) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_empty(&self) -> Result<bool> {
        for entry in self.read_dir(".")? {
            // A crash may have come between making the directories of an earlier attempt.
            let name = entry?;
            if name != "lost+found" && !LAYOUT.contains(&name.as_str()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the file system to keep containers apart: ext4 then puts each into block groups of
    /// its own, so that making one is not slowed down by the traces of those deleted before.
    fn spread(&self, dir: &str) -> Result<()> {
        let shown = self.path.join(dir).display().to_string();
        let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY;
        let dir = self
            .root
            .open(dir, flags, 0)
            .map_err(failed("open", shown))?;
        // Others have no such flag.
        if let Ok(flags) = rustix::fs::ioctl_getflags(&dir)
            && !flags.contains(rustix::fs::IFlags::TOPDIR)
        {
            let _ = rustix::fs::ioctl_setflags(&dir, flags | rustix::fs::IFlags::TOPDIR);
        }
        Ok(())
    }

    /// Makes what is missing and repairs modes; tells what it did.
    pub(super) fn ensure_dirs(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        for dir in std::iter::once(".").chain(LAYOUT) {
            done.extend(ensure_dir(&self.path, &self.root, dir)?);
            failpoint!("storage.layout");
        }
        if !done.is_empty() {
            for dir in [CT, "repository"] {
                self.spread(dir)?;
            }
            for dir in [".", "conf", "log"] {
                self.sync(dir)?;
            }
        }
        Ok(done)
    }
}
