//! What is wanted of one network interface of a container, complete and checked.
//!
//! Everything that configuration leaves open (a gateway `auto`, an address that the default bridge
//! hands out, the name on the host) is decided by whoever makes one of these.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use osctl_api::net::{Address, HwAddr, IfName, Network, Rate};
use sha2::{Digest, Sha256};

/// Whose interface it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Pool of the container.
    pub pool: String,
    /// Id of the container.
    pub container: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pool, self.container)
    }
}

/// One interface, as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose it is.
    pub owner: Owner,
    /// Name in the container.
    pub name: IfName,
    /// Name of its other end on the host; see [`host_name`].
    pub host_name: IfName,
    /// Hardware address in the container.
    pub hwaddr: HwAddr,
    /// What the host's end is connected to.
    pub attachment: Attachment,
    /// Addresses in the container, static ones; the first of each family is the main one.
    pub addresses: Vec<Address>,
    /// Largest packet; the kernel's (or the bridge's) when absent.
    pub mtu: Option<u32>,
    /// Number of transmit queues of both ends.
    pub tx_queues: u32,
    /// Number of receive queues of both ends.
    pub rx_queues: u32,
    /// Highest rate out of the container.
    pub max_tx: Rate,
    /// Highest rate into the container.
    pub max_rx: Rate,
    /// Whether only its own addresses may come out of it.
    pub anti_spoof: bool,
}

/// What the host's end is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// A port of a bridge.
    Bridge {
        /// The bridge.
        link: IfName,
        /// Whether the container asks a DHCP server for its addresses.
        dhcp: bool,
        /// What the default bridge gives to it; only there.
        lease: Option<DhcpLease>,
        /// Where packets for elsewhere go, when `dhcp` is off.
        gateways: Gateways,
    },
    /// Point to point, with routes to the container on the host.
    Routed {
        /// What is routed to the container.
        routes: Vec<Route>,
    },
}

/// Next hops for everything else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gateways {
    /// For IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// What the default bridge gives to an interface that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpLease {
    /// Its IPv4 address, with the bridge's prefix length.
    pub v4: Address,
    /// Its IPv6 address: the bridge's prefix and the EUI-64 of the hardware address.
    pub v6: Address,
    /// The bridge's own addresses: gateways and DNS servers.
    pub gateways: Gateways,
}

/// A network that is routed to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// Where to.
    pub network: Network,
    /// Through this address of the container, rather than directly.
    pub via: Option<IpAddr>,
}

impl Wanted {
    /// Next hop of IPv4 for everything, on a routed interface: an address that every host end of a
    /// routed interface has.
    pub const ROUTED_NEXT_HOP_V4: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 254);
    /// Next hop of IPv6 for everything, on a routed interface: the link-local address that every
    /// host end of a routed interface has.
    pub const ROUTED_NEXT_HOP_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    /// Every network whose addresses may come out of the container, when they are known: static
    /// addresses, leases, routed networks. Link-local and unspecified ones are not among them.
    pub fn own_networks(&self) -> Vec<Network> {
        let mut own: Vec<Network> = self
            .addresses
            .iter()
            .map(|a| Network::host(a.ip()))
            .collect();
        match &self.attachment {
            Attachment::Bridge { lease, .. } => {
                if let Some(lease) = lease {
                    own.extend([lease.v4, lease.v6].map(|a| Network::host(a.ip())));
                }
            }
            Attachment::Routed { routes } => own.extend(routes.iter().map(|r| r.network)),
        }
        own.sort_unstable();
        own.dedup();
        own
    }

    /// Whether its addresses come from a DHCP server that is not ours, so that nobody here knows
    /// them: then only its hardware address can be checked.
    pub fn addresses_are_unknown(&self) -> bool {
        matches!(
            self.attachment,
            Attachment::Bridge {
                dhcp: true,
                lease: None,
                ..
            }
        )
    }
}

/// Name of the host's end of interface `name` of `owner`, for a daemon whose cgroup is `root`:
/// the beginning of the container's id, then a hash of all of them, so that it is always the same
/// and no other's: `web1-k3v9qa`.
pub fn host_name(root: &str, owner: &Owner, name: &IfName) -> IfName {
    hashed(
        &owner.container,
        &format!("{root}/{owner}/{}", name.as_str()),
    )
}

/// An interface name that begins like `readable` and whose six last characters are a hash of `key`.
pub fn hashed(readable: &str, key: &str) -> IfName {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::digest(key.as_bytes());
    let mut name: String = readable
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(8)
        .collect();
    if name.is_empty() {
        name.push('x');
    }
    name.push('-');
    name.extend(
        hash[..6]
            .iter()
            .map(|b| char::from(DIGITS[usize::from(b & 31)])),
    );
    match name.parse() {
        Ok(name) => name,
        Err(e) => unreachable!("eight letters, a dash and six letters: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(container: &str, netif: &str) -> String {
        let owner = Owner {
            pool: "tank".into(),
            container: container.into(),
        };
        host_name("osctl", &owner, &netif.parse().unwrap()).to_string()
    }

    #[test]
    fn names_on_the_host_are_readable_stable_and_differ() {
        let name = name_of("web1", "eth0");
        assert!(name.starts_with("web1-"), "{name}");
        assert_eq!(name, name_of("web1", "eth0"));
        assert_ne!(name, name_of("web1", "eth1"));
        assert_ne!(name, name_of("web2", "eth0"));
        assert!(name_of("-_-", "eth0").starts_with("x-"));
        assert_eq!(name_of("a-very-long-name-of-a-container", "e").len(), 15);
    }
}
