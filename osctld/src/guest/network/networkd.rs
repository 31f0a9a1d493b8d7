//! systemd-networkd: one file for each interface in /etc/systemd/network, see systemd.network(5).
//!
//! Their names come before those that netplan makes in /run, so that of two files for one interface
//! ours is taken.

use std::fmt::Write;

use osctl_runtime::spec::FileOp;

use super::netif::metric;
use super::{Netif, Wish, heading, whole};
use crate::guest::services::{Service, is_enabled, is_systemd, unit_exists};
use crate::guest::tree::Tree;

const SERVICE: Service = Service {
    systemd: "systemd-networkd",
    others: &[],
};

/// Whether systemd-networkd is started at boot, be it by netplan.
pub fn is_usable(tree: &Tree) -> bool {
    is_systemd(tree) && (is_enabled(tree, SERVICE) || is_started_by_netplan(tree))
}

/// netplan's generator starts it when a file of its own asks for it, which is what they do when
/// they don't say otherwise.
fn is_started_by_netplan(tree: &Tree) -> bool {
    const GENERATORS: &[&str] = &[
        "/usr/lib/systemd/system-generators/netplan",
        "/lib/systemd/system-generators/netplan",
    ];
    let asks = |dir: &&str| {
        let names = tree.list(dir);
        let mut files = names.iter().filter(|n| n.ends_with(".yaml"));
        files.any(|name| {
            let text = tree.read(&format!("{dir}/{name}"));
            text.is_some_and(|t| t.contains("ethernets:") && !t.contains("NetworkManager"))
        })
    };
    GENERATORS.iter().any(|g| tree.is_taken(g))
        && unit_exists(tree, SERVICE.systemd)
        && ["/etc/netplan", "/lib/netplan"].iter().any(asks)
}

/// One file for each interface.
pub fn files(wish: &Wish<'_>) -> Vec<FileOp> {
    let netifs = wish.netifs.iter().enumerate();
    netifs
        .map(|(index, netif)| file(wish, netif, index))
        .collect()
}

fn file(wish: &Wish<'_>, netif: &Netif, index: usize) -> FileOp {
    let name = netif.name.as_str();
    let mut text = heading();
    let _ = write!(text, "\n[Match]\nName={name}\n\n[Link]\n");
    if let Some(mtu) = netif.mtu {
        let _ = writeln!(text, "MTUBytes={mtu}");
    }
    if !netif.is_dhcp() && netif.addresses.is_empty() {
        text.push_str("RequiredForOnline=no\n");
    }
    text.push_str("\n[Network]\n");
    let (dhcp, ra) = if netif.is_dhcp() {
        ("ipv4", "yes")
    } else {
        ("no", "no")
    };
    let _ = write!(
        text,
        "DHCP={dhcp}\nIPv6AcceptRA={ra}\nLinkLocalAddressing=ipv6\n\
         IPv6LinkLocalAddressGenerationMode=eui64\nIPv6PrivacyExtensions=no\n"
    );
    if netif.is_routed() {
        text.push_str("IPv6DuplicateAddressDetection=0\n");
    }
    for resolver in wish.resolvers {
        let _ = writeln!(text, "DNS={resolver}");
    }
    if netif.is_dhcp() {
        clients(&mut text, wish, index);
    }
    for address in netif.in_adding_order() {
        let _ = write!(text, "\n[Address]\nAddress={address}\n");
        if netif.is_routed() {
            text.push_str("DuplicateAddressDetection=none\n");
        }
    }
    for hop in netif.hops(index) {
        text.push_str("\n[Route]\n");
        let _ = match hop.via {
            Some(via) if netif.is_on_link(via) => writeln!(text, "Gateway={via}"),
            Some(via) => writeln!(text, "Gateway={via}\nGatewayOnLink=yes"),
            None => writeln!(text, "Destination={}\nScope=link", hop.network()),
        };
        if let Some(metric) = hop.metric {
            let _ = writeln!(text, "Metric={metric}");
        }
    }
    whole(
        &format!("/etc/systemd/network/05-osctl-{name}.network"),
        text,
    )
}

/// What the clients for leases and router advertisements are told.
fn clients(text: &mut String, wish: &Wish<'_>, index: usize) {
    // Guests made from one image may have the same machine id, but never the same address.
    text.push_str("\n[DHCPv4]\nClientIdentifier=mac\n");
    let metric = metric(index)
        .map(|m| format!("RouteMetric={m}\n"))
        .unwrap_or_default();
    let dns = if wish.resolvers.is_empty() {
        ""
    } else {
        "UseDNS=no\n"
    };
    let _ = write!(text, "{metric}{dns}");
    for section in ["DHCPv6", "IPv6AcceptRA"] {
        let metric = if section == "IPv6AcceptRA" {
            metric.as_str()
        } else {
            ""
        };
        if !(metric.is_empty() && dns.is_empty()) {
            let _ = write!(text, "\n[{section}]\n{metric}{dns}");
        }
    }
}
