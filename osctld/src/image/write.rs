//! Writing images: a root file system packed as vpsAdminOS does.
//!
//! The stream is reproducible: names are sorted, and nothing but the tree goes into it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use osctl_linux::beneath::{Kind, Node, Root, Stat};
use tar::{EntryType, Header};

use super::member::MAX_PATH;
use super::metadata::Metadata;
use super::{Error, Facts, Hook, Result, acl, pax, sparse};
use crate::storage::{Cursor, Meta, Watch};

const BLOCK: u64 = 512;
/// Largest number of the octal fields for ids.
const MAX_OCTAL_ID: u32 = 0o7_777_777;
/// Largest number of the octal field for sizes.
const MAX_OCTAL_SIZE: u64 = 0o77_777_777_777;
/// Smallest file in which holes are looked for.
const MIN_SPARSE: u64 = 4096;

/// How a root file system is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: `base.tar`.
    None,
    /// gzip at a level of 1 to 9: `base.tar.gz`, which vpsAdminOS reads as well.
    Gzip(u32),
    /// zstd at a level of 1 to 19: `base.tar.zst`.
    Zstd(i32),
}

impl Compression {
    fn extension(self) -> &'static str {
        match self {
            Compression::None => "tar",
            Compression::Gzip(_) => "tar.gz",
            Compression::Zstd(_) => "tar.zst",
        }
    }
}

/// What goes into an archive beside the root file system.
#[derive(Debug, Clone)]
pub struct Pack<'a> {
    /// What runs in it.
    pub facts: &'a Facts,
    /// Id of the container, when it is the export of one.
    pub container: Option<&'a str>,
    /// Name of its user.
    pub user: Option<&'a str>,
    /// Name of its group.
    pub group: Option<&'a str>,
    /// Seconds since 1970-01-01 00:00 UTC, also the time of all members.
    pub exported_at: i64,
    /// `config/user.yml` and so on: name below `config/` and content.
    pub configs: &'a [(&'a str, &'a [u8])],
    /// Scripts.
    pub hooks: &'a [Hook],
    /// Compression of the root file system.
    pub compression: Compression,
}

/// What packing came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// Objects in the root file system.
    pub entries: u64,
    /// Bytes of content, holes not counted.
    pub bytes: u64,
    /// What tar archives can't hold and was left out (sockets), the first hundred.
    pub warnings: Vec<String>,
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |e| Error::Pack {
        what,
        source: e.into(),
    }
}

/// Writes an archive of the root directory `root` to `out`, which is at its start. It is written
/// from front to end but for one size that is filled in later.
pub fn pack<W: Write + Seek>(
    root: &Root,
    what: &Pack<'_>,
    out: &mut W,
    watch: Watch<'_>,
) -> Result<Packed> {
    let mut outer = Outer {
        out,
        time: what.exported_at,
    };
    let metadata = Metadata {
        kind: "full".into(),
        format: Some("tar".into()),
        user: what.user.map(str::to_owned),
        group: what.group.map(str::to_owned),
        container: what.container.map(str::to_owned),
        datasets: Vec::new(),
        exported_at: Some(what.exported_at),
    };
    outer.file("metadata.yml", 0o644, yaml(&metadata)?.as_bytes())?;
    outer.dir("config/")?;
    for (name, content) in what.configs {
        outer.file(&format!("config/{name}"), 0o644, content)?;
    }
    if !what
        .configs
        .iter()
        .any(|(name, _)| *name == "container.yml")
    {
        outer.file("config/container.yml", 0o644, yaml(what.facts)?.as_bytes())?;
    }
    if !what.hooks.is_empty() {
        outer.hooks(what.hooks)?;
    }
    outer.dir("rootfs/")?;
    let name = format!("rootfs/base.{}", what.compression.extension());
    let packed = outer.base(&name, root, what.compression, watch)?;
    outer
        .out
        .write_all(&[0; 1024])
        .map_err(failed("the archive"))?;
    outer.out.flush().map_err(failed("the archive"))?;
    Ok(packed)
}

fn yaml(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_norway::to_string(value).map_err(|e| Error::Pack {
        what: "the metadata".into(),
        source: e.into(),
    })?;
    Ok(format!("---\n{text}"))
}

struct Outer<'a, W> {
    out: &'a mut W,
    time: i64,
}

impl<W: Write + Seek> Outer<'_, W> {
    fn header(&self, name: &str, kind: EntryType, mode: u32, size: u64) -> Result<Header> {
        let mut header = Header::new_gnu();
        header.set_path(name).map_err(failed(format!("{name:?}")))?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(self.time).unwrap_or(0));
        header.set_size(size);
        header.set_cksum();
        Ok(header)
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let header = self.header(name, EntryType::Regular, mode, content.len() as u64)?;
        let padding = padding(content.len() as u64);
        let done = self.out.write_all(header.as_bytes());
        done.and_then(|()| self.out.write_all(content))
            .and_then(|()| self.out.write_all(padding))
            .map_err(failed(format!("{name:?}")))
    }

    fn dir(&mut self, name: &str) -> Result<()> {
        let header = self.header(name, EntryType::Directory, 0o755, 0)?;
        self.out
            .write_all(header.as_bytes())
            .map_err(failed(format!("{name:?}")))
    }

    fn hooks(&mut self, hooks: &[Hook]) -> Result<()> {
        self.dir("hooks/")?;
        let mut dirs: Vec<&str> = Vec::new();
        for hook in hooks {
            if let Some((dir, _)) = hook.name.split_once('/')
                && !dirs.contains(&dir)
            {
                self.dir(&format!("hooks/{dir}/"))?;
                dirs.push(dir);
            }
            self.file(
                &format!("hooks/{}", hook.name),
                hook.mode & 0o777,
                &hook.content,
            )?;
        }
        Ok(())
    }

    /// The root file system, whose size is known only when it is written.
    fn base(
        &mut self,
        name: &str,
        root: &Root,
        compression: Compression,
        watch: Watch<'_>,
    ) -> Result<Packed> {
        let header = self.header(name, EntryType::Regular, 0o644, 0)?;
        let wrong = || failed("the archive");
        let at = self.out.stream_position().map_err(wrong())?;
        self.out.write_all(header.as_bytes()).map_err(wrong())?;
        let packed = pack_tarball(root, &mut *self.out, compression, watch)?;
        let end = self.out.stream_position().map_err(wrong())?;
        let size = end.saturating_sub(at + BLOCK);
        self.out.write_all(padding(size)).map_err(wrong())?;
        let end = self.out.stream_position().map_err(wrong())?;
        let header = self.header(name, EntryType::Regular, 0o644, size)?;
        self.out.seek(SeekFrom::Start(at)).map_err(wrong())?;
        self.out.write_all(header.as_bytes()).map_err(wrong())?;
        self.out.seek(SeekFrom::Start(end)).map_err(wrong())?;
        Ok(packed)
    }
}

/// Zeros that fill the last block of `size` bytes.
fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; 512] = [0; 512];
    &ZEROS[..usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or(0)]
}

/// Writes a tarball of the root directory `root` to `out`.
pub fn pack_tarball<W: Write>(
    root: &Root,
    out: W,
    compression: Compression,
    watch: Watch<'_>,
) -> Result<Packed> {
    let end = || failed("the root file system");
    match compression {
        Compression::None => {
            let mut out = io::BufWriter::with_capacity(128 << 10, out);
            let packed = tarball(root, &mut out, watch)?;
            out.flush().map_err(end())?;
            Ok(packed)
        }
        Compression::Gzip(level) => {
            let level = flate2::Compression::new(level.min(9));
            let mut out = flate2::write::GzEncoder::new(out, level);
            let packed = tarball(root, &mut out, watch)?;
            out.finish()
                .and_then(|mut out| out.flush())
                .map_err(end())?;
            Ok(packed)
        }
        Compression::Zstd(level) => {
            let mut out =
                zstd::stream::write::Encoder::new(out, level.clamp(1, 19)).map_err(end())?;
            out.include_checksum(true).map_err(end())?;
            let packed = tarball(root, &mut out, watch)?;
            out.finish()
                .and_then(|mut out| out.flush())
                .map_err(end())?;
            Ok(packed)
        }
    }
}

fn tarball<W: Write>(root: &Root, out: &mut W, watch: Watch<'_>) -> Result<Packed> {
    let mut packer = Packer {
        out,
        links: HashMap::new(),
        buffer: vec![0; 128 << 10],
        watch,
        packed: Packed::default(),
    };
    let pack_error = |e: osctl_linux::error::Error| Error::Pack {
        what: "the root file system".into(),
        source: e.into(),
    };
    let top = Cursor::top(root).map_err(pack_error)?;
    // Directories to come, the next one last.
    let mut pending = vec![(top, PathBuf::new())];
    let dir = root.dir(".").map_err(pack_error)?;
    packer.object(&dir, Path::new("."), Path::new("./"))?;
    while let Some((cursor, path)) = pending.pop() {
        let below = packer.dir(&cursor, &path)?;
        pending.extend(below.into_iter().rev());
    }
    packer
        .out
        .write_all(&[0; 1024])
        .map_err(failed("the root file system"))?;
    Ok(packer.packed)
}

struct Packer<'a, W> {
    out: &'a mut W,
    /// First name of each file with several.
    links: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
    watch: Watch<'a>,
    packed: Packed,
}

impl<W: Write> Packer<'_, W> {
    /// Packs what is in a directory; returns the directories in it.
    fn dir(&mut self, cursor: &Cursor, path: &Path) -> Result<Vec<(Cursor, PathBuf)>> {
        let wrong = |e: osctl_linux::error::Error| Error::Pack {
            what: format!("{path:?}"),
            source: e.into(),
        };
        let dir = cursor.open().map_err(wrong)?;
        let mut names: Vec<OsString> = Vec::new();
        for entry in dir.read_dir(".").map_err(wrong)? {
            names.push(entry.map_err(wrong)?.name);
        }
        names.sort();
        let mut below = Vec::new();
        for name in names {
            if self.watch.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let path = path.join(&name);
            if self.object(&dir, Path::new(&name), &path)? == Kind::Dir {
                below.push((cursor.child(&name).map_err(wrong)?, path));
            }
        }
        Ok(below)
    }

    /// Packs `name` of `dir` under the name `path`.
    fn object(&mut self, dir: &Root, name: &Path, path: &Path) -> Result<Kind> {
        let wrong = |source: crate::storage::Cause| Error::Pack {
            what: format!("{path:?}"),
            source,
        };
        if path.as_os_str().len() > MAX_PATH {
            return Err(wrong("its path is too long".into()));
        }
        let node = dir.node(name).map_err(|e| wrong(e.into()))?;
        let stat = node.stat().map_err(|e| wrong(e.into()))?;
        let kind = stat.kind();
        if kind == Kind::Socket {
            if self.packed.warnings.len() < 100 {
                self.packed
                    .warnings
                    .push(format!("{path:?} is a socket; left out"));
            }
            return Ok(kind);
        }
        let done = self.put(dir, name, &node, &stat, path);
        done.map_err(|e| match e {
            Failure::Cancelled => Error::Cancelled,
            Failure::Other(source) => wrong(source),
        })?;
        self.packed.entries += 1;
        Ok(kind)
    }

    fn put(
        &mut self,
        dir: &Root,
        name: &Path,
        node: &Node,
        stat: &Stat,
        path: &Path,
    ) -> std::result::Result<(), Failure> {
        let meta = match stat.kind() {
            Kind::Symlink => Meta::of_link(stat),
            _ => Meta::read(node, stat)?,
        };
        let mut entry = Entry::new(path, stat.kind(), &meta);
        if stat.kind() != Kind::Dir && stat.nlink > 1 {
            let key = (stat.dev, stat.ino);
            if let Some(first) = self.links.get(&key) {
                entry.header.set_entry_type(EntryType::Link);
                entry.link(first.as_os_str().as_bytes());
                entry
                    .records
                    .retain(|(key, _)| !key.starts_with(b"SCHILY."));
                return Ok(entry.write(self.out, 0)?);
            }
            self.links.insert(key, path.to_owned());
        }
        match stat.kind() {
            Kind::Symlink => {
                entry.link(dir.read_link(name)?.as_bytes());
                entry.write(self.out, 0)?;
            }
            Kind::Char | Kind::Block => {
                let (major, minor) = stat.device();
                entry.header.set_device_major(major)?;
                entry.header.set_device_minor(minor)?;
                entry.write(self.out, 0)?;
            }
            Kind::File if stat.size > 0 => {
                let file = node.reopen(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
                self.file(entry, file, stat, path)?;
            }
            _ => entry.write(self.out, 0)?,
        }
        Ok(())
    }

    fn file(
        &mut self,
        mut entry: Entry,
        mut file: File,
        stat: &Stat,
        path: &Path,
    ) -> std::result::Result<(), Failure> {
        let size = stat.size;
        let parts = match size >= MIN_SPARSE && stat.blocks.saturating_mul(512) < size {
            true => data_parts(&file, size)?,
            false => vec![(0, size)],
        };
        if parts == [(0, size)] {
            entry.write(self.out, size)?;
            self.data(&mut file, 0, size)?;
            self.out.write_all(padding(size))?;
            return Ok(());
        }
        // GNU wants the end of a file that ends with a hole told by an empty part.
        let mut listed = parts.clone();
        if listed
            .last()
            .is_none_or(|(offset, length)| offset + length < size)
        {
            listed.push((size, 0));
        }
        let map = sparse::to_data(&listed);
        let stored: u64 = parts.iter().map(|(_, length)| length).sum();
        entry.sparse(path, size);
        entry.write(self.out, map.len() as u64 + stored)?;
        self.out.write_all(&map)?;
        for (offset, length) in parts {
            self.data(&mut file, offset, length)?;
        }
        self.out.write_all(padding(stored))?;
        Ok(())
    }

    /// Writes a part of a file; one that has become shorter is filled up with zeros.
    fn data(
        &mut self,
        file: &mut File,
        offset: u64,
        length: u64,
    ) -> std::result::Result<(), Failure> {
        file.seek(SeekFrom::Start(offset))?;
        let mut left = length;
        while left > 0 {
            if self.watch.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            let want = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = match file.read(&mut self.buffer[..want]) {
                Ok(0) => {
                    self.buffer[..want].fill(0);
                    want
                }
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            self.out.write_all(&self.buffer[..n])?;
            left -= n as u64;
        }
        self.packed.bytes += length;
        self.watch.progress(self.packed.bytes, None);
        Ok(())
    }
}

/// Where a file has data.
fn data_parts(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    use rustix::fs::{SeekFrom as At, seek};
    let mut parts = Vec::new();
    let mut at = 0;
    while at < size {
        let data = match seek(file, At::Data(at)) {
            Ok(data) => data.min(size),
            Err(rustix::io::Errno::NXIO) => break,
            // No such thing on this file system.
            Err(rustix::io::Errno::INVAL) => return Ok(vec![(0, size)]),
            Err(e) => return Err(e.into()),
        };
        let end = seek(file, At::Hole(data)).map_or(size, |hole| hole.min(size));
        if end <= data {
            break;
        }
        parts.push((data, end - data));
        at = end;
    }
    Ok(parts)
}

enum Failure {
    Cancelled,
    Other(crate::storage::Cause),
}

impl<E: Into<crate::storage::Cause>> From<E> for Failure {
    fn from(e: E) -> Failure {
        Failure::Other(e.into())
    }
}

/// Header and extended header of one member.
struct Entry {
    header: Header,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    fn new(path: &Path, kind: Kind, meta: &Meta) -> Entry {
        let mut header = Header::new_ustar();
        header.set_entry_type(match kind {
            Kind::Dir => EntryType::Directory,
            Kind::Symlink => EntryType::Symlink,
            Kind::Char => EntryType::Char,
            Kind::Block => EntryType::Block,
            Kind::Fifo => EntryType::Fifo,
            Kind::File | Kind::Socket => EntryType::Regular,
        });
        header.set_mode(meta.mode);
        let mut entry = Entry {
            header,
            records: Vec::new(),
        };
        let mut name = path.as_os_str().as_bytes().to_vec();
        if kind == Kind::Dir && !name.ends_with(b"/") {
            name.push(b'/');
        }
        entry.path(&name);
        for (key, id) in [("uid", meta.uid), ("gid", meta.gid)] {
            if id > MAX_OCTAL_ID {
                entry.record(key, id.to_string().as_bytes());
            }
        }
        entry.header.set_uid(u64::from(meta.uid.min(MAX_OCTAL_ID)));
        entry.header.set_gid(u64::from(meta.gid.min(MAX_OCTAL_ID)));
        let (sec, nsec) = (meta.mtime.sec, meta.mtime.nsec);
        if nsec != 0 || !(0..MAX_OCTAL_SIZE as i64).contains(&sec) {
            entry.record("mtime", pax::format_time(sec, nsec).as_bytes());
        }
        let whole = u64::try_from(sec).unwrap_or(0).min(MAX_OCTAL_SIZE);
        entry.header.set_mtime(whole);
        for (name, value) in &meta.xattrs {
            entry.xattr(name.as_bytes(), value);
        }
        entry
    }

    fn record(&mut self, key: impl AsRef<[u8]>, value: &[u8]) {
        self.records.push((key.as_ref().to_vec(), value.to_vec()));
    }

    fn path(&mut self, name: &[u8]) {
        let fits = name.len() <= 100;
        let field = &mut self.header.as_old_mut().name;
        field.fill(0);
        let shown = &name[..name.len().min(100)];
        field[..shown.len()].copy_from_slice(shown);
        if !fits {
            self.record("path", name);
        }
    }

    fn link(&mut self, target: &[u8]) {
        let fits = target.len() <= 100;
        let field = &mut self.header.as_old_mut().linkname;
        field.fill(0);
        let shown = &target[..target.len().min(100)];
        field[..shown.len()].copy_from_slice(shown);
        if !fits {
            self.record("linkpath", target);
        }
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) {
        let list = match name {
            b"system.posix_acl_access" => Some("SCHILY.acl.access"),
            b"system.posix_acl_default" => Some("SCHILY.acl.default"),
            _ => None,
        };
        if let Some(key) = list
            && let Some(text) = acl::to_text(value)
        {
            return self.record(key, text.as_bytes());
        }
        let mut key = b"SCHILY.xattr.".to_vec();
        for byte in name {
            match byte {
                b'=' => key.extend(b"%3D"),
                b'%' => key.extend(b"%25"),
                other => key.push(*other),
            }
        }
        self.record(key, value);
    }

    /// Makes the member a sparse file of `size` bytes, pax form 1.0.
    fn sparse(&mut self, path: &Path, size: u64) {
        let name = path.as_os_str().as_bytes();
        self.records.retain(|(key, _)| key != b"path");
        self.record("GNU.sparse.major", b"1");
        self.record("GNU.sparse.minor", b"0");
        self.record("GNU.sparse.name", name);
        self.record("GNU.sparse.realsize", size.to_string().as_bytes());
        // Programs that don't know the form unpack the map and the parts under this name.
        let short = [b"GNUSparseFile.0/", name].concat();
        let field = &mut self.header.as_old_mut().name;
        field.fill(0);
        let shown = &short[..short.len().min(100)];
        field[..shown.len()].copy_from_slice(shown);
    }

    fn write(mut self, out: &mut impl Write, size: u64) -> io::Result<()> {
        if size > MAX_OCTAL_SIZE {
            self.record("size", size.to_string().as_bytes());
        }
        self.header.set_size(size.min(MAX_OCTAL_SIZE));
        if !self.records.is_empty() {
            let mut block = Vec::new();
            for (key, value) in &self.records {
                pax::push(&mut block, key, value);
            }
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            header.set_path("PaxHeaders/x")?;
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(block.len() as u64);
            header.set_cksum();
            out.write_all(header.as_bytes())?;
            out.write_all(&block)?;
            out.write_all(padding(block.len() as u64))?;
        }
        self.header.set_cksum();
        out.write_all(self.header.as_bytes())
    }
}
