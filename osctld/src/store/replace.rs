//! Replacing a file so that a crash at any moment leaves the old content or the new.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use osctl_linux::beneath::{Kind, Root};

use crate::failpoint;

const PREFIX: &str = ".";
const SUFFIX: &str = ".tmp";

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Makes or replaces the file `name` of `dir` with `bytes`, mode 0600, on the disk when it returns.
pub(super) fn replace(dir: &Root, name: &str, bytes: &[u8]) -> Result<(), Source> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    let tmp = format!("{PREFIX}{}-{unique}{SUFFIX}", std::process::id());
    let written = write(dir, &tmp, name, bytes);
    if written.is_err() {
        // The error that counts is the first one; what stays is removed at the next start.
        let _ = dir.unlink(&tmp);
    }
    written
}

fn write(dir: &Root, tmp: &str, name: &str, bytes: &[u8]) -> Result<(), Source> {
    // A leftover of an earlier process that had the same id.
    if dir.try_stat(tmp)?.is_some() {
        dir.unlink(tmp)?;
    }
    let mut file = dir.create_new(tmp, 0o600)?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    file.write_all(first)?;
    failpoint!("store.write");
    file.write_all(rest)?;
    file.sync_data()?;
    failpoint!("store.rename");
    dir.rename(tmp, name)?;
    failpoint!("store.sync-dir");
    dir.sync_dir(".")?;
    Ok(())
}

/// Removes what interrupted writes left in `dir`; tells what it removed.
pub(super) fn remove_leftovers(dir: &Root, path: &Path) -> Result<Vec<PathBuf>, Source> {
    let mut removed = Vec::new();
    for entry in dir.read_dir(".")? {
        let entry = entry?;
        let Some(name) = entry.name.to_str() else {
            continue;
        };
        if name.starts_with(PREFIX)
            && name.ends_with(SUFFIX)
            && dir.try_stat(name)?.is_some_and(|s| s.kind() == Kind::File)
        {
            dir.unlink(name)?;
            removed.push(path.join(name));
        }
    }
    Ok(removed)
}
