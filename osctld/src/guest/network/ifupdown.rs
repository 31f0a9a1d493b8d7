//! /etc/network/interfaces, see interfaces(5), in the words that Debian's ifupdown, ifupdown2,
//! ifupdown-ng and busybox all understand.
//!
//! A guest adds its own lines by /etc/network/interfaces.head, interfaces.tail and interfaces.d.

use std::fmt::Write;

use ipnet::IpNet;
use osctl_runtime::spec::FileOp;

use super::netif::{Family, metric, sysctls};
use super::{Netif, Uplink, Wish, dhcp_clients, heading, whole};
use crate::guest::services::{Service, is_enabled};
use crate::guest::tree::Tree;

/// The file.
pub const PATH: &str = "/etc/network/interfaces";

const SERVICE: Service = Service {
    systemd: "networking",
    others: &["networking"],
};

/// Whether `ifup` is there and run at boot.
pub fn is_usable(tree: &Tree) -> bool {
    let programs = ["/sbin/ifup", "/usr/sbin/ifup", "/usr/bin/ifup"];
    programs.iter().any(|p| tree.is_program(p)) && is_enabled(tree, SERVICE)
}

/// The file, and what the DHCP client that it starts reads.
pub fn files(tree: &Tree, wish: &Wish<'_>) -> Vec<FileOp> {
    let prefix = prefix_style(tree);
    let mut stanzas = String::new();
    for (index, netif) in wish.netifs.iter().enumerate() {
        stanza(&mut stanzas, netif, index, prefix);
    }
    let mut files = vec![file(tree, &stanzas)];
    files.extend(dhcp_clients::files(tree, wish));
    files
}

/// The file of a guest without interfaces.
pub fn without_netifs(tree: &Tree) -> FileOp {
    file(tree, "")
}

/// How the length of a prefix is written.
#[derive(Clone, Copy)]
enum Prefix {
    /// With each address: ifupdown2 and ifupdown-ng, which merge what is said about one interface.
    WithAddress,
    /// As a netmask: busybox knows nothing else.
    Netmask,
}

fn prefix_style(tree: &Tree) -> Prefix {
    let merging = ["/usr/share/ifupdown2", "/usr/libexec/ifupdown-ng"];
    if merging.iter().any(|dir| tree.is_dir(dir)) {
        Prefix::WithAddress
    } else {
        Prefix::Netmask
    }
}

fn file(tree: &Tree, stanzas: &str) -> FileOp {
    let mut content = heading();
    let users = |name: &str| {
        let text = tree.read(&format!("{PATH}.{name}")).unwrap_or_default();
        match text.trim_end() {
            "" => String::new(),
            text if is_reasonable(text) => format!("\n{text}\n"),
            _ => format!("\n# interfaces.{name} is not used: it is no text, or too long.\n"),
        }
    };
    content.push_str(
        "# Lines of yours: interfaces.head, interfaces.tail and interfaces.d beside this file.\n",
    );
    content.push_str(&users("head"));
    if tree.is_dir("/etc/network/interfaces.d") {
        content.push_str("\nsource-directory /etc/network/interfaces.d\n");
    }
    content.push_str("\nauto lo\niface lo inet loopback\n");
    content.push_str(stanzas);
    content.push_str(&users("tail"));
    whole(PATH, content)
}

/// What the guest adds is carried to it in a message that has an end.
fn is_reasonable(text: &str) -> bool {
    const MAX: usize = 8 * 1024;
    let is_text =
        |c: char| c != char::REPLACEMENT_CHARACTER && (!c.is_control() || "\n\t".contains(c));
    text.len() <= MAX && text.chars().all(is_text)
}

fn stanza(out: &mut String, netif: &Netif, index: usize, prefix: Prefix) {
    let name = netif.name.as_str();
    let (v4, v6) = match &netif.uplink {
        Uplink::Dhcp { .. } => ("dhcp", "manual"),
        Uplink::Static(_) => (method(&netif.v4()), method(&netif.v6())),
        Uplink::Routed => ("manual", "manual"),
    };
    let _ = write!(out, "\nauto {name}\niface {name} inet {v4}\n");
    for (key, value) in sysctls(netif) {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/{key}");
        let _ = writeln!(out, "    pre-up echo {value} > {path} || true");
    }
    if let Some(mtu) = netif.mtu {
        let _ = writeln!(out, "    pre-up ip link set dev {name} mtu {mtu}");
    }
    if let ("dhcp", Some(metric)) = (v4, metric(index)) {
        let _ = writeln!(out, "    metric {metric}");
    }
    family(out, netif, index, (Family::V4, v4), prefix);
    let _ = writeln!(out, "iface {name} inet6 {v6}");
    family(out, netif, index, (Family::V6, v6), prefix);
}

fn method<T>(addresses: &[T]) -> &'static str {
    if addresses.is_empty() {
        "manual"
    } else {
        "static"
    }
}

fn family(
    out: &mut String,
    netif: &Netif,
    index: usize,
    (family, method): (Family, &str),
    prefix: Prefix,
) {
    let name = netif.name.as_str();
    let ip = family.ip();
    if method == "manual" {
        let _ = writeln!(out, "    up ip link set dev {name} up");
    }
    let mut addresses = netif.in_adding_order();
    addresses.retain(|a| Family::of(*a) == family);
    // The main address of IPv6 comes last, by `address` too.
    let (when, main) = match family {
        Family::V4 => ("up", 0),
        Family::V6 => ("pre-up", addresses.len().saturating_sub(1)),
    };
    let mut hops = netif.hops(index);
    hops.retain(|h| h.family() == family);
    if method == "static" {
        match prefix {
            // These know of several, and ifupdown2 removes those that nobody has named.
            Prefix::WithAddress => {
                for net in addresses.drain(..) {
                    let _ = writeln!(out, "    address {net}");
                }
            }
            Prefix::Netmask => address_and_netmask(out, addresses.remove(main)),
        }
        // What is simple is said in the file's own words.
        if let [hop] = hops[..]
            && let (None, Some(via), None) = (hop.to, hop.via, hop.metric)
        {
            let _ = writeln!(out, "    gateway {via}");
            hops.clear();
        }
    }
    let when = if method == "static" { when } else { "up" };
    for address in &addresses {
        let _ = writeln!(out, "    {when} {ip} addr replace {address} dev {name}");
    }
    for hop in &hops {
        let mut words = hop.to_arguments();
        let at = words.find(" metric").unwrap_or(words.len());
        words.insert_str(at, &format!(" dev {name}"));
        let _ = writeln!(out, "    up {ip} route replace {words}");
    }
    for address in &addresses {
        let _ = writeln!(
            out,
            "    down {ip} addr del {address} dev {name} 2>/dev/null || true"
        );
    }
}

fn address_and_netmask(out: &mut String, net: IpNet) {
    let mask = match net {
        IpNet::V4(net) => net.netmask().to_string(),
        IpNet::V6(net) => net.prefix_len().to_string(),
    };
    let _ = writeln!(out, "    address {}\n    netmask {mask}", net.addr());
}
