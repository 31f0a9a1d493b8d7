//! Extended attributes of a [`Node`].

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;

use super::Node;
use crate::error::Result;

/// Longest value and longest list of names that the kernel takes (`XATTR_SIZE_MAX`).
const MAX: usize = 65536;

enum Target {
    Fd(i32),
    Proc(CString),
}

impl Node {
    fn xattr_target(&self) -> Target {
        // Calls by descriptor refuse O_PATH ones with EBADF.
        match CString::new(self.proc_path()) {
            Ok(path) if self.is_path_only() => Target::Proc(path),
            _ => Target::Fd(self.as_fd().as_raw_fd()),
        }
    }

    fn xattr_name(&self, call: &str, name: &OsStr) -> Result<CString> {
        CString::new(name.as_bytes())
            .map_err(|_| self.error(call, &format!("{name:?}"), Errno::EINVAL))
    }

    /// Names of all extended attributes, sorted; empty where the file system has none.
    pub fn xattrs(&self) -> Result<Vec<OsString>> {
        let target = self.xattr_target();
        let list = |buf: *mut libc::c_char, size: usize| {
            // SAFETY: `buf` is null with size 0, or has room for `size` bytes; the path is
            // NUL-terminated.
            Errno::result(unsafe {
                match &target {
                    Target::Fd(fd) => libc::flistxattr(*fd, buf, size),
                    Target::Proc(path) => libc::listxattr(path.as_ptr(), buf, size),
                }
            })
        };
        // Most objects have none: ask for the size first, which needs no buffer.
        match list(std::ptr::null_mut(), 0) {
            Ok(0) | Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(e) => return Err(self.error("listxattr", "", e)),
        }
        let mut buf = vec![0u8; MAX];
        let n =
            list(buf.as_mut_ptr().cast(), buf.len()).map_err(|e| self.error("listxattr", "", e))?;
        buf.truncate(usize::try_from(n).unwrap_or(0));
        let mut names: Vec<OsString> = buf
            .split(|b| *b == 0)
            .filter(|name| !name.is_empty())
            .map(|name| OsString::from_vec(name.to_vec()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Value of an extended attribute; `None` when the object has no such attribute or the file
    /// system has none at all.
    pub fn xattr(&self, name: impl AsRef<OsStr>) -> Result<Option<Vec<u8>>> {
        let name = name.as_ref();
        let cname = self.xattr_name("getxattr", name)?;
        let target = self.xattr_target();
        let get = |buf: *mut libc::c_void, size: usize| {
            let cname: &CStr = &cname;
            // SAFETY: `buf` is null with size 0, or has room for `size` bytes; path and name
            // are NUL-terminated.
            Errno::result(unsafe {
                match &target {
                    Target::Fd(fd) => libc::fgetxattr(*fd, cname.as_ptr(), buf, size),
                    Target::Proc(path) => libc::getxattr(path.as_ptr(), cname.as_ptr(), buf, size),
                }
            })
        };
        let mut buf = vec![0u8; 256];
        loop {
            match get(buf.as_mut_ptr().cast(), buf.len()) {
                Ok(n) => {
                    buf.truncate(usize::try_from(n).unwrap_or(0));
                    return Ok(Some(buf));
                }
                Err(Errno::ERANGE) if buf.len() < MAX => buf = vec![0u8; MAX],
                Err(Errno::ENODATA | Errno::EOPNOTSUPP) => return Ok(None),
                Err(e) => return Err(self.error("getxattr", &format!("{name:?}"), e)),
            }
        }
    }

    /// Sets an extended attribute, replacing its value.
    pub fn set_xattr(&self, name: impl AsRef<OsStr>, value: &[u8]) -> Result<()> {
        let name = name.as_ref();
        let cname = self.xattr_name("setxattr", name)?;
        let (data, size) = (value.as_ptr().cast(), value.len());
        // SAFETY: path and name are NUL-terminated, `data` has `size` bytes.
        let rc = unsafe {
            match self.xattr_target() {
                Target::Fd(fd) => libc::fsetxattr(fd, cname.as_ptr(), data, size, 0),
                Target::Proc(path) => libc::setxattr(path.as_ptr(), cname.as_ptr(), data, size, 0),
            }
        };
        let shown = format!("{name:?}, {size} bytes");
        Errno::result(rc)
            .map(drop)
            .map_err(|e| self.error("setxattr", &shown, e))
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        let cname = self.xattr_name("removexattr", name)?;
        // SAFETY: path and name are NUL-terminated.
        let rc = unsafe {
            match self.xattr_target() {
                Target::Fd(fd) => libc::fremovexattr(fd, cname.as_ptr()),
                Target::Proc(path) => libc::removexattr(path.as_ptr(), cname.as_ptr()),
            }
        };
        Errno::result(rc)
            .map(drop)
            .map_err(|e| self.error("removexattr", &format!("{name:?}"), e))
    }
}
