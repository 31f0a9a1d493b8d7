//! Directories of a tree of any depth, referred to without keeping one descriptor each.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use osctl_linux::beneath::{Mounts, Root, Symlinks};
use osctl_linux::error::Result;

/// Longest path that is resolved in one go; well below `PATH_MAX`, so that a name fits.
const MAX_RELATIVE: usize = 2048;

/// A directory of a tree: a base that is open and a path from there. A base is opened every
/// couple of thousand bytes of path, so that neither descriptors nor `PATH_MAX` bound the depth.
#[derive(Debug, Clone)]
pub struct Cursor {
    base: Rc<Root>,
    relative: Rc<Path>,
}

impl Cursor {
    /// The top of a tree; symbolic links and mounts in it are refused from here on.
    pub fn top(tree: &Root) -> Result<Cursor> {
        Ok(Cursor {
            base: Rc::new(tree.with(Symlinks::Refuse, Mounts::Refuse)?),
            relative: Path::new("").into(),
        })
    }

    /// Opens the directory.
    pub fn open(&self) -> Result<Root> {
        if self.relative.as_os_str().is_empty() {
            self.base.with(Symlinks::Refuse, Mounts::Refuse)
        } else {
            self.base.dir(&*self.relative)
        }
    }

    /// The directory `name` in this one.
    pub fn child(&self, name: &OsStr) -> Result<Cursor> {
        if self.relative.as_os_str().len() + name.len() < MAX_RELATIVE {
            return Ok(Cursor {
                base: Rc::clone(&self.base),
                relative: self.relative.join(name).into(),
            });
        }
        Ok(Cursor {
            base: Rc::new(self.open()?.dir(name)?),
            relative: Path::new("").into(),
        })
    }

    /// The base and the path from there of `name` in this directory.
    pub fn entry(&self, name: &OsStr) -> (&Root, PathBuf) {
        (&self.base, self.relative.join(name))
    }

    /// The path from the base.
    pub fn relative(&self) -> &Path {
        &self.relative
    }
}
