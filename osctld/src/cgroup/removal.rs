//! Removing cgroups, and finding those that should not be there.

use std::{collections::BTreeSet, fs, io, path::Path, time::Duration};

use rustix::{
    fs::{AtFlags, unlinkat},
    io::Errno,
};

use super::{
    Error, Node, Result, Tree,
    events::{self, Deadline},
    file,
    tree::{want_container, want_group},
    walk,
};

/// How long processes outside of the v2 cgroup (a supervisor writing down how its container
/// ended) get to finish before they are killed.
const GRACE: Duration = Duration::from_secs(2);

/// v1 has no event for "empty", and a process stays in its cgroup for a moment after its parent
/// was told of its end: removal is tried again at this interval, for this long.
const BUSY_INTERVAL: Duration = Duration::from_millis(1);
const BUSY_LIMIT: Duration = Duration::from_secs(1);

impl Tree {
    /// Kills what is left in a container's cgroups and removes them everywhere, with all that
    /// the guest made below. Succeeds if there is nothing to remove.
    pub fn remove_container(&self, node: &Node, limit: Duration) -> Result<()> {
        want_container(node)?;
        let deadline = Deadline::after(limit);
        self.kill_v2(node, deadline)?;
        self.kill_v1(node, GRACE.min(limit / 2), deadline)?;
        self.remove_dirs(node)
    }

    /// Removes a group's (or pool's) cgroup, which has to be empty. Succeeds if there is none.
    pub fn remove_group(&self, node: &Node) -> Result<()> {
        want_group(node)?;
        let dirs = self.paths(node);
        if dirs.iter().any(|p| !children(p).is_empty()) {
            return Err(Error::NotEmpty(node.clone()));
        }
        dirs.iter().try_for_each(|dir| remove_dir(dir))
    }

    /// Removes a pool's cgroup with all its groups; no container may be left in it.
    pub fn remove_pool(&self, pool: &str) -> Result<()> {
        let node = Node::pool(pool)?;
        if !self.containers(pool)?.is_empty() {
            return Err(Error::NotEmpty(node));
        }
        self.remove_dirs(&node)
    }

    /// Removes the daemon's own cgroup, once no pool is left in it.
    pub fn remove_root(&self) -> Result<()> {
        self.roots().iter().try_for_each(|dir| remove_dir(dir))
    }

    /// The containers that have a cgroup in any hierarchy, below a pool.
    pub fn containers(&self, pool: &str) -> Result<Vec<Node>> {
        let mut found = BTreeSet::new();
        let mut groups = vec![Node::pool(pool)?];
        while let Some(group) = groups.pop() {
            let mut below = BTreeSet::new();
            for dir in self.paths(&group) {
                below.extend(children(&dir).iter().filter_map(|name| group.seen(name)));
            }
            let (containers, sub): (Vec<_>, Vec<_>) =
                below.into_iter().partition(Node::is_container);
            found.extend(containers);
            groups.extend(sub);
        }
        Ok(found.into_iter().collect())
    }

    /// The pools that have a cgroup in any hierarchy.
    pub fn pools(&self) -> Vec<String> {
        let names = self
            .roots()
            .iter()
            .flat_map(|r| children(r))
            .collect::<BTreeSet<_>>();
        let pools = names.iter().filter_map(|n| n.strip_prefix("pool."));
        pools.map(str::to_owned).collect()
    }

    /// Removes the directories of a cgroup, deepest first, in all hierarchies; goes on after a
    /// failure and returns the first one.
    pub(super) fn remove_dirs(&self, node: &Node) -> Result<()> {
        let mut first = Ok(());
        for dir in self.paths(node) {
            if let Err(error) = remove_below(&dir) {
                if first.is_ok() {
                    first = Err(error);
                } else {
                    tracing::warn!(%node, ?error, "cgroup not removed");
                }
            }
        }
        first
    }
}

/// Names of the directories in a directory; none if it cannot be read.
fn children(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    dirs.filter_map(|e| e.file_name().into_string().ok())
        .collect()
}

fn remove_below(top: &Path) -> Result<()> {
    let deadline = Deadline::after(BUSY_LIMIT);
    walk::deepest_first(top, |parent, name| {
        loop {
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) if !deadline.passed() => {
                    let _ = events::poll_for(&mut [], BUSY_INTERVAL);
                }
                Err(e) => return Err(file::failed("remove".into(), top, e)),
            }
        }
    })
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file::failed("remove".into(), dir, e)),
        _ => Ok(()),
    }
}
