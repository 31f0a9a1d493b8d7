//! Pools: where containers live.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{AttrName, Name};

/// Make a dataset of ZFS, or a directory, a pool and import it
///
/// Unless a directory is given, the pool is the pool of ZFS of the same name, or a dataset in it. A
/// directory is created when it is missing and is made accessible to root only. A default id
/// range is made on it. The pool comes back by itself whenever the daemon starts.
///
/// The key of an encrypted dataset may come on the file descriptor of the call, a regular file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Install {
    /// Name of the new pool
    pub pool: Name,
    /// Absolute path of a directory that is to hold the pool
    #[arg(long, value_name = "PATH", conflicts_with = "dataset")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Dataset of ZFS that is to hold the pool: POOL, or one below it
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
}

/// Forget a pool; its data stays where it is
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Uninstall {
    /// Name of the pool
    pub pool: Name,
}

/// Take an installed pool into use
///
/// The key of an encrypted dataset may come on the file descriptor of the call, a regular file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Import {
    /// Name of the pool
    #[arg(required_unless_present = "all")]
    pub pool: Option<Name>,
    /// Import all installed pools, as the daemon does when it starts
    #[arg(short, long, conflicts_with = "pool")]
    #[serde(default)]
    pub all: bool,
    /// Do not start the containers that are set to start by themselves
    #[arg(long)]
    #[serde(default)]
    pub no_autostart: bool,
}

/// Take a pool out of use: stop its containers and let go of it
///
/// The pool stays installed, its data untouched; `pool import` brings it back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Export {
    /// Name of the pool
    pub pool: Name,
    /// Export although containers are running (they are stopped first)
    #[arg(short, long)]
    #[serde(default)]
    pub force: bool,
    /// With --force: leave the containers running, only let go of them
    #[arg(long, requires = "force")]
    #[serde(default)]
    pub no_stop_containers: bool,
    /// Succeed when the pool is not imported
    #[arg(long)]
    #[serde(default)]
    pub if_imported: bool,
}

/// List imported pools
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct List {
    /// Only these pools
    #[serde(default)]
    pub pools: Vec<Name>,
}

/// Show one pool
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Show {
    /// Name of the pool
    pub pool: Name,
}

/// Change settings of a pool; what is absent stays as it is
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Set {
    /// Name of the pool
    pub pool: Name,
    /// How many containers autostart starts at the same time, at least 1
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_start: Option<u32>,
    /// How many containers are stopped at the same time, at least 1
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_stop: Option<u32>,
    /// User attributes to set
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub attrs: BTreeMap<AttrName, String>,
}

/// Return settings of a pool to their defaults
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Unset {
    /// Name of the pool
    pub pool: Name,
    /// Return parallel-start to its default
    #[serde(default)]
    pub parallel_start: bool,
    /// Return parallel-stop to its default
    #[serde(default)]
    pub parallel_stop: bool,
    /// User attributes to remove
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attrs: Vec<AttrName>,
}

/// List what belongs to a pool and whether it is as it should be
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Assets {
    /// Name of the pool
    pub pool: Name,
}

/// List the containers that wait to be started
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct AutostartQueue {
    /// Name of the pool
    pub pool: Name,
}

/// Queue every container that is set to start by itself, also those stopped by hand
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct AutostartTrigger {
    /// Name of the pool
    pub pool: Name,
}

/// Clear the queue of waiting containers; what is starting goes on
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct AutostartCancel {
    /// Name of the pool
    pub pool: Name,
}

/// Reply of `PoolAutostartQueue`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AutostartQueued {
    /// Waiting containers, next first.
    pub containers: Vec<QueuedContainer>,
}

/// A container that waits to be started.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QueuedContainer {
    /// Container id.
    pub id: Name,
    /// Smaller starts earlier.
    pub priority: u32,
}

/// State of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its objects are being loaded.
    Importing,
    /// In use.
    Active,
    /// Being exported; nothing can be started.
    Disabled,
}

/// An imported pool.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// Name.
    pub name: Name,
    /// Storage back end: `dir`, `zfs`.
    pub backend: String,
    /// Dataset that holds the pool, with ZFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Directory that holds the pool.
    pub path: String,
    /// State.
    pub state: State,
    /// Number of users.
    pub users: u64,
    /// Number of groups.
    pub groups: u64,
    /// Number of containers.
    pub containers: u64,
    /// How many containers autostart starts at the same time.
    pub parallel_start: u32,
    /// How many containers are stopped at the same time.
    pub parallel_stop: u32,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
    /// What could not be loaded from the pool: file and reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Reply of `PoolList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Pools {
    /// The pools, by name.
    pub pools: Vec<Pool>,
}
