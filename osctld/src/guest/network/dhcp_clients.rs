//! The settings of DHCP clients that other programs start: to leave the DNS servers of the host
//! alone, and to make IPv6 addresses from the hardware address.

use std::net::IpAddr;

use osctl_runtime::spec::FileOp;

use super::{Netif, Wish, block, heading, whole};
use crate::guest::services::{Service, is_enabled};
use crate::guest::tree::Tree;

const DHCPCD: &str = "/etc/dhcpcd.conf";
const DHCPCD_SERVICE: Service = Service {
    systemd: "dhcpcd",
    others: &["dhcpcd"],
};

/// What the clients in the guest must be told.
pub fn files(tree: &Tree, wish: &Wish<'_>) -> Vec<FileOp> {
    let mut files = Vec::new();
    files.extend(dhcpcd(tree, wish));
    let asks = wish.netifs.iter().any(Netif::is_dhcp);
    if asks && !wish.resolvers.is_empty() {
        files.extend(dhclient(tree, wish.resolvers));
        files.extend(udhcpc(tree));
    }
    files
}

/// Whether dhcpcd is a service by itself, so that it takes care of every interface.
pub fn is_dhcpcd_a_service(tree: &Tree) -> bool {
    is_enabled(tree, DHCPCD_SERVICE)
}

/// dhcpcd.conf(5). The file is only added to: whoever has none has no dhcpcd.
fn dhcpcd(tree: &Tree, wish: &Wish<'_>) -> Option<FileOp> {
    if !tree.is_file(DHCPCD) {
        return None;
    }
    let is_service = is_dhcpcd_a_service(tree);
    let mut content = String::new();
    for netif in wish.netifs {
        let name = netif.name.as_str();
        if netif.is_dhcp() {
            content.push_str(&format!("interface {name}\nslaac hwaddr\n"));
            if !wish.resolvers.is_empty() {
                content.push_str("nohook resolv.conf\n");
            }
        } else if is_service {
            content.push_str(&format!("interface {name}\nnoipv4\nnoipv6\n"));
        }
    }
    (!content.is_empty()).then(|| block(DHCPCD, content))
}

/// dhclient-script(8) of Debian has hooks; elsewhere the lease itself is overridden, which takes
/// IPv4 addresses only.
fn dhclient(tree: &Tree, resolvers: &[IpAddr]) -> Option<FileOp> {
    const HOOKS: &str = "/etc/dhcp/dhclient-enter-hooks.d";
    const CONFIG: &str = "/etc/dhcp/dhclient.conf";
    if tree.is_dir(HOOKS) {
        // After other hooks, such as resolvconf's, that replace the same function.
        let content = format!("{}make_resolv_conf() {{ :; }}\n", heading());
        return Some(whole(&format!("{HOOKS}/zz-osctl"), content));
    }
    let v4: Vec<String> = resolvers
        .iter()
        .filter(|r| r.is_ipv4())
        .map(IpAddr::to_string)
        .collect();
    let content = format!("supersede domain-name-servers {};\n", v4.join(", "));
    (tree.is_file(CONFIG) && !v4.is_empty()).then(|| block(CONFIG, content))
}

/// The script that busybox's client runs in Alpine reads this.
fn udhcpc(tree: &Tree) -> Option<FileOp> {
    let is_there = tree.is_dir("/usr/share/udhcpc") || tree.is_dir("/etc/udhcpc");
    is_there.then(|| block("/etc/udhcpc/udhcpc.conf", "RESOLV_CONF=\"no\"\n".to_owned()))
}
