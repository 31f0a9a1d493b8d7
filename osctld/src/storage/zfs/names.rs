//! Names of the datasets of a pool, and which parts of a name may be what. Pure.

use osctl_linux::zfs::MAX_NAME;

use crate::storage::{Error, Result, check_dataset, check_id, unique};

/// Datasets of a pool: containers and what is kept beside them.
pub(super) const CT: &str = "ct";
pub(super) const REPOSITORY: &str = "repository";
pub(super) const TRASH: &str = "trash";
/// All of them.
pub(super) const DATASETS: [&str; 6] = [CT, "conf", "hook", "log", REPOSITORY, TRASH];
/// Begins names of what is being made. No id has a dot in it.
pub(super) const STAGING: &str = "new.";
/// Begins names of containers that had no room in the trash.
pub(super) const GONE: &str = "gone.";
/// Name of the snapshot that is an image.
pub(super) const IMAGE: &str = "image";

/// Longest name of the dataset that holds a pool: what is in it needs some of [`MAX_NAME`].
const MAX_BASE: usize = MAX_NAME - 100;

/// The dataset that holds a pool, and names of those below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base(String);

impl Base {
    /// Refuses what is no name of a file system.
    pub(super) fn new(dataset: &str) -> Result<Base> {
        let good = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['-', '.'])
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
        };
        if dataset.len() <= MAX_BASE && dataset.split('/').all(good) {
            Ok(Base(dataset.to_owned()))
        } else {
            Err(Error::Name(dataset.chars().take(64).collect()))
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The pool of ZFS that it is in.
    pub(super) fn pool(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// A dataset below it.
    pub(super) fn below(&self, relative: &str) -> String {
        format!("{}/{relative}", self.0)
    }

    /// The part of a name that comes after it; empty for itself.
    pub(super) fn relative<'a>(&self, dataset: &'a str) -> Option<&'a str> {
        let rest = dataset.strip_prefix(&self.0)?;
        match rest.strip_prefix('/') {
            Some(rest) => Some(rest),
            None => rest.is_empty().then_some(""),
        }
    }

    /// A container's dataset.
    pub(super) fn container(&self, id: &str) -> Result<String> {
        check_id(id)?;
        Ok(self.below(&format!("{CT}/{id}")))
    }

    /// One of a container's datasets, by its relative name.
    pub(super) fn part(&self, id: &str, relative: &str) -> Result<String> {
        check_dataset(relative)?;
        let root = self.container(id)?;
        match relative {
            "" => Ok(root),
            _ => Ok(format!("{root}/{relative}")),
        }
    }

    /// An image's dataset.
    pub(super) fn image(&self, key: &str) -> Result<String> {
        check_id(key)?;
        Ok(self.below(&format!("{REPOSITORY}/{key}")))
    }

    /// The snapshot of an image, which containers are cloned of.
    pub(super) fn image_snapshot(&self, key: &str) -> Result<String> {
        Ok(format!("{}@{IMAGE}", self.image(key)?))
    }

    /// A new name in the trash for a container or image.
    pub(super) fn trashed(&self, what: &str) -> String {
        self.below(&fresh(&format!("{TRASH}/"), what))
    }
}

/// A new name, relative to the pool, for what is being made in `parent`.
pub(super) fn staging(parent: &str, id: &str) -> String {
    fresh(&format!("{parent}/{STAGING}"), id)
}

/// A new name, relative to the pool, beside other containers, for one that is deleted.
pub(super) fn gone(id: &str) -> String {
    fresh(&format!("{CT}/{GONE}"), id)
}

fn fresh(begin: &str, id: &str) -> String {
    let short: String = id.chars().take(48).collect();
    format!("{begin}{short}.{}", unique())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases() {
        for good in ["tank", "tank/x", "t/a/b-c_d.e:f"] {
            assert_eq!(Base::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(156);
        for bad in [
            "", "/", "/tank", "tank/", "a//b", "a@b", "a#b", "a b", "-a", "a/..", ".", "a\0", &long,
        ] {
            assert!(Base::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_below() {
        let base = Base::new("tank/x").unwrap();
        assert_eq!(base.container("web1").unwrap(), "tank/x/ct/web1");
        assert_eq!(
            base.image_snapshot("0f").unwrap(),
            "tank/x/repository/0f@image"
        );
        assert_eq!(base.part("a", "").unwrap(), "tank/x/ct/a");
        assert_eq!(base.part("a", "b/c.d").unwrap(), "tank/x/ct/a/b/c.d");
        for bad in ["/", "b/", "/b", "b//c", "..", "b/../..", "b@c", "-b", "b c"] {
            assert!(base.part("a", bad).is_err(), "{bad}");
        }
        assert!(base.container("../y").is_err() && base.image("a@b").is_err());
        assert_eq!(base.relative("tank/x/ct/web1"), Some("ct/web1"));
        assert_eq!(base.relative("tank/x"), Some(""));
        assert_eq!(base.relative("tank/xy/ct"), None);
        assert_eq!(base.relative("tank"), None);
        // No id can be one of these, and all fit into a name.
        let id = "a".repeat(200);
        for name in [staging(CT, &id), gone(&id)] {
            assert!(check_id(name.rsplit('/').next().unwrap()).is_err());
        }
        let longest = Base::new(&"x".repeat(155)).unwrap();
        for name in [
            longest.trashed(&id),
            longest.below(&staging(REPOSITORY, &id)),
        ] {
            assert!(name.len() <= MAX_NAME, "{name}");
        }
        assert_ne!(base.trashed("a"), base.trashed("a"));
    }
}
