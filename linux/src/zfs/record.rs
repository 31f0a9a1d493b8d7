//! The first record of a stream: what the stream is, before anything is made of it.
//!
//! A stream of one snapshot is a BEGIN record, others, and an END record. A compound stream, which
//! `zfs send -p`, `-I` and `-R` write, is a BEGIN record with properties and names behind it, an
//! END record, any number of streams, and an END record. After `sys/zfs_ioctl.h` of OpenZFS.

use std::io::{self, Read};

/// Bytes of a record.
const SIZE: usize = 312;
const BEGIN: u32 = 0;
const END: u32 = 5;
const MAGIC: u64 = 0x2_f5ba_cbac;
const COMPOUND: u64 = 2;
const FILE_SYSTEM: u32 = 2;
const CLONE: u32 = 1;

/// Of a stream with `features`: it goes on from where another one broke.
pub const RESUMING: u64 = 1 << 20;
/// Some of its data are left out.
pub const REDACTED: u64 = 1 << 21;
/// Its blocks are as on the disk, encrypted with a key of their own.
pub const RAW: u64 = 1 << 24;

/// A record, as it is in the stream. Its place in memory is that of the C structure.
#[repr(C, align(8))]
#[derive(Clone)]
pub struct Record([u8; SIZE]);

/// What a BEGIN record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Whether it begins a compound stream, and not that of one snapshot.
    pub compound: bool,
    /// What its reader must know.
    pub features: u64,
    /// Whether it is of a file system.
    pub file_system: bool,
    /// Whether it goes on from a snapshot that the receiver must have.
    pub incremental: bool,
    /// Whether it is of a clone.
    pub clone: bool,
    /// Name of the snapshot, or of what a compound stream was made of, where it was sent.
    pub name: String,
    /// Bytes that follow the record.
    pub payload: u32,
}

impl Record {
    /// Reads one.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends in the middle; `None` when it ended before.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Record>> {
        let mut record = Record([0; SIZE]);
        let mut have = 0;
        while have < SIZE {
            match from.read(&mut record.0[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Some(record))
    }

    fn small(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[at..at + 4]);
        u32::from_ne_bytes(bytes)
    }

    fn large(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[at..at + 8]);
        u64::from_ne_bytes(bytes)
    }

    /// What it says, when it is a BEGIN record of a machine with this one's order of bytes.
    pub fn begin(&self) -> Option<Begin> {
        if self.small(0) != BEGIN || self.large(8) != MAGIC {
            return None;
        }
        let version = self.large(16);
        let name = &self.0[56..];
        let end = name.iter().position(|b| *b == 0)?;
        Some(Begin {
            compound: version & 3 == COMPOUND,
            features: version >> 2,
            file_system: self.small(32) == FILE_SYSTEM,
            clone: self.small(36) & CLONE != 0,
            incremental: self.large(48) != 0,
            name: String::from_utf8_lossy(&name[..end]).into_owned(),
            payload: self.small(4),
        })
    }

    /// Whether it is an END record.
    pub fn is_end(&self) -> bool {
        self.small(0) == END
    }

    pub(super) fn as_ptr(&self) -> *const std::ffi::c_void {
        self.0.as_ptr().cast()
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Record").field(&self.begin()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        bytes[8..16].copy_from_slice(&MAGIC.to_ne_bytes());
        let version = 1 | (RAW | 4) << 2;
        bytes[16..24].copy_from_slice(&version.to_ne_bytes());
        bytes[32..36].copy_from_slice(&FILE_SYSTEM.to_ne_bytes());
        bytes[40..48].copy_from_slice(&7u64.to_ne_bytes());
        bytes[56..63].copy_from_slice(b"t/a@b\0x");
        bytes
    }

    #[test]
    fn records_are_read() {
        let bytes = sample();
        let record = Record::read(&mut &bytes[..]).unwrap().unwrap();
        let begin = record.begin().unwrap();
        assert_eq!(begin.name, "t/a@b");
        assert_eq!(begin.features, RAW | 4);
        assert!(begin.file_system && !begin.compound && !begin.incremental && !begin.clone);
        assert!(!record.is_end());

        assert!(Record::read(&mut &b""[..]).unwrap().is_none());
        let cut = Record::read(&mut &bytes[..SIZE - 1]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        let mut foreign = bytes.clone();
        foreign[8..16].reverse();
        assert!(Record(foreign.try_into().unwrap()).begin().is_none());
        let mut endless = bytes;
        endless[56..].fill(b'x');
        assert!(Record(endless.try_into().unwrap()).begin().is_none());
    }
}
