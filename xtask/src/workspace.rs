//! Where things are in the source tree and its target directory.

use std::path::{Path, PathBuf};

/// Root of the repository.
pub fn root() -> &'static Path {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Directory of the built images: in `OSCTL_CACHE`, if there is one.
pub fn images() -> PathBuf {
    match std::env::var_os("OSCTL_CACHE") {
        Some(_) => cache().join("images"),
        None => target().join("images"),
    }
}

/// Directory of what makes a later run quicker: `OSCTL_CACHE`, by default in
/// the target directory.
pub fn cache() -> PathBuf {
    match std::env::var_os("OSCTL_CACHE") {
        Some(directory) => root().join(directory),
        None => target().join("cache"),
    }
}
