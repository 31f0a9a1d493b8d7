//! Limits of what a container reads from and writes to its pool's disk: where they hold, and as
//! which parameters of its cgroup.

use osctl_api::io_limit::IoLimit;

use super::Container;
use super::config::Config;
use crate::cgroup::{DiskRates, Param, Tree};
use crate::error::Error;
use crate::pool::Pool;
use crate::storage::{self, Disk};

/// The disk whose use can be limited, on this host, for containers of a pool. Blocks.
///
/// # Errors
/// `Unsupported` with the reason; `Backend`.
fn limited_disk(tree: &Tree, pool: &Pool) -> Result<Disk, Error> {
    let cannot = format!(
        "what is read and written on pool {} can't be limited",
        pool.name
    );
    if tree.version_of("io").or(tree.version_of("blkio")).is_none() {
        return Err(Error::unsupported(format!(
            "{cannot}: this host has no cgroup controller for disks"
        )));
    }
    pool.storage.disk().map_err(|e| match e {
        storage::Error::Unsupported(why) => Error::unsupported(format!("{cannot}: {why}")),
        e => Error::backend(cannot, e),
    })
}

fn rates(limit: IoLimit) -> DiskRates {
    DiskRates {
        read_bps: limit.read_bps,
        write_bps: limit.write_bps,
        read_iops: limit.read_iops.map(u64::from),
        write_iops: limit.write_iops.map(u64::from),
    }
}

impl Container {
    /// Refuses a limit that would not hold. Blocks.
    pub(super) fn check_io_limit(&self, tree: &Tree) -> Result<(), Error> {
        let (_daemon, pool) = self.home()?;
        limited_disk(tree, &pool)
            .map(drop)
            .map_err(|e| e.context(format!("cannot limit container {}", self.label())))
    }

    /// The cgroup parameters of a configuration's limit; none where it can't hold, which `ct show`
    /// tells. Blocks.
    pub(super) fn io_params(&self, tree: &Tree, config: &Config) -> Result<Vec<Param>, Error> {
        let Some(limit) = config.io_limit else {
            return Ok(Vec::new());
        };
        let (_daemon, pool) = self.home()?;
        match limited_disk(tree, &pool) {
            Ok(disk) => Ok(rates(limit).params(disk)),
            Err(e) => {
                tracing::warn!(container = %self.label(), why = %e.chain(), "its I/O limit is not in force");
                Ok(Vec::new())
            }
        }
    }

    /// Why a limit that it has is not in force. Blocks.
    pub(super) fn io_problem(&self, tree: &Tree, pool: &Pool) -> Option<String> {
        self.config().io_limit?;
        let problem = limited_disk(tree, pool).err()?;
        Some(format!("io_limit is not in force: {}", problem.chain()))
    }
}
