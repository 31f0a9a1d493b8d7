//! Members of a tar stream, one after the other: headers of all dialects, bounded in size.
//!
//! The `tar` crate decodes header blocks; framing and extended headers are read here, since its
//! iterator keeps extended headers of any size in memory and splits their records at newlines.

use std::io::{self, Read};

use osctl_linux::beneath::Time;
use tar::{EntryType, Header};

use super::attributes::Attributes;
use super::sparse::{self, Map};
use super::{Error, Limits, Result, pax, source::read_error};
use crate::storage::Meta;

const BLOCK: u64 = 512;
/// Largest extended header; attributes of one file fit many times.
const MAX_EXTENDED: u64 = 1 << 20;
/// Global headers, which count for every member.
const MAX_GLOBAL: usize = 16 << 10;
/// Longest path, as the kernel has it.
pub(super) const MAX_PATH: usize = 4096;
/// Extended headers before one member.
const MAX_CHAIN: u32 = 16;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Dir,
    Fifo,
}

/// One member; its data are read from [`Members`].
#[derive(Debug)]
pub(super) struct Member {
    /// The name as it stands in the archive.
    pub(super) path: Vec<u8>,
    /// What a link leads to.
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) meta: Meta,
    /// Major and minor number.
    pub(super) device: (u32, u32),
    /// Which parts of the file the data are; all of it when absent.
    pub(super) sparse: Option<Map>,
    /// What was left out.
    pub(super) warnings: Vec<String>,
}

/// Reads members from a stream. As a reader, it gives the data of the present one.
pub(super) struct Members<R> {
    input: R,
    offset: u64,
    /// Data of the present member that were not read.
    left: u64,
    /// Zeros after the data.
    padding: u64,
    entries: u64,
    max_entries: u64,
    global: Vec<(Vec<u8>, Vec<u8>)>,
    ended: bool,
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let max = buf
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if max == 0 {
            return Ok(0);
        }
        let n = self.input.read(&mut buf[..max])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        self.offset += n as u64;
        Ok(n)
    }
}

/// What extended headers say about the next member.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> Members<R> {
    pub(super) fn new(input: R, limits: &Limits) -> Members<R> {
        Members {
            input,
            offset: 0,
            left: 0,
            padding: 0,
            entries: 0,
            max_entries: limits.max_entries,
            global: Vec::new(),
            ended: false,
        }
    }

    /// The stream, after the end of the archive.
    pub(super) fn into_inner(self) -> R {
        self.input
    }

    fn damaged(&self, problem: impl Into<String>) -> Error {
        Error::Damaged {
            offset: self.offset,
            problem: problem.into(),
        }
    }

    fn skip(&mut self) -> Result<()> {
        io::copy(self, &mut io::sink()).map_err(read_error)?;
        self.left = std::mem::take(&mut self.padding);
        io::copy(self, &mut io::sink()).map_err(read_error)?;
        Ok(())
    }

    fn block(&mut self) -> Result<Header> {
        let mut header = Header::new_old();
        self.input
            .read_exact(header.as_mut_bytes())
            .map_err(read_error)?;
        self.offset += BLOCK;
        Ok(header)
    }

    /// The next member; `None` after the last one. What was not read of the present one's data is
    /// skipped.
    pub(super) fn next_member(&mut self) -> Result<Option<Member>> {
        if self.ended {
            return Ok(None);
        }
        let mut extended = Extended::default();
        for chain in 0..=MAX_CHAIN {
            self.skip()?;
            let header = self.block()?;
            if header.as_bytes().iter().all(|b| *b == 0) {
                if chain > 0 {
                    return Err(self.damaged("an extended header has no member"));
                }
                self.ended = true;
                return Ok(None);
            }
            self.check(&header)?;
            if !self.extend(&header, &mut extended)? {
                self.entries += 1;
                if self.entries > self.max_entries {
                    let max = self.max_entries;
                    return Err(Error::Limit(format!("more than {max} members, the limit")));
                }
                return self.member(&header, extended).map(Some);
            }
        }
        Err(self.damaged("a member has too many extended headers"))
    }

    fn check(&self, header: &Header) -> Result<()> {
        let bytes = header.as_bytes();
        let others = || bytes[..148].iter().chain(&bytes[156..]);
        let unsigned = others().map(|b| u32::from(*b)).sum::<u32>() + 8 * u32::from(b' ');
        // Some old programs added bytes as signed ones.
        let signed = others().map(|b| i32::from(*b as i8)).sum::<i32>() + 8 * i32::from(b' ');
        match header.cksum() {
            Ok(sum) if sum == unsigned || i64::from(sum) == i64::from(signed) => Ok(()),
            Ok(_) => Err(self.damaged("a header has a wrong checksum")),
            Err(_) => Err(self.damaged("this is no tar header")),
        }
    }

    fn set_data(&mut self, size: u64) -> Result<()> {
        // Also keeps the sum with the padding from overflowing.
        if size > i64::MAX as u64 {
            return Err(self.damaged("a member is larger than any file"));
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(())
    }

    /// Takes in a header that describes the next one. False for a member.
    fn extend(&mut self, header: &Header, extended: &mut Extended) -> Result<bool> {
        let kind = header.entry_type();
        if !matches!(kind.as_byte(), b'L' | b'K' | b'x' | b'X' | b'g' | b'V') {
            return Ok(false);
        }
        let size = header
            .entry_size()
            .map_err(|_| self.damaged("a header has no size"))?;
        if size > MAX_EXTENDED {
            return Err(self.damaged(format!("an extended header has {size} bytes")));
        }
        self.set_data(size)?;
        let mut data = Vec::new();
        self.read_to_end(&mut data).map_err(read_error)?;
        match kind.as_byte() {
            b'L' | b'K' => {
                let name = data.split(|b| *b == 0).next().unwrap_or_default().to_vec();
                let slot = if kind == EntryType::GNULongName {
                    &mut extended.path
                } else {
                    &mut extended.link
                };
                *slot = Some(name);
            }
            b'g' => {
                let records = self.records(&data)?;
                self.global.extend(records);
                let size: usize = self.global.iter().map(|(k, v)| k.len() + v.len()).sum();
                if size > MAX_GLOBAL {
                    return Err(self.damaged("global headers are too long"));
                }
            }
            b'x' | b'X' => extended.records = self.records(&data)?,
            // A volume label says nothing about the content.
            _ => {}
        }
        Ok(true)
    }

    fn records(&self, data: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let records = pax::records(data).map_err(|problem| self.damaged(problem))?;
        Ok(records
            .iter()
            .map(|r| (r.key.to_vec(), r.value.to_vec()))
            .collect())
    }

    fn member(&mut self, header: &Header, extended: Extended) -> Result<Member> {
        let mut records = self.global.clone();
        records.extend(extended.records);
        let attributes = Attributes::new(records);
        let path = attributes
            .text("GNU.sparse.name")
            .or(attributes.text("path"))
            .map(<[u8]>::to_vec)
            .or(extended.path)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = attributes
            .text("linkpath")
            .map(<[u8]>::to_vec)
            .or(extended.link)
            .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        for text in [&path, &link] {
            if text.contains(&0) {
                return Err(Error::member(text, "has a name with a NUL byte"));
            }
            if text.len() > MAX_PATH {
                return Err(Error::member(
                    text,
                    format!("has a name longer than {MAX_PATH} bytes"),
                ));
            }
        }
        let kind = self.kind(header, &path)?;
        self.size(header, &attributes, kind)?;
        let number = |e: io::Result<u64>| e.map_err(|_| Error::member(&path, "has a bad number"));
        let mut warnings = Vec::new();
        let mut member = Member {
            kind,
            meta: self.meta(header, &attributes, &path, &mut warnings)?,
            device: (0, 0),
            sparse: None,
            path: path.clone(),
            link,
            warnings,
        };
        if matches!(kind, Kind::Char | Kind::Block) {
            let part = |e: io::Result<Option<u32>>| number(e.map(|n| n.unwrap_or(0).into()));
            let (major, minor) = (part(header.device_major())?, part(header.device_minor())?);
            // What fits a dev_t of Linux.
            if major > 0xfff || minor > 0xf_ffff {
                return Err(Error::member(&path, format!("is a device {major}:{minor}")));
            }
            member.device = (major as u32, minor as u32);
        }
        if kind == Kind::File {
            member.sparse = self.sparse(header, &attributes, &path)?;
        }
        Ok(member)
    }

    fn kind(&self, header: &Header, path: &[u8]) -> Result<Kind> {
        Ok(match header.entry_type().as_byte() {
            // Before 1988 a slash at the end was all that told a directory.
            0 | b'0' if path.ends_with(b"/") => Kind::Dir,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            other => {
                let kind = char::from(other).escape_default();
                return Err(Error::member(
                    path,
                    format!("has the unknown type '{kind}'"),
                ));
            }
        })
    }

    fn size(&mut self, header: &Header, attributes: &Attributes, kind: Kind) -> Result<()> {
        let size = match attributes.text("size") {
            Some(text) => pax::decimal(text),
            None => header.entry_size().ok(),
        };
        match size {
            // The size of a hard link is that of the file; its data came with the first name.
            _ if kind == Kind::HardLink => self.set_data(0),
            Some(size) => self.set_data(size),
            None => Err(self.damaged("a header has no size")),
        }
    }

    fn meta(
        &self,
        header: &Header,
        attributes: &Attributes,
        path: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<Meta> {
        let bad = || Error::member(path, "has a bad number");
        let id = |key: &str, field: io::Result<u64>| {
            let value = match attributes.text(key) {
                Some(text) => pax::decimal(text),
                None => field.ok(),
            };
            // The highest id means "leave it as it is" to the kernel.
            match value.and_then(|v| u32::try_from(v).ok()) {
                Some(id) if id != u32::MAX => Ok(id),
                _ => Err(bad()),
            }
        };
        let time = |key: &str, field: Option<u64>| match attributes.text(key) {
            Some(text) => pax::time(text)
                .map(|(sec, nsec)| Time { sec, nsec })
                .ok_or_else(bad),
            // Times before 1970 are two's complement in the binary form of numbers.
            None => Ok(Time {
                sec: field.unwrap_or(0) as i64,
                nsec: 0,
            }),
        };
        let field = header.mtime().map_err(|_| bad())?;
        let mtime = time("mtime", Some(field))?;
        let atime = match attributes.text("atime") {
            Some(_) => time("atime", None)?,
            None => mtime,
        };
        Ok(Meta {
            uid: id("uid", header.uid())?,
            gid: id("gid", header.gid())?,
            mode: header.mode().map_err(|_| bad())? & 0o7777,
            atime,
            mtime,
            xattrs: attributes.xattrs(path, warnings)?,
        })
    }

    fn sparse(
        &mut self,
        header: &Header,
        attributes: &Attributes,
        path: &[u8],
    ) -> Result<Option<Map>> {
        let bad = |problem: &str| Error::member(path, format!("is not valid: {problem}"));
        let number = |key: &str| match attributes.text(key) {
            None => Ok(None),
            Some(text) => match pax::decimal(text) {
                Some(n) => Ok(Some(n)),
                None => Err(bad("a sparse file has a bad number")),
            },
        };
        let (parts, size) = if header.entry_type() == EntryType::GNUSparse {
            let gnu = header
                .as_gnu()
                .ok_or_else(|| bad("a sparse file has no GNU header"))?;
            let mut parts = Vec::new();
            sparse::add_gnu(&mut parts, &gnu.sparse).map_err(bad)?;
            let mut more = gnu.is_extended();
            while more {
                let block = self.block()?;
                more = sparse::add_gnu_block(&mut parts, block.as_bytes()).map_err(bad)?;
            }
            let size = gnu
                .real_size()
                .map_err(|_| bad("a sparse file has no size"))?;
            (parts, size)
        } else if number("GNU.sparse.major")? == Some(1) {
            let size = number("GNU.sparse.realsize")?;
            let size = size.ok_or_else(|| bad("a sparse file has no size"))?;
            let mut left = self.left;
            let parts = sparse::from_data(self, &mut left).map_err(read_error)?;
            (parts.map_err(bad)?, size)
        } else if let Some(size) = number("GNU.sparse.size")? {
            let parts = match attributes.text("GNU.sparse.map") {
                Some(list) => sparse::from_list(list),
                None => attributes.sparse_pairs(),
            };
            (parts.map_err(bad)?, size)
        } else {
            return Ok(None);
        };
        let map = Map::checked(parts, size).map_err(bad)?;
        if map.stored() != self.left {
            return Err(bad("a sparse map does not fit its data"));
        }
        Ok(Some(map))
    }
}
