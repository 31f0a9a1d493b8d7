//! wicked of openSUSE: /etc/sysconfig/network, see ifcfg(5), ifroute(5) and ifsysctl(5).

use std::fmt::Write;

use osctl_runtime::spec::FileOp;

use super::netif::{metric, sysctls};
use super::{Netif, Wish, block, heading, whole};
use crate::guest::services::{Service, is_enabled};
use crate::guest::tree::Tree;

const DIR: &str = "/etc/sysconfig/network";
const SERVICE: Service = Service {
    systemd: "wicked",
    others: &[],
};

/// Whether wicked is started at boot, which it is as `network.service`.
pub fn is_usable(tree: &Tree) -> bool {
    let alias = tree.link("/etc/systemd/system/network.service");
    let is_alias = alias.is_some_and(|target| target.ends_with("/wicked.service"));
    tree.is_dir(DIR) && (is_alias || is_enabled(tree, SERVICE))
}

/// Addresses, routes and settings of the kernel for each interface.
pub fn files(wish: &Wish<'_>) -> Vec<FileOp> {
    let mut files = Vec::new();
    for (index, netif) in wish.netifs.iter().enumerate() {
        let name = netif.name.as_str();
        files.push(whole(
            &format!("{DIR}/ifcfg-{name}"),
            interface(netif, index),
        ));
        files.push(whole(&format!("{DIR}/ifsysctl-{name}"), kernel(netif)));
        files
            .extend(routes(netif, index).map(|text| whole(&format!("{DIR}/ifroute-{name}"), text)));
    }
    if !wish.resolvers.is_empty() {
        let content = "NETCONFIG_DNS_POLICY=\"\"\n".to_owned();
        files.push(block(&format!("{DIR}/config"), content));
    }
    files
}

fn interface(netif: &Netif, index: usize) -> String {
    let mut text = heading();
    let protocol = if netif.is_dhcp() { "dhcp" } else { "static" };
    let _ = write!(text, "STARTMODE='auto'\nBOOTPROTO='{protocol}'\n");
    for (number, address) in netif.in_adding_order().into_iter().enumerate() {
        let suffix = if number == 0 {
            String::new()
        } else {
            format!("_{number}")
        };
        let _ = writeln!(text, "IPADDR{suffix}='{address}'");
    }
    if let Some(mtu) = netif.mtu {
        let _ = writeln!(text, "MTU='{mtu}'");
    }
    if netif.is_routed() {
        // Nobody else can have the same address.
        text.push_str("CHECK_DUPLICATE_IP='no'\n");
    }
    if let (true, Some(metric)) = (netif.is_dhcp(), metric(index)) {
        let _ = writeln!(text, "DHCLIENT_ROUTE_PRIORITY='{metric}'");
    }
    text
}

fn kernel(netif: &Netif) -> String {
    let mut text = heading();
    // The two separators change places in names.
    let name = netif.name.as_str().replace('.', "/");
    for (key, value) in sysctls(netif) {
        let _ = writeln!(text, "net.ipv6.conf.{name}.{key} = {value}");
    }
    text
}

fn routes(netif: &Netif, index: usize) -> Option<String> {
    let hops = netif.hops(index);
    if hops.is_empty() {
        return None;
    }
    let mut text = heading();
    for hop in hops {
        let to = match hop.to {
            Some(_) => hop.network().to_string(),
            None => "default".to_owned(),
        };
        let via = hop
            .via
            .map_or_else(|| "-".to_owned(), |via| via.to_string());
        let metric = hop
            .metric
            .map(|m| format!(" metric {m}"))
            .unwrap_or_default();
        let _ = writeln!(text, "{to} {via} - {}{metric}", netif.name);
    }
    Some(text)
}
