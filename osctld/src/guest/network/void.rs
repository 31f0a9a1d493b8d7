//! Void: a script that runit's first stage reads, as it does all in that directory.

use osctl_runtime::spec::FileOp;

use super::shell::{self, Asks};
use super::{Wish, dhcp_clients, heading, whole};
use crate::guest::tree::Tree;

const DIR: &str = "/etc/runit/core-services";

/// Whether the first stage has such scripts.
pub fn is_usable(tree: &Tree) -> bool {
    tree.is_dir(DIR)
}

/// The script.
pub fn files(tree: &Tree, wish: &Wish<'_>) -> Vec<FileOp> {
    let asks = if dhcp_clients::is_dhcpcd_a_service(tree) {
        Asks::Others
    } else {
        Asks::Script
    };
    // It is read by the shell that goes on with the boot: nothing of it stays there.
    let mut text = format!("{}(\n{}", heading(), shell::PATH);
    for (index, netif) in wish.netifs.iter().enumerate() {
        shell::up(&mut text, netif, index, asks, "");
    }
    text.push_str(") || true\n");
    let mut files = vec![whole(&format!("{DIR}/90-osctl-network.sh"), text)];
    files.extend(dhcp_clients::files(tree, wish));
    files
}
