//! Datasets in a container's own: what a back end does about them. That there are some is told by
//! [`super::snapshots::Snapshots::datasets`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Error, Result, Space, check_dataset};

/// Directory in a dataset that a container sees, which no dataset can be named after.
pub(super) const ROOTFS: &str = "private";

/// What a back end says that has none.
const NONE: Error = Error::Unsupported(
    "a pool in a directory has no datasets: keep the container in a pool of ZFS, or use directories",
);

/// What a back end does about datasets; one that does nothing has none, and says
/// [`Error::Unsupported`].
pub trait Datasets {
    /// Makes a dataset, in one that exists, with an empty root directory (0755, root's). It is
    /// there as a whole or not at all.
    fn create_dataset(&self, _id: &str, dataset: &str) -> Result<()> {
        check(dataset).and(Err(NONE))
    }

    /// Moves a dataset, with those below it, to the trash: at once, also when it is in use.
    fn discard_dataset(&self, _id: &str, dataset: &str) -> Result<()> {
        check(dataset).and(Err(NONE))
    }

    /// Makes the root directory of a dataset visible; its path.
    fn ensure_dataset(&self, _id: &str, dataset: &str) -> Result<PathBuf> {
        check(dataset).and(Err(NONE))
    }

    /// Bounds what the files of a dataset may take, in bytes; `None` for no bound.
    fn set_dataset_quota(&self, _id: &str, dataset: &str, _bytes: Option<u64>) -> Result<()> {
        check(dataset).and(Err(NONE))
    }

    /// Moves a dataset that is no container's to the trash, by its whole name.
    fn discard_foreign(&self, _dataset: &str) -> Result<()> {
        Err(NONE)
    }

    /// What each of a container's datasets takes, by its name; the container's own is empty.
    fn dataset_space(&self, _id: &str) -> Result<BTreeMap<String, Space>> {
        Err(NONE)
    }
}

/// Refuses what is no name of a dataset in a container's own.
pub fn check(dataset: &str) -> Result<()> {
    check_dataset(dataset)?;
    if dataset.is_empty() || dataset.split('/').any(|part| part == ROOTFS) {
        return Err(Error::Name(dataset.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["var", "var/lib", "a.b/c:d_e-f"] {
            check(good).unwrap();
        }
        for bad in [
            "",
            "private",
            "a/private",
            "private/b",
            "..",
            "a//b",
            "/a",
            "a@b",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
