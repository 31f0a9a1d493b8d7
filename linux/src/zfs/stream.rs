//! Streams: a file system, or what has changed of one, as bytes.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::list::List;
use super::{Error, Result, Value, Zfs, call, name};

/// Where a stream starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From<'a> {
    /// From nothing: all of it.
    Nothing,
    /// From a snapshot or bookmark, which the receiver has.
    Source(&'a str),
}

/// Where a broken stream goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resume {
    /// Number of the object.
    pub object: u64,
    /// Bytes into it.
    pub offset: u64,
}

/// What a stream may use; the receiver must know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Send(i32);

impl Send {
    /// Plain, as any receiver understands.
    pub const PLAIN: Send = Send(0);
    /// Small blocks within their pointers.
    pub const EMBEDDED: Send = Send(1);
    /// Blocks of more than 128 KiB.
    pub const LARGE_BLOCKS: Send = Send(1 << 1);
    /// Blocks compressed as they are on the disk.
    pub const COMPRESSED: Send = Send(1 << 2);
    /// Blocks as they are on the disk, encrypted ones too.
    pub const RAW: Send = Send(1 << 3);

    /// Both.
    pub const fn and(self, other: Send) -> Send {
        Send(self.0 | other.0)
    }
}

/// What receiving may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Nothing: a file system that has changed since is refused.
    No,
    /// What has changed since, and newer snapshots.
    Yes,
}

/// How a stream is received.
#[derive(Debug)]
pub struct Receive<'a> {
    /// Properties of the file system, over those of the stream.
    pub properties: &'a [(&'a str, Value)],
    /// What it is a clone of, with a stream of a clone.
    pub origin: Option<&'a str>,
    /// What it may cost.
    pub force: Force,
    /// Whether the stream is a raw one.
    pub raw: bool,
    /// Whether what was received of a broken stream is kept, so that it can go on.
    pub resumable: bool,
}

fn optional(
    text: Option<&str>,
) -> std::result::Result<Option<std::ffi::CString>, nix::errno::Errno> {
    text.map(name).transpose()
}

impl Zfs {
    /// Writes the stream of a snapshot to `to`, at best a pipe.
    pub fn send(
        &self,
        snapshot: &str,
        from: From<'_>,
        to: BorrowedFd<'_>,
        what: Send,
        resume: Resume,
    ) -> Result<()> {
        let call = || call("lzc_send", &[snapshot]);
        let failed = |e| Error::errno(call(), e);
        let from = optional(from.source()).map_err(failed)?;
        let snapshot = name(snapshot).map_err(failed)?;
        // SAFETY: names and descriptor outlive the call.
        let code = unsafe {
            (self.lib.lzc_send_resume)(
                snapshot.as_ptr(),
                from.as_ref().map_or(ptr::null(), |f| f.as_ptr()),
                to.as_raw_fd(),
                what.0,
                resume.object,
                resume.offset,
            )
        };
        self.done(code, call)
    }

    /// About how many bytes the stream of a snapshot will have.
    pub fn send_space(&self, snapshot: &str, from: From<'_>, what: Send) -> Result<u64> {
        let call = || call("lzc_send_space", &[snapshot]);
        let failed = |e| Error::errno(call(), e);
        let from = optional(from.source()).map_err(failed)?;
        let snapshot = name(snapshot).map_err(failed)?;
        let mut bytes = 0;
        // SAFETY: the names outlive the call, and the number can be written to.
        let code = unsafe {
            (self.lib.lzc_send_space)(
                snapshot.as_ptr(),
                from.as_ref().map_or(ptr::null(), |f| f.as_ptr()),
                what.0,
                &mut bytes,
            )
        };
        self.done(code, call)?;
        Ok(bytes)
    }

    /// Makes a snapshot of the stream that is read from `from`: the whole name is the caller's,
    /// whatever the stream calls itself. Its file system is made, or must be the one that the
    /// stream goes on from. It is not mounted.
    pub fn receive(&self, snapshot: &str, from: BorrowedFd<'_>, how: &Receive<'_>) -> Result<()> {
        let call = || call("lzc_receive", &[snapshot]);
        let failed = |e| Error::errno(call(), e);
        let origin = optional(how.origin).map_err(failed)?;
        let snapshot = name(snapshot).map_err(failed)?;
        let properties = List::values(&self.lib, how.properties).map_err(failed)?;
        let receive = match how.resumable {
            true => self.lib.lzc_receive_resumable,
            false => self.lib.lzc_receive,
        };
        // SAFETY: names, list and descriptor outlive the call.
        let code = unsafe {
            receive(
                snapshot.as_ptr(),
                properties.as_ptr(),
                origin.as_ref().map_or(ptr::null(), |o| o.as_ptr()),
                i32::from(how.force == Force::Yes),
                i32::from(how.raw),
                from.as_raw_fd(),
            )
        };
        self.done(code, call)
    }
}

impl<'a> From<'a> {
    fn source(self) -> Option<&'a str> {
        match self {
            From::Nothing => None,
            From::Source(name) => Some(name),
        }
    }
}
