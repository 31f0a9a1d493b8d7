//! What becomes of files that were written for an interface or a back end that is no more.

use std::path::Path;

use osctl_runtime::spec::FileOp;

use super::{block, ifupdown, is_ours, netctl, remove};
use crate::guest::tree::Tree;
use crate::guest::{BLOCK_BEGIN, resolv};

/// What undoes `path`, when it is still ours.
pub fn of(tree: &Tree, path: &Path) -> Option<FileOp> {
    let name = path.to_str()?;
    if let Some(target) = tree.link(name) {
        return is_our_link(name, &target).then(|| remove(path));
    }
    let content = tree.read(name)?;
    if content.lines().any(|line| line == BLOCK_BEGIN) {
        return Some(block(name, String::new()));
    }
    if !is_ours(&content) {
        return None;
    }
    match name {
        // Without it, not even the loopback interface would come up.
        ifupdown::PATH => Some(ifupdown::without_netifs(tree)),
        // What was true once is better than nothing.
        resolv::PATH => None,
        _ => Some(remove(path)),
    }
}

/// A link can't carry a mark, but ours lead to places that nobody else's of that name do.
fn is_our_link(path: &str, target: &str) -> bool {
    let (dir, name) = path.rsplit_once('/').unwrap_or_default();
    match dir {
        "/etc/init.d" => name.starts_with("net.") && target == "net.lo",
        "/etc/runlevels/default" => {
            name.starts_with("net.") && target == format!("/etc/init.d/{name}")
        }
        "/etc/systemd/system/multi-user.target.wants" => target == netctl::UNIT,
        _ => false,
    }
}
