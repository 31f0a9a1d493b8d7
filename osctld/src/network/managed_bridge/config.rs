//! The files that dnsmasq reads: pure text of values that are safe in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use osctl_api::net::{Address, HwAddr, IfName};

/// An interface that the bridge serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// Id of the container.
    pub container: String,
    /// Its pool.
    pub pool: String,
    /// Its hardware address.
    pub hwaddr: HwAddr,
    /// Its addresses; empty when it asks for none and has none.
    pub addresses: Vec<IpAddr>,
    /// Whether it asks for them.
    pub dhcp: bool,
}

/// Where dnsmasq finds what it needs.
#[derive(Debug, Clone, Copy)]
pub struct Paths<'a> {
    /// Directory of its files.
    pub dir: &'a Path,
    /// User that it runs as.
    pub user: &'a str,
}

/// Its configuration, for a bridge with these addresses.
pub fn main(
    bridge: &IfName,
    (v4, v6): (Address, Option<Address>),
    domain: &str,
    paths: Paths<'_>,
) -> String {
    let Paths { dir, user } = paths;
    let dir = dir.display();
    let (subnet, mask) = match v4.net() {
        ipnet::IpNet::V4(net) => (net.network(), net.netmask()),
        ipnet::IpNet::V6(_) => (
            std::net::Ipv4Addr::UNSPECIFIED,
            std::net::Ipv4Addr::UNSPECIFIED,
        ),
    };
    let v4 = v4.ip();
    let mut text = String::from("# Written by osctld; what is changed here is lost.\n");
    let mut lines = vec![
        format!("interface={bridge}"),
        "except-interface=lo".to_owned(),
        "bind-dynamic".to_owned(),
        format!("user={user}"),
        format!("pid-file={dir}/dnsmasq.pid"),
        // Names: those of containers are ours to tell, all others are asked for elsewhere.
        "no-hosts".to_owned(),
        "domain-needed".to_owned(),
        "bogus-priv".to_owned(),
        format!("domain={domain}"),
        format!("local=/{domain}/"),
        format!("addn-hosts={dir}/names"),
        // Addresses: only for hardware addresses that are known, and no name that a client says.
        format!("dhcp-range={subnet},static,{mask},1h"),
        format!("dhcp-hostsfile={dir}/clients"),
        format!("dhcp-leasefile={dir}/leases"),
        "dhcp-ignore=tag:!known".to_owned(),
        "dhcp-ignore-names".to_owned(),
        "dhcp-authoritative".to_owned(),
        "no-ping".to_owned(),
        format!("dhcp-option=option:router,{v4}"),
        format!("dhcp-option=option:dns-server,{v4}"),
    ];
    if let Some(v6) = v6 {
        // Router advertisements: clients make their addresses themselves.
        lines.extend([
            "enable-ra".to_owned(),
            format!("dhcp-range=::,constructor:{bridge},ra-only,64,1h"),
            format!("dhcp-option=option6:dns-server,[{}]", v6.ip()),
            format!("dhcp-option=option6:domain-search,{domain}"),
        ]);
    }
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Who is to get which address.
pub fn clients(clients: &[Client]) -> String {
    let mut text = String::new();
    for client in clients.iter().filter(|c| c.dhcp) {
        let v4 = client.addresses.iter().find(|ip| ip.is_ipv4());
        if let Some(ip) = v4 {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{},{ip}", client.hwaddr);
        }
    }
    text
}

/// Who is called what. Where two containers would have the same name, the first one has it: by their
/// pools, then by their ids.
pub fn names(clients: &[Client], domain: &str) -> String {
    let mut sorted: Vec<&Client> = clients.iter().collect();
    sorted.sort_by_key(|c| (&c.pool, &c.container));
    let mut holders: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    let mut text = String::new();
    for client in sorted {
        let (ct, pool) = (name(&client.container), name(&client.pool));
        let own = (client.pool.as_str(), client.container.as_str());
        let mut holds = |name: String| *holders.entry(name).or_insert(own) == own;
        let mut all = String::new();
        if holds(ct.clone()) {
            all.push_str(&format!(" {ct}.{domain} {ct}"));
        }
        if holds(format!("{ct}.{pool}")) {
            all.push_str(&format!(" {ct}.{pool}.{domain}"));
        }
        for ip in client.addresses.iter().filter(|_| !all.is_empty()) {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{ip}{all}");
        }
    }
    text
}

/// An id as a label of a name (RFC 1123): ids may hold `_`, labels may not, nor end in `-`.
fn name(id: &str) -> String {
    let label = id.to_ascii_lowercase().replace('_', "-");
    let label = label.trim_matches('-');
    let label: String = label.chars().take(63).collect();
    match label.trim_end_matches('-') {
        "" => "ct".to_owned(),
        label => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(pool: &str, container: &str, addresses: &[&str], dhcp: bool) -> Client {
        Client {
            container: container.to_owned(),
            pool: pool.to_owned(),
            hwaddr: "52:54:00:00:00:01".parse().unwrap(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            dhcp,
        }
    }

    #[test]
    fn who_gets_what_and_is_called_what() {
        let all = [
            client("tank", "web_1", &["10.0.0.5", "fd00::5"], true),
            client("other", "web_1", &["10.0.0.6"], false),
        ];
        assert_eq!(clients(&all), "52:54:00:00:00:01,10.0.0.5\n");
        assert_eq!(
            names(&all, "osctl"),
            "10.0.0.6 web-1.osctl web-1 web-1.other.osctl\n\
             10.0.0.5 web-1.tank.osctl\nfd00::5 web-1.tank.osctl\n"
        );
        // Ids that come to the same name.
        let all = [
            client("tank", "a_b", &["10.0.0.7"], true),
            client("tank", "a-b", &["10.0.0.6"], true),
            client("tank", "a-b", &["10.0.0.8"], true),
        ];
        assert_eq!(
            names(&all, "osctl"),
            "10.0.0.6 a-b.osctl a-b a-b.tank.osctl\n10.0.0.8 a-b.osctl a-b a-b.tank.osctl\n"
        );
    }

    #[test]
    fn ids_become_labels() {
        for (id, label) in [("Web_1", "web-1"), ("_", "ct"), ("a-", "a"), ("7", "7")] {
            assert_eq!(name(id), label);
        }
        assert_eq!(name(&"a".repeat(100)).len(), 63);
    }

    #[test]
    fn the_configuration_serves_the_bridge_alone() {
        let v4 = "10.139.16.1/20".parse().unwrap();
        let v6 = Some("fd01:203:405::1/64".parse().unwrap());
        let paths = Paths {
            dir: Path::new("/run/osctl/bridge"),
            user: "dnsmasq",
        };
        let text = main(&"osbr0".parse().unwrap(), (v4, v6), "osctl", paths);
        for line in [
            "interface=osbr0",
            "dhcp-range=10.139.16.0,static,255.255.240.0,1h",
            "dhcp-range=::,constructor:osbr0,ra-only,64,1h",
            "dhcp-option=option:router,10.139.16.1",
            "local=/osctl/",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        let text = main(&"osbr0".parse().unwrap(), (v4, None), "osctl", paths);
        for word in ["::", "option6", "enable-ra"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}
