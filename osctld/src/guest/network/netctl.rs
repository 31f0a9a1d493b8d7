//! netctl: a profile for each interface, see netctl.profile(5), which is a file of bash.

use std::fmt::Write;

use osctl_runtime::spec::FileOp;

use super::netif::{Family, Hop, metric};
use super::{Netif, Wish, dhcp_clients, heading, symlink, whole};
use crate::guest::services::is_systemd;
use crate::guest::tree::Tree;

/// The unit that every profile is an instance of.
pub const UNIT: &str = "/usr/lib/systemd/system/netctl@.service";

/// Whether netctl is there. Profiles are started one by one.
pub fn is_usable(tree: &Tree) -> bool {
    is_systemd(tree) && tree.is_dir("/etc/netctl") && tree.is_file(UNIT)
}

/// A profile for each interface, started at boot.
pub fn files(tree: &Tree, wish: &Wish<'_>) -> Vec<FileOp> {
    let mut files = Vec::new();
    for (index, netif) in wish.netifs.iter().enumerate() {
        let name = netif.name.as_str();
        files.push(profile(wish, netif, index));
        files.push(symlink(&wants(name), UNIT));
    }
    files.extend(dhcp_clients::files(tree, wish));
    files
}

/// As systemd-escape(1) has it.
fn wants(name: &str) -> String {
    let instance = name.replace('-', "\\x2d");
    format!("/etc/systemd/system/multi-user.target.wants/netctl@{instance}.service")
}

fn profile(wish: &Wish<'_>, netif: &Netif, index: usize) -> FileOp {
    let name = netif.name.as_str();
    let mut text = heading();
    let _ = write!(
        text,
        "Description='osctl {name}'\nInterface='{name}'\nConnection=ethernet\n"
    );
    let (v4, v6) = (netif.v4(), netif.v6());
    let (ip, ip6) = match (netif.is_dhcp(), v4.is_empty()) {
        (true, _) => ("dhcp", "stateless"),
        // `no` would take IPv6 away altogether.
        (false, true) => ("no", "static"),
        (false, false) => ("static", "static"),
    };
    let _ = write!(text, "IP={ip}\nIP6={ip6}\n");
    let list = |items: Vec<String>| {
        let quoted: Vec<String> = items.iter().map(|i| format!("'{i}'")).collect();
        format!("({})", quoted.join(" "))
    };
    if ip == "static" {
        let _ = writeln!(
            text,
            "Address={}",
            list(v4.iter().map(ToString::to_string).collect())
        );
    }
    if !v6.is_empty() {
        // The kernel prefers the last one.
        let all = v6.iter().rev().map(ToString::to_string).collect();
        let _ = writeln!(text, "Address6={}", list(all));
    }
    if netif.is_routed() {
        text.push_str("SkipDAD=yes\n");
    }
    let hops = netif.hops(index);
    for (family, key) in [(Family::V4, "Routes"), (Family::V6, "Routes6")] {
        let of_family = hops.iter().filter(|h| h.family() == family).copied();
        let routes: Vec<String> = of_family.map(Hop::to_arguments).collect();
        if !routes.is_empty() {
            let _ = writeln!(text, "{key}={}", list(routes));
        }
    }
    let mtu = netif
        .mtu
        .map(|mtu| format!("link set dev {name} mtu {mtu}"));
    let mut custom: Vec<String> = mtu.into_iter().collect();
    if netif.is_dhcp() {
        let more = v4
            .iter()
            .map(|net| format!("addr replace {net} dev {name}"));
        custom.extend(more);
        if let Some(metric) = metric(index) {
            let _ = writeln!(text, "DhcpcdOptions='-m {metric}'");
        }
    }
    if !custom.is_empty() {
        let _ = writeln!(text, "IPCustom={}", list(custom));
    }
    if !wish.resolvers.is_empty() {
        let all = wish.resolvers.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "DNS={}", list(all));
    }
    whole(&format!("/etc/netctl/{name}"), text)
}
