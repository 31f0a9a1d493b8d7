//! Walks a root file system and writes its objects as members of a tar stream.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use osctl_linux::beneath::{Kind, Node, Root, Stat};
use tar::EntryType;

use super::entry::{Entry, padding};
use super::{Packed, failed};
use crate::image::member::MAX_PATH;
use crate::image::{Error, Result, sparse};
use crate::storage::{Cause, Cursor, Meta, Watch};

/// Smallest file in which holes are looked for.
const MIN_SPARSE: u64 = 4096;
/// Warnings that are kept.
const MAX_WARNINGS: usize = 100;

/// Writes the tar stream of the root directory `root`.
pub(super) fn tarball<W: Write>(root: &Root, out: &mut W, watch: Watch<'_>) -> Result<Packed> {
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
    let dir = root.dir(".").map_err(pack_error)?;
    packer.object(&dir, Path::new("."), Path::new("./"))?;
    let top_list = packer.list(top, PathBuf::new())?;
    // What is in a directory follows it at once: GNU tar sets a directory's times when it sees
    // the first name that is not in it.
    let mut open: Vec<Level> = top_list.into_iter().collect();
    let mut current = None;
    while let Some(level) = open.last_mut() {
        let Some(name) = level.names.pop() else {
            open.pop();
            current = None;
            continue;
        };
        if packer.watch.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let path = level.path.join(&name);
        let dir = match current.take().map_or_else(|| level.cursor.open(), Ok) {
            Ok(dir) => dir,
            Err(e) if is_gone(&e) => {
                open.pop();
                continue;
            }
            Err(e) => return Err(pack_error(e)),
        };
        if packer.object(&dir, Path::new(&name), &path)? == Some(Kind::Dir) {
            match level.cursor.child(&name) {
                Ok(below) => open.extend(packer.list(below, path)?),
                Err(e) if is_gone(&e) => {}
                Err(e) => return Err(pack_error(e)),
            }
        } else {
            current = Some(dir);
        }
    }
    packer
        .out
        .write_all(&[0; 1024])
        .map_err(failed("the root file system"))?;
    Ok(packer.packed)
}

/// Whether something was removed, or replaced by something else, since its directory was read: in a
/// tree that is used meanwhile, that is nothing special.
fn is_gone(e: &osctl_linux::error::Error) -> bool {
    matches!(
        e.errno(),
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ESTALE
    )
}

/// A directory that is being packed.
struct Level {
    cursor: Cursor,
    path: PathBuf,
    /// Names to come, the next one last.
    names: Vec<OsString>,
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
    /// What is in a directory; `None` when it is gone.
    fn list(&self, cursor: Cursor, path: PathBuf) -> Result<Option<Level>> {
        let wrong = |e: osctl_linux::error::Error| Error::Pack {
            what: format!("{path:?}"),
            source: e.into(),
        };
        let mut names: Vec<OsString> = Vec::new();
        let dir = match cursor.open() {
            Err(e) if is_gone(&e) => return Ok(None),
            dir => dir.map_err(wrong)?,
        };
        for entry in dir.read_dir(".").map_err(wrong)? {
            names.push(entry.map_err(wrong)?.name);
        }
        names.sort_by(|a, b| b.cmp(a));
        Ok(Some(Level {
            cursor,
            path,
            names,
        }))
    }

    /// Packs `name` of `dir` under the name `path`; `None` when it is gone.
    fn object(&mut self, dir: &Root, name: &Path, path: &Path) -> Result<Option<Kind>> {
        let wrong = |source: Cause| Error::Pack {
            what: format!("{path:?}"),
            source,
        };
        if path.as_os_str().len() > MAX_PATH {
            return Err(wrong("its path is too long".into()));
        }
        let node = match dir.node(name) {
            Err(e) if is_gone(&e) => return Ok(None),
            node => node.map_err(|e| wrong(e.into()))?,
        };
        let stat = node.stat().map_err(|e| wrong(e.into()))?;
        let kind = stat.kind();
        if kind == Kind::Socket {
            if self.packed.warnings.len() < MAX_WARNINGS {
                self.packed
                    .warnings
                    .push(format!("{path:?} is a socket; left out"));
            }
            return Ok(Some(kind));
        }
        match self.put(dir, name, &node, &stat, path) {
            Ok(()) => {}
            Err(Failure::Gone) => return Ok(None),
            Err(Failure::Cancelled) => return Err(Error::Cancelled),
            Err(Failure::Other(source)) => return Err(wrong(source)),
        }
        self.packed.entries += 1;
        Ok(Some(kind))
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
                // By its name, which may be another one's by now.
                let target = match dir.read_link(name) {
                    Err(e) if is_gone(&e) || e.errno() == Errno::EINVAL => {
                        return Err(Failure::Gone);
                    }
                    target => target?,
                };
                entry.link(target.as_bytes());
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
                .min(usize::try_from(self.watch.portion(left)).unwrap_or(usize::MAX));
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
            self.watch.spend(n as u64);
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
    Gone,
    Other(Cause),
}

impl<E: Into<Cause>> From<E> for Failure {
    fn from(e: E) -> Failure {
        Failure::Other(e.into())
    }
}
