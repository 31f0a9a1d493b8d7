//! The metadata files of an archive. Only what is known is read; nothing of it sets anything on
//! the host.

use serde::{Deserialize, Serialize};

use crate::storage::datasets;

/// `metadata.yml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// `full`, or `skel` for one without data.
    #[serde(rename = "type")]
    pub kind: String,
    /// `tar`, `zfs`, or absent in a `skel`.
    #[serde(default)]
    pub format: Option<String>,
    /// Name of the user; images have none.
    #[serde(default)]
    pub user: Option<String>,
    /// Name of the group; images have none.
    #[serde(default)]
    pub group: Option<String>,
    /// Id of the container.
    #[serde(default)]
    pub container: Option<String>,
    /// Names of data sets below the container's own, relative to it.
    #[serde(default)]
    pub datasets: Vec<String>,
    /// When it was written, in seconds since 1970-01-01 00:00 UTC.
    #[serde(default)]
    pub exported_at: Option<i64>,
}

impl Metadata {
    /// Whether the data are streams of ZFS.
    pub fn has_streams(&self) -> bool {
        self.format.as_deref() == Some("zfs")
    }

    /// Why an archive is of no use; one of streams is where they are asked for.
    pub(super) fn problem(&self, streams: bool) -> Option<String> {
        let problem = match self.format.as_deref() {
            _ if self.kind != "full" => {
                format!("the archive is of type {:?}: it has no data", self.kind)
            }
            Some("tar") if self.datasets.is_empty() => return None,
            Some("tar") => {
                "the archive has more than one data set, for which its format has no room".into()
            }
            Some("zfs") if streams => return self.odd_dataset(),
            Some("zfs") => "the archive is of format \"zfs\": only \"tar\" can be used here".into(),
            format => {
                let format = format.unwrap_or("none");
                format!("the archive is of format {format:?}: only \"tar\" and \"zfs\" are known")
            }
        };
        Some(problem.chars().take(300).collect())
    }

    /// Names of datasets that can't be, or not in this order.
    fn odd_dataset(&self) -> Option<String> {
        for (at, name) in self.datasets.iter().enumerate() {
            let before = &self.datasets[..at];
            let shown: String = name.chars().take(100).collect();
            let parent = name.rsplit_once('/').map(|(parent, _)| parent);
            if datasets::check(name).is_err() {
                return Some(format!("{shown:?} in the archive is no name of a dataset"));
            }
            if before.contains(name) {
                return Some(format!("dataset {shown} is in the archive twice"));
            }
            if parent.is_some_and(|parent| !before.iter().any(|b| b == parent)) {
                return Some(format!(
                    "dataset {shown} comes before the one that it is in"
                ));
            }
        }
        None
    }
}

/// What is read of `config/container.yml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ContainerYml {
    #[serde(default)]
    pub(super) distribution: Option<String>,
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) arch: Option<String>,
    #[serde(default)]
    pub(super) vendor: Option<String>,
    #[serde(default)]
    pub(super) variant: Option<String>,
}
