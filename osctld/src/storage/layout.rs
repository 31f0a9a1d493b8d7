//! The directories of a pool, which are the same with every back end: made, checked, repaired.

use std::path::Path;

use osctl_linux::beneath::{Kind, Root};

use super::{Error, Result};

/// Directories of a pool, relative to it.
pub(super) const LAYOUT: [&str; 12] = [
    "ct",
    "conf",
    "conf/pool",
    "conf/id-range",
    "conf/user",
    "conf/group",
    "conf/ct",
    "hook",
    "log",
    "log/ct",
    "repository",
    "trash",
];

/// Checks one directory of the pool at `pool`, of which `root` is the tree, and makes it good;
/// tells what it did.
pub(super) fn ensure_dir(pool: &Path, root: &Root, dir: &str) -> Result<Option<String>> {
    let path = pool.join(dir);
    let shown = path.display().to_string();
    let failed = |action| {
        let shown = shown.clone();
        move |e: osctl_linux::error::Error| Error::io(action, shown, e)
    };
    let mut done = None;
    if root.try_stat(dir).map_err(failed("examine"))?.is_none() {
        root.mkdir(dir, 0o700).map_err(failed("make"))?;
        done = Some(format!("made {shown}"));
    }
    let node = root.node(dir).map_err(failed("examine"))?;
    let stat = node.stat().map_err(failed("examine"))?;
    let problem = if stat.kind() != Kind::Dir {
        Some("is not a directory".to_owned())
    } else if stat.uid != nix::unistd::geteuid().as_raw() {
        Some(format!("is owned by uid {}, not by root", stat.uid))
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(Error::Layout { path, problem });
    }
    if stat.permissions() != 0o700 {
        node.chmod(0o700).map_err(failed("change the mode of"))?;
        done = done.or_else(|| {
            Some(format!(
                "changed the mode of {shown} from {:04o} to 0700",
                stat.permissions()
            ))
        });
    }
    Ok(done)
}
