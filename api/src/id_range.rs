//! Id ranges: blocks of host user and group ids from which id maps are allocated.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{AttrName, Name, Ref};

/// Make an id range
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct New {
    /// Name of the new id range
    pub id_range: Ref,
    /// First host id, at least 65536
    #[arg(long, value_name = "N")]
    pub start_id: u32,
    /// Ids in a block, at least 65536
    #[arg(long, value_name = "N", default_value_t = 65536)]
    pub block_size: u32,
    /// Number of blocks, at least 1
    #[arg(long, value_name = "N")]
    pub block_count: u32,
}

/// Delete an id range from which nothing is allocated
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Delete {
    /// Name of the id range
    pub id_range: Ref,
}

/// List id ranges
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct List {
    /// Only these id ranges
    #[serde(default)]
    pub id_ranges: Vec<Ref>,
    /// Only id ranges of this pool
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
}

/// Show one id range
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Show {
    /// Name of the id range
    pub id_range: Ref,
}

/// Allocate consecutive blocks
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Allocate {
    /// Name of the id range
    pub id_range: Ref,
    /// How many blocks
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub block_count: u32,
    /// Exactly at this block, rather than at the first that fits
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_index: Option<u32>,
    /// Who it is for
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Name>,
}

/// Free allocated blocks, by index or by owner
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Free {
    /// Name of the id range
    pub id_range: Ref,
    /// The allocation that starts at this block
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "owner",
        required_unless_present = "owner"
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_index: Option<u32>,
    /// Every allocation of this owner
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Name>,
}

/// Which rows of an allocation table.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum TableFilter {
    /// Every block.
    #[default]
    All,
    /// Allocated blocks.
    Allocated,
    /// Free blocks.
    Free,
}

/// List the allocation table of an id range
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct TableList {
    /// Name of the id range
    pub id_range: Ref,
    /// Which rows
    #[arg(value_enum, default_value_t)]
    #[serde(default)]
    pub filter: TableFilter,
}

/// Show the row of the allocation table that holds a block
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct TableShow {
    /// Name of the id range
    pub id_range: Ref,
    /// Index of the block
    pub block_index: u32,
}

/// Change user attributes of an id range
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Set {
    /// Name of the id range
    pub id_range: Ref,
    /// User attributes to set
    #[schemars(with = "BTreeMap<String, String>")]
    pub attrs: BTreeMap<AttrName, String>,
}

/// Remove user attributes of an id range
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Unset {
    /// Name of the id range
    pub id_range: Ref,
    /// User attributes to remove
    pub attrs: Vec<AttrName>,
}

/// An id range.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct IdRange {
    /// Pool it belongs to.
    pub pool: Name,
    /// Name.
    pub name: Name,
    /// First host id.
    pub start_id: u32,
    /// Last host id.
    pub last_id: u32,
    /// Ids in a block.
    pub block_size: u32,
    /// Number of blocks.
    pub block_count: u32,
    /// Number of allocated blocks.
    pub allocated: u32,
    /// Number of free blocks.
    pub free: u32,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

/// Reply of `IdRangeList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct IdRanges {
    /// The id ranges, by pool and name.
    pub id_ranges: Vec<IdRange>,
}

/// Whether blocks are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlockType {
    /// Taken.
    Allocated,
    /// Not taken.
    Free,
}

/// A row of an allocation table: consecutive blocks.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Blocks {
    /// Whether they are taken.
    #[serde(rename = "type")]
    pub kind: BlockType,
    /// Index of the first block.
    pub block_index: u32,
    /// How many blocks.
    pub block_count: u32,
    /// Who they are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// First host id.
    pub first_id: u32,
    /// Last host id.
    pub last_id: u32,
    /// Number of ids.
    pub id_count: u32,
}

/// Reply of `IdRangeTableList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// Rows, by index.
    pub rows: Vec<Blocks>,
}
