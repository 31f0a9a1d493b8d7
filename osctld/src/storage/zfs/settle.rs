//! What streams of others have made becomes data like any other.
//!
//! A guest sees `private` of its datasets and nothing else, so that what is beside it is trusted: it
//! is where other datasets are mounted. A stream can put anything there.

use std::path::Path;

use nix::fcntl::OFlag;
use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks};

use super::mounts::{self, Allow};
use super::names::CT;
use super::{ROOTFS, ZfsStorage};
use crate::storage::snapshots::Snapshots;
use crate::storage::{Error, Result};

impl ZfsStorage {
    pub(super) fn settle_received(&self, id: &str) -> Result<()> {
        if !self.is_marked(id)? {
            return Err(Error::Exists(id.to_owned()));
        }
        let rows = self.rows_of(id)?;
        if !rows.is_empty() {
            self.destroy_rows(&rows)?;
        }
        // Parents before children: where a dataset is mounted was cleaned before.
        let datasets = self.datasets(id)?;
        let place = |dataset: &str| match dataset {
            "" => format!("{CT}/{id}"),
            _ => format!("{CT}/{id}/{dataset}"),
        };
        let settled = datasets.iter().try_for_each(|dataset| {
            let path = self.ensure_at(&place(dataset), Allow::Data)?;
            clean(&path, id)
        });
        // A container's files are mounted in another way.
        let detached = datasets
            .iter()
            .rev()
            .try_for_each(|dataset| mounts::detach(&self.at(&place(dataset))));
        settled.and(detached)
    }
}

/// Leaves nothing in a dataset but a root directory.
fn clean(path: &Path, id: &str) -> Result<()> {
    let what = || format!("data of container {id}");
    let failed = |e: osctl_linux::error::Error| Error::io("settle", what(), e);
    let top = Root::open_tree(path, Symlinks::Refuse, Mounts::Refuse).map_err(failed)?;
    top.chown(".", 0, 0).map_err(failed)?;
    top.chmod(".", 0o700).map_err(failed)?;
    match top.try_stat(ROOTFS).map_err(failed)? {
        Some(stat) if stat.kind() == Kind::Dir => {}
        _ => {
            return Err(Error::Stream {
                what: what(),
                problem: format!("has no directory {ROOTFS}"),
            });
        }
    }
    let mut others = Vec::new();
    for entry in top.read_dir(".").map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.name != ROOTFS {
            others.push(entry.name);
        }
    }
    for name in others {
        let removed = top.remove_some(&name, u64::MAX);
        removed.map_err(failed)?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let dir = top.open(".", flags, 0).map_err(failed)?;
    mounts::sync(dir, &what())
}
