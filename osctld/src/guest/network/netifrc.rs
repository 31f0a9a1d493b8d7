//! Gentoo's netifrc: /etc/conf.d/net.NAME, which OpenRC reads for the service net.NAME alone, and
//! that service.

use std::fmt::Write;

use osctl_runtime::spec::FileOp;

use super::netif::{Hop, metric};
use super::{Netif, Wish, dhcp_clients, heading, symlink, whole};
use crate::guest::services::is_systemd;
use crate::guest::tree::Tree;

/// Whether OpenRC can start interfaces.
pub fn is_usable(tree: &Tree) -> bool {
    !is_systemd(tree) && tree.is_program("/etc/init.d/net.lo") && tree.is_dir("/etc/conf.d")
}

/// Settings and service of each interface.
pub fn files(tree: &Tree, wish: &Wish<'_>) -> Vec<FileOp> {
    let mut files = Vec::new();
    for (index, netif) in wish.netifs.iter().enumerate() {
        let name = netif.name.as_str();
        files.push(settings(wish, netif, index));
        files.push(symlink(&format!("/etc/init.d/net.{name}"), "net.lo"));
        let service = format!("/etc/init.d/net.{name}");
        files.push(symlink(
            &format!("/etc/runlevels/default/net.{name}"),
            &service,
        ));
    }
    files.extend(dhcp_clients::files(tree, wish));
    files
}

fn settings(wish: &Wish<'_>, netif: &Netif, index: usize) -> FileOp {
    let name = netif.name.as_str();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let variable: String = name.chars().map(plain).collect();
    let mut text = heading();
    let mut set = |key: &str, lines: &[String]| {
        let _ = writeln!(text, "{key}_{variable}=\"{}\"", lines.join("\n"));
    };
    let nodad = if netif.is_routed() { " nodad" } else { "" };
    let addresses = netif.in_adding_order().into_iter().map(|net| match net {
        ipnet::IpNet::V4(net) => net.to_string(),
        ipnet::IpNet::V6(net) => format!("{net}{nodad}"),
    });
    let dhcp = netif.is_dhcp().then(|| "dhcp".to_owned());
    let mut config: Vec<String> = dhcp.into_iter().chain(addresses).collect();
    if config.is_empty() {
        config.push("null".to_owned());
    }
    set("config", &config);
    let routes: Vec<String> = netif
        .hops(index)
        .into_iter()
        .map(Hop::to_arguments)
        .collect();
    if !routes.is_empty() {
        set("routes", &routes);
    }
    if let Some(mtu) = netif.mtu {
        set("mtu", &[mtu.to_string()]);
    }
    if let (true, Some(metric)) = (netif.is_dhcp(), metric(index)) {
        set("metric", &[metric.to_string()]);
    }
    if !wish.resolvers.is_empty() && netif.is_dhcp() {
        set("dhcp", &["nodns".to_owned()]);
    }
    whole(&format!("/etc/conf.d/net.{name}"), text)
}
