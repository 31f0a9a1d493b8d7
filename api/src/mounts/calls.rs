//! Methods of mounts and datasets of containers: parameters and replies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DatasetName, MountOptions, MountType, Mountpoint};
use crate::names::Ref;

/// List what is mounted in a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct List {
    /// Id of the container
    pub id: Ref,
}

/// Reply of `MountList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Mounts {
    /// The mounts.
    pub mounts: Vec<Mount>,
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// File or directory of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs: Option<String>,
    /// Dataset of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetName>,
    /// Where in the container.
    pub mountpoint: Mountpoint,
    /// What kind of file system.
    #[serde(rename = "type")]
    pub kind: MountType,
    /// Options.
    pub opts: MountOptions,
    /// Whether it is mounted when the container starts.
    pub automount: bool,
    /// Whether it is forgotten when the container stops.
    pub temporary: bool,
}

/// Mount a directory or file of the host in a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct New {
    /// Id of the container
    pub id: Ref,
    /// File or directory of the host; of no meaning with type tmpfs
    pub fs: String,
    /// Where in the container
    pub mountpoint: Mountpoint,
    /// What kind of file system
    #[serde(rename = "type")]
    pub kind: MountType,
    /// Options
    pub opts: MountOptions,
    /// Mount it when the container starts, and now when it runs
    #[serde(default = "yes")]
    pub automount: bool,
}

/// Mount a dataset of a container in it
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MountDataset {
    /// Id of the container
    pub id: Ref,
    /// The dataset
    pub dataset: DatasetName,
    /// Where in the container
    pub mountpoint: Mountpoint,
    /// Nothing can be written to it
    #[serde(default)]
    pub read_only: bool,
    /// Mount it when the container starts, and now when it runs
    #[serde(default = "yes")]
    pub automount: bool,
}

/// Note a mount of a container that runs or starts, until it stops
///
/// Nothing is mounted: that is what `activate` does, or a hook has done already.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Register {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Where in the container
    pub mountpoint: Mountpoint,
    /// File or directory of the host; without it, it can't be activated
    #[arg(long, value_name = "PATH")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs: Option<String>,
    /// What kind of file system
    #[arg(long = "type", value_enum, default_value_t)]
    #[serde(rename = "type", default)]
    pub kind: MountType,
    /// Options
    #[arg(long, default_value = "create=dir,rw")]
    #[serde(default)]
    pub opts: MountOptions,
    /// Also while the container is being started, which holds it
    #[arg(long)]
    #[serde(default)]
    pub on_ct_start: bool,
}

/// Mount in a running container what its configuration has
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Activate {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Where in the container
    pub mountpoint: Mountpoint,
}

/// Unmount in a running container what its configuration has
///
/// It is taken from its place; what the container has copied of it goes when the container stops.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Deactivate {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Where in the container
    pub mountpoint: Mountpoint,
}

/// Remove a mount of a container, also from a running one
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Delete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Where in the container
    pub mountpoint: Mountpoint,
}

/// Remove all mounts of a container, also from a running one
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Clear {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// List the datasets of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DatasetList {
    /// Id of the container
    pub id: Ref,
}

/// Reply of `DatasetList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Datasets {
    /// The datasets, parents first.
    pub datasets: Vec<Dataset>,
}

/// A dataset of a container.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Dataset {
    /// Name in the container; `/` is the container's own.
    pub name: String,
    /// Path on the host.
    pub dataset: String,
    /// Where it is mounted in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mountpoint: Option<String>,
    /// Bytes that deleting it would free, with all below it.
    pub used: u64,
    /// Bytes that its files take, shared ones too.
    pub referenced: u64,
    /// Most bytes that its files may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
}

/// Make a dataset of a container, with those above it that are missing
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DatasetNew {
    /// Id of the container
    pub id: Ref,
    /// The dataset
    pub dataset: DatasetName,
    /// Where in the container; in the mountpoint of the dataset above it when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mountpoint: Option<Mountpoint>,
    /// Mount what is made when the container starts, and now when it runs
    #[serde(default = "yes")]
    pub mount: bool,
}

/// Bound what the files of a dataset of a container may take
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DatasetQuota {
    /// Id of the container
    pub id: Ref,
    /// The dataset
    pub dataset: DatasetName,
    /// Bytes; no bound when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
}

/// Delete a dataset of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct DatasetDelete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// The dataset
    pub dataset: DatasetName,
    /// Delete the datasets below it too
    #[arg(short, long)]
    #[serde(default)]
    pub recursive: bool,
    /// Unmount it first
    #[arg(short, long, visible_alias = "umount")]
    #[serde(default)]
    pub unmount: bool,
}

fn yes() -> bool {
    true
}
