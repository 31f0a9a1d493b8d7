//! Streams: a file system, or what has changed of one, as bytes.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::list::List;
use super::record::Record;
use super::{Code, Error, Result, Value, Zfs, call, name};

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
    /// Its first record, when it was read already.
    pub begin: Option<&'a Record>,
    /// Properties that the file system gets; those of a compound stream are not looked at.
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
    /// stream goes on from. It is not mounted. Gives the bytes that were read.
    pub fn receive(&self, snapshot: &str, from: BorrowedFd<'_>, how: &Receive<'_>) -> Result<u64> {
        let call = || call("lzc_receive", &[snapshot]);
        let failed = |e| Error::errno(call(), e);
        let origin = optional(how.origin).map_err(failed)?;
        let snapshot = name(snapshot).map_err(failed)?;
        let properties = List::values(&self.lib, how.properties).map_err(failed)?;
        let (mut bytes, mut errors) = (0, ptr::null_mut());
        // SAFETY: names, list, record and descriptor outlive the call; what it writes is ours to
        // free. There is no key.
        let code = unsafe {
            (self.lib.lzc_receive_with_cmdprops)(
                snapshot.as_ptr(),
                ptr::null_mut(),
                properties.as_ptr(),
                ptr::null_mut(),
                0,
                origin.as_ref().map_or(ptr::null(), |o| o.as_ptr()),
                i32::from(how.force == Force::Yes),
                i32::from(how.resumable),
                i32::from(how.raw),
                from.as_raw_fd(),
                how.begin.map_or(ptr::null(), Record::as_ptr),
                -1,
                &mut bytes,
                &mut 0,
                &mut 0,
                &mut errors,
            )
        };
        let each = List::given(&self.lib, errors).map(|list| list.numbers());
        let each = each.unwrap_or_default();
        match (code, each.first()) {
            (0, None) => {}
            // It was received, but a property could not be set.
            (0, Some((_, first))) => {
                let first = i32::try_from(*first).unwrap_or(i32::MAX);
                return Err(Error::with_each(call(), Code::from_raw(first), each));
            }
            _ => return Err(Error::with_each(call(), Code::from_raw(code), each)),
        }
        Ok(bytes)
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
