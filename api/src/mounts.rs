//! What is mounted in containers: directories of the host, datasets of the container, and file
//! systems in memory. Paths and options as users write them; what is allowed on a host is the
//! daemon's to say.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::names::{InvalidName, invalid, string_newtype};

mod calls;
mod options;

pub use calls::{
    Activate, Clear, Dataset, DatasetDelete, DatasetList, DatasetNew, DatasetQuota, Datasets,
    Deactivate, Delete, List, Mount, MountDataset, Mounts, New, Register,
};
pub use options::{Create, InvalidOptions, MountOptions};

/// Longest path, bytes.
pub const MAX_PATH: usize = 512;
/// Longest name of a dataset in a container, bytes, and most components of it.
pub const MAX_DATASET: (usize, usize) = (120, 8);

/// Directories of the guest that are the runtime's own.
const RESERVED: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Whether a path is absolute and in its shortest form, so that nobody reads it in another way.
fn is_plain(path: &str) -> bool {
    let good = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.len() <= MAX_PATH
        && !path.chars().any(char::is_control)
        && path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(good))
}

/// Where in a container something is mounted: an absolute path, not `/` nor in `/dev`, `/proc` or
/// `/sys`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mountpoint(String);

impl Mountpoint {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is below it.
    pub fn contains(&self, other: &Mountpoint) -> bool {
        let below = other.0.strip_prefix(&self.0);
        below.is_some_and(|rest| rest.starts_with('/'))
    }

    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromStr for Mountpoint {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Mountpoint, InvalidName> {
        const RULE: &str = "use an absolute path of at most 512 bytes without '.', '..' and '//', \
             not '/' and not in /dev, /proc or /sys";
        let is_reserved = |dir: &str| s == dir || s.starts_with(&format!("{dir}/"));
        if is_plain(s) && !RESERVED.iter().any(|dir| is_reserved(dir)) {
            Ok(Mountpoint(s.to_owned()))
        } else {
            Err(invalid("mountpoint", s, RULE))
        }
    }
}

string_newtype!(Mountpoint, "Mountpoint");

/// A file or directory of the host: an absolute path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPath(String);

impl HostPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromStr for HostPath {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<HostPath, InvalidName> {
        const RULE: &str =
            "use an absolute path of at most 512 bytes without '.', '..' and '//', not '/'";
        if is_plain(s) {
            Ok(HostPath(s.to_owned()))
        } else {
            Err(invalid("path", s, RULE))
        }
    }
}

string_newtype!(HostPath, "HostPath");

/// A dataset of a container below its own, such as `var/lib`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetName(String);

impl DatasetName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The dataset that it is in; `None` for one right in the container's own.
    pub fn parent(&self) -> Option<DatasetName> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(DatasetName(parent.to_owned()))
    }

    /// Its last component.
    pub fn base(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Whether `other` is below it.
    pub fn contains(&self, other: &DatasetName) -> bool {
        let below = other.0.strip_prefix(&self.0);
        below.is_some_and(|rest| rest.starts_with('/'))
    }

    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromStr for DatasetName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<DatasetName, InvalidName> {
        const RULE: &str = "use at most 8 names joined by '/', together at most 120 bytes, of letters, digits, \
             '_', '-', '.' and ':', which begin with a letter or digit; `private` is taken";
        let good = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part != "private"
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
        };
        let (bytes, parts) = MAX_DATASET;
        if s.len() <= bytes && s.split('/').count() <= parts && s.split('/').all(good) {
            Ok(DatasetName(s.to_owned()))
        } else {
            Err(invalid("dataset", s, RULE))
        }
    }
}

string_newtype!(DatasetName, "DatasetName");

/// What is mounted.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum MountType {
    /// A directory or file of the host, or a dataset of the container.
    #[default]
    #[serde(alias = "none")]
    #[value(alias = "none")]
    Bind,
    /// A file system in the container's memory.
    Tmpfs,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: usize = MAX_PATH + 1;

    #[test]
    fn mountpoints() {
        for good in ["/mnt", "/srv/a b", "/devel", "/procs/x", "/a/.b/..c"] {
            assert_eq!(good.parse::<Mountpoint>().unwrap().as_str(), good);
        }
        let long = format!("/{}", "x".repeat(LONG));
        for bad in [
            "",
            "/",
            "mnt",
            "/mnt/",
            "//mnt",
            "/a//b",
            "/a/../b",
            "/..",
            "/.",
            "/a/.",
            "/a\0",
            "/a\nb",
            "/dev",
            "/dev/shm",
            "/proc",
            "/proc/sys/x",
            "/sys",
            "/sys/fs",
            &long,
        ] {
            assert!(bad.parse::<Mountpoint>().is_err(), "{bad:?}");
        }
        let (a, b): (Mountpoint, Mountpoint) = ("/srv".parse().unwrap(), "/srv/x".parse().unwrap());
        assert!(a.contains(&b) && !b.contains(&a) && !a.contains(&a));
        assert!(!a.contains(&"/srvx".parse().unwrap()));
    }

    #[test]
    fn host_paths() {
        for good in ["/srv", "/dev/shm/x", "/tank/a:b"] {
            assert_eq!(good.parse::<HostPath>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "/",
            "srv",
            "/srv/",
            "/srv/../etc",
            "/./x",
            "/a//b",
            "/a\tb",
            "/a\0b",
        ] {
            assert!(bad.parse::<HostPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn datasets() {
        for good in ["var", "var/lib", "a/b/c/d/e/f/g/h", "1.a_b-c:d"] {
            assert_eq!(good.parse::<DatasetName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(MAX_DATASET.0 + 1);
        for bad in [
            "",
            "/",
            "/var",
            "var/",
            "a//b",
            ".",
            "..",
            "a/..",
            "a/../b",
            ".zfs",
            "-r",
            "a/-r",
            "_a",
            "a@b",
            "a#b",
            "a%b",
            "a b",
            "a\nb",
            "a\0b",
            "é",
            "private",
            "a/private/b",
            "1/2/3/4/5/6/7/8/9",
            &long,
        ] {
            assert!(bad.parse::<DatasetName>().is_err(), "{bad:?}");
        }
        let name: DatasetName = "a/b".parse().unwrap();
        assert_eq!(name.parent().unwrap().as_str(), "a");
        assert!(name.parent().unwrap().parent().is_none());
        assert!(name.parent().unwrap().contains(&name));
        assert_eq!(name.base(), "b");
    }
}
