//! NixOS and Guix: the system is made from its own configuration, so that no file in /etc can be
//! written. Images for containers have a service that runs two scripts in the root directory.

use osctl_runtime::spec::FileOp;

use super::shell::{self, Asks};
use super::{Wish, heading, script};
use crate::guest::tree::Tree;

const ADD: &str = "/ifcfg.add";
const DEL: &str = "/ifcfg.del";

const PATH: &str = "PATH=\"$PATH:/run/current-system/sw/bin:/run/current-system/profile/sbin:\
                    /run/current-system/profile/bin\"\n";

/// Whether the system says that it runs them.
pub fn is_usable(tree: &Tree) -> bool {
    const UNIT: &str = "/nix/var/nix/profiles/system/etc/systemd/system/networking-setup.service";
    const GUIX: &str = "/var/guix/profiles/system/configuration.scm";
    tree.is_file(UNIT)
        || tree.read(GUIX).is_some_and(|text| text.contains(ADD))
        || is_nix_or_guix(tree) && tree.is_file(ADD)
}

fn is_nix_or_guix(tree: &Tree) -> bool {
    tree.is_dir("/nix/store") || tree.is_dir("/gnu/store")
}

/// The scripts. DHCP is the business of the system's own client.
pub fn files(wish: &Wish<'_>) -> Vec<FileOp> {
    let head = || format!("#!/bin/sh\n{}{}", heading(), PATH);
    let (mut add, mut del) = (head(), head());
    for (index, netif) in wish.netifs.iter().enumerate() {
        shell::up(&mut add, netif, index, Asks::Others, "");
        shell::down(&mut del, netif, Asks::Others, "");
    }
    vec![script(ADD, add), script(DEL, del)]
}
