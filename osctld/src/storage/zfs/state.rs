//! Whether a pool of ZFS answers. All that is asked of a suspended one waits in the kernel, where
//! no signal reaches it; its state is told without asking it.

use std::io::ErrorKind;
use std::path::Path;

use osctl_linux::zfs::Zfs;

use crate::storage::{Error, Result};

/// One directory for each imported pool, with its state in a file.
const KSTAT: &str = "/proc/spl/kstat/zfs";
const STATE: &str = "state";

/// Whether this is the state of a pool that waits for its disks.
fn is_suspended(state: &str) -> bool {
    state.trim() == "SUSPENDED"
}

/// Refuses a pool that is suspended; one that is not there is for others to find out.
pub(super) fn check(pool: &str) -> Result<()> {
    let path = Path::new(KSTAT).join(pool).join(STATE);
    match std::fs::read_to_string(&path) {
        Ok(state) if is_suspended(&state) => Err(Error::Suspended(pool.to_owned())),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("read", path.display().to_string(), e)),
    }
}

/// The library, to ask something of a pool that answers.
pub(super) fn library(pool: &str) -> Result<&'static Zfs> {
    check(pool)?;
    Zfs::load().map_err(|e| Error::io("use", "ZFS", e))
}

/// Names of the imported pools that answer, sorted.
pub(super) fn answering() -> Result<Vec<String>> {
    let failed = |e| Error::io("list", KSTAT, e);
    let mut pools = Vec::new();
    for entry in std::fs::read_dir(KSTAT).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Statistics of ZFS itself are files, and those of nobody have no state.
        let (Ok(name), true) = (
            entry.file_name().into_string(),
            entry.path().join(STATE).exists(),
        ) else {
            continue;
        };
        match check(&name) {
            Ok(()) => pools.push(name),
            Err(Error::Suspended(_)) => {
                tracing::warn!("pool {name} of ZFS is suspended: not looked at");
            }
            Err(e) => return Err(e),
        }
    }
    pools.sort();
    Ok(pools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        assert!(is_suspended("SUSPENDED\n"));
        for other in ["ONLINE\n", "DEGRADED", "FAULTED\n", ""] {
            assert!(!is_suspended(other));
        }
        check("a-pool-that-nobody-has").unwrap();
    }
}
