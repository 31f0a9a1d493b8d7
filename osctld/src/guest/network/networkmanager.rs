//! NetworkManager: a keyfile for each interface, see nm-settings-keyfile(5), and one that makes it
//! take care of them, see NetworkManager.conf(5).

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;
use osctl_runtime::spec::{FileAction, FileOp};
use sha2::{Digest, Sha256};

use super::netif::{Family, metric};
use super::{Netif, Uplink, Wish, heading, op, whole};
use crate::guest::services::{Service, is_enabled};
use crate::guest::tree::Tree;

const SERVICE: Service = Service {
    systemd: "NetworkManager",
    others: &["NetworkManager", "networkmanager", "network-manager"],
};

/// Whether NetworkManager is started at boot.
pub fn is_usable(tree: &Tree) -> bool {
    is_enabled(tree, SERVICE)
}

/// A keyfile for each interface, and the configuration.
pub fn files(tree: &Tree, wish: &Wish<'_>) -> Vec<FileOp> {
    let netifs = wish.netifs.iter().enumerate();
    let keyfiles = netifs.map(|(index, netif)| keyfile(wish, netif, index));
    keyfiles.chain(configuration(tree, wish)).collect()
}

/// What NetworkManager is told whatever form the connections have.
pub fn configuration(tree: &Tree, wish: &Wish<'_>) -> Vec<FileOp> {
    const DIR: &str = "/etc/NetworkManager/conf.d";
    // Ubuntu's, which leaves alone all but wireless devices.
    const UNMANAGED: &str = "10-globally-managed-devices.conf";
    let names = wish
        .netifs
        .iter()
        .map(|n| format!("interface-name:{}", n.name));
    let mut text = heading();
    let _ = write!(
        text,
        "\n[device-osctl]\nmatch-device={}\nmanaged=1\n",
        names.collect::<Vec<_>>().join(",")
    );
    if !wish.resolvers.is_empty() {
        text.push_str("\n[main]\nrc-manager=unmanaged\n");
    }
    let mut files = vec![whole(&format!("{DIR}/90-osctl.conf"), text)];
    if tree.is_file(&format!("/usr/lib/NetworkManager/conf.d/{UNMANAGED}")) {
        files.push(whole(&format!("{DIR}/{UNMANAGED}"), heading()));
    }
    files
}

fn keyfile(wish: &Wish<'_>, netif: &Netif, index: usize) -> FileOp {
    let name = netif.name.as_str();
    let mut content = heading();
    let _ = write!(
        content,
        "\n[connection]\nid=osctl-{name}\nuuid={}\ntype=ethernet\ninterface-name={name}\n\
         autoconnect=true\nautoconnect-priority=100\n\n[ethernet]\n",
        uuid(netif)
    );
    if let Some(mtu) = netif.mtu {
        let _ = writeln!(content, "mtu={mtu}");
    }
    for family in [Family::V4, Family::V6] {
        section(&mut content, wish, netif, index, family);
    }
    let path = format!("/etc/NetworkManager/system-connections/osctl-{name}.nmconnection");
    // Others' are ignored when anybody but root can read them.
    op(&path, FileAction::Write { content }, 0o600)
}

fn section(text: &mut String, wish: &Wish<'_>, netif: &Netif, index: usize, family: Family) {
    let of_family = |ip: &IpAddr| Family::of((*ip).into()) == family;
    let mut addresses: Vec<IpNet> = netif.addresses.clone();
    addresses.retain(|a| Family::of(*a) == family);
    let method = match (&netif.uplink, addresses.is_empty(), family) {
        (Uplink::Dhcp { .. }, _, _) => "auto",
        (_, false, _) => "manual",
        (_, true, Family::V4) => "disabled",
        (_, true, Family::V6) => "link-local",
    };
    text.push_str(match family {
        Family::V4 => "\n[ipv4]\n",
        Family::V6 => "\n[ipv6]\naddr-gen-mode=eui64\nip6-privacy=0\n",
    });
    let _ = writeln!(text, "method={method}");
    for (number, address) in (1..).zip(&addresses) {
        let _ = writeln!(text, "address{number}={address}");
    }
    let gateway = match family {
        Family::V4 => netif.gateway_v4().map(IpAddr::from),
        Family::V6 => netif.gateway_v6().map(IpAddr::from),
    };
    if let Some(gateway) = gateway {
        let _ = writeln!(text, "gateway={gateway}");
        if !netif.is_on_link(gateway) {
            let _ = writeln!(text, "route1={}", IpNet::from(gateway));
        }
    }
    if let Some(metric) = metric(index) {
        let _ = writeln!(text, "route-metric={metric}");
    }
    let can_have_dns = matches!(method, "auto" | "manual");
    let dns: Vec<String> = wish
        .resolvers
        .iter()
        .filter(|r| of_family(r))
        .map(IpAddr::to_string)
        .collect();
    if can_have_dns && !dns.is_empty() {
        let _ = writeln!(text, "dns={};", dns.join(";"));
    }
    if method == "auto" && !wish.resolvers.is_empty() {
        text.push_str("ignore-auto-dns=true\n");
    }
}

/// The connection is the same one as long as the interface is.
fn uuid(netif: &Netif) -> String {
    let hash = Sha256::digest(format!("osctl {} {}", netif.name, netif.hwaddr));
    let mut b = [0; 16];
    b.copy_from_slice(&hash[..16]);
    // RFC 9562: version 8, whatever its maker likes.
    b[6] = b[6] & 0x0f | 0x80;
    b[8] = b[8] & 0x3f | 0x80;
    let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
