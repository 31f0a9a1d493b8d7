//! The mount API that works on descriptors: trees, file system contexts, attributes, pivot_root.
//! Not: paths into guests (see the resolver), nor what is mounted where.

use std::ffi::{CString, OsStr};
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::error::{Context, Error, Result};

const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const AT_EMPTY_PATH: libc::c_uint = libc::AT_EMPTY_PATH as libc::c_uint;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

/// `ro`
pub const ATTR_RDONLY: u64 = 0x1;
/// `nosuid`
pub const ATTR_NOSUID: u64 = 0x2;
/// `nodev`
pub const ATTR_NODEV: u64 = 0x4;
/// `noexec`
pub const ATTR_NOEXEC: u64 = 0x8;
/// `noatime`
pub const ATTR_NOATIME: u64 = 0x10;
const ATTR_ATIME_MASK: u64 = 0x70;
const ATTR_IDMAP: u64 = 0x10_0000;

/// Whether the mounts below a mount are meant too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// This mount.
    One,
    /// This mount and all below it.
    Recursive,
}

fn c_string(path: &OsStr) -> Result<CString> {
    CString::new(path.as_bytes()).map_err(|_| Error::new(format!("{path:?}"), Errno::EINVAL))
}

fn descriptor(result: libc::c_long, call: impl FnOnce() -> String) -> Result<OwnedFd> {
    if result < 0 {
        return Err(Error::last(call()));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

fn done(result: libc::c_long, call: impl FnOnce() -> String) -> Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(Error::last(call())),
    }
}

/// A detached copy of the mount (or part of one) at a host path; symlinks are followed.
pub fn clone_path(path: &Path, depth: Depth) -> Result<OwnedFd> {
    let name = c_string(path.as_os_str())?;
    clone_tree(libc::AT_FDCWD, &name, 0, depth, || format!("{path:?}"))
}

/// A detached copy of the mount (or part of one) that a descriptor refers to.
pub fn clone_fd(fd: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd> {
    let raw = fd.as_raw_fd();
    clone_tree(raw, c"", AT_EMPTY_PATH, depth, || format!("{raw}"))
}

fn clone_tree(
    dir: i32,
    name: &std::ffi::CStr,
    flags: libc::c_uint,
    depth: Depth,
    what: impl FnOnce() -> String,
) -> Result<OwnedFd> {
    let mut flags = flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    if depth == Depth::Recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the name outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, dir, name.as_ptr(), flags) };
    descriptor(result, || format!("open_tree({}, CLONE)", what()))
}

/// Attaches a detached mount onto what `target` (usually O_PATH) refers to.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: both names are empty constants.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    done(result, || {
        format!("move_mount({}, {})", mount.as_raw_fd(), target.as_raw_fd())
    })
}

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn setattr(mount: i32, depth: Depth, attr: &MountAttr) -> Result<()> {
    let mut flags = AT_EMPTY_PATH;
    if depth == Depth::Recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the structure is struct mount_attr and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount,
            c"".as_ptr(),
            flags,
            attr,
            std::mem::size_of::<MountAttr>(),
        )
    };
    done(result, || {
        format!("mount_setattr({mount}, set {:#x})", attr.set)
    })
}

/// How access times are kept is one choice out of several: setting it takes clearing the field.
fn replaced_by(set: u64) -> u64 {
    match set & ATTR_NOATIME {
        0 => 0,
        _ => ATTR_ATIME_MASK,
    }
}

/// Adds `ATTR_*` to a mount.
pub fn add_attributes(mount: BorrowedFd<'_>, depth: Depth, set: u64) -> Result<()> {
    if set == 0 {
        return Ok(());
    }
    let attr = MountAttr {
        set,
        clear: replaced_by(set),
        ..MountAttr::default()
    };
    setattr(mount.as_raw_fd(), depth, &attr)
}

/// Takes `ATTR_RDONLY` from a mount.
pub fn make_writable(mount: BorrowedFd<'_>, depth: Depth) -> Result<()> {
    let attr = MountAttr {
        clear: ATTR_RDONLY,
        ..MountAttr::default()
    };
    setattr(mount.as_raw_fd(), depth, &attr)
}

/// Maps the ids of a detached mount with a user namespace, once and for all, and adds `ATTR_*`.
pub fn map_ids(
    mount: BorrowedFd<'_>,
    depth: Depth,
    userns: BorrowedFd<'_>,
    set: u64,
) -> Result<()> {
    let attr = MountAttr {
        set: set | ATTR_IDMAP,
        clear: replaced_by(set),
        userns: userns.as_raw_fd() as u64,
        ..MountAttr::default()
    };
    setattr(mount.as_raw_fd(), depth, &attr)
}

/// Takes a mount and all below it out of propagation.
pub fn make_private(mount: BorrowedFd<'_>) -> Result<()> {
    let attr = MountAttr {
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    setattr(mount.as_raw_fd(), Depth::Recursive, &attr)
}

/// A file system that is being configured.
#[derive(Debug)]
pub struct Filesystem {
    fd: std::fs::File,
    fstype: String,
}

/// Starts the configuration of a new file system instance in the caller's user namespace.
pub fn fsopen(fstype: &str) -> Result<Filesystem> {
    let name = c_string(OsStr::new(fstype))?;
    // SAFETY: the name outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) };
    let fd = descriptor(result, || format!("fsopen({fstype:?})"))?;
    Ok(Filesystem {
        fd: fd.into(),
        fstype: fstype.to_owned(),
    })
}

impl Filesystem {
    /// Sets an option, `key` or `key=value`.
    pub fn option(self, key: &str, value: Option<&str>) -> Result<Self> {
        let name = c_string(OsStr::new(key))?;
        match value {
            None => self.config(FSCONFIG_SET_FLAG, Some(&name), None)?,
            Some(value) => {
                let value = c_string(OsStr::new(value))?;
                self.config(FSCONFIG_SET_STRING, Some(&name), Some(&value))?;
            }
        }
        Ok(self)
    }

    /// Makes the file system and a detached mount of it with `ATTR_*`.
    pub fn mount(self, attributes: u64) -> Result<OwnedFd> {
        self.config(FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: takes no pointers.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.fd.as_raw_fd(),
                FSMOUNT_CLOEXEC,
                attributes,
            )
        };
        descriptor(result, || format!("fsmount({:?})", self.fstype))
    }

    fn config(
        &self,
        command: libc::c_uint,
        key: Option<&CString>,
        value: Option<&CString>,
    ) -> Result<()> {
        let pointer = |s: Option<&CString>| s.map_or(std::ptr::null(), |s| s.as_ptr());
        // SAFETY: key and value are null or outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.fd.as_raw_fd(),
                command,
                pointer(key),
                pointer(value),
                0,
            )
        };
        if result == 0 {
            return Ok(());
        }
        let errno = Errno::last();
        let option = match (key, value) {
            (None, _) => "create".to_owned(),
            (Some(key), None) => format!("{key:?}"),
            (Some(key), Some(value)) => format!("{key:?}, {value:?}"),
        };
        let mut call = format!("fsconfig({:?}, {option})", self.fstype);
        if let Some(message) = self.message() {
            call = format!("{call} [{message}]");
        }
        Err(Error::new(call, errno))
    }

    /// What the file system has to say about the last failure.
    fn message(&self) -> Option<String> {
        let mut buffer = [0; 256];
        let size = (&self.fd).read(&mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..size]);
        Some(text.trim_start_matches("e ").trim().to_owned())
    }
}

/// Makes the current directory, which must be a mount, the root, and lets go of the old root.
pub fn pivot_here() -> Result<()> {
    nix::unistd::pivot_root(".", ".").call(|| "pivot_root(\".\", \".\")")?;
    // The old root is now stacked upon the new one, at the same place.
    nix::mount::umount2(".", nix::mount::MntFlags::MNT_DETACH)
        .call(|| "umount2(\".\", MNT_DETACH)")?;
    nix::unistd::chdir("/").call(|| "chdir(\"/\")")
}

/// Detaches the topmost mount at the place a descriptor refers to. `proc` is the root of a procfs
/// that can be trusted and shows the caller; the current directory is changed to it.
pub fn detach(proc: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    nix::unistd::fchdir(proc).call(|| "fchdir(/proc)")?;
    let path = format!("self/fd/{}", target.as_raw_fd());
    nix::mount::umount2(path.as_str(), nix::mount::MntFlags::MNT_DETACH)
        .call(|| format!("umount2({path:?}, MNT_DETACH)"))
}
