//! Users: named id maps of user namespaces.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{AttrName, Name, Ref};

/// A row of an id map: `ns_id:host_id:count`, see user_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mapping {
    /// First id inside the namespace.
    pub ns_id: u32,
    /// First id on the host.
    pub host_id: u32,
    /// How many ids.
    pub count: u32,
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.ns_id, self.host_id, self.count)
    }
}

/// Why a string is not a [`Mapping`].
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{0:?} is not an id mapping: use NS_ID:HOST_ID:COUNT, with a count of at least 1, within 32 bits"
)]
pub struct InvalidMapping(String);

impl FromStr for Mapping {
    type Err = InvalidMapping;
    fn from_str(s: &str) -> Result<Mapping, InvalidMapping> {
        let bad = || InvalidMapping(s.chars().take(64).collect());
        let mut parts = s.split(':').map(|p| {
            if p.bytes().all(|b| b.is_ascii_digit()) {
                p.parse::<u32>().ok()
            } else {
                None
            }
        });
        let mut next = || parts.next().flatten().ok_or_else(bad);
        let m = Mapping {
            ns_id: next()?,
            host_id: next()?,
            count: next()?,
        };
        let fits = |first: u32| first.checked_add(m.count).is_some();
        if parts.next().is_some() || m.count == 0 || !fits(m.ns_id) || !fits(m.host_id) {
            return Err(bad());
        }
        Ok(m)
    }
}

/// Make a user: an id map that containers can use
///
/// Without options, a block of the default id range is allocated and mapped from 0.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct New {
    /// Name of the new user
    pub user: Ref,
    /// Id range to allocate from
    #[arg(long, value_name = "ID-RANGE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_range: Option<Name>,
    /// Use the block at this index of the id range; allocate it if it is free
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_range_block_index: Option<u32>,
    /// Map of user and group ids, as NS_ID:HOST_ID:COUNT; can be repeated
    #[arg(long, value_name = "MAP")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub map: Vec<Mapping>,
    /// Map of user ids
    #[arg(long, value_name = "MAP", conflicts_with = "map", requires = "map_gid")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub map_uid: Vec<Mapping>,
    /// Map of group ids
    #[arg(long, value_name = "MAP", conflicts_with = "map", requires = "map_uid")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub map_gid: Vec<Mapping>,
    /// Delete the user together with its last container
    #[arg(long)]
    #[serde(default)]
    pub no_standalone: bool,
}

/// Delete a user that no container uses
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Delete {
    /// Name of the user
    pub user: Ref,
}

/// List users
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct List {
    /// Only these users
    #[serde(default)]
    pub users: Vec<Ref>,
    /// Only users of this pool
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
}

/// Show one user
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Show {
    /// Name of the user
    pub user: Ref,
}

/// Which of the two maps.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum MapFilter {
    /// User ids.
    Uid,
    /// Group ids.
    Gid,
    /// Both.
    #[default]
    Both,
}

/// List the id map of a user
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Map {
    /// Name of the user
    pub user: Ref,
    /// Which map
    #[arg(value_enum, default_value_t)]
    #[serde(default)]
    pub filter: MapFilter,
}

/// Change settings of a user; what is absent stays as it is
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Set {
    /// Name of the user
    pub user: Ref,
    /// Whether the user stays when its last container is deleted
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standalone: Option<bool>,
    /// User attributes to set
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub attrs: BTreeMap<AttrName, String>,
}

/// Remove user attributes of a user
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Unset {
    /// Name of the user
    pub user: Ref,
    /// User attributes to remove
    #[serde(default)]
    pub attrs: Vec<AttrName>,
}

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Pool it belongs to.
    pub pool: Name,
    /// Name.
    pub name: Name,
    /// Whether it stays when its last container is deleted.
    pub standalone: bool,
    /// Map of user ids.
    pub uid_map: Vec<Mapping>,
    /// Map of group ids.
    pub gid_map: Vec<Mapping>,
    /// Id range that the map was allocated from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_range: Option<Name>,
    /// Number of containers that use it.
    pub containers: u64,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

/// Reply of `UserList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Users {
    /// The users, by pool and name.
    pub users: Vec<User>,
}

/// Which kind of ids a row of a map is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdKind {
    /// User ids.
    Uid,
    /// Group ids.
    Gid,
}

/// A row of an id map.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MapRow {
    /// User or group ids.
    #[serde(rename = "type")]
    pub kind: IdKind,
    /// First id inside the namespace.
    pub ns_id: u32,
    /// First id on the host.
    pub host_id: u32,
    /// How many ids.
    pub count: u32,
}

/// Reply of `UserMap`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MapRows {
    /// Rows, user ids first.
    pub rows: Vec<MapRow>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        assert_eq!(
            "0:100000:65536".parse::<Mapping>().unwrap(),
            Mapping {
                ns_id: 0,
                host_id: 100_000,
                count: 65536
            }
        );
        for bad in [
            "",
            "0",
            "0:1",
            "0:1:0",
            "0:1:2:3",
            "-1:1:1",
            "+1:1:1",
            "0:4294967295:2",
            "a:b:c",
        ] {
            assert!(bad.parse::<Mapping>().is_err(), "{bad:?} was accepted");
        }
    }
}
