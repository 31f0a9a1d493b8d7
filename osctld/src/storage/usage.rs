//! Space that a tree takes on the disk.

use std::collections::HashSet;

use osctl_linux::beneath::{Kind, Root};

use super::{Cursor, Error, Result, Watch};

/// Bytes on the disk of everything in `tree`, the top directory included; a file with several
/// names counts once. What vanishes meanwhile does not count.
pub(super) fn usage(tree: &Root, watch: Watch<'_>) -> Result<u64> {
    let failed = |e: osctl_linux::error::Error| Error::io("measure", "a tree", e);
    let mut seen = HashSet::new();
    let mut total = tree.stat(".").map_err(failed)?.blocks.saturating_mul(512);
    let mut pending = vec![Cursor::top(tree).map_err(failed)?];
    while let Some(cursor) = pending.pop() {
        let Ok(dir) = cursor.open() else {
            continue;
        };
        let Ok(entries) = dir.read_dir(".") else {
            continue;
        };
        for entry in entries {
            if watch.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let name = entry.map_err(failed)?.name;
            let Ok(Some(stat)) = dir.try_stat(&name) else {
                continue;
            };
            if stat.kind() == Kind::Dir {
                if let Ok(below) = cursor.child(&name) {
                    pending.push(below);
                }
            } else if stat.nlink > 1 && !seen.insert((stat.dev, stat.ino)) {
                continue;
            }
            total = total.saturating_add(stat.blocks.saturating_mul(512));
        }
        watch.progress(total, None);
    }
    Ok(total)
}
