//! The metadata files of an archive. Only what is known is read; nothing of it sets anything on
//! the host.

use serde::{Deserialize, Serialize};

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
