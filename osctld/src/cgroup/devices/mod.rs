//! Which devices the processes of a container may open and make.
//!
//! A list of rules is carried out by the v1 `devices` controller where it is mounted, by a BPF
//! program on the v2 cgroup otherwise. Both decide alike: an access is granted if one rule
//! covers all of it. Inheritance between groups is the caller's: each container gets its
//! complete list.

mod program;
mod rule;
mod v1;
mod v2;

pub use program::assemble;
pub use rule::{Access, DeviceKind, DeviceRule, default_rules};

use super::{Error, Node, Result, Tree, tree::want_container};

/// More rules than any container needs; keeps programs and lists small.
const MAX_RULES: usize = 512;

impl Tree {
    /// Sets the devices of a container, whose cgroups exist, to exactly these. On a running
    /// container, what is in both the old and the new list stays available throughout.
    pub fn set_devices(&self, node: &Node, rules: &[DeviceRule]) -> Result<()> {
        want_container(node)?;
        let rules = rule::merged(rules);
        if rules.len() > MAX_RULES {
            return Err(Error::DeviceRule {
                rule: format!("{} rules", rules.len()),
                reason: "more than 512 in one container",
            });
        }
        match (self.v1_path("devices", node), self.v2_path(node)) {
            (Some(dir), _) => v1::set(&dir, &rules),
            (None, Some(dir)) => v2::set(node, &dir, &rules),
            (None, None) => Err(Error::Unsupported("devices")),
        }
    }
}
