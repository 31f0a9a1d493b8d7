//! Datasets in those of containers. Each is mounted where its name says, in the directory of the
//! one above it and beside that one's `private`, so that no container sees another's place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nix::errno::Errno;
use osctl_linux::zfs::MAX_NAME;

use super::mounts::Allow;
use super::names::{CT, staging};
use super::{ROOTFS, ZfsStorage, failed, program};
use crate::failpoint;
use crate::storage::datasets::{Datasets, check};
use crate::storage::{Error, Result, Space, Storage};

/// Room in a name for a snapshot of it.
const SNAPSHOT: usize = 81;

/// A dataset and all that it is in, outermost first.
fn with_parents(dataset: &str) -> impl Iterator<Item = &str> {
    let ends = dataset.match_indices('/').map(|(at, _)| at);
    ends.chain([dataset.len()]).map(|end| &dataset[..end])
}

/// What one row of `name,used,referenced,refquota` says of a dataset in `top`.
fn space(top: &str, row: &program::Row) -> Option<(String, Space)> {
    let [name, used, referenced, quota] = row.as_slice() else {
        return None;
    };
    let rest = name.strip_prefix(top)?;
    let relative = match rest.is_empty() {
        true => rest,
        false => rest.strip_prefix('/')?,
    };
    let space = Space {
        used: program::number(used)?,
        referenced: program::number(referenced)?,
        // With -p, no quota is told as 0.
        quota: program::number(quota).filter(|bytes| *bytes > 0),
    };
    Some((relative.to_owned(), space))
}

impl ZfsStorage {
    /// What a dataset and those in it take, by their names in it; its own is empty.
    pub(super) fn space_below(&self, top: &str) -> Result<Vec<(String, Space)>> {
        let fields = "name,used,referenced,refquota";
        let rows = self.ask(&["list", "-Hp", "-r", "-t", "filesystem", "-o", fields, top])?;
        Ok(rows.iter().filter_map(|row| space(top, row)).collect())
    }

    fn no_dataset(&self, id: &str, dataset: &str) -> Error {
        Error::NoDataset {
            id: id.to_owned(),
            name: dataset.to_owned(),
        }
    }
}

impl Datasets for ZfsStorage {
    fn create_dataset(&self, id: &str, dataset: &str) -> Result<()> {
        check(dataset)?;
        let target = self.base.part(id, dataset)?;
        if target.len() + SNAPSHOT > MAX_NAME {
            return Err(Error::Name(dataset.to_owned()));
        }
        if !self.exists(id)? {
            return Err(Error::NotFound(id.to_owned()));
        }
        let exists = || Error::DatasetExists {
            id: id.to_owned(),
            name: dataset.to_owned(),
        };
        if self.exists_below(&format!("{CT}/{id}/{dataset}"))? {
            return Err(exists());
        }
        let new = staging(CT, id);
        let made = self.fill(&new, id, &mut |_| Ok(())).and_then(|()| {
            match self.zfs()?.rename(&self.base.below(&new), &target) {
                Ok(()) => Ok(()),
                Err(e) if e.is(Errno::EEXIST) => Err(exists()),
                Err(e) if e.is(Errno::ENOENT) => Err(match dataset.rsplit_once('/') {
                    Some((parent, _)) => self.no_dataset(id, parent),
                    None => Error::NotFound(id.to_owned()),
                }),
                Err(e) => Err(failed("make", target.clone())(e)),
            }
        });
        if made.is_err() {
            // The first error is the one that counts; should this fail, the next start does it.
            let _ = self.discard(&new, id);
        }
        failpoint!("dataset.made");
        made
    }

    fn discard_dataset(&self, id: &str, dataset: &str) -> Result<()> {
        check(dataset)?;
        self.base.part(id, dataset)?;
        self.unmount_snapshots(id)?;
        match self.discard(&format!("{CT}/{id}/{dataset}"), id)? {
            true => Ok(()),
            false => Err(self.no_dataset(id, dataset)),
        }
    }

    fn ensure_dataset(&self, id: &str, dataset: &str) -> Result<PathBuf> {
        check(dataset)?;
        self.base.part(id, dataset)?;
        if !self.exists_below(&format!("{CT}/{id}/{dataset}"))? {
            return Err(self.no_dataset(id, dataset));
        }
        self.ensure_mounted(id)?;
        let mut path = PathBuf::new();
        for name in with_parents(dataset) {
            path = self.ensure_at(&format!("{CT}/{id}/{name}"), Allow::Setuid)?;
        }
        Ok(path.join(ROOTFS))
    }

    fn set_dataset_quota(&self, id: &str, dataset: &str, bytes: Option<u64>) -> Result<()> {
        check(dataset)?;
        let name = self.base.part(id, dataset)?;
        if !self.exists_below(&format!("{CT}/{id}/{dataset}"))? {
            return Err(self.no_dataset(id, dataset));
        }
        self.bound(&name, bytes)
    }

    fn discard_foreign(&self, dataset: &str) -> Result<()> {
        self.discard_given(dataset)
    }

    fn dataset_space(&self, id: &str) -> Result<BTreeMap<String, Space>> {
        let top = self.base.container(id)?;
        if !self.exists(id)? {
            return Err(Error::NotFound(id.to_owned()));
        }
        Ok(self.space_below(&top)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first() {
        let all = |name| with_parents(name).collect::<Vec<_>>();
        assert_eq!(all("a"), ["a"]);
        assert_eq!(all("a/b/c"), ["a", "a/b", "a/b/c"]);
    }

    #[test]
    fn rows_of_datasets() {
        let row = |text: &str| text.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let found = |text: &str| space("t/ct/web1", &row(text));
        let (name, own) = found("t/ct/web1\t10\t5\t0").unwrap();
        assert_eq!((name.as_str(), own.used, own.quota), ("", 10, None));
        let (name, var) = found("t/ct/web1/var/lib\t3\t2\t1024").unwrap();
        assert_eq!(
            (name.as_str(), var.referenced, var.quota),
            ("var/lib", 2, Some(1024))
        );
        assert!(found("t/ct/web12\t1\t1\t0").is_none());
        assert!(found("t/ct/web1\t-\t1\t0").is_none());
    }
}
