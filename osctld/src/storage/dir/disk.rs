//! The disk that a directory is on, as the kernel's limits know it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::storage::zfs::NO_IO_LIMITS;
use crate::storage::{Disk, Error, Result};

/// The disk of a directory.
///
/// # Errors
/// `Unsupported` for a file system that is on none.
pub(super) fn disk_of(dir: &Path) -> Result<Disk> {
    let failed = |e| Error::io("look for", format!("the disk of {}", dir.display()), e);
    let dev = fs::metadata(dir).map_err(failed)?.dev();
    let device = match Disk::of(dev) {
        Disk { major: 0, .. } => mounted_from(dir)?,
        device => device,
    };
    whole(device).map_err(failed)
}

/// The disk that a device is, or is a partition of: the kernel limits whole disks only.
fn whole(device: Disk) -> std::io::Result<Disk> {
    let entry = fs::canonicalize(format!("/sys/dev/block/{device}"))?;
    if !entry.join("partition").exists() {
        return Ok(device);
    }
    let disk = entry.parent().unwrap_or(&entry).join("dev");
    let numbers = fs::read_to_string(disk)?;
    let numbers = numbers.trim().split_once(':');
    let parsed = numbers.and_then(|(major, minor)| {
        Some(Disk {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| std::io::Error::other("its numbers can't be read"))
}

/// The device that the file system of a directory is mounted from, when files don't tell.
fn mounted_from(dir: &Path) -> Result<Disk> {
    let failed = |e| Error::io("look for", format!("the disk of {}", dir.display()), e);
    let dir = fs::canonicalize(dir).map_err(failed)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let Some((kind, source)) = mount_of(&mounts, &dir) else {
        return Err(NO_DISK);
    };
    if kind == "zfs" {
        return Err(NO_IO_LIMITS);
    }
    match fs::metadata(source) {
        Ok(meta) if meta.file_type().is_block_device() => Ok(Disk::of(meta.rdev())),
        _ => Err(NO_DISK),
    }
}

const NO_DISK: Error = Error::Unsupported(
    "the pool's file system is on no single disk of the host, which is what the kernel limits",
);

/// Type and source of the mount that a path is in.
fn mount_of(mounts: &str, path: &Path) -> Option<(String, PathBuf)> {
    let mut found: Option<(usize, (String, PathBuf))> = None;
    for line in mounts.lines() {
        let (before, after) = line.split_once(" - ")?;
        let point = unescape(before.split(' ').nth(4)?);
        let mut words = after.split(' ');
        let (kind, source) = (words.next()?, unescape(words.next()?));
        let length = point.len();
        // Of several at one place, the last one is seen.
        if path.starts_with(&point) && found.as_ref().is_none_or(|(l, _)| length >= *l) {
            found = Some((length, (kind.to_owned(), source.into())));
        }
    }
    found.map(|(_, mount)| mount)
}

/// Text as the kernel writes it there: `\040` is a space.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|c| u8::from_str_radix(c, 8).ok());
        match code {
            Some(code) => {
                plain.push(code.into());
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart() {
        let mounts = "22 1 254:1 / / rw - ext4 /dev/root rw\n\
            30 22 0:40 /sub /srv/a\\040b rw,relatime shared:3 - btrfs /dev/vdb rw\n\
            31 22 0:41 / /srv/a rw - tmpfs none rw\n\
            32 31 0:42 / /srv/a rw - zfs tank/a rw\n";
        let of = |path: &str| {
            let (kind, source) = mount_of(mounts, Path::new(path)).unwrap();
            format!("{kind} {}", source.display())
        };
        assert_eq!(of("/srv/a b/c"), "btrfs /dev/vdb");
        assert_eq!(of("/srv/a/c"), "zfs tank/a");
        assert_eq!(of("/srv/ab"), "ext4 /dev/root");
        assert_eq!(unescape(r"a\b\134"), r"a\b\");
    }

    #[test]
    fn a_file_system_in_memory_is_on_no_disk() {
        let error = disk_of(Path::new("/proc")).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
    }

    #[test]
    fn partitions_are_of_their_disk() {
        let mut seen = 0;
        for entry in fs::read_dir("/sys/class/block").unwrap().flatten() {
            let numbers = fs::read_to_string(entry.path().join("dev")).unwrap();
            let (major, minor) = numbers.trim().split_once(':').unwrap();
            let device = Disk {
                major: major.parse().unwrap(),
                minor: minor.parse().unwrap(),
            };
            let disk = whole(device).unwrap();
            let is_partition = entry.path().join("partition").exists();
            assert_eq!(disk != device, is_partition, "{:?}", entry.file_name());
            let entry = fs::canonicalize(format!("/sys/dev/block/{disk}")).unwrap();
            assert!(!entry.join("partition").exists());
            seen += 1;
        }
        println!("{seen} block devices");
    }
}
