//! The daemon itself: ping, status, events, history, health, shutdown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::container::State as ContainerState;
use crate::names::Name;
use crate::net::IfName;

/// Check that the daemon answers
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ping {}

/// Reply of `Ping`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Whether all installed pools were imported, or found not to be importable.
    pub initialized: bool,
}

/// Watch what happens
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Subscribe {
    /// Only events of these kinds; all kinds when empty
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<EventKind>,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The subscription holds: what happens from now on is told.
    Subscribed,
    /// A container changed its state.
    State,
    /// A command started, ended or failed.
    Management,
    /// An object was added or removed.
    Db,
    /// The init of a container was started.
    CtInitPid,
    /// A network interface of a container came, went, or has another name.
    CtNetif,
    /// The daemon stops serving; containers go on.
    Shutdown,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Kind.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// Pool of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Name of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// New state of the container (`state`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ContainerState>,
    /// Kind of object: `pool`, `id-range`, `user`, `group`, `container` (`db`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// `add` or `remove` (`db`); `run`, `done` or `failed` (`management`); `add`, `remove` or
    /// `rename` in the configuration, `up` or `down` in the kernel (`ct_netif`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Method that was called (`management`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Process id of init on the host (`ct_init_pid`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_pid: Option<u32>,
    /// Name of the interface in the container (`ct_netif`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<IfName>,
    /// Its new name (`ct_netif`, `rename`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_name: Option<IfName>,
    /// Name of its other end on the host (`ct_netif`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub veth: Option<IfName>,
    /// How many events this subscriber lost before this one, because it read too slowly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

/// List what was done to pools and their objects
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct History {
    /// Only these pools
    #[serde(default)]
    pub pools: Vec<Name>,
}

/// One entry of the history.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub time: i64,
    /// Pool.
    pub pool: Name,
    /// Method that was called.
    pub method: String,
    /// Command line that called it, when the client told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli: Option<String>,
    /// Parameters of the call; secrets left out.
    pub params: BTreeMap<String, serde_json::Value>,
    /// The error's message, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Reply of `History`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntries {
    /// Entries, oldest first.
    pub entries: Vec<HistoryEntry>,
}

/// List files, directories, sockets and cgroups of the daemon and whether they are as they should be
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct SelfAssets {}

/// State of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AssetState {
    /// As it should be.
    Valid,
    /// Missing, or not as it should be.
    Invalid,
    /// Could not be checked.
    Unknown,
}

/// Something on the host that belongs to an object.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// Kind: `file`, `directory`, `socket`, `cgroup`, `process`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is.
    pub path: String,
    /// Whether it is as it should be.
    pub state: AssetState,
    /// What it is for.
    pub purpose: String,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// Reply of the methods that list assets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Assets {
    /// The assets.
    pub assets: Vec<Asset>,
}

/// Check the daemon and, if asked, pools for anything that is not as it should be
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Healthcheck {
    /// Check these pools too
    #[serde(default)]
    pub pools: Vec<Name>,
    /// Check all pools
    #[arg(short, long)]
    #[serde(default)]
    pub all: bool,
}

/// An object with invalid assets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Sick {
    /// Kind of object: `osctld`, `pool`, `user`, `container`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its invalid assets.
    pub assets: Vec<Asset>,
    /// Other problems, such as a configuration that can't be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Reply of `Healthcheck`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// What is not well; empty when all is.
    pub entities: Vec<Sick>,
}

/// Stop all containers and export all pools, for the host to go down
///
/// Nothing is started any more until the daemon is started anew after the marker file
/// `shutdown` in its run directory has been removed, or the host was booted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Shutdown {
    /// Message for the users of the containers
    #[arg(short, long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Stop a shutdown that is in progress; what was exported stays so
    #[arg(long)]
    #[serde(default)]
    pub abort: bool,
}

/// Reply of methods that have nothing to tell.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Done {}
