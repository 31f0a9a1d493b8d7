//! Listing a directory of a tree.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, OwningIter, Type};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::{Kind, Root};
use crate::error::{Error, Result};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name; one path component, never `.` or `..`.
    pub name: OsString,
    /// What it was when the directory was read; `None` when the file system does not say.
    pub kind: Option<Kind>,
}

impl Entry {
    /// What it is, asked of `dir`, the directory that was read, when the listing did not say.
    pub fn kind_in(&self, dir: &Root) -> Result<Kind> {
        match self.kind {
            Some(kind) => Ok(kind),
            None => Ok(dir.stat(&self.name)?.kind()),
        }
    }
}

/// The names in a directory, in no particular order.
pub struct ReadDir {
    entries: OwningIter,
    path: PathBuf,
}

impl Iterator for ReadDir {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            let entry = match self.entries.next()? {
                Ok(entry) => entry,
                Err(e) => return Some(Err(Error::new(format!("readdir({:?})", self.path), e))),
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            return Some(Ok(Entry {
                name: OsStr::from_bytes(name).to_owned(),
                kind: entry.file_type().map(|t| match t {
                    Type::Fifo => Kind::Fifo,
                    Type::CharacterDevice => Kind::Char,
                    Type::Directory => Kind::Dir,
                    Type::BlockDevice => Kind::Block,
                    Type::File => Kind::File,
                    Type::Symlink => Kind::Symlink,
                    Type::Socket => Kind::Socket,
                }),
            }));
        }
    }
}

impl Root {
    /// Lists the directory at `path`; `.` is the tree's own.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<ReadDir> {
        let path = path.as_ref();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | self.no_follow();
        let fd = self.openat2(path, flags, Mode::empty())?;
        let dir = Dir::from_fd(fd).map_err(|e| self.error("fdopendir", path, e))?;
        Ok(ReadDir {
            entries: dir.into_iter(),
            path: path.to_owned(),
        })
    }
}
