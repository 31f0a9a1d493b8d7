//! Walks below a cgroup, by directory descriptors: a guest decides how deep and how its children
//! are called, so a path could become too long for the kernel.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, openat},
    io::Errno,
};

use super::{Error, Result, file};

/// How deep and how far we follow; the limits set on containers are lower.
const DEPTH: usize = 256;
const VISITS: usize = 1 << 20;

struct Level {
    dir: OwnedFd,
    name: CString,
    children: Vec<CString>,
}

/// Visits every cgroup below `top` and `top` itself, children before parents, with a descriptor
/// of the parent directory (or of the working directory, for `top`) and the name in it.
/// A cgroup that vanishes meanwhile is skipped.
pub(super) fn deepest_first(
    top: &Path,
    mut visit: impl FnMut(BorrowedFd<'_>, &CStr) -> Result<()>,
) -> Result<()> {
    let failed = |e: Errno| file::failed("open".into(), top, e);
    let Ok(top_name) = CString::new(top.as_os_str().as_encoded_bytes()) else {
        return Err(Error::Name(top.display().to_string()));
    };
    let Some(level) = open(CWD, top_name).map_err(failed)? else {
        return Ok(());
    };
    let mut stack = vec![level];
    let mut visits = 0;
    loop {
        visits += 1;
        if stack.len() > DEPTH || visits > VISITS {
            return Err(Error::TooLarge(top.into()));
        }
        let Some(level) = stack.last_mut() else {
            return Ok(());
        };
        if let Some(child) = level.children.pop() {
            let below = open(level.dir.as_fd(), child).map_err(failed)?;
            stack.extend(below);
        } else if let Some(done) = stack.pop() {
            let parent = stack.last().map_or(CWD, |l| l.dir.as_fd());
            visit(parent, &done.name)?;
        }
    }
}

fn open(parent: BorrowedFd<'_>, name: CString) -> rustix::io::Result<Option<Level>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let listed = openat(parent, &name, flags, Mode::empty())
        .and_then(|dir| children(&dir).map(|children| (dir, children)));
    match listed {
        Ok((dir, children)) => Ok(Some(Level {
            dir,
            name,
            children,
        })),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

fn children(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
