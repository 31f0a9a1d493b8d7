//! Slackware: a script of ours, and lines in rc.inet1, which is what starts the network there, that
//! run it.

use osctl_runtime::spec::FileOp;

use super::shell::{self, Asks};
use super::{Wish, block, dhcp_clients, heading, script};
use crate::guest::tree::Tree;

const SCRIPT: &str = "/etc/rc.d/rc.osctl-network";
const CALLER: &str = "/etc/rc.d/rc.inet1";

/// Whether it is a Slackware.
pub fn is_usable(tree: &Tree) -> bool {
    tree.is_file("/etc/slackware-version") && tree.is_file(CALLER)
}

/// The script and the lines.
pub fn files(tree: &Tree, wish: &Wish<'_>) -> Vec<FileOp> {
    let mut text = format!("#!/bin/sh\n{}{}", heading(), shell::PATH);
    text.push_str("case \"${1:-start}\" in\nstart | restart)\n");
    for (index, netif) in wish.netifs.iter().enumerate() {
        shell::up(&mut text, netif, index, Asks::Script, "\t");
    }
    text.push_str("\t;;\nstop)\n");
    for netif in wish.netifs {
        shell::down(&mut text, netif, Asks::Script, "\t");
    }
    text.push_str("\t;;\nesac\n");
    let call = format!("[ ! -r {SCRIPT} ] || sh {SCRIPT} \"${{1:-start}}\"\n");
    let mut files = vec![script(SCRIPT, text), block(CALLER, call)];
    files.extend(dhcp_clients::files(tree, wish));
    files
}
