//! Removing a whole directory of a tree, in bounded portions.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::RenameFlags;
use nix::unistd::UnlinkatFlags;

use super::{Kind, Mounts, Root, Symlinks};
use crate::error::{Error, Result};

/// Levels that are worked on with a descriptor each. What is deeper is moved up first: a guest
/// can nest directories without end, descriptors and stack have one.
const MAX_DEPTH: usize = 64;
/// Names that are read of one directory before they are removed: bounds memory.
const BATCH: usize = 1024;

/// What a bounded removal came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// Objects that were removed.
    pub removed: u64,
    /// Whether nothing is left.
    pub done: bool,
    /// What could not be removed, the first few.
    pub errors: Vec<Error>,
}

/// Errors that are kept of one removal.
const MAX_ERRORS: usize = 8;

struct Work<'a> {
    /// The directory that is being removed; deep directories are moved here.
    top: &'a Root,
    left: u64,
    moved: u64,
    out: Removal,
}

impl Work<'_> {
    fn failed(&mut self, e: Error) {
        if self.out.errors.len() < MAX_ERRORS {
            self.out.errors.push(e);
        }
    }

    fn count(&mut self) {
        self.out.removed += 1;
        self.left = self.left.saturating_sub(1);
    }

    /// Moves a directory that lies too deep up to the top, under a name that is free there.
    fn move_up(&mut self, dir: &Root, name: &OsStr) -> Result<()> {
        loop {
            let free = format!(".deep-{}", self.moved);
            self.moved += 1;
            let done = nix::fcntl::renameat2(
                &dir.fd,
                name,
                &self.top.fd,
                free.as_str(),
                RenameFlags::RENAME_NOREPLACE,
            );
            match done {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST) => {}
                Err(e) => return Err(dir.error("renameat2", Path::new(name), e)),
            }
        }
    }

    /// Empties `dir`. True when nothing is left in it.
    fn empty(&mut self, dir: &Root, depth: usize) -> Result<bool> {
        let mut clean = true;
        loop {
            let mut batch: Vec<(OsString, Option<Kind>)> = Vec::new();
            let mut more = false;
            for entry in dir.read_dir(".")? {
                let entry = entry?;
                if batch.len() == BATCH {
                    more = true;
                    break;
                }
                batch.push((entry.name, entry.kind));
            }
            let mut progress = false;
            for (name, kind) in &batch {
                if self.left == 0 {
                    return Ok(false);
                }
                match self.entry(dir, name, *kind, depth) {
                    Ok(true) => progress = true,
                    Ok(false) => clean = false,
                    Err(e) => {
                        clean = false;
                        self.failed(e);
                    }
                }
            }
            if !more {
                return Ok(clean);
            }
            if !progress {
                return Ok(false);
            }
            // The next round reads from the start again and meets what failed once more.
            clean = true;
        }
    }

    /// Removes one name. False when something is left of it, which has been noted.
    fn entry(
        &mut self,
        dir: &Root,
        name: &OsStr,
        kind: Option<Kind>,
        depth: usize,
    ) -> Result<bool> {
        let path = Path::new(name);
        if kind != Some(Kind::Dir) {
            match dir.unlink(path) {
                Ok(()) => {
                    self.count();
                    return Ok(true);
                }
                Err(e) if e.errno() == Errno::ENOENT => return Ok(true),
                Err(e) if e.errno() == Errno::EISDIR => {}
                Err(e) => return Err(e),
            }
        }
        match nix::unistd::unlinkat(&dir.fd, path, UnlinkatFlags::RemoveDir) {
            Ok(()) => {
                self.count();
                return Ok(true);
            }
            Err(Errno::ENOENT) => return Ok(true),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(e) => return Err(dir.error("unlinkat", path, e)),
        }
        if depth >= MAX_DEPTH {
            self.move_up(dir, name)?;
            return Ok(true);
        }
        let below = dir.dir(path)?;
        if !self.empty(&below, depth + 1)? {
            return Ok(false);
        }
        match dir.rmdir(path) {
            Ok(()) => {
                self.count();
                Ok(true)
            }
            Err(e) if e.errno() == Errno::ENOENT => Ok(true),
            Err(e) => Err(e),
        }
    }
}

impl Root {
    /// Removes what is at `path`, a directory with all that is in it, and stops after about
    /// `limit` objects; call again until [`Removal::done`]. Symbolic links are removed, not
    /// followed; mount points are not entered (`EXDEV`, `EBUSY`). What can't be removed is noted
    /// and the rest goes on. What does not exist is done.
    pub fn remove_some(&self, path: impl AsRef<Path>, limit: u64) -> Result<Removal> {
        let path = path.as_ref();
        let mut out = Removal::default();
        let Some(stat) = self.try_stat(path)? else {
            out.done = true;
            return Ok(out);
        };
        if stat.kind() != Kind::Dir {
            self.unlink(path)?;
            out.removed = 1;
            out.done = true;
            return Ok(out);
        }
        let (parent, name) = self.parent("remove_some", path)?;
        let parent = parent
            .into_owned()
            .map_err(|e| self.error("fcntl", path, e))?;
        let parent = Root::from_fd(parent, Symlinks::Refuse, Mounts::Refuse);
        let top = parent.dir(name)?;
        let mut work = Work {
            top: &top,
            left: limit.max(1),
            moved: 0,
            out,
        };
        loop {
            let before = (work.out.removed, work.moved);
            let clean = work.empty(&top, 0)?;
            if work.left == 0 {
                return Ok(work.out);
            }
            if clean {
                match parent.rmdir(name) {
                    Ok(()) => {
                        work.count();
                        work.out.done = true;
                        return Ok(work.out);
                    }
                    // What was moved up while the names had been read already.
                    Err(e) if e.errno() == Errno::ENOTEMPTY => {}
                    Err(e) if e.errno() == Errno::ENOENT => {
                        work.out.done = true;
                        return Ok(work.out);
                    }
                    Err(e) => return Err(e),
                }
            }
            if before == (work.out.removed, work.moved) || !work.out.errors.is_empty() {
                return Ok(work.out);
            }
        }
    }

    /// Removes what is at `path`, a directory with all that is in it; see [`Root::remove_some`].
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        loop {
            let round = self.remove_some(path, u64::MAX)?;
            if let Some(e) = round.errors.into_iter().next() {
                return Err(e);
            }
            if round.done {
                return Ok(());
            }
            if round.removed == 0 {
                return Err(self.error("remove_dir_all", path, Errno::ENOTEMPTY));
            }
        }
    }
}
