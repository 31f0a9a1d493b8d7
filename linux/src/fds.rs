//! The descriptor table as a whole: what a child keeps, and under which numbers.
//!
//! Most of this goes behind the back of the owners of descriptors; it is meant for processes that
//! have just been made and end in exec or exit.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Error, Result};

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Closes every descriptor that is not in `keep`.
///
/// Owners of closed descriptors must not use or drop them afterwards: meant for the first moment in
/// a child, which then lives on with `keep` only and ends in exec or [`exit`](crate::process::exit).
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut numbers: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut next = 0;
    for number in numbers {
        if number > next {
            close_range(next, number - 1, 0)?;
        }
        next = number + 1;
    }
    close_range(next, u32::MAX, 0)
}

/// Makes every descriptor from `first` on close-on-exec.
pub fn cloexec_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> Result<()> {
    // SAFETY: takes no pointers; the caller's contract covers what it closes.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(Error::last(format!("close_range({first}, {last})"))),
    }
}

/// Makes `fds` the descriptors 0, 1, 2, … of the process, inherited over exec.
///
/// Whatever had those numbers is replaced; its owner must not be used afterwards.
pub fn install_fds(fds: &[BorrowedFd<'_>]) -> Result<()> {
    let count = fds.len() as i32;
    let mut sources = Vec::with_capacity(fds.len());
    for fd in fds {
        // First out of the way of the numbers that are about to be overwritten.
        // SAFETY: takes no pointers.
        let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, count) };
        if copy < 0 {
            return Err(Error::last("fcntl(F_DUPFD_CLOEXEC)"));
        }
        // SAFETY: just made, owned by nobody else.
        sources.push(unsafe { OwnedFd::from_raw_fd(copy) });
    }
    for (number, source) in sources.iter().enumerate() {
        // SAFETY: takes no pointers.
        if unsafe { libc::dup2(source.as_raw_fd(), number as i32) } < 0 {
            return Err(Error::last(format!("dup2({number})")));
        }
    }
    Ok(())
}

/// A memfd for a program or script that is about to be executed: not close-on-exec.
pub fn executable_memfd(name: &CStr) -> Result<OwnedFd> {
    const MFD_EXEC: libc::c_uint = 0x10;
    for flags in [MFD_EXEC, 0] {
        // SAFETY: the name outlives the call.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        if fd >= 0 {
            // SAFETY: just made, owned by nobody else.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(Error::last("memfd_create"))
}

/// A copy of a descriptor with a number of at least 100, out of the way of [`install_fds`].
pub fn high_copy(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100) };
    if copy < 0 {
        return Err(Error::last("fcntl(F_DUPFD_CLOEXEC, 100)"));
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// A copy of the descriptor with this number that survives exec.
pub fn borrowed_fd(number: i32) -> Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD, number) };
    if copy < 0 {
        return Err(Error::last(format!("fcntl({number}, F_DUPFD)")));
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Takes the descriptor with this number, which the process was started with.
pub fn inherited_fd(number: i32) -> Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(Error::last(format!("fcntl({number}, F_DUPFD_CLOEXEC)")));
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
