//! Names of cgroups: which pool, groups and container a cgroup belongs to.

use std::fmt;

use super::{Error, Result};

/// A cgroup of ours, relative to the daemon's root: `pool.tank/group.default/ct.web1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(String);

impl Node {
    /// The cgroup of a pool, which is also that of the pool's root group `/`.
    pub fn pool(name: &str) -> Result<Node> {
        Ok(Node(format!("pool.{}", checked(name)?)))
    }

    /// The cgroup of a group given as `/a/b`; `/` is the pool's own cgroup.
    pub fn of_group(pool: &str, group: &str) -> Result<Node> {
        group
            .split('/')
            .filter(|c| !c.is_empty())
            .try_fold(Node::pool(pool)?, |node, c| node.group(c))
    }

    /// A group directly below this pool or group.
    pub fn group(&self, name: &str) -> Result<Node> {
        self.child("group", name)
    }

    /// A container directly below this pool or group.
    pub fn container(&self, id: &str) -> Result<Node> {
        self.child("ct", id)
    }

    /// The path, relative to the daemon's root in each hierarchy.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the cgroup of a container.
    pub fn is_container(&self) -> bool {
        self.last().starts_with("ct.")
    }

    /// The container's id, `None` for pools and groups.
    pub fn container_id(&self) -> Option<&str> {
        self.last().strip_prefix("ct.")
    }

    /// The enclosing pool or group, `None` for a pool.
    pub fn parent(&self) -> Option<Node> {
        self.0.rsplit_once('/').map(|(head, _)| Node(head.into()))
    }

    /// A child seen in the file system, if its name is one that we give.
    pub(super) fn seen(&self, name: &str) -> Option<Node> {
        let (kind, rest) = name.split_once('.')?;
        match kind {
            "group" => self.group(rest).ok(),
            "ct" => self.container(rest).ok(),
            _ => None,
        }
    }

    fn child(&self, kind: &str, name: &str) -> Result<Node> {
        if self.is_container() {
            return Err(Error::Kind {
                node: self.clone(),
                wanted: "group",
            });
        }
        Ok(Node(format!("{}/{kind}.{}", self.0, checked(name)?)))
    }

    fn last(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, last)| last)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Accepts what can be one path component in every hierarchy and stays readable in logs.
pub(super) fn checked(name: &str) -> Result<&str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    if name.is_empty() || name.len() > 200 || !name.bytes().all(legal) || name.starts_with('.') {
        return Err(Error::Name(name.chars().take(80).collect()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_paths() {
        let node = Node::of_group("tank", "/default/sub").unwrap();
        assert_eq!(node.as_str(), "pool.tank/group.default/group.sub");
        let ct = node.container("web1").unwrap();
        assert_eq!(ct.as_str(), "pool.tank/group.default/group.sub/ct.web1");
        assert_eq!(ct.container_id(), Some("web1"));
        assert_eq!(ct.parent(), Some(node));
        assert_eq!(Node::of_group("tank", "/").unwrap().as_str(), "pool.tank");
        assert_eq!(Node::pool("tank").unwrap().parent(), None);
    }

    #[test]
    fn refuses_what_leaves_the_tree() {
        for bad in ["", "..", ".", ".a", "a/b", "a\nb", "a\0b", "a b", "é"] {
            assert!(Node::pool(bad).is_err(), "{bad:?}");
        }
        assert!(Node::pool(&"a".repeat(201)).is_err());
        assert!(Node::of_group("tank", "/../x").is_err());
        let ct = Node::pool("tank").unwrap().container("a").unwrap();
        assert!(ct.group("b").is_err());
        assert!(ct.container("b").is_err());
    }
}
