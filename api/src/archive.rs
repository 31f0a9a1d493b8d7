//! Containers as archives: exporting them to files and making them from files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::container::Container;
use crate::names::{GroupPath, Name, Ref};

/// How the data of a container stand in an archive.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// What suits the pool: streams where it is one of ZFS, else a tarball.
    #[default]
    Auto,
    /// A tarball, which any pool takes.
    Tar,
    /// Streams of ZFS, of all of the container's datasets, which pools of ZFS take.
    Zfs,
}

/// How the data of a container are compressed in an archive.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// With zstd, which is fast; vpsAdminOS does not read it.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// With gzip, as vpsAdminOS does.
    Gzip,
    /// With zstd.
    Zstd,
}

/// Export a container to an archive, which goes to the file descriptor of the call: an empty
/// regular file or a pipe, opened for writing
///
/// When the file system of the file has no room, or the call is cancelled, what was written is of
/// no use. What goes to a pipe is kept on the pool until it is complete.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Export {
    /// Id of the container
    pub id: Ref,
    /// Copy it while it runs, as it is at that moment or as it changes meanwhile
    #[serde(default)]
    pub live: bool,
    /// How its data stand in the archive
    #[serde(default)]
    pub format: Format,
    /// How its data are compressed
    #[serde(default)]
    pub compression: Compression,
    /// Leave its hooks out
    #[serde(default)]
    pub no_hooks: bool,
    /// Bytes a second of its files, or streams, that are read at most
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Its snapshots too, which streams of ZFS have room for
    #[serde(default)]
    pub snapshots: bool,
}

/// Reply of `ContainerExport`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    /// Bytes of the archive.
    pub size: u64,
    /// What is not in the archive and why, for people.
    pub warnings: Vec<String>,
}

/// What becomes of devices in an archive that not every container has.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum MissingDevices {
    /// The archive is refused.
    #[default]
    Check,
    /// The container gets them.
    Provide,
    /// They are left out.
    Remove,
}

/// Make a container from an archive of osctl or vpsAdminOS, which comes from the file descriptor of
/// the call: a regular file or a pipe, opened for reading
///
/// Unless told otherwise, the container has the id and group that the archive names and an id map of
/// its own, which no other container shares.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Import {
    /// Id of the new container, rather than the one in the archive
    #[arg(long = "as-id", value_name = "NEW-ID")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Ref>,
    /// Pool of the new container, unless its id names one
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// User whose id map is used
    #[arg(long, value_name = "USER")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_user: Option<Name>,
    /// Make the user that the archive names, with the same ids on the host, unless there is the same
    /// one already
    #[arg(long, conflicts_with = "as_user")]
    #[serde(default)]
    pub keep_user: bool,
    /// Group, which must exist; the one that the archive names is made if it does not
    #[arg(long, value_name = "GROUP")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_group: Option<GroupPath>,
    /// What becomes of devices that not every container has
    #[arg(long, value_enum, default_value = "check", value_name = "WHAT")]
    #[serde(default)]
    pub missing_devices: MissingDevices,
    /// Leave network interfaces out, with their addresses, which the original may still have
    #[arg(long)]
    #[serde(default)]
    pub without_netifs: bool,
    /// Leave snapshots out
    #[arg(long)]
    #[serde(default)]
    pub without_snapshots: bool,
    /// Take mounts of files and directories of the host too
    #[arg(long)]
    #[serde(default)]
    pub with_host_mounts: bool,
    /// Take hooks too: programs that root of the host runs
    #[arg(long)]
    #[serde(default)]
    pub with_hooks: bool,
    /// Unpack no more than this many bytes a second, with suffix k, m or g for multiples of 1024
    #[arg(long, value_name = "RATE", value_parser = crate::size::parse_rate)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Reply of `ContainerImport`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// The container.
    pub container: Container,
    /// What was left out of the archive or means something else here, for people.
    pub warnings: Vec<String>,
}
