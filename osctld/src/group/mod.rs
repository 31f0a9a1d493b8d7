//! Groups: nodes of the cgroup tree whose limits their containers share.
//!
//! It owns the groups' documents and carries their limits into the cgroup tree. `/` and `/default`
//! always exist, whether or not they have a document.

mod change;
mod config;

use std::collections::BTreeMap;
use std::sync::Arc;

use osctl_api::group as api;
use osctl_api::names::{GroupPath, Name};

pub use change::{Parents, change, create, delete};
pub use config::Config;

use crate::cgroup::{Node, Param, Sampler};
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::store::Stored;
use crate::sync::RwLock;

/// The groups of a pool.
#[derive(Debug)]
pub struct Groups {
    all: RwLock<BTreeMap<GroupPath, Arc<Stored<Config>>>>,
    /// Serialises changes.
    changing: tokio::sync::Mutex<()>,
}

/// The key of a group's document.
fn key(path: &GroupPath) -> &str {
    path.as_str().trim_start_matches('/')
}

/// The group whose document has this key.
pub(crate) fn path_of_key(key: &str) -> Option<GroupPath> {
    format!("/{key}").parse().ok()
}

impl Groups {
    /// The groups that were read, and those that always exist.
    pub fn new(mut read: BTreeMap<GroupPath, Stored<Config>>) -> Groups {
        let mut needed = vec![GroupPath::default_group()];
        needed.extend(read.keys().cloned());
        // A group whose parent can't be read is still where it is.
        for path in needed {
            let mut next = Some(path);
            while let Some(path) = next {
                next = path.parent();
                read.entry(path)
                    .or_insert_with(|| Stored::new(Config::default()));
            }
        }
        let all = read
            .into_iter()
            .map(|(path, stored)| (path, Arc::new(stored)));
        Groups {
            all: RwLock::new(all.collect()),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// Whether there is such a group.
    pub fn contains(&self, path: &GroupPath) -> bool {
        self.all.read().contains_key(path)
    }

    /// All groups, by path, parents first.
    pub fn paths(&self) -> Vec<GroupPath> {
        self.all.read().keys().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.read().len()
    }

    fn get(&self, path: &GroupPath) -> Option<Arc<Stored<Config>>> {
        self.all.read().get(path).cloned()
    }
}

impl Pool {
    /// Whether there is such a group.
    pub fn has_group(&self, path: &GroupPath) -> bool {
        self.groups.contains(path)
    }

    /// User attributes of a group; none when it does not exist.
    pub fn group_attrs(&self, path: &GroupPath) -> BTreeMap<String, String> {
        let group = self.groups.get(path);
        group.map_or_else(BTreeMap::new, |g| g.value.attrs.clone())
    }
}

/// Reads groups as clients see them, with one set of readings of their usage.
#[derive(Debug, Default)]
pub struct Reader(Sampler);

impl Reader {
    /// A group of `pool`; none when it does not exist.
    pub fn read(&mut self, daemon: &Daemon, pool: &Pool, path: &GroupPath) -> Option<api::Group> {
        let stored = pool.groups.get(path)?;
        let config = &stored.value;
        let node = node(&pool.name, path).ok();
        let stats = node.as_ref().map(|n| self.0.stats(&daemon.cgroups, n));
        let stats = stats.unwrap_or_default();
        Some(api::Group {
            pool: pool.name.clone(),
            name: path.clone(),
            full_path: node.map_or_else(String::new, |n| {
                format!("{}/{}", daemon.config.cgroup_root, n.as_str())
            }),
            containers: pool.containers_of_group(path) as u64,
            cpu_limit: config.cpu_limit.map(|l| l.percent),
            memory_limit: config.memory_limit.map(|l| l.memory),
            swap_limit: config.memory_limit.and_then(|l| l.swap),
            memory: stats.memory,
            cpu_us: stats.cpu_us,
            nproc: stats.pids,
            attrs: config.attrs.clone(),
        })
    }
}

fn node(pool: &Name, path: &GroupPath) -> Result<Node> {
    Node::of_group(pool.as_str(), path.as_str())
        .map_err(|e| Error::backend(format!("group {pool}:{path} can't have a cgroup"), e))
}

fn label(pool: &Pool, path: &GroupPath) -> String {
    format!("group {}:{path}", pool.name)
}

/// Makes the cgroup of a group and sets its limits. Blocks.
///
/// # Errors
/// `Backend`.
pub fn ensure_cgroup(daemon: &Daemon, pool: &Pool, path: &GroupPath) -> Result<()> {
    let config = pool.groups.get(path);
    let params = config.map_or_else(|| Ok(Vec::new()), |c| c.value.params())?;
    let node = node(&pool.name, path)?;
    let failed = |e| {
        Error::backend(
            format!("{}: its cgroup can't be made", label(pool, path)),
            e,
        )
    };
    daemon.cgroups.ensure_group(&node).map_err(failed)?;
    apply(daemon, pool, path, &node, &params)
}

fn apply(
    daemon: &Daemon,
    pool: &Pool,
    path: &GroupPath,
    node: &Node,
    params: &[Param],
) -> Result<()> {
    let failed = |e| Error::backend(format!("{}: a limit can't be set", label(pool, path)), e);
    for warning in daemon.cgroups.apply(node, params).map_err(failed)? {
        let (parameter, message) = (warning.parameter, warning.message);
        tracing::warn!("{}: {parameter} {message}", label(pool, path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_default_and_all_parents_exist() {
        let path: GroupPath = "/a/b/c".parse().unwrap();
        let read = BTreeMap::from([(path, Stored::new(Config::default()))]);
        let groups = Groups::new(read);
        let paths: Vec<String> = groups.paths().iter().map(|p| p.to_string()).collect();
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c", "/default"]);
        assert_eq!(Groups::new(BTreeMap::new()).count(), 2);
    }

    #[test]
    fn documents_have_keys_of_their_path() {
        for path in ["/", "/default", "/a/b"] {
            let path: GroupPath = path.parse().unwrap();
            assert_eq!(path_of_key(key(&path)), Some(path));
        }
        assert_eq!(path_of_key("a//b"), None);
    }
}
