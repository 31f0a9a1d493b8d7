//! /etc/sysconfig/network-scripts, as Red Hat's initscripts and NetworkManager's older plugin read
//! it: variables of a shell.

use std::fmt::Write;
use std::net::IpAddr;

use osctl_runtime::spec::FileOp;

use super::netif::{Family, Hop, metric};
use super::{Netif, Wish, block, dhcp_clients, heading, networkmanager, whole};
use crate::guest::services::{Service, is_enabled};
use crate::guest::tree::Tree;

const DIR: &str = "/etc/sysconfig/network-scripts";

const NETWORK: Service = Service {
    systemd: "network",
    others: &["network"],
};

/// Who reads the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// NetworkManager, with its plugin for this.
    NetworkManager,
    /// The `network` service.
    Initscripts,
}

/// Whether `reader` is started at boot. NetworkManager counts only where others have written such
/// files too: it can do without.
pub fn is_usable(tree: &Tree, reader: Reader) -> bool {
    match reader {
        Reader::Initscripts => tree.is_program(&format!("{DIR}/ifup")) && is_enabled(tree, NETWORK),
        Reader::NetworkManager => {
            networkmanager::is_usable(tree) && has_plugin(tree) && is_in_use(tree)
        }
    }
}

fn is_in_use(tree: &Tree) -> bool {
    let names = tree.list(DIR);
    let mut files = names.iter().filter(|n| n.starts_with("ifcfg-"));
    files.any(|n| n != "ifcfg-lo")
}

fn has_plugin(tree: &Tree) -> bool {
    const PLUGIN: &str = "libnm-settings-plugin-ifcfg-rh.so";
    ["/usr/lib64/NetworkManager", "/usr/lib/NetworkManager"]
        .iter()
        .any(|dir| {
            let versions = tree.list(dir);
            tree.is_file(&format!("{dir}/{PLUGIN}"))
                || versions
                    .iter()
                    .any(|v| tree.is_file(&format!("{dir}/{v}/{PLUGIN}")))
        })
}

/// The files, and what the programs that read them need besides.
pub fn files(tree: &Tree, wish: &Wish<'_>, reader: Reader) -> Vec<FileOp> {
    let mut files = Vec::new();
    for (index, netif) in wish.netifs.iter().enumerate() {
        interface(&mut files, wish, netif, index, reader);
    }
    match reader {
        Reader::NetworkManager => files.extend(networkmanager::configuration(tree, wish)),
        Reader::Initscripts => {
            let content = "NETWORKING=yes\nNETWORKING_IPV6=yes\n".to_owned();
            files.push(block("/etc/sysconfig/network", content));
            files.extend(dhcp_clients::files(tree, wish));
        }
    }
    files
}

fn interface(
    files: &mut Vec<FileOp>,
    wish: &Wish<'_>,
    netif: &Netif,
    index: usize,
    reader: Reader,
) {
    let name = netif.name.as_str();
    let mut text = heading();
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}=\"{value}\"");
    };
    let yes = |is: bool| if is { "yes" } else { "no" };
    set("DEVICE", name);
    set("TYPE", "Ethernet");
    set("ONBOOT", "yes");
    set("NM_CONTROLLED", yes(reader == Reader::NetworkManager));
    set("BOOTPROTO", if netif.is_dhcp() { "dhcp" } else { "none" });
    if let Some(mtu) = netif.mtu {
        set("MTU", &mtu.to_string());
    }
    if let Some(metric) = metric(index) {
        set("METRIC", &metric.to_string());
        set("IPV4_ROUTE_METRIC", &metric.to_string());
        set("IPV6_ROUTE_METRIC", &metric.to_string());
    }
    for (number, net) in netif.v4().iter().enumerate() {
        let number = if number == 0 {
            String::new()
        } else {
            number.to_string()
        };
        set(&format!("IPADDR{number}"), &net.addr().to_string());
        set(&format!("PREFIX{number}"), &net.prefix_len().to_string());
    }
    if netif.is_routed() {
        // Nobody else can have the same address.
        set("ARPCHECK", "no");
    }
    set("IPV6INIT", "yes");
    set("IPV6_AUTOCONF", yes(netif.is_dhcp()));
    set("IPV6_ADDR_GEN_MODE", "eui64");
    set("IPV6_PRIVACY", "no");
    if let [main, others @ ..] = &netif.v6()[..] {
        set("IPV6ADDR", &main.to_string());
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        if !others.is_empty() {
            set("IPV6ADDR_SECONDARIES", &others.join(" "));
        }
    }
    set("PEERDNS", yes(wish.resolvers.is_empty()));
    // NetworkManager hands them to whom it has told about DNS before.
    if reader == Reader::NetworkManager {
        for (number, resolver) in (1..).zip(wish.resolvers) {
            set(&format!("DNS{number}"), &resolver.to_string());
        }
    }
    let hops = netif.hops(index);
    for family in [Family::V4, Family::V6] {
        let hops: Vec<Hop> = hops
            .iter()
            .filter(|h| h.family() == family)
            .copied()
            .collect();
        match simple(netif, &hops) {
            Some(IpAddr::V4(gateway)) => set("GATEWAY", &gateway.to_string()),
            Some(IpAddr::V6(gateway)) => set("IPV6_DEFAULTGW", &format!("{gateway}%{name}")),
            None => files.extend(routes(name, &hops)),
        }
    }
    files.push(whole(&format!("{DIR}/ifcfg-{name}"), text));
}

/// A gateway that can be said without a file for routes: in the network of the main address.
fn simple(netif: &Netif, hops: &[Hop]) -> Option<IpAddr> {
    let [hop] = hops else { return None };
    let is_simple = match hop.via? {
        IpAddr::V4(gateway) => netif.v4().first()?.contains(&gateway),
        IpAddr::V6(_) => true,
    };
    hop.via.filter(|_| is_simple && hop.metric.is_none())
}

fn routes(name: &str, hops: &[Hop]) -> Option<FileOp> {
    let kind = match hops.first()?.family() {
        Family::V4 => "route",
        Family::V6 => "route6",
    };
    let mut text = heading();
    for hop in hops {
        let _ = write!(text, "{}", hop.network());
        if let Some(via) = hop.via {
            let _ = write!(text, " via {via}");
        }
        let _ = write!(text, " dev {name}");
        if let Some(metric) = hop.metric {
            let _ = write!(text, " metric {metric}");
        }
        text.push('\n');
    }
    Some(whole(&format!("{DIR}/{kind}-{name}"), text))
}
