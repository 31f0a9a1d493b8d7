//! Pseudo-terminals. Not: what is done with their bytes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Context, Error, Result};

/// A pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// The end of whoever watches it; close-on-exec.
    pub master: OwnedFd,
    /// The end of the programs on it; close-on-exec.
    pub slave: OwnedFd,
}

/// Allocates a pty of the devpts instance whose root `devpts` is. Neither end becomes a controlling
/// terminal, and no path is looked up to find the slave.
pub fn open_pty(devpts: BorrowedFd<'_>) -> Result<Pty> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = openat(devpts, "ptmx", flags | OFlag::O_NOFOLLOW, Mode::empty())
        .call(|| "openat(devpts, \"ptmx\")")?;
    let unlock: libc::c_int = 0;
    // SAFETY: the argument is an int that outlives the call.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) } != 0 {
        return Err(Error::last("ioctl(TIOCSPTLCK)"));
    }
    // SAFETY: takes no pointers.
    let raw = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags.bits()) };
    if raw < 0 {
        return Err(Error::last("ioctl(TIOCGPTPEER)"));
    }
    // SAFETY: just made, owned by nobody else.
    let slave = unsafe { OwnedFd::from_raw_fd(raw) };
    Ok(Pty { master, slave })
}

/// Sets the size in characters.
pub fn set_size(tty: impl AsFd, rows: u16, cols: u16) -> Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the argument is a winsize that outlives the call.
    let result = unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    match result {
        0 => Ok(()),
        _ => Err(Error::last("ioctl(TIOCSWINSZ)")),
    }
}

/// Makes it the controlling terminal of the calling session leader.
pub fn make_controlling(tty: impl AsFd) -> Result<()> {
    // SAFETY: takes no pointers.
    match unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) } {
        0 => Ok(()),
        _ => Err(Error::last("ioctl(TIOCSCTTY)")),
    }
}

/// Whether the descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    use std::io::IsTerminal;
    fd.as_fd().is_terminal()
}
