//! Copies of containers, and what replaces or puts aside their root file systems.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{GroupPath, Name, Ref};

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
}
