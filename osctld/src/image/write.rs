//! Writing images: a root file system packed as vpsAdminOS does.
//!
//! The stream is reproducible: names are sorted, and nothing but the tree goes into it.

mod entry;
mod streams;
mod tarball;

use std::io::{self, Seek, SeekFrom, Write};

use osctl_linux::beneath::Root;
use tar::{EntryType, Header};

use self::entry::padding;
use self::tarball::tarball;

pub use self::streams::{Sent, pack_streams};
use super::metadata::Metadata;
use super::{Error, Facts, Hook, Result};
use crate::storage::Watch;

const BLOCK: u64 = 512;

/// How the data of an archive are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: `base.tar`, `base.dat`.
    None,
    /// gzip at a level of 1 to 9: `base.tar.gz`, which vpsAdminOS reads as well.
    Gzip(u32),
    /// zstd at a level of 1 to 19: `base.tar.zst`.
    Zstd(i32),
}

impl Compression {
    fn extension(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip(_) => ".gz",
            Compression::Zstd(_) => ".zst",
        }
    }

    /// Writes to `out` through the compression. What `fill` fails with is `cannot pack WHAT`.
    fn write<W: Write, T>(
        self,
        mut out: W,
        what: &str,
        fill: impl FnOnce(&mut dyn Write) -> Result<T>,
    ) -> Result<T> {
        let end = || failed(what);
        let (filled, ended) = match self {
            Compression::None => {
                let mut out = io::BufWriter::with_capacity(128 << 10, out);
                (fill(&mut out)?, out.flush())
            }
            Compression::Gzip(level) => {
                let level = flate2::Compression::new(level.min(9));
                let mut encoder = flate2::write::GzEncoder::new(&mut out, level);
                let filled = fill(&mut encoder)?;
                let ended = encoder.finish().map(drop);
                (filled, ended.and_then(|()| out.flush()))
            }
            Compression::Zstd(level) => {
                let level = level.clamp(1, 19);
                let mut encoder =
                    zstd::stream::write::Encoder::new(&mut out, level).map_err(end())?;
                encoder.include_checksum(true).map_err(end())?;
                let filled = fill(&mut encoder)?;
                let ended = encoder.finish().map(drop);
                (filled, ended.and_then(|()| out.flush()))
            }
        };
        ended.map_err(end())?;
        Ok(filled)
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
    outer.head(what, "tar", &[])?;
    outer.dir("rootfs/")?;
    let name = format!("rootfs/base.tar{}", what.compression.extension());
    let packed = outer.growing(&name, |out| {
        pack_tarball(root, out, what.compression, watch)
    })?;
    outer.end()?;
    Ok(packed)
}

fn yaml(value: &impl serde::Serialize) -> Result<String> {
    super::yaml::text(value).map_err(|source| Error::Pack {
        what: "the metadata".into(),
        source,
    })
}

/// Bytes of a name that a header has room for.
const NAME: usize = 100;

struct Outer<'a, W> {
    out: &'a mut W,
    time: i64,
}

impl<W: Write + Seek> Outer<'_, W> {
    /// What comes before the root file system.
    fn head(&mut self, what: &Pack<'_>, format: &str, datasets: &[String]) -> Result<()> {
        let metadata = Metadata {
            kind: "full".into(),
            format: Some(format.to_owned()),
            user: what.user.map(str::to_owned),
            group: what.group.map(str::to_owned),
            container: what.container.map(str::to_owned),
            datasets: datasets.to_vec(),
            exported_at: Some(what.exported_at),
        };
        self.file("metadata.yml", 0o644, yaml(&metadata)?.as_bytes())?;
        self.dir("config/")?;
        for (name, content) in what.configs {
            self.file(&format!("config/{name}"), 0o644, content)?;
        }
        if !what
            .configs
            .iter()
            .any(|(name, _)| *name == "container.yml")
        {
            self.file("config/container.yml", 0o644, yaml(what.facts)?.as_bytes())?;
        }
        if !what.hooks.is_empty() {
            self.hooks(what.hooks)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let ended = self.out.write_all(&[0; 1024]);
        ended
            .and_then(|()| self.out.flush())
            .map_err(failed("the archive"))
    }

    fn header(&self, name: &str, kind: EntryType, mode: u32, size: u64) -> Result<Header> {
        let mut header = Header::new_gnu();
        // Of a long name, what is before the header says the rest.
        let short = name.get(..NAME).unwrap_or(name);
        header
            .set_path(short)
            .map_err(failed(format!("{name:?}")))?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(self.time).unwrap_or(0));
        header.set_size(size);
        header.set_cksum();
        Ok(header)
    }

    /// Tells a name that a header has no room for, as GNU tar does.
    fn long_name(&mut self, name: &str) -> Result<()> {
        if name.len() <= NAME {
            return Ok(());
        }
        let whole = format!("{name}\0");
        self.content(
            "././@LongLink",
            EntryType::GNULongName,
            0o644,
            whole.as_bytes(),
        )
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.long_name(name)?;
        self.content(name, EntryType::Regular, mode, content)
    }

    fn content(&mut self, name: &str, kind: EntryType, mode: u32, content: &[u8]) -> Result<()> {
        let header = self.header(name, kind, mode, content.len() as u64)?;
        let padding = padding(content.len() as u64);
        let done = self.out.write_all(header.as_bytes());
        done.and_then(|()| self.out.write_all(content))
            .and_then(|()| self.out.write_all(padding))
            .map_err(failed(format!("{name:?}")))
    }

    fn dir(&mut self, name: &str) -> Result<()> {
        self.long_name(name)?;
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

    /// A file whose size is known only when it is written.
    fn growing<T>(&mut self, name: &str, write: impl FnOnce(&mut W) -> Result<T>) -> Result<T> {
        self.long_name(name)?;
        let header = self.header(name, EntryType::Regular, 0o644, 0)?;
        let wrong = || failed("the archive");
        let at = self.out.stream_position().map_err(wrong())?;
        self.out.write_all(header.as_bytes()).map_err(wrong())?;
        let written = write(&mut *self.out)?;
        let end = self.out.stream_position().map_err(wrong())?;
        let size = end.saturating_sub(at + BLOCK);
        self.out.write_all(padding(size)).map_err(wrong())?;
        let end = self.out.stream_position().map_err(wrong())?;
        let header = self.header(name, EntryType::Regular, 0o644, size)?;
        self.out.seek(SeekFrom::Start(at)).map_err(wrong())?;
        self.out.write_all(header.as_bytes()).map_err(wrong())?;
        self.out.seek(SeekFrom::Start(end)).map_err(wrong())?;
        Ok(written)
    }
}

/// Writes a tarball of the root directory `root` to `out`.
pub fn pack_tarball<W: Write>(
    root: &Root,
    out: W,
    compression: Compression,
    watch: Watch<'_>,
) -> Result<Packed> {
    compression.write(out, "the root file system", |mut out| {
        tarball(root, &mut out, watch)
    })
}
