//! `cargo xtask template`: container images from the recipes in `templates/`.
//! Owns when an image is built and that a half-made one is never seen; how is
//! the builders' business (`mmdebstrap`, `busybox`), what is the recipe's.

mod archive;
mod busybox;
mod mmdebstrap;
mod recipe;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::{FileContext as _, Result};
use crate::{process, ui, workspace};
use recipe::Builder;

/// Compression of the root file system inside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// zstd, `rootfs/base.tar.zst`.
    Zstd,
    /// gzip, `rootfs/base.tar.gz`, which vpsAdminOS reads.
    Gzip,
}

impl Compression {
    /// File name extension.
    fn extension(self) -> &'static str {
        match self {
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }
}

/// Arguments of `cargo xtask template`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to build: `debian/trixie`, `debian/bookworm/openrc`, `minimal`, …
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Build again although the recipe did not change.
    #[arg(long)]
    force: bool,
    /// Compression of the root file system; default: the recipe's.
    #[arg(long, value_enum)]
    compression: Option<Compression>,
}

/// Builds the images that were asked for and prints their paths.
pub fn run(args: &Args) -> Result<()> {
    for name in &args.names {
        let image = build(name, args.compression, args.force)?;
        ui::say(image.display().to_string());
    }
    Ok(())
}

/// The image of a template, built if it is missing or its recipe changed.
pub fn ensure(name: &str) -> Result<PathBuf> {
    build(name, None, false)
}

fn build(name: &str, compression: Option<Compression>, force: bool) -> Result<PathBuf> {
    let selection = recipe::select(&workspace::root().join("templates"), name, compression)?;
    let directory = workspace::images();
    fs::create_dir_all(&directory).of("create", &directory)?;
    let image = directory.join(selection.image_file());
    let stamp = directory.join(format!(".{}.recipe", selection.image_file()));
    let digest = selection.digest()?;
    let is_current = || image.exists() && fs::read_to_string(&stamp).is_ok_and(|it| it == digest);
    if !force && is_current() {
        return Ok(image);
    }
    let _lock = lock(&directory)?;
    if !force && is_current() {
        return Ok(image);
    }
    ui::step(format!("building image {}", selection.image_file()));
    remove_leftovers(&directory)?;
    let work = tempfile::Builder::new()
        .prefix(WORK_PREFIX)
        .tempdir_in(&directory);
    let work = work.of("create a directory in", &directory)?;
    let rootfs = match &selection.builder {
        Builder::Mmdebstrap(debian) => mmdebstrap::build(&selection, debian, work.path())?,
        Builder::Busybox => busybox::build(&selection, work.path())?,
    };
    let built = work.path().join("image.tar");
    archive::write(&built, &selection, &rootfs)?;
    process::check_interrupted()?;
    publish(&built, &image, &stamp, &digest)?;
    ui::step(format!(
        "built {} ({} kB)",
        selection.image_file(),
        size_kb(&image)?
    ));
    Ok(image)
}

const WORK_PREFIX: &str = ".build-";

/// One build at a time: two of them would remove each other's directories.
fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(".lock");
    let file = File::create(&path).of("create", &path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        ui::step("waiting for another build");
        flock(&file, FlockOperation::LockExclusive).of("lock", &path)?;
    }
    Ok(file)
}

/// Removes what a build that was killed has left.
fn remove_leftovers(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).of("read", directory)? {
        let entry = entry.of("read", directory)?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(WORK_PREFIX.as_bytes())
        {
            fs::remove_dir_all(entry.path()).of("remove", entry.path())?;
        }
    }
    Ok(())
}

/// Puts the finished image in its place; the stamp is gone before and written
/// after, so that it never speaks of another image.
fn publish(built: &Path, image: &Path, stamp: &Path, digest: &str) -> Result<()> {
    if stamp.exists() {
        fs::remove_file(stamp).of("remove", stamp)?;
    }
    fs::rename(built, image).of("rename", built)?;
    fs::write(stamp, digest).of("write", stamp)
}

fn size_kb(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).of("stat", path)?.len().div_ceil(1000))
}
