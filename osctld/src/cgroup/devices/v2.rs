//! Device rules by a BPF program on the v2 cgroup.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use osctl_linux::{bpf, error::Error as CallError};

use super::{DeviceRule, assemble};
use crate::cgroup::{Error, Node, Result, file};

/// Tells our program from those of others on the same cgroup.
const NAME: &str = "osctl_devices";

/// Attaches a program for these rules in place of the one that is there: the kernel swaps them,
/// so there is no moment without or with both.
pub(super) fn set(node: &Node, dir: &Path, rules: &[DeviceRule]) -> Result<()> {
    let cgroup = File::open(dir).map_err(|e| file::failed("open".into(), dir, e))?;
    swap(&cgroup, rules).map_err(|e| Error::DeviceProgram {
        node: node.clone(),
        source: e,
    })
}

fn swap(cgroup: &File, rules: &[DeviceRule]) -> Result<(), CallError> {
    let new = bpf::load_cgroup_device(NAME, &assemble(rules))?;
    let mut ours = ours(cgroup)?.into_iter();
    let old = ours.next();
    bpf::attach_cgroup_device(
        cgroup.as_fd(),
        new.as_fd(),
        old.as_ref().map(OwnedFd::as_fd),
    )?;
    // There is at most one, unless somebody attached another by hand.
    ours.try_for_each(|left| bpf::detach_cgroup_device(cgroup.as_fd(), left.as_fd()))
}

/// The programs on this cgroup that an earlier call (perhaps of an earlier daemon) attached.
fn ours(cgroup: &File) -> Result<Vec<OwnedFd>, CallError> {
    let mut found = Vec::new();
    for id in bpf::query_cgroup_device(cgroup.as_fd())? {
        let program = bpf::program_by_id(id)?;
        if bpf::program_name(program.as_fd())? == NAME {
            found.push(program);
        }
    }
    Ok(found)
}
