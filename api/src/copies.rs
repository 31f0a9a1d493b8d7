//! Copies of containers, and what replaces or puts aside their root file systems.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mounts::Mountpoint;
use crate::names::{GroupPath, Name, Ref};
use crate::snapshot::SnapshotName;

/// Copy a container, within its pool or to another one
///
/// A running container is stopped for the copy and started again, unless --no-consistent is given;
/// on a pool of ZFS that takes no longer than its own shutdown and start. The copy has all settings
/// of the original and an id map of its own. Its network interfaces have new hardware addresses and
/// no addresses and routes: no two containers can have the same. Snapshots are not copied.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Copy {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Id of the copy, with the pool where it goes unless that is the container's own
    #[arg(value_name = "[POOL:]NEW-ID")]
    pub new_id: Ref,
    /// Don't stop a running container: copy its files as they are
    #[arg(long = "no-consistent")]
    #[serde(default)]
    pub live: bool,
    /// User whose id map the copy has
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    /// Group of the copy
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupPath>,
    /// Give the copy no network interfaces
    #[arg(long = "no-network-interfaces")]
    #[serde(default)]
    pub no_netifs: bool,
    /// Copy no more than this many bytes a second, with suffix k, m or g for multiples of 1024
    #[arg(long, value_name = "RATE", value_parser = crate::size::parse_rate)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Start a container from an image, once
///
/// It runs with its network, limits and devices, from files that are thrown away when it stops or
/// reboots. Its own files are not touched, and nothing is mounted in it but what is asked for here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Boot {
    /// Id of the container, which must be stopped
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Image archive, plain or compressed root tarball, or directory on the host, as an absolute path
    #[arg(long, value_name = "PATH")]
    pub from_archive: String,
    /// Mount the container's own files, with its datasets, on a directory in it
    #[arg(long, value_name = "DIR")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_root_dataset: Option<Mountpoint>,
    /// Distribution, when the image does not tell or tells wrong
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// Version of the distribution
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Architecture, as `uname -m` says
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Stop a running container first
    #[arg(short, long)]
    #[serde(default)]
    pub force: bool,
}

/// Put a new root file system in the place of a container's
///
/// Its configuration, id map, addresses and quota stay, and so do datasets below its own. Everything
/// else that is in it is deleted, or kept as a snapshot: the new files are unpacked beside the old ones, then put in their
/// place.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Reinstall {
    /// Id of the container, which must be stopped
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Image archive, plain or compressed root tarball, or directory on the host, as an absolute path
    #[arg(long, value_name = "PATH")]
    pub from_archive: String,
    /// Distribution, when the image does not tell or tells wrong
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// Version of the distribution
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Architecture, as `uname -m` says
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Delete the container's snapshots, which go with its old files; without, one that has any is
    /// refused
    #[arg(short, long, conflicts_with = "snapshot")]
    #[serde(default)]
    pub remove_snapshots: bool,
    /// Keep the old files as a snapshot, and the container's snapshots
    #[arg(long)]
    #[serde(default)]
    pub snapshot: bool,
    /// Name of that snapshot; without, it is named after the time
    #[arg(long, value_name = "NAME", requires = "snapshot")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_name: Option<SnapshotName>,
    /// Stop a running container first
    #[arg(short, long)]
    #[serde(default)]
    pub force: bool,
}
