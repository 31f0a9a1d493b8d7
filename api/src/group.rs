//! Groups: nodes of the cgroup tree whose limits their containers share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::container::{CpuLimit, MemoryLimit};
use crate::names::{AttrName, GroupPath, GroupRef, Name};

/// Make a group
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct New {
    /// Path of the new group, such as `/customers/acme`
    pub group: GroupRef,
    /// Make missing groups above it too
    #[arg(short, long)]
    #[serde(default)]
    pub parents: bool,
}

/// Delete a group that has neither containers nor groups below it
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Delete {
    /// Path of the group
    pub group: GroupRef,
}

/// List groups
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct List {
    /// Only these groups
    #[serde(default)]
    pub groups: Vec<GroupRef>,
    /// Only groups of this pool
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
}

/// Show one group
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Show {
    /// Path of the group
    pub group: GroupRef,
}

/// Change settings of a group; what is absent stays as it is
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Set {
    /// Path of the group
    pub group: GroupRef,
    /// Limit of processor time
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<CpuLimit>,
    /// Limit of memory
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<MemoryLimit>,
    /// User attributes to set
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub attrs: BTreeMap<AttrName, String>,
}

/// Return settings of a group to their defaults
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Unset {
    /// Path of the group
    pub group: GroupRef,
    /// Remove the limit of processor time
    #[serde(default)]
    pub cpu_limit: bool,
    /// Remove the limit of memory
    #[serde(default)]
    pub memory_limit: bool,
    /// User attributes to remove
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attrs: Vec<AttrName>,
}

/// A group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Pool it belongs to.
    pub pool: Name,
    /// Path.
    pub name: GroupPath,
    /// Path in the cgroup tree.
    pub full_path: String,
    /// Number of containers directly in it.
    pub containers: u64,
    /// Limit of processor time, in percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<u64>,
    /// Limit of memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Limit of swap, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_limit: Option<u64>,
    /// Memory in use, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processor time used, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// Number of processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nproc: Option<u64>,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

/// Reply of `GroupList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Groups {
    /// The groups, by pool and path.
    pub groups: Vec<Group>,
}
