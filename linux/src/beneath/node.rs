//! One object of a tree, referred to by a file descriptor: its description, owner, mode and times.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode};
use nix::unistd::{Gid, Uid};

use crate::error::{Error, Result, describe_fd};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Block device.
    Block,
    /// Character device.
    Char,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

/// Seconds and nanoseconds since 1970-01-01 00:00 UTC; seconds may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds.
    pub sec: i64,
    /// Nanoseconds, below 1000000000.
    pub nsec: u32,
}

impl From<Time> for nix::sys::time::TimeSpec {
    fn from(t: Time) -> Self {
        Self::new(t.sec, t.nsec.min(999_999_999).into())
    }
}

/// What `lstat(2)` says about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
}

impl Stat {
    /// What the object is.
    pub fn kind(&self) -> Kind {
        match self.mode & libc::S_IFMT {
            libc::S_IFDIR => Kind::Dir,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFBLK => Kind::Block,
            libc::S_IFCHR => Kind::Char,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFSOCK => Kind::Socket,
            _ => Kind::File,
        }
    }

    /// The permission bits, with setuid, setgid and sticky.
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    /// Major and minor number of a device node.
    pub fn device(&self) -> (u32, u32) {
        (libc::major(self.rdev), libc::minor(self.rdev))
    }
}

impl From<FileStat> for Stat {
    fn from(s: FileStat) -> Stat {
        let time = |sec: i64, nsec: i64| Time {
            sec,
            nsec: u32::try_from(nsec).unwrap_or(0),
        };
        Stat {
            dev: s.st_dev,
            ino: s.st_ino,
            mode: s.st_mode,
            // Narrower on some architectures.
            #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
            nlink: s.st_nlink as u64,
            uid: s.st_uid,
            gid: s.st_gid,
            rdev: s.st_rdev,
            size: u64::try_from(s.st_size).unwrap_or(0),
            blocks: u64::try_from(s.st_blocks).unwrap_or(0),
            atime: time(s.st_atime, s.st_atime_nsec),
            mtime: time(s.st_mtime, s.st_mtime_nsec),
            ctime: time(s.st_ctime, s.st_ctime_nsec),
        }
    }
}

/// A reference to one object, whatever its name leads to by now.
#[derive(Debug)]
pub struct Node {
    fd: OwnedFd,
    path_only: bool,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<File> for Node {
    fn from(file: File) -> Node {
        Node {
            fd: file.into(),
            path_only: false,
        }
    }
}

impl Node {
    /// Takes a descriptor that was opened with `O_PATH`.
    pub fn from_path_fd(fd: OwnedFd) -> Node {
        Node {
            fd,
            path_only: true,
        }
    }

    /// Whether the descriptor was opened with `O_PATH`.
    pub(super) fn is_path_only(&self) -> bool {
        self.path_only
    }

    /// The name by which calls that take no `O_PATH` descriptor reach the object.
    pub(super) fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    pub(super) fn error(&self, call: &str, argument: &str, errno: Errno) -> Error {
        let fd = describe_fd(self.as_fd());
        let comma = if argument.is_empty() { "" } else { ", " };
        Error::new(format!("{call}({fd}{comma}{argument})"), errno)
    }

    /// The file; one that was opened with `O_PATH` stays so.
    pub fn into_file(self) -> File {
        File::from(self.fd)
    }

    /// Describes the object.
    pub fn stat(&self) -> Result<Stat> {
        nix::sys::stat::fstat(&self.fd)
            .map(Stat::from)
            .map_err(|e| self.error("fstat", "", e))
    }

    /// Whether it is the top of a mount.
    pub fn is_mount_root(&self) -> Result<bool> {
        let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
        let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
        // SAFETY: the path is a constant and `found` is a statx structure; both outlive the call.
        let result = unsafe {
            libc::statx(
                self.fd.as_raw_fd(),
                c"".as_ptr(),
                flags,
                libc::STATX_TYPE,
                found.as_mut_ptr(),
            )
        };
        if result < 0 {
            return Err(self.error("statx", "", Errno::last()));
        }
        // SAFETY: all zeros are a valid statx structure, and the kernel has filled this one.
        let found = unsafe { found.assume_init() };
        let mount_root = u64::try_from(libc::STATX_ATTR_MOUNT_ROOT).unwrap_or_default();
        Ok(found.stx_attributes & mount_root != 0)
    }

    /// Opens the object. For a symbolic link: `ELOOP`.
    pub fn reopen(&self, flags: OFlag) -> Result<File> {
        let path = self.proc_path();
        loop {
            return match nix::fcntl::open(&*path, flags | OFlag::O_CLOEXEC, Mode::empty()) {
                Ok(fd) => Ok(File::from(fd)),
                Err(Errno::EINTR) => continue,
                Err(e) => Err(self.error("reopen", "", e)),
            };
        }
    }

    /// Changes owner and group. The kernel clears setuid and setgid bits and file capabilities
    /// of files: do this before setting them.
    pub fn chown(&self, uid: u32, gid: u32) -> Result<()> {
        nix::unistd::fchownat(
            &self.fd,
            "",
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::AT_EMPTY_PATH,
        )
        .map_err(|e| self.error("fchownat", &format!("{uid}, {gid}"), e))
    }

    /// Sets the permission bits (`0o7777`). For a symbolic link: `EOPNOTSUPP`.
    pub fn chmod(&self, mode: u32) -> Result<()> {
        let bits = Mode::from_bits_truncate(mode & 0o7777);
        let done = if self.path_only {
            let path = self.proc_path();
            let follow = FchmodatFlags::FollowSymlink;
            nix::sys::stat::fchmodat(nix::fcntl::AT_FDCWD, &*path, bits, follow)
        } else {
            nix::sys::stat::fchmod(&self.fd, bits)
        };
        done.map_err(|e| self.error("fchmod", &format!("{mode:#o}"), e))
    }

    /// Sets the times; works on symbolic links and devices as well.
    pub fn set_times(&self, atime: Time, mtime: Time) -> Result<()> {
        let spec = |t: Time| *nix::sys::time::TimeSpec::from(t).as_ref();
        let times: [libc::timespec; 2] = [spec(atime), spec(mtime)];
        // SAFETY: the descriptor is open, the path is a NUL-terminated literal and `times` are
        // the two elements that the call reads.
        let rc = unsafe {
            libc::utimensat(
                self.fd.as_raw_fd(),
                c"".as_ptr(),
                times.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        Errno::result(rc)
            .map(drop)
            .map_err(|e| self.error("utimensat", "", e))
    }
}
