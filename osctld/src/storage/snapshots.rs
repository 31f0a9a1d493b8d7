//! Snapshots of containers: what a back end does about them, and which names they may have.
//!
//! A snapshot is of all of a container's datasets at the same moment. Those whose names begin with
//! [`TEMPORARY`] are the daemon's own, for as long as an operation takes: what a crash left of them
//! goes when the pool is recovered.

use std::collections::BTreeMap;
use std::path::PathBuf;

use osctl_linux::beneath::Root;

use super::{Error, Result};

/// Begins names of snapshots that are there for an operation only.
pub const TEMPORARY: &str = "osctl-";
/// Longest name, bytes.
const MAX_NAME: usize = 80;

/// A snapshot of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Where it is in the order of making, on whatever clock; of the container's own dataset.
    pub order: u64,
    /// When it was made by the host's clock, seconds since 1970.
    pub created: u64,
    /// Bytes that destroying it alone would free.
    pub used: u64,
    /// Bytes that its files take, shared ones too.
    pub referenced: u64,
    /// The part of a schedule that made it.
    pub schedule: Option<String>,
    /// What was cloned of it: ids of containers, or names of whatever it is.
    pub clones: Vec<String>,
    /// Where it is in the file tree; its files are in `private` below that.
    pub mounted: Option<PathBuf>,
}

impl Snapshot {
    /// Whether it is the daemon's own.
    pub fn is_temporary(&self) -> bool {
        self.name.starts_with(TEMPORARY)
    }
}

/// What becomes of snapshots that are newer than the one to return to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newer {
    /// When there are any, nothing is done.
    Keep,
    /// They are destroyed.
    Lose,
}

/// What a back end does about snapshots; one that has none says [`Error::Unsupported`], and that
/// there are none.
pub trait Snapshots {
    /// Names of a container's datasets relative to its own, parents before children; its own,
    /// which is the first, is empty.
    fn datasets(&self, id: &str) -> Result<Vec<String>>;

    /// A container's snapshots, oldest first, also the daemon's own.
    fn snapshots(&self, id: &str) -> Result<Vec<Snapshot>>;

    /// Snapshots of all containers that have any, as [`Snapshots::snapshots`], asked for at once.
    fn all_snapshots(&self) -> Result<BTreeMap<String, Vec<Snapshot>>>;

    /// Makes a snapshot of all of a container's datasets: all at the same moment, or none.
    /// `schedule` is the part of a schedule that makes it.
    fn snapshot(&self, id: &str, name: &str, schedule: Option<&str>) -> Result<()>;

    /// Notes that these snapshots were made by a part of a schedule; those that are not there are
    /// left out.
    fn note_schedule(&self, _id: &str, _names: &[String], _part: &str) -> Result<()> {
        Ok(())
    }

    /// Destroys a snapshot of all datasets: all or none. One that is in use (cloned, mounted,
    /// open, held) stays.
    fn destroy_snapshot(&self, id: &str, name: &str) -> Result<()>;

    /// Refuses a rollback that would be refused, changing nothing.
    fn check_rollback(&self, id: &str, name: &str, newer: Newer) -> Result<()>;

    /// Returns the datasets of a container that does not run to a snapshot, those that it has; what
    /// is newer is lost. Begun, it is finished also after a crash, by
    /// [`super::Storage::recover`]. When it can't be finished, that is
    /// [`Error::HalfReturned`]: the container is of no use until [`Snapshots::finish_rollback`].
    fn rollback(&self, id: &str, name: &str, newer: Newer) -> Result<()>;

    /// Finishes a rollback of the container that did not end; fine when there is none.
    fn finish_rollback(&self, _id: &str) -> Result<()> {
        Ok(())
    }

    /// Makes the data of a new container from another's snapshot, which is needed for as long as
    /// the new one exists. They count as new until [`super::Storage::complete`].
    fn clone_snapshot(&self, id: &str, name: &str, to: &str) -> Result<()>;

    /// Opens the root directory in the snapshot of one of a container's datasets, for reading. It
    /// is in no file tree, and the snapshot is in use until the last that was opened of it is
    /// closed.
    fn open_snapshot(&self, id: &str, dataset: &str, name: &str) -> Result<Root>;

    /// Mounts a snapshot, of all datasets, for reading, in the pool's directory; fine when it is.
    /// The path of the root directory of the container's own dataset.
    fn mount_snapshot(&self, id: &str, name: &str) -> Result<PathBuf>;

    /// Takes a snapshot out of the file tree; false when it was not there.
    fn unmount_snapshot(&self, id: &str, name: &str) -> Result<bool>;
}

/// Refuses what is no name of a snapshot.
pub fn check_name(name: &str) -> Result<()> {
    let good = name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b));
    match good {
        true => Ok(()),
        false => Err(Error::SnapshotName(name.chars().take(64).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = "x".repeat(80);
        for good in [
            "a",
            "0",
            "before.upgrade",
            "daily-2026-01-01T00:00:00Z",
            "a_b",
            &longest,
        ] {
            check_name(good).unwrap();
        }
        let long = "x".repeat(81);
        for bad in [
            "", "-a", ".a", ":a", "a b", "a@b", "a#b", "a/b", "a%b", "é", "a\0", &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
