//! What streams of others have made becomes data like any other.
//!
//! A guest sees `private` of its datasets and nothing else, so that what is beside it is trusted: it
//! is where other datasets are mounted. A stream can put anything there, also into its snapshots,
//! which a container can return to.

use std::collections::BTreeSet;
use std::path::Path;

use nix::fcntl::OFlag;
use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks};

use super::mounts::{self, Allow};
use super::names::CT;
use super::rows::Row;
use super::snapshots::open_top;
use super::{ROOTFS, ZfsStorage};
use crate::storage::snapshots::{Snapshots, TEMPORARY};
use crate::storage::{Along, Error, Result};

impl ZfsStorage {
    pub(super) fn settle_received(&self, id: &str, along: Along) -> Result<Vec<String>> {
        if !self.is_marked(id)? {
            return Err(Error::Exists(id.to_owned()));
        }
        let (mut rows, mut odd) = (self.rows_of(id)?, BTreeSet::new());
        if along == Along::Snapshots {
            let of_user = rows.iter().filter(|row| !row.name.starts_with(TEMPORARY));
            for row in of_user.clone() {
                // A container's snapshot is that of its own dataset.
                let own = |r: &Row| r.dataset.is_empty() && r.name == row.name;
                if !rows.iter().any(own) || !self.is_sound(row)? {
                    odd.insert(row.name.clone());
                }
            }
            let kept: BTreeSet<String> = of_user.map(|row| row.name.clone()).collect();
            rows.retain(|row| !kept.contains(&row.name) || odd.contains(&row.name));
        }
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
        settled.and(detached).map(|()| odd.into_iter().collect())
    }

    /// Whether a dataset could return to a snapshot: there is a root directory, and nothing beside it
    /// but directories that other datasets are mounted on.
    fn is_sound(&self, row: &Row) -> Result<bool> {
        let snapshot = self.base.below(&row.below());
        let failed = |e: osctl_linux::error::Error| Error::io("examine", &snapshot, e);
        let top = open_top(&snapshot)?;
        let mut has_root = false;
        for entry in top.read_dir(".").map_err(failed)? {
            let name = entry.map_err(failed)?.name;
            if top.stat(&name).map_err(failed)?.kind() != Kind::Dir {
                return Ok(false);
            }
            if name == ROOTFS {
                has_root = true;
            } else if top.read_dir(&name).map_err(failed)?.next().is_some() {
                return Ok(false);
            }
        }
        Ok(has_root)
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
