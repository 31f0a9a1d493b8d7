//! What was deleted and is still there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::Name;

/// List what was deleted and waits to be removed, and why it waits
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct List {
    /// Only these pools
    #[arg(value_name = "POOL")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Name>,
}

/// What waits in the trash.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Trash {
    /// In the order of deletion.
    pub items: Vec<Item>,
}

/// Something that was deleted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// Its pool.
    pub pool: Name,
    /// Its name in the trash: what it was, with the time and random digits.
    pub name: String,
    /// When it was deleted, seconds since 1970-01-01 00:00 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<i64>,
    /// Bytes that it takes, where the pool knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Why it is still there.
    pub reason: String,
}

/// Move a dataset of a pool of ZFS to the trash, which destroys it in the background
///
/// That is for what is nobody's: data of a container that has no configuration, or datasets beside
/// those of the pool. What belongs to a container, or to the pool itself, is refused. It is unmounted,
/// and goes with its snapshots and all that is below it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct DatasetAdd {
    /// Whole name of the dataset
    #[arg(value_name = "DATASET")]
    pub dataset: String,
}

/// Remove what was deleted now, in the background
///
/// This happens by itself; what could not be removed is tried again after a while, and at once with
/// this.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Prune {
    /// Only on these pools
    #[arg(value_name = "POOL")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Name>,
}

/// Remove what operations have left behind that did not end
///
/// This happens when a pool is imported: halves of new containers and images, temporary snapshots,
/// mounts in wrong places. Here it is done while the pool is in use, unless something is being made
/// or changed on it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Collect {
    /// Only on these pools
    #[arg(value_name = "POOL")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Name>,
}

/// What was collected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Collected {
    /// What was done, and what is odd and was left alone.
    pub notes: Vec<Note>,
}

/// One of these.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// Pool.
    pub pool: Name,
    /// Text.
    pub text: String,
}
