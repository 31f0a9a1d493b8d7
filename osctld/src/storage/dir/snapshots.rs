//! Snapshots: a directory has none, and says what to do instead.

use std::collections::BTreeMap;
use std::path::PathBuf;

use osctl_linux::beneath::Root;

use super::DirStorage;
use crate::storage::snapshots::{Newer, Snapshot, Snapshots, check_name};
use crate::storage::{Error, Result, Storage};

const NONE: Error = Error::Unsupported(
    "a pool in a directory has no snapshots: keep the container in a pool of ZFS, or make a copy of it",
);

impl DirStorage {
    /// Why there is no such snapshot.
    fn no_snapshot(&self, id: &str, name: &str) -> Error {
        match check_name(name).and_then(|()| self.exists(id)) {
            Ok(true) => NONE,
            Ok(false) => Error::NotFound(id.to_owned()),
            Err(e) => e,
        }
    }
}

impl Snapshots for DirStorage {
    fn datasets(&self, id: &str) -> Result<Vec<String>> {
        match self.exists(id)? {
            true => Ok(vec![String::new()]),
            false => Err(Error::NotFound(id.to_owned())),
        }
    }

    fn snapshots(&self, id: &str) -> Result<Vec<Snapshot>> {
        self.datasets(id).map(|_| Vec::new())
    }

    fn all_snapshots(&self) -> Result<BTreeMap<String, Vec<Snapshot>>> {
        Ok(BTreeMap::new())
    }

    fn snapshot(&self, id: &str, name: &str, _schedule: Option<&str>) -> Result<()> {
        Err(self.no_snapshot(id, name))
    }

    fn destroy_snapshot(&self, id: &str, name: &str) -> Result<()> {
        Err(self.no_snapshot(id, name))
    }

    fn check_rollback(&self, id: &str, name: &str, _newer: Newer) -> Result<()> {
        Err(self.no_snapshot(id, name))
    }

    fn rollback(&self, id: &str, name: &str, _newer: Newer) -> Result<()> {
        Err(self.no_snapshot(id, name))
    }

    fn clone_snapshot(&self, id: &str, name: &str, _to: &str) -> Result<()> {
        Err(self.no_snapshot(id, name))
    }

    fn open_snapshot(&self, id: &str, _dataset: &str, name: &str) -> Result<Root> {
        Err(self.no_snapshot(id, name))
    }

    fn mount_snapshot(&self, id: &str, name: &str) -> Result<PathBuf> {
        Err(self.no_snapshot(id, name))
    }

    fn unmount_snapshot(&self, id: &str, name: &str) -> Result<bool> {
        Err(self.no_snapshot(id, name))
    }
}
