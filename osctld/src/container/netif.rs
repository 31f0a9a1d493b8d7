//! The network interfaces of a container as they are configured: shape, checks, and from there to
//! what is wanted of the kernel. Pure; what happens to them while it runs is not its business.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use osctl_api::net::{Address, HwAddr, IfName, Network, Rate};
use osctl_api::netif::{
    GatewayV4, GatewayV6, MAX_ADDRESSES, MAX_NETIFS, MAX_QUEUES, MIN_MTU_V6, MTU, Route,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::network::{self, Attachment, DhcpLease, Gateways, Owner, Wanted};

/// Networks none of whose addresses a container can have.
const NOBODYS: [&str; 7] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "224.0.0.0/3",
    "::/127",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
];

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netif {
    /// Name in the container.
    pub name: IfName,
    /// Hardware address in the container.
    pub hwaddr: HwAddr,
    /// What the host's end is connected to.
    #[serde(flatten)]
    pub kind: Kind,
    /// Addresses in the container, static ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Largest packet, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Number of transmit queues.
    #[serde(default = "one")]
    pub tx_queues: u32,
    /// Number of receive queues.
    #[serde(default = "one")]
    pub rx_queues: u32,
    /// Highest rate out of the container.
    #[serde(default, skip_serializing_if = "Rate::is_unlimited")]
    pub max_tx: Rate,
    /// Highest rate into the container.
    #[serde(default, skip_serializing_if = "Rate::is_unlimited")]
    pub max_rx: Rate,
    /// Whether only its own addresses may come out of it.
    #[serde(default = "yes")]
    pub anti_spoof: bool,
}

/// What the host's end is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Kind {
    /// A port of a bridge.
    Bridge {
        /// The bridge.
        link: IfName,
        /// Whether the guest asks a DHCP server.
        #[serde(default = "yes")]
        dhcp: bool,
        /// Next hop of IPv4.
        #[serde(default, skip_serializing_if = "GatewayV4::is_auto")]
        gateway_v4: GatewayV4,
        /// Next hop of IPv6.
        #[serde(default, skip_serializing_if = "GatewayV6::is_auto")]
        gateway_v6: GatewayV6,
        /// What the default bridge has reserved for it, with the bridge's prefix length.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_v4: Option<Address>,
    },
    /// Point to point.
    Routed {
        /// What is routed to the container.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        routes: Vec<Route>,
    },
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

impl Netif {
    /// What is routed to it.
    pub fn routes(&self) -> &[Route] {
        match &self.kind {
            Kind::Routed { routes } => routes,
            Kind::Bridge { .. } => &[],
        }
    }

    /// The bridge that it is a port of.
    pub fn link(&self) -> Option<&IfName> {
        match &self.kind {
            Kind::Bridge { link, .. } => Some(link),
            Kind::Routed { .. } => None,
        }
    }

    /// The IPv4 address that is reserved for it.
    pub fn lease_v4(&self) -> Option<Address> {
        match &self.kind {
            Kind::Bridge { lease_v4, .. } => *lease_v4,
            Kind::Routed { .. } => None,
        }
    }

    /// The address that it has on itself with these bits.
    pub fn address(&self, ip: IpAddr) -> Option<Address> {
        self.addresses.iter().copied().find(|a| a.ip() == ip)
    }

    fn check(&self) -> Result<(), Error> {
        let refused =
            |what: String| Err(Error::invalid(format!("interface {}: {what}", self.name)));
        for (what, queues) in [("transmit", self.tx_queues), ("receive", self.rx_queues)] {
            if !(1..=MAX_QUEUES).contains(&queues) {
                return refused(format!(
                    "{queues} {what} queues are not possible: use 1 to {MAX_QUEUES}"
                ));
            }
        }
        for rate in [self.max_tx, self.max_rx] {
            if let Err(e) = rate.to_string().parse::<Rate>() {
                return Err(Error::invalid_with(format!("interface {}", self.name), e));
            }
        }
        let all = [
            ("addresses", self.addresses.len()),
            ("routes", self.routes().len()),
        ];
        for (what, n) in all {
            if n > MAX_ADDRESSES {
                return refused(format!("{n} {what} are too many: at most {MAX_ADDRESSES}"));
            }
        }
        self.check_addresses()?;
        self.check_routes()?;
        self.check_mtu()
    }

    fn check_addresses(&self) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for address in self.addresses.iter().chain(&self.lease_v4()) {
            if overlaps_nobodys(Network::host(address.ip()).net()) {
                return Err(Error::invalid(format!(
                    "interface {}: {address} can't be given to a container",
                    self.name
                )));
            }
            if !seen.insert(address.ip()) {
                return Err(Error::exists(format!(
                    "interface {} has address {} already",
                    self.name,
                    address.ip()
                )));
            }
        }
        match self.lease_v4() {
            Some(lease) if lease.ip().is_ipv6() => Err(Error::invalid(format!(
                "interface {}: {lease} is no IPv4 address",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    fn check_routes(&self) -> Result<(), Error> {
        let refused =
            |what: String| Err(Error::invalid(format!("interface {}: {what}", self.name)));
        let mut seen = BTreeSet::new();
        for route in self.routes() {
            let network = route.network;
            if overlaps_nobodys(network.net()) {
                return refused(format!("{network} can't be routed to a container"));
            }
            if !seen.insert(network) {
                return Err(Error::exists(format!(
                    "interface {} has a route to {network} already",
                    self.name
                )));
            }
            let Some(via) = route.via else { continue };
            if via.is_ipv4() != network.net().addr().is_ipv4() {
                return refused(format!(
                    "{network} and {via} are of different versions of IP"
                ));
            }
            if self.address(via).is_none() {
                return refused(format!("{via} is no address of it: add it first"));
            }
        }
        Ok(())
    }

    fn check_mtu(&self) -> Result<(), Error> {
        let Some(mtu) = self.mtu else { return Ok(()) };
        let v6 = self.addresses.iter().any(|a| a.ip().is_ipv6())
            || self
                .routes()
                .iter()
                .any(|r| r.network.net().addr().is_ipv6());
        let (least, why) = if v6 {
            (MIN_MTU_V6, ", because it has IPv6")
        } else {
            (*MTU.start(), "")
        };
        let most = *MTU.end();
        if !(least..=most).contains(&mtu) {
            return Err(Error::invalid(format!(
                "interface {}: mtu {mtu} is not possible: use {least} to {most}{why}",
                self.name
            )));
        }
        Ok(())
    }
}

fn overlaps_nobodys(net: IpNet) -> bool {
    NOBODYS
        .iter()
        .filter_map(|n| n.parse::<IpNet>().ok())
        .any(|n| n.contains(&net) || net.contains(&n))
}

/// Checks the interfaces of a container, each of them and all together.
///
/// # Errors
/// `InvalidArgument`, or `AlreadyExists` for what is there twice, naming the first that can't be.
pub fn check(netifs: &[Netif]) -> Result<(), Error> {
    if netifs.len() > MAX_NETIFS {
        return Err(Error::invalid(format!(
            "{} network interfaces are too many: at most {MAX_NETIFS}",
            netifs.len()
        )));
    }
    let (mut names, mut hwaddrs, mut ips) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for netif in netifs {
        netif.check()?;
        if !names.insert(&netif.name) {
            return Err(Error::exists(format!(
                "the container has an interface {} already",
                netif.name
            )));
        }
        if !hwaddrs.insert(netif.hwaddr) {
            return Err(Error::exists(format!(
                "another interface of the container has hardware address {}",
                netif.hwaddr
            )));
        }
        for address in netif.addresses.iter().chain(&netif.lease_v4()) {
            if !ips.insert(address.ip()) {
                return Err(Error::exists(format!(
                    "another interface of the container has address {}",
                    address.ip()
                )));
            }
        }
    }
    Ok(())
}

/// What is wanted of the interfaces of `owner`, for a daemon whose cgroup is `root`. Of a bridge,
/// `addresses_of` tells the addresses with their prefix lengths.
pub fn wanted(
    netifs: &[Netif],
    owner: &Owner,
    root: &str,
    addresses_of: impl Fn(&IfName) -> Vec<IpNet>,
) -> Vec<Wanted> {
    let one = |netif: &Netif| Wanted {
        owner: owner.clone(),
        name: netif.name.clone(),
        host_name: network::host_name(root, owner, &netif.name),
        hwaddr: netif.hwaddr,
        attachment: attachment(netif, &addresses_of),
        addresses: netif.addresses.clone(),
        mtu: netif.mtu,
        tx_queues: netif.tx_queues,
        rx_queues: netif.rx_queues,
        max_tx: netif.max_tx,
        max_rx: netif.max_rx,
        anti_spoof: netif.anti_spoof,
    };
    netifs.iter().map(one).collect()
}

fn attachment(netif: &Netif, addresses_of: impl Fn(&IfName) -> Vec<IpNet>) -> Attachment {
    match &netif.kind {
        Kind::Routed { routes } => Attachment::Routed {
            routes: routes
                .iter()
                .map(|r| network::Route {
                    network: r.network,
                    via: r.via,
                })
                .collect(),
        },
        Kind::Bridge {
            link,
            dhcp,
            gateway_v4,
            gateway_v6,
            lease_v4,
        } => {
            let bridge = addresses_of(link);
            let lease = lease_v4.filter(|_| *dhcp);
            Attachment::Bridge {
                link: link.clone(),
                dhcp: *dhcp,
                lease: lease.and_then(|v4| whole_lease(v4, netif.hwaddr, &bridge)),
                gateways: Gateways {
                    v4: match gateway_v4 {
                        GatewayV4::Auto => first_v4(&bridge),
                        GatewayV4::None => None,
                        GatewayV4::Address(ip) => Some(*ip),
                    },
                    v6: match gateway_v6 {
                        GatewayV6::Auto => first_v6(&bridge).map(|n| n.addr()),
                        GatewayV6::None => None,
                        GatewayV6::Address(ip) => Some(*ip),
                    },
                },
            }
        }
    }
}

fn first_v4(bridge: &[IpNet]) -> Option<Ipv4Addr> {
    bridge.iter().find_map(|n| match n {
        IpNet::V4(n) => Some(n.addr()),
        IpNet::V6(_) => None,
    })
}

/// Its link-local address only when it has no other.
fn first_v6(bridge: &[IpNet]) -> Option<ipnet::Ipv6Net> {
    let mut all = bridge.iter().filter_map(|n| match n {
        IpNet::V6(n) => Some(*n),
        IpNet::V4(_) => None,
    });
    let first = all.next()?;
    let global = |n: &ipnet::Ipv6Net| !n.addr().is_unicast_link_local();
    Some(
        std::iter::once(first)
            .chain(all)
            .find(global)
            .unwrap_or(first),
    )
}

/// What the default bridge gives to an interface, which has prefixes of both versions of IP.
fn whole_lease(v4: Address, hwaddr: HwAddr, bridge: &[IpNet]) -> Option<DhcpLease> {
    let prefix = first_v6(bridge).filter(|n| n.prefix_len() == 64)?;
    let v6: Ipv6Addr = hwaddr.eui64(prefix.addr());
    Some(DhcpLease {
        v4,
        v6: IpNet::new(v6.into(), 64).ok()?.try_into().ok()?,
        gateways: Gateways {
            v4: first_v4(bridge),
            v6: Some(prefix.addr()),
        },
    })
}

#[cfg(test)]
mod tests;
