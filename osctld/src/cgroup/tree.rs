//! The daemon's subtree: creating cgroups of groups and containers in every hierarchy.

use std::path::{Path, PathBuf};

use rustix::{
    fs::{Gid, Uid, chown},
    io::Errno,
};

use super::{Error, Layout, Node, Result, file, node};

/// The child of a container's v2 cgroup that is the root of the guest's cgroup namespace.
const PAYLOAD: &str = "payload";

/// Bounds on what a guest may nest below its payload, so that it cannot exhaust the host's
/// memory with cgroups or make their removal take for ever. systemd with nested containers stays
/// far below.
const MAX_DEPTH: &str = "64";
const MAX_DESCENDANTS: &str = "16384";

/// Files that belong to whoever a v2 subtree is delegated to, on kernels that do not list them.
const DELEGATED: &str = "cgroup.procs cgroup.threads cgroup.subtree_control";

/// Host ids of a container's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Host user id.
    pub uid: u32,
    /// Host group id.
    pub gid: u32,
}

/// The directories into which the runtime puts a container's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerPaths {
    /// `…/ct.<id>/payload` in the v2 hierarchy.
    pub v2_payload: Option<PathBuf>,
    /// `…/ct.<id>` in each v1 hierarchy.
    pub v1: Vec<PathBuf>,
}

/// The daemon's cgroups in all hierarchies of the host.
#[derive(Clone, Debug)]
pub struct Tree {
    layout: Layout,
    root: String,
}

impl Tree {
    /// A tree below the cgroup `root`, a single name. Creates nothing yet.
    pub fn new(layout: Layout, root: &str) -> Result<Tree> {
        let root = node::checked(root)?.to_owned();
        Ok(Tree { layout, root })
    }

    /// The hierarchies of the host.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The name of a cgroup as `/proc/<pid>/cgroup` tells it, without the leading slash.
    pub fn name_of(&self, node: &Node) -> String {
        self.below(Path::new(""), node).display().to_string()
    }

    /// Where a cgroup is in the v2 hierarchy, if there is one.
    pub fn v2_path(&self, node: &Node) -> Option<PathBuf> {
        self.layout.v2().map(|m| self.below(m, node))
    }

    /// Where a cgroup is in the v1 hierarchy of a controller, if that is mounted.
    pub fn v1_path(&self, controller: &str, node: &Node) -> Option<PathBuf> {
        self.layout.v1_with(controller).map(|m| self.below(m, node))
    }

    /// Where a cgroup is in each v1 hierarchy.
    pub fn v1_paths(&self, node: &Node) -> Vec<PathBuf> {
        let hierarchies = self.layout.v1().iter();
        hierarchies.map(|h| self.below(&h.mount, node)).collect()
    }

    /// Where a container's processes belong, whether or not the cgroups exist.
    pub fn container_paths(&self, node: &Node) -> Result<ContainerPaths> {
        want_container(node)?;
        Ok(ContainerPaths {
            v2_payload: self.v2_path(node).map(|p| p.join(PAYLOAD)),
            v1: self.v1_paths(node),
        })
    }

    /// Whether a cgroup exists in any hierarchy.
    pub fn exists(&self, node: &Node) -> bool {
        self.paths(node).iter().any(|p| p.is_dir())
    }

    /// Makes sure that a pool's or group's cgroup exists in every hierarchy, with controllers
    /// enabled for what will be below it.
    pub fn ensure_group(&self, node: &Node) -> Result<()> {
        want_group(node)?;
        self.ensure(node).map(drop)
    }

    /// Makes the cgroups of a container anew: left-overs without processes are removed first, so
    /// that counters and limits start fresh. Refuses while processes run in them.
    pub fn ensure_container(&self, node: &Node, owner: Owner) -> Result<ContainerPaths> {
        want_container(node)?;
        if self.exists(node) {
            if self.populated(node)? {
                return Err(Error::Populated(node.clone()));
            }
            self.remove_dirs(node)?;
        }
        self.ensure(node)?;
        let paths = self.container_paths(node)?;
        if let (Some(ct), Some(payload)) = (self.v2_path(node), &paths.v2_payload) {
            file::write(&ct.join("cgroup.max.depth"), MAX_DEPTH)?;
            file::write(&ct.join("cgroup.max.descendants"), MAX_DESCENDANTS)?;
            file::ensure_dir(payload)?;
            delegate(payload, owner)?;
        }
        Ok(paths)
    }

    /// Where a cgroup is, in all hierarchies.
    pub fn paths(&self, node: &Node) -> Vec<PathBuf> {
        let mut all = self.v1_paths(node);
        all.extend(self.v2_path(node));
        all
    }

    /// The daemon's own cgroup in all hierarchies, above the pools.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        let v1 = self.layout.v1().iter().map(|h| h.mount.as_path());
        let mounts = v1.chain(self.layout.v2());
        mounts.map(|m| m.join(&self.root)).collect()
    }

    fn below(&self, mount: &Path, node: &Node) -> PathBuf {
        mount.join(&self.root).join(node.as_str())
    }

    fn ensure(&self, node: &Node) -> Result<()> {
        if let Some(mount) = self.layout.v2() {
            enable_controllers(mount)?;
            self.each_level(mount, node, |dir| {
                file::ensure_dir(dir)?;
                enable_controllers(dir)
            })?;
        }
        for hierarchy in self.layout.v1() {
            let cpuset = hierarchy.controllers.contains(&"cpuset");
            self.each_level(&hierarchy.mount, node, |dir| {
                file::ensure_dir(dir)?;
                if cpuset { inherit_cpuset(dir) } else { Ok(()) }
            })?;
        }
        Ok(())
    }

    /// Visits the directories from our root down to a cgroup.
    fn each_level(
        &self,
        mount: &Path,
        node: &Node,
        mut visit: impl FnMut(&Path) -> Result<()>,
    ) -> Result<()> {
        let mut dir = mount.join(&self.root);
        visit(&dir)?;
        for component in node.as_str().split('/') {
            dir.push(component);
            visit(&dir)?;
        }
        Ok(())
    }
}

/// Refuses cgroups that are not a container's.
pub(super) fn want_container(node: &Node) -> Result<()> {
    want(node, node.is_container(), "container")
}

/// Refuses cgroups of containers.
pub(super) fn want_group(node: &Node) -> Result<()> {
    want(node, !node.is_container(), "group")
}

fn want(node: &Node, ok: bool, wanted: &'static str) -> Result<()> {
    if ok {
        return Ok(());
    }
    let node = node.clone();
    Err(Error::Kind { node, wanted })
}

/// Enables all available controllers for the children of a v2 cgroup.
fn enable_controllers(dir: &Path) -> Result<()> {
    let available = file::read(&dir.join("cgroup.controllers"))?;
    let control = dir.join("cgroup.subtree_control");
    let enabled = file::read(&control)?;
    let missing = |c: &&str| !enabled.split_whitespace().any(|e| e == *c);
    for controller in available.split_whitespace().filter(missing) {
        // A controller may be unusable (cpu with real-time processes) without harm to others;
        // setting a limit of it will say so.
        if let Err(error) = file::write(&control, &format!("+{controller}")) {
            tracing::warn!(%controller, dir = %dir.display(), ?error, "controller not enabled");
        }
    }
    Ok(())
}

/// Gives a new v1 cpuset its parent's processors and memory nodes: it is unusable without.
fn inherit_cpuset(dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else {
        return Ok(());
    };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = dir.join(name);
        if file::read(&own)?.trim().is_empty() {
            let inherited = file::read(&parent.join(name))?;
            file::write(&own, inherited.trim())?;
        }
    }
    Ok(())
}

/// Hands a v2 cgroup to a container's root: the directory and the files that the kernel lists
/// for this purpose, never the ones with its limits.
fn delegate(payload: &Path, owner: Owner) -> Result<()> {
    let list = file::read_optional(Path::new("/sys/kernel/cgroup/delegate"))?;
    let list = list.as_deref().unwrap_or(DELEGATED);
    give(payload, owner)?;
    for name in list.split_whitespace().filter(|n| !n.contains('/')) {
        match give(&payload.join(name), owner) {
            // Files of controllers that are not enabled here.
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
            other => other?,
        }
    }
    Ok(())
}

fn give(path: &Path, owner: Owner) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    chown(path, Some(uid), Some(gid)).map_err(|e| file::failed("chown".into(), path, e))
}
