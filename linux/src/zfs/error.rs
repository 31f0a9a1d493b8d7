//! Why ZFS failed: error numbers of the kernel, and those that ZFS has beside them.

use std::fmt;

use nix::errno::Errno;

/// ZFS that is not there. `Display` says what this host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(String);

impl Missing {
    pub(super) fn new(reason: String) -> Missing {
        Missing(reason)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this host has no ZFS: {}", self.0)
    }
}

impl std::error::Error for Missing {}

/// Number of the first error that only ZFS has.
const FIRST: i32 = 1024;
/// Errors that only ZFS has, in order.
const OWN: [&str; 28] = [
    "the pool has a checkpoint",
    "a checkpoint is being discarded",
    "the pool has no checkpoint",
    "a device is being removed",
    "a device is too big",
    "the kernel module does not know this request",
    "the kernel module does not know an argument of this request",
    "an argument of this request is missing",
    "an argument of this request is of a wrong type",
    "the parent is of a wrong type",
    "the source has no set of initialisation vectors",
    "the source has another set of initialisation vectors",
    "the stream lacks a flag of spill blocks",
    "the stream has a feature that is not known here",
    "the pool is being exported",
    "the bookmark is none of an ancestor",
    "the stream ends too early",
    "the stream has large blocks, and an earlier one had not",
    "a resilver is in progress",
    "a rebuild is in progress",
    "a property can't have this value",
    "this type of device does not support the request",
    "this is no user namespace",
    "a broken stream to the same place is to go on first",
    "the kernel module can't do this encryption",
    "a raidz expansion is in progress",
    "the devices have different sector sizes",
    "the stream has large microzaps",
];

/// An error number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(i32);

impl Code {
    pub(super) fn from_raw(code: i32) -> Code {
        Code(code)
    }

    /// The kernel's error; `UnknownErrno` for those that only ZFS has.
    pub fn errno(self) -> Errno {
        Errno::from_raw(self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = usize::try_from(self.0 - FIRST)
            .ok()
            .and_then(|i| OWN.get(i));
        match (own, self.errno()) {
            (Some(text), _) => f.write_str(text),
            // What ZFS makes of ECKSUM and EFRAGS on Linux.
            (None, Errno::EBADE) => f.write_str("a checksum does not match"),
            (None, Errno::EBADR) => f.write_str("there is too little contiguous space"),
            (None, Errno::UnknownErrno) => write!(f, "error {}", self.0),
            (None, errno) => write!(f, "{errno:?}"),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A request that failed, e.g. `lzc_destroy(tank/ct/a): EBUSY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    call: String,
    code: Code,
    each: Vec<(String, Code)>,
}

/// Result of a request.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(super) fn new(call: String, code: Code) -> Error {
        Error {
            call,
            code,
            each: Vec::new(),
        }
    }

    pub(super) fn errno(call: String, errno: Errno) -> Error {
        Error::new(call, Code(errno as i32))
    }

    pub(super) fn with_each(call: String, code: Code, each: Vec<(String, u64)>) -> Error {
        let code_of = |n: u64| Code(i32::try_from(n).unwrap_or(i32::MAX));
        let each = each.into_iter().map(|(name, n)| (name, code_of(n)));
        Error {
            call,
            code,
            each: each.collect(),
        }
    }

    /// What failed, of all of it.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What failed of each of the names in the request, as far as it is told.
    pub fn each(&self) -> &[(String, Code)] {
        &self.each
    }

    /// Whether this is the kernel's error.
    pub fn is(&self, errno: Errno) -> bool {
        self.code.errno() == errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.code)?;
        for (i, (name, code)) in self.each.iter().take(3).enumerate() {
            let before = if i == 0 { " (" } else { ", " };
            write!(f, "{before}{name}: {code}")?;
        }
        if self.each.len() > 3 {
            write!(f, ", … {}", self.each.len())?;
        }
        if !self.each.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
