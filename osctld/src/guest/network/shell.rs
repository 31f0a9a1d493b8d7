//! Lines of a shell that configure interfaces, for the back ends that are scripts. They can be run
//! again at any time, and need nothing but `ip`.

use std::fmt::Write;

use super::Netif;
use super::netif::{Family, metric, sysctls};

/// Who asks for addresses on an interface that has DHCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// The script starts a client.
    Script,
    /// Something else in the guest does.
    Others,
}

/// Where programs are besides where the guest looks.
pub const PATH: &str = "PATH=\"$PATH:/usr/sbin:/usr/bin:/sbin:/bin\"\n";

/// Configures an interface.
pub fn up(out: &mut String, netif: &Netif, index: usize, asks: Asks, indent: &str) {
    let name = netif.name.as_str();
    for (key, value) in sysctls(netif) {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/{key}");
        let _ = writeln!(out, "{indent}[ ! -e {path} ] || echo {value} > {path}");
    }
    if let Some(mtu) = netif.mtu {
        let _ = writeln!(out, "{indent}ip link set dev {name} mtu {mtu}");
    }
    let _ = writeln!(out, "{indent}ip link set dev {name} up");
    for address in netif.in_adding_order() {
        let ip = Family::of(address).ip();
        let _ = writeln!(out, "{indent}{ip} addr replace {address} dev {name}");
    }
    for hop in netif.hops(index) {
        let arguments = hop.to_arguments();
        let _ = writeln!(
            out,
            "{indent}{} route replace {arguments} dev {name}",
            hop.ip()
        );
    }
    if netif.is_dhcp() && asks == Asks::Script {
        client(out, name, index, indent);
    }
}

/// Undoes it.
pub fn down(out: &mut String, netif: &Netif, asks: Asks, indent: &str) {
    let name = netif.name.as_str();
    if netif.is_dhcp() && asks == Asks::Script {
        let _ = writeln!(out, "{indent}dhcpcd -k {name} 2>/dev/null || true");
    }
    let _ = writeln!(
        out,
        "{indent}ip addr flush dev {name} scope global 2>/dev/null || true"
    );
    let _ = writeln!(
        out,
        "{indent}ip link set dev {name} down 2>/dev/null || true"
    );
}

/// The first client that there is; all of them leave one that runs already alone.
fn client(out: &mut String, name: &str, index: usize, indent: &str) {
    let metric = metric(index)
        .map(|m| format!("-m {m} "))
        .unwrap_or_default();
    let clients = [
        ("dhcpcd", format!("dhcpcd -b {metric}{name}")),
        ("dhclient", format!("dhclient -nw {name}")),
        ("udhcpc", format!("udhcpc -b -S -i {name}")),
    ];
    for (word, (program, command)) in ["if", "elif", "elif"].into_iter().zip(clients) {
        let _ = write!(
            out,
            "{indent}{word} command -v {program} >/dev/null 2>&1; then\n{indent}\t{command}\n"
        );
    }
    let _ = writeln!(out, "{indent}fi");
}
