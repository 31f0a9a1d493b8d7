//! The image file: vpsAdminOS' uncompressed outer tar with metadata,
//! configuration and the compressed root file system.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::recipe::Selection;
use crate::error::{FileContext as _, Result};

/// Writes the image of `selection` to `image`; `rootfs` is the compressed tar
/// of its root file system.
pub fn write(image: &Path, selection: &Selection, rootfs: &Path) -> Result<()> {
    let exported_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| it.as_secs());
    let base = File::open(rootfs).of("open", rootfs)?;
    let size = base.metadata().of("stat", rootfs)?.len();
    let file = File::create_new(image).of("create", image)?;
    let mut outer = Outer {
        tar: tar::Builder::new(file),
        mtime: exported_at,
    };
    let extension = selection.compression.extension();
    let base_name = PathBuf::from(format!("rootfs/base.tar.{extension}"));
    let written = outer
        .text("metadata.yml", &metadata(selection, exported_at))
        .and_then(|()| outer.directory("config"))
        .and_then(|()| outer.text("config/container.yml", &container(selection)))
        .and_then(|()| outer.directory("rootfs"))
        .and_then(|()| outer.file(&base_name, size, base))
        .and_then(|()| outer.tar.into_inner()?.sync_all());
    written.of("write", image)
}

fn metadata(selection: &Selection, exported_at: u64) -> String {
    let container = selection.image_name.replace('_', "-");
    format!(
        "---\ntype: full\nformat: tar\nuser: null\ngroup: null\ncontainer: {container}\n\
         datasets: []\nexported_at: {exported_at}\n"
    )
}

fn container(selection: &Selection) -> String {
    let Selection {
        distribution,
        version,
        ..
    } = selection;
    let arch = std::env::consts::ARCH;
    format!("---\ndistribution: {distribution}\nversion: '{version}'\narch: {arch}\n")
}

struct Outer {
    tar: tar::Builder<File>,
    mtime: u64,
}

impl Outer {
    fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.file(Path::new(name), text.len() as u64, text.as_bytes())
    }

    fn file(&mut self, name: &Path, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Regular, 0o644, size);
        self.tar.append_data(&mut header, name, content)
    }

    fn directory(&mut self, name: &str) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Directory, 0o755, 0);
        self.tar
            .append_data(&mut header, format!("{name}/"), io::empty())
    }

    fn header(&self, kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header
    }
}
