//! What changes a tree: making, linking, renaming and removing single objects.

use std::ffi::OsString;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, RenameFlags};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags};
use nix::unistd::{Gid, Uid, UnlinkatFlags};

use super::{Kind, Root, Stat, Time, errno_of};
use crate::error::Result;

impl Root {
    /// Describes what is at `path`, a symbolic link at the end itself.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Stat> {
        let path = path.as_ref();
        if path.file_name().is_none() {
            return self.node(path)?.stat();
        }
        let (dir, name) = self.parent("fstatat", path)?;
        nix::sys::stat::fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .map(Stat::from)
            .map_err(|e| self.error("fstatat", path, e))
    }

    /// Like [`Root::stat`], with `None` for what does not exist.
    pub fn try_stat(&self, path: impl AsRef<Path>) -> Result<Option<Stat>> {
        match self.stat(path) {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if e.errno() == Errno::ENOENT => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a directory; `mode` is subject to the umask.
    pub fn mkdir(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent("mkdirat", path)?;
        let mode = Mode::from_bits_truncate(mode & 0o7777);
        nix::sys::stat::mkdirat(&dir, name, mode).map_err(|e| self.error("mkdirat", path, e))
    }

    /// Makes a directory and what is missing above it (all with `mode`, subject to the umask),
    /// and opens it. What exists must be a directory, or a symbolic link to one where links are
    /// followed.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<Root> {
        let path = path.as_ref();
        let mut so_far = std::path::PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => so_far.push(name),
                Component::CurDir => continue,
                Component::RootDir => {
                    so_far.push("/");
                    continue;
                }
                _ => return Err(self.error("mkdir_all", path, Errno::EINVAL)),
            }
            match self.mkdir(&so_far, mode) {
                Ok(()) => {}
                Err(e) if e.errno() == Errno::EEXIST => {}
                Err(e) => return Err(e),
            }
        }
        if so_far.as_os_str().is_empty() {
            so_far.push(".");
        }
        // Not `dir`: a link at the end may be followed when the rules allow it.
        let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY;
        Ok(Root {
            fd: self.openat2(&so_far, flags, Mode::empty())?,
            resolve: self.resolve,
        })
    }

    /// Makes a device node, FIFO, socket or empty regular file; `mode` is subject to the umask,
    /// `device` is (major, minor) and only means something for devices.
    pub fn mknod(
        &self,
        path: impl AsRef<Path>,
        kind: Kind,
        mode: u32,
        device: (u32, u32),
    ) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent("mknodat", path)?;
        let kind = match kind {
            Kind::File => SFlag::S_IFREG,
            Kind::Block => SFlag::S_IFBLK,
            Kind::Char => SFlag::S_IFCHR,
            Kind::Fifo => SFlag::S_IFIFO,
            Kind::Socket => SFlag::S_IFSOCK,
            Kind::Dir | Kind::Symlink => return Err(self.error("mknodat", path, Errno::EINVAL)),
        };
        let mode = Mode::from_bits_truncate(mode & 0o7777);
        let device = libc::makedev(device.0, device.1);
        nix::sys::stat::mknodat(&dir, name, kind, mode, device)
            .map_err(|e| self.error("mknodat", path, e))
    }

    /// Makes a symbolic link with the content `target`, whatever that is.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent("symlinkat", path)?;
        nix::unistd::symlinkat(target.as_ref(), &dir, name)
            .map_err(|e| self.error("symlinkat", path, e))
    }

    /// The content of a symbolic link.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<OsString> {
        let path = path.as_ref();
        let (dir, name) = self.parent("readlinkat", path)?;
        nix::fcntl::readlinkat(&dir, name).map_err(|e| self.error("readlinkat", path, e))
    }

    /// Makes `to` a hard link to `from`; a symbolic link at the end of `from` gets the new name
    /// itself.
    pub fn hard_link(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.hard_link_into(from, self, to)
    }

    /// Makes `to` of another tree on the same file system a hard link to `from` of this one; see
    /// [`Root::hard_link`].
    pub fn hard_link_into(
        &self,
        from: impl AsRef<Path>,
        tree: &Root,
        to: impl AsRef<Path>,
    ) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let (from_dir, from_name) = self.parent("linkat", from)?;
        let (to_dir, to_name) = tree.parent("linkat", to)?;
        nix::unistd::linkat(&from_dir, from_name, &to_dir, to_name, AtFlags::empty())
            .map_err(|e| self.error("linkat", to, e))
    }

    /// Renames `from` to `to`, replacing what is there.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.rename_with(from.as_ref(), self, to.as_ref(), RenameFlags::empty())
    }

    /// Renames `from` to `to`, which must not exist (`EEXIST`).
    pub fn rename_new(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let flags = RenameFlags::RENAME_NOREPLACE;
        self.rename_with(from.as_ref(), self, to.as_ref(), flags)
    }

    /// Renames `from` of this tree to `to` of another on the same file system, which must not
    /// exist (`EEXIST`).
    pub fn rename_into(
        &self,
        from: impl AsRef<Path>,
        tree: &Root,
        to: impl AsRef<Path>,
    ) -> Result<()> {
        let flags = RenameFlags::RENAME_NOREPLACE;
        self.rename_with(from.as_ref(), tree, to.as_ref(), flags)
    }

    fn rename_with(&self, from: &Path, tree: &Root, to: &Path, flags: RenameFlags) -> Result<()> {
        let (from_dir, from_name) = self.parent("renameat2", from)?;
        let (to_dir, to_name) = tree.parent("renameat2", to)?;
        nix::fcntl::renameat2(&from_dir, from_name, &to_dir, to_name, flags)
            .map_err(|e| self.error("renameat2", from, e))
    }

    /// Removes what is at `path` unless it is a directory (`EISDIR`).
    pub fn unlink(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent("unlinkat", path)?;
        nix::unistd::unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir)
            .map_err(|e| self.error("unlinkat", path, e))
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent("unlinkat", path)?;
        nix::unistd::unlinkat(&dir, name, UnlinkatFlags::RemoveDir)
            .map_err(|e| self.error("unlinkat", path, e))
    }

    /// Changes owner and group of what is at `path`, a symbolic link at the end itself.
    pub fn chown(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let path = path.as_ref();
        if path.file_name().is_none() {
            return self.node(path)?.chown(uid, gid);
        }
        let (dir, name) = self.parent("fchownat", path)?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        nix::unistd::fchownat(&dir, name, Some(uid), Some(gid), flags)
            .map_err(|e| self.error("fchownat", path, e))
    }

    /// Sets the permission bits of what is at `path`. For a symbolic link: `EOPNOTSUPP`.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.node(path)?.chmod(mode)
    }

    /// Sets the times of what is at `path`, a symbolic link at the end itself.
    pub fn set_times(&self, path: impl AsRef<Path>, atime: Time, mtime: Time) -> Result<()> {
        let path = path.as_ref();
        if path.file_name().is_none() {
            return self.node(path)?.set_times(atime, mtime);
        }
        let (dir, name) = self.parent("utimensat", path)?;
        let (atime, mtime) = (atime.into(), mtime.into());
        nix::sys::stat::utimensat(&dir, name, &atime, &mtime, UtimensatFlags::NoFollowSymlink)
            .map_err(|e| self.error("utimensat", path, e))
    }

    /// Brings the directory at `path` to the disk: names that were made, renamed or removed in
    /// it survive a crash of the machine after this.
    pub fn sync_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY;
        let dir = self.open(path, flags, 0)?;
        dir.sync_all()
            .map_err(|e| self.error("fsync", path, errno_of(&e)))
    }
}
