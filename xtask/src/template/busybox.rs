//! Builder `busybox`: a root file system of one static program, the links of
//! its applets and the files of the template. Needs no network once the
//! program is installed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::write::GzEncoder;

use super::Compression;
use super::recipe::{Selection, sorted_entries};
use crate::error::{Error, FileContext as _, Result};
use crate::{apt, process};

const BUSYBOX: &str = "/usr/bin/busybox";

/// Directories and their modes, beside those of files and links.
const DIRECTORIES: [(&str, u32); 13] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

/// Builds the root file system in `work`; the path of its compressed tar.
pub fn build(selection: &Selection, work: &Path) -> Result<PathBuf> {
    if selection.compression == Compression::Zstd {
        let name = &selection.image_name;
        return Err(Error::Other(format!(
            "template {name:?} is compressed by gzip only"
        )));
    }
    apt::ensure(&[apt::BUSYBOX])?;
    let mut command = Command::new(BUSYBOX);
    let applets = process::output(command.arg("--list-full"), "busybox --list-full")?;
    let files = selection.directory.join("rootfs");
    let path = work.join("base.tar.gz");
    let file = File::create_new(&path).of("create", &path)?;
    let gzip = GzEncoder::new(file, flate2::Compression::best());
    let mut rootfs = Rootfs {
        tar: tar::Builder::new(gzip),
        written: BTreeSet::new(),
    };
    rootfs
        .fill(&files, &applets)?
        .and_then(|()| rootfs.tar.into_inner()?.finish()?.flush())
        .of("write", &path)?;
    Ok(path)
}

struct Rootfs<W: Write> {
    tar: tar::Builder<W>,
    written: BTreeSet<PathBuf>,
}

impl<W: Write> Rootfs<W> {
    /// The template's own files win over applets. The outer error is that of
    /// reading, the inner one that of writing.
    fn fill(&mut self, files: &Path, applets: &str) -> Result<io::Result<()>> {
        let busybox = fs::read(BUSYBOX).of("read", BUSYBOX)?;
        let own = read_files(files)?;
        let mut write = || {
            for (path, mode) in DIRECTORIES {
                self.directory(Path::new(path), mode)?;
            }
            self.file(Path::new("bin/busybox"), 0o755, &busybox)?;
            for (path, mode, content) in &own {
                self.file(path, *mode, content)?;
            }
            applets
                .lines()
                .try_for_each(|applet| self.link(Path::new(applet), "/bin/busybox"))
        };
        Ok(write())
    }

    /// Makes the missing directories above `path`; false if it is there.
    fn is_new(&mut self, path: &Path) -> io::Result<bool> {
        if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
            self.directory(parent, 0o755)?;
        }
        Ok(self.written.insert(path.to_owned()))
    }

    fn directory(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        if self.is_new(path)? {
            let mut header = header(tar::EntryType::Directory, mode, 0);
            self.tar
                .append_data(&mut header, path.join(""), io::empty())?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        if self.is_new(path)? {
            let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
            self.tar.append_data(&mut header, path, content)?;
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &str) -> io::Result<()> {
        if self.is_new(path)? {
            let mut header = header(tar::EntryType::Symlink, 0o777, 0);
            self.tar.append_link(&mut header, path, target)?;
        }
        Ok(())
    }
}

/// Everything below `directory`: path in the image, mode, content.
fn read_files(directory: &Path) -> Result<Vec<(PathBuf, u32, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(current) = directories.pop() {
        for path in sorted_entries(&current)? {
            let metadata = fs::symlink_metadata(&path).of("stat", &path)?;
            if metadata.is_dir() {
                directories.push(path);
                continue;
            }
            let content = fs::read(&path).of("read", &path)?;
            let is_executable = metadata.permissions().mode() & 0o100 != 0;
            let inside = path.strip_prefix(directory).unwrap_or(&path).to_owned();
            let mode = match (inside.to_str(), is_executable) {
                (Some("etc/shadow"), _) => 0o600,
                (_, true) => 0o755,
                (_, false) => 0o644,
            };
            files.push((inside, mode, content));
        }
    }
    Ok(files)
}

/// Owned by root; no time of its own, so that the same recipe and busybox give
/// the same bytes.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
