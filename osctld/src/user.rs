//! A user: a named id map, which no other user's overlaps.

use osctl_api::names::Name;
use osctl_api::user::Mapping;

/// A user.
#[derive(Debug)]
pub struct User {
    /// Pool it is on.
    pub pool: Name,
    /// Name.
    pub name: Name,
    uid_map: Vec<Mapping>,
    gid_map: Vec<Mapping>,
}

impl User {
    /// Map of user ids.
    pub fn uid_map(&self) -> &[Mapping] {
        &self.uid_map
    }

    /// Map of group ids.
    pub fn gid_map(&self) -> &[Mapping] {
        &self.gid_map
    }
}
