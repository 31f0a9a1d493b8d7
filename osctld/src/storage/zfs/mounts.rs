//! What is mounted where: ZFS never mounts a pool's datasets by itself, the daemon does.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};

use crate::storage::{Error, Result};

/// A file system of ZFS that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its dataset.
    pub(super) dataset: String,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// What a mount allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allow {
    /// Programs that get rights of others: a container's.
    Setuid,
    /// Data.
    Data,
}

/// All that are mounted, in the order of mounting.
pub(super) fn all() -> Result<Vec<Mount>> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// One line of a `mountinfo` file: `ID PARENT DEV ROOT PATH OPTIONS [FIELDS] - TYPE SOURCE OPTIONS`.
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    if after.next()? != "zfs" {
        return None;
    }
    Some(Mount {
        dataset: unescape(after.next()?),
        path: PathBuf::from(unescape(before.split(' ').nth(4)?)),
    })
}

/// Undoes `\040` for a blank, and the like.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let octal = rest.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                bytes = &rest[3..];
            }
            _ => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether something is mounted exactly here.
pub(super) fn is_mountpoint(path: &Path) -> Result<bool> {
    let found = rustix::fs::statx(
        rustix::fs::CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::TYPE,
    );
    match found {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(e) => Err(Error::io("examine", path.display().to_string(), e)),
    }
}

/// Makes a mountpoint that is missing.
fn make(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::io("make", path.display().to_string(), e))
}

/// Mounts a snapshot for looking at its files, and nothing else.
pub(super) fn mount_snapshot(snapshot: &str, path: &Path) -> Result<()> {
    make(path)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let done = nix::mount::mount(Some(snapshot), path, Some("zfs"), flags, Some("zfsutil"));
    done.map_err(|e| Error::io("mount", format!("{snapshot} on {}", path.display()), e))
}

/// Mounts a dataset; its mountpoint is made when it is missing.
pub(super) fn mount(dataset: &str, path: &Path, allow: Allow) -> Result<()> {
    let shown = || format!("dataset {dataset} on {}", path.display());
    make(path)?;
    let mut flags = MsFlags::MS_NODEV;
    if allow == Allow::Data {
        flags |= MsFlags::MS_NOSUID;
    }
    // What `zfs mount` says too: that the caller knows better than the property `mountpoint`, and
    // where snapshots are to appear.
    let options = match path.to_str() {
        Some(path) if !path.contains(',') => format!("zfsutil,mntpoint={path}"),
        _ => "zfsutil".to_owned(),
    };
    let done = nix::mount::mount(Some(dataset), path, Some("zfs"), flags, Some(&*options));
    done.map_err(|e| Error::io("mount", shown(), e))
}

/// Takes what is mounted here out of the file tree, also when somebody uses it, and removes the
/// mountpoint. Fine when nothing is there.
pub(super) fn detach(path: &Path) -> Result<()> {
    let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
    loop {
        match nix::mount::umount2(path, flags) {
            // One may have been mounted over another.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(e) => return Err(Error::io("unmount", path.display().to_string(), e)),
        }
    }
    // It stays when it is not empty, and that harms nobody.
    let _ = std::fs::remove_dir(path);
    Ok(())
}

/// Brings what was written to a mounted file system to the disk.
pub(super) fn sync(root: impl AsFd, what: &str) -> Result<()> {
    rustix::fs::syncfs(root).map_err(|e| Error::io("sync", what, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let zfs = "36 25 0:32 / /tank/with\\040blank rw,nodev shared:1 - zfs tank/a:b rw,xattr";
        assert_eq!(
            parse(zfs),
            Some(Mount {
                dataset: "tank/a:b".into(),
                path: "/tank/with blank".into()
            })
        );
        assert_eq!(parse("25 1 8:1 / / rw - ext4 /dev/sda1 rw"), None);
        assert_eq!(parse("25 1 8:1 / /zfs rw"), None);
        assert_eq!(parse(""), None);
        assert_eq!(unescape("a\\134b\\0x\\"), "a\\b\\0x\\");
    }

    #[test]
    fn mountpoints() {
        assert!(is_mountpoint(Path::new("/proc")).unwrap());
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_mountpoint(dir.path()).unwrap());
        assert!(!is_mountpoint(&dir.path().join("none")).unwrap());
        detach(&dir.path().join("none")).unwrap();
    }
}
