//! Checking that what belongs to an object on the host is there and as it should be.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use osctl_api::daemon::{Asset, AssetState};

/// What an asset should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A socket.
    Socket,
    /// A cgroup's directory.
    Cgroup,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Socket => "socket",
            Kind::Cgroup => "cgroup",
        }
    }

    fn is(self, meta: &Metadata) -> bool {
        match self {
            Kind::File => meta.is_file(),
            Kind::Directory | Kind::Cgroup => meta.is_dir(),
            Kind::Socket => meta.file_type().is_socket(),
        }
    }
}

/// Checks an asset: its kind, its mode when there is one to compare with, and that it belongs to
/// the user that the daemon runs as. Blocks.
pub fn check(kind: Kind, path: &Path, mode: Option<u32>, purpose: &str) -> Asset {
    let mut asset = Asset {
        kind: kind.name().to_owned(),
        path: path.display().to_string(),
        state: AssetState::Valid,
        purpose: purpose.to_owned(),
        errors: Vec::new(),
    };
    match path.symlink_metadata() {
        Ok(meta) => asset.errors = faults(kind, &meta, mode),
        Err(e) if e.kind() == io::ErrorKind::NotFound => asset.errors.push("is missing".to_owned()),
        Err(e) => {
            asset.errors.push(format!("cannot be examined: {e}"));
            asset.state = AssetState::Unknown;
            return asset;
        }
    }
    if !asset.errors.is_empty() {
        asset.state = AssetState::Invalid;
    }
    asset
}

fn faults(kind: Kind, meta: &Metadata, mode: Option<u32>) -> Vec<String> {
    let mut faults = Vec::new();
    if !kind.is(meta) {
        faults.push(format!("is no {}", kind.name()));
        return faults;
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        faults.push(format!("belongs to user id {}", meta.uid()));
    }
    let found = meta.mode() & 0o7777;
    if let Some(mode) = mode.filter(|m| *m != found) {
        faults.push(format!("has mode {found:04o} and should have {mode:04o}"));
    }
    faults
}

/// The same asset with further faults.
#[must_use]
pub fn with_faults(mut asset: Asset, faults: impl IntoIterator<Item = String>) -> Asset {
    asset.errors.extend(faults);
    if !asset.errors.is_empty() {
        asset.state = AssetState::Invalid;
    }
    asset
}

/// Only the assets that are not valid.
pub fn invalid(mut assets: Vec<Asset>) -> Vec<Asset> {
    assets.retain(|a| a.state != AssetState::Valid);
    assets
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn faults_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let good = check(Kind::File, &file, Some(0o644), "test");
        assert_eq!((good.state, good.errors.len()), (AssetState::Valid, 0));
        let mode = check(Kind::File, &file, Some(0o600), "test");
        assert_eq!(mode.errors, ["has mode 0644 and should have 0600"]);
        let kind = check(Kind::Directory, &file, None, "test");
        assert_eq!(kind.errors, ["is no directory"]);
        let missing = check(Kind::Socket, &dir.path().join("x"), None, "test");
        assert_eq!(missing.state, AssetState::Invalid);
        assert_eq!(invalid(vec![good, missing]).len(), 1);
    }
}
