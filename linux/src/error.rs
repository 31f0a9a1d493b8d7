//! The error of a failed kernel call: which call, on what, which errno.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A kernel call that failed, e.g. `openat2(3, "etc/passwd"): ELOOP`.
///
/// `Display` shows the call with its arguments and the name of the errno; there is no source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    call: String,
    errno: nix::errno::Errno,
}

/// Result of a kernel call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `call` is the call as text, with the arguments that matter: `mkdirat(4, "dev")`.
    pub fn new(call: impl Into<String>, errno: nix::errno::Errno) -> Self {
        Error {
            call: call.into(),
            errno,
        }
    }

    /// The errno of the calling thread's last failed libc call.
    pub fn last(call: impl Into<String>) -> Self {
        Error::new(call, nix::errno::Errno::last())
    }

    /// From an error of std; one that carries no errno becomes EIO.
    pub fn from_io(call: impl Into<String>, error: &io::Error) -> Self {
        Error::new(
            call,
            nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        )
    }

    /// What the kernel answered.
    pub fn errno(&self) -> nix::errno::Errno {
        self.errno
    }

    /// The call with its arguments.
    pub fn call(&self) -> &str {
        &self.call
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.call, self.errno)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::from_raw_os_error(error.errno as i32)
    }
}

/// Adds the text of the call to a bare errno.
pub trait Context<T> {
    /// Names the call, e.g. `.call(|| format!("mkdirat({name:?})"))`.
    fn call<S: Into<String>>(self, text: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for nix::Result<T> {
    fn call<S: Into<String>>(self, text: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|errno| Error::new(text(), errno))
    }
}

impl<T> Context<T> for io::Result<T> {
    fn call<S: Into<String>>(self, text: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::from_io(text(), &error))
    }
}

/// A file descriptor for messages: its number and, where procfs tells, its path: `3</tank/ct>`.
pub fn describe_fd(fd: BorrowedFd<'_>) -> String {
    let n = fd.as_raw_fd();
    match std::fs::read_link(format!("/proc/self/fd/{n}")) {
        Ok(path) => format!("{n}<{}>", path.display()),
        Err(_) => n.to_string(),
    }
}
