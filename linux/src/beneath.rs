//! The in-root resolver: every path into a tree that somebody else controls goes through [`Root`],
//! which can't leave it.
//!
//! The kernel does the resolving (`openat2(2)`), so there is nothing to race with. What a name in
//! the tree refers to is either refused or looked up inside the tree when it is a symbolic link;
//! it is never followed to the outside. This module knows nothing about what the trees are for.

mod node;
mod ops;
mod read_dir;
mod remove;
#[cfg(test)]
mod tests;
mod xattr;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use crate::error::{Error, Result, describe_fd};

pub use node::{Kind, Node, Stat, Time};
pub use read_dir::{Entry, ReadDir};
pub use remove::Removal;

/// What happens to symbolic links inside the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symlinks {
    /// None is followed: `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`. Absolute paths are refused.
    Refuse,
    /// They are followed as if the tree were the root directory: `RESOLVE_IN_ROOT`, without
    /// magic links. Absolute paths start at the tree.
    InRoot,
}

/// What happens to mount points inside the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// They are crossed.
    Cross,
    /// They are refused with `EXDEV`: `RESOLVE_NO_XDEV`, which bind mounts count for as well.
    Refuse,
}

/// A directory that no path leads out of.
///
/// The last component of a path is never followed by an operation that makes, renames, removes or
/// describes it; [`Root::open`] follows it when [`Symlinks::InRoot`] allows and `O_NOFOLLOW` is
/// not given. A path whose last component is `..` is refused by all but `open*`, with `EINVAL`.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    resolve: ResolveFlag,
}

/// The directory of the last component.
pub(crate) enum Parent<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Root(fd) => fd.as_fd(),
            Parent::Below(fd) => fd.as_fd(),
        }
    }
}

impl Parent<'_> {
    pub(crate) fn into_owned(self) -> nix::Result<OwnedFd> {
        match self {
            Parent::Root(fd) => fd.try_clone_to_owned().map_err(|e| errno_of(&e)),
            Parent::Below(fd) => Ok(fd),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn flags(symlinks: Symlinks, mounts: Mounts) -> ResolveFlag {
    let links = match symlinks {
        Symlinks::Refuse => ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS,
        Symlinks::InRoot => ResolveFlag::RESOLVE_IN_ROOT,
    };
    let mounts = match mounts {
        Mounts::Cross => ResolveFlag::empty(),
        Mounts::Refuse => ResolveFlag::RESOLVE_NO_XDEV,
    };
    links | mounts | ResolveFlag::RESOLVE_NO_MAGICLINKS
}

impl Root {
    /// Opens the directory at `path` as a tree; `path` itself is trusted, but its last component
    /// must not be a symbolic link.
    pub fn open_tree(path: impl AsRef<Path>, symlinks: Symlinks, mounts: Mounts) -> Result<Root> {
        let path = path.as_ref();
        let flag = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flag, Mode::empty())
            .map_err(|e| Error::new(format!("open({path:?})"), e))?;
        Ok(Root::from_fd(fd, symlinks, mounts))
    }

    /// Takes an open directory as a tree.
    pub fn from_fd(fd: OwnedFd, symlinks: Symlinks, mounts: Mounts) -> Root {
        Root {
            fd,
            resolve: flags(symlinks, mounts),
        }
    }

    /// The same tree under other rules.
    pub fn with(&self, symlinks: Symlinks, mounts: Mounts) -> Result<Root> {
        let fd = self
            .fd
            .try_clone()
            .map_err(|e| Error::new("fcntl(F_DUPFD_CLOEXEC)", errno_of(&e)))?;
        Ok(Root::from_fd(fd, symlinks, mounts))
    }

    fn openat2(&self, path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(mode)
            .resolve(self.resolve);
        // EAGAIN: a rename or mount elsewhere raced with a `..`; openat2(2) says to try again.
        let mut tries = 0;
        loop {
            match openat2(&self.fd, path, how) {
                Ok(fd) => return Ok(fd),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if tries < 128 => tries += 1,
                Err(e) => return Err(self.error("openat2", path, e)),
            }
        }
    }

    /// `O_NOFOLLOW` where it is needed: with `RESOLVE_NO_SYMLINKS` it would only turn `ELOOP` for
    /// a link at the end into `ENOTDIR`.
    fn no_follow(&self) -> OFlag {
        if self.resolve.contains(ResolveFlag::RESOLVE_NO_SYMLINKS) {
            OFlag::empty()
        } else {
            OFlag::O_NOFOLLOW
        }
    }

    pub(crate) fn error(&self, call: &str, path: &Path, errno: Errno) -> Error {
        Error::new(
            format!("{call}({}, {path:?})", describe_fd(self.as_fd())),
            errno,
        )
    }

    /// Opens a file, making it when `flags` have `O_CREAT` (`mode` is then subject to the umask).
    ///
    /// Opening a device, FIFO or terminal of a hostile tree has effects of its own: use
    /// [`Root::open_regular`] unless the kind is known. `O_NOCTTY` is always set.
    pub fn open(&self, path: impl AsRef<Path>, flags: OFlag, mode: u32) -> Result<File> {
        let creates = flags.intersects(OFlag::O_CREAT | OFlag::O_TMPFILE);
        let mode = if creates { mode & 0o7777 } else { 0 };
        let path_only = flags.contains(OFlag::O_PATH);
        let noctty = if path_only {
            OFlag::empty()
        } else {
            OFlag::O_NOCTTY
        };
        let mode = Mode::from_bits_truncate(mode);
        Ok(File::from(self.openat2(
            path.as_ref(),
            flags | noctty,
            mode,
        )?))
    }

    /// Makes and opens a regular file that must not exist yet, for reading and writing.
    pub fn create_new(&self, path: impl AsRef<Path>, mode: u32) -> Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        self.open(path, flags, mode)
    }

    /// Refers to whatever is at `path`, without opening it; a symbolic link at the end is
    /// referred to itself.
    pub fn node(&self, path: impl AsRef<Path>) -> Result<Node> {
        let fd = self.openat2(
            path.as_ref(),
            OFlag::O_PATH | OFlag::O_NOFOLLOW,
            Mode::empty(),
        )?;
        Ok(Node::from_path_fd(fd))
    }

    /// The directory at `path` as a tree of its own under the same rules; it can't be left
    /// either, so `..` does not lead from it to this one.
    pub fn dir(&self, path: impl AsRef<Path>) -> Result<Root> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | self.no_follow();
        Ok(Root {
            fd: self.openat2(path.as_ref(), flags, Mode::empty())?,
            resolve: self.resolve,
        })
    }

    /// Opens a regular file with `flags` (an access mode, `O_APPEND`, `O_TRUNC`); anything else
    /// is refused with `EINVAL` (a symbolic link that may not be followed: `ELOOP`) without
    /// having been opened, so that no device acts and no FIFO blocks.
    pub fn open_regular(&self, path: impl AsRef<Path>, flags: OFlag) -> Result<File> {
        let path = path.as_ref();
        // Without O_NOFOLLOW: the resolve flags decide about a link at the end.
        let node = Node::from_path_fd(self.openat2(path, OFlag::O_PATH, Mode::empty())?);
        match node.stat()?.kind() {
            Kind::File => node.reopen(flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY),
            Kind::Dir => Err(self.error("open_regular", path, Errno::EISDIR)),
            _ => Err(self.error("open_regular", path, Errno::EINVAL)),
        }
    }

    /// Reads a regular file of at most `max` bytes; a longer one is refused with `EFBIG`.
    pub fn read(&self, path: impl AsRef<Path>, max: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let file = self.open_regular(path, OFlag::O_RDONLY)?;
        let mut bytes = Vec::new();
        // The size that stat reports is the guest's word (and grows): only what is read counts.
        file.take(max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| self.error("read", path, errno_of(&e)))?;
        if bytes.len() as u64 > max {
            return Err(self.error("read", path, Errno::EFBIG));
        }
        Ok(bytes)
    }

    /// Splits `path` and opens the directory of its last component.
    pub(crate) fn parent<'p>(&self, call: &str, path: &'p Path) -> Result<(Parent<'_>, &'p OsStr)> {
        let Some(name) = path.file_name() else {
            return Err(self.error(call, path, Errno::EINVAL));
        };
        let above = match path.parent() {
            None => return Ok((Parent::Root(self.as_fd()), name)),
            Some(p) if p.as_os_str().is_empty() => return Ok((Parent::Root(self.as_fd()), name)),
            Some(p) => p,
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let fd = self.openat2(above, flags, Mode::empty())?;
        Ok((Parent::Below(fd), name))
    }
}

/// The error number of an [`std::io::Error`] that came from the kernel; `EIO` for others.
pub(crate) fn errno_of(e: &std::io::Error) -> Errno {
    e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
