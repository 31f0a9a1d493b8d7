//! What a guest is told about one of its interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use osctl_api::net::{HwAddr, IfName};

use crate::network::{Attachment, Gateways, Wanted};

/// One interface, as the guest is to configure it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netif {
    /// Its name.
    pub name: IfName,
    /// Its hardware address.
    pub hwaddr: HwAddr,
    /// Largest packet, when it is set.
    pub mtu: Option<u32>,
    /// Static addresses.
    pub addresses: Vec<IpNet>,
    /// Where the rest comes from.
    pub uplink: Uplink,
}

/// Where packets go that are for nobody on the interface itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uplink {
    /// Addresses and routes are asked for: by DHCP for IPv4, by router solicitation for IPv6.
    Dhcp {
        /// DNS servers that are known to be handed out, for who does not ask.
        dns: Vec<IpAddr>,
    },
    /// There are these gateways, and nothing is asked for.
    Static(Gateways),
    /// Point to point: all goes to the host.
    Routed,
}

/// A route that an interface has besides those to the networks of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The only destination; all of the family when absent.
    pub to: Option<IpAddr>,
    /// Next hop; none when the destination is on the link.
    pub via: Option<IpAddr>,
    /// Which of several equal ones is taken: the lowest.
    pub metric: Option<u32>,
    family: Family,
}

/// Version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The metric of the second interface's routes; the first one has the kernel's or the client's.
const SECOND_METRIC: u32 = 2048;

impl From<&Wanted> for Netif {
    fn from(wanted: &Wanted) -> Netif {
        let nets = wanted.addresses.iter().map(|a| a.net());
        let (uplink, addresses) = match &wanted.attachment {
            Attachment::Bridge {
                dhcp: true, lease, ..
            } => {
                let dns = lease.map(|l| {
                    let (v4, v6) = (l.gateways.v4, l.gateways.v6);
                    v4.map(IpAddr::from)
                        .into_iter()
                        .chain(v6.map(IpAddr::from))
                        .collect()
                });
                let dns = dns.unwrap_or_default();
                (Uplink::Dhcp { dns }, nets.collect())
            }
            Attachment::Bridge { gateways, .. } => (Uplink::Static(*gateways), nets.collect()),
            Attachment::Routed { .. } => (Uplink::Routed, nets.collect()),
        };
        Netif {
            name: wanted.name.clone(),
            hwaddr: wanted.hwaddr,
            mtu: wanted.mtu,
            addresses,
            uplink,
        }
    }
}

impl Netif {
    /// Whether it asks for its addresses.
    pub fn is_dhcp(&self) -> bool {
        matches!(self.uplink, Uplink::Dhcp { .. })
    }

    /// Whether it is point to point.
    pub fn is_routed(&self) -> bool {
        matches!(self.uplink, Uplink::Routed)
    }

    /// Static addresses of IPv4.
    pub fn v4(&self) -> Vec<Ipv4Net> {
        let v4 = |net: &IpNet| match net {
            IpNet::V4(net) => Some(*net),
            IpNet::V6(_) => None,
        };
        self.addresses.iter().filter_map(v4).collect()
    }

    /// Static addresses of IPv6.
    pub fn v6(&self) -> Vec<Ipv6Net> {
        let v6 = |net: &IpNet| match net {
            IpNet::V6(net) => Some(*net),
            IpNet::V4(_) => None,
        };
        self.addresses.iter().filter_map(v6).collect()
    }

    /// The addresses in the order in which they are best added one by one: the kernel takes for its
    /// own packets the first one of IPv4 and the last one of IPv6.
    pub fn in_adding_order(&self) -> Vec<IpNet> {
        let v4 = self.v4().into_iter().map(IpNet::from);
        v4.chain(self.v6().into_iter().rev().map(IpNet::from))
            .collect()
    }

    /// Gateway of IPv4, when there are addresses that can use it.
    pub fn gateway_v4(&self) -> Option<Ipv4Addr> {
        match &self.uplink {
            _ if self.v4().is_empty() => None,
            Uplink::Dhcp { .. } => None,
            Uplink::Static(gateways) => gateways.v4,
            Uplink::Routed => Some(Wanted::ROUTED_NEXT_HOP_V4),
        }
    }

    /// Gateway of IPv6, when there are addresses that can use it.
    pub fn gateway_v6(&self) -> Option<Ipv6Addr> {
        match &self.uplink {
            _ if self.v6().is_empty() => None,
            Uplink::Dhcp { .. } => None,
            Uplink::Static(gateways) => gateways.v6,
            Uplink::Routed => Some(Wanted::ROUTED_NEXT_HOP_V6),
        }
    }

    /// Whether a gateway is in the network of one of the addresses, or needs none.
    pub fn is_on_link(&self, gateway: IpAddr) -> bool {
        let link_local = matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
        link_local || self.addresses.iter().any(|net| net.contains(&gateway))
    }

    /// The routes of interface number `index`, in the order in which they can be added.
    pub fn hops(&self, index: usize) -> Vec<Hop> {
        let metric = metric(index);
        let gateways = [
            self.gateway_v4().map(|g| (IpAddr::from(g), Family::V4)),
            self.gateway_v6().map(|g| (IpAddr::from(g), Family::V6)),
        ];
        let mut hops = Vec::new();
        for (gateway, family) in gateways.into_iter().flatten() {
            let hop = |to, via| Hop {
                to,
                via,
                metric,
                family,
            };
            if !self.is_on_link(gateway) {
                hops.push(hop(Some(gateway), None));
            }
            hops.push(hop(None, Some(gateway)));
        }
        hops
    }
}

/// What the routes of interface number `index` cost, when that has to be said: two equal routes
/// can't be.
pub fn metric(index: usize) -> Option<u32> {
    let more = u32::try_from(index.checked_sub(1)?).unwrap_or(u32::MAX / 2);
    Some(SECOND_METRIC.saturating_add(more))
}

impl Hop {
    /// Version of IP.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The destination with its prefix length.
    pub fn network(&self) -> IpNet {
        match (self.to, self.family) {
            (Some(ip), _) => ip.into(),
            (None, Family::V4) => Ipv4Net::default().into(),
            (None, Family::V6) => Ipv6Net::default().into(),
        }
    }

    /// What to write after `ip route add`, but for the interface.
    pub fn to_arguments(self) -> String {
        let mut words = match self.to {
            Some(ip) => IpNet::from(ip).to_string(),
            None => "default".to_owned(),
        };
        if let Some(via) = self.via {
            words.push_str(&format!(" via {via}"));
        }
        if let Some(metric) = self.metric {
            words.push_str(&format!(" metric {metric}"));
        }
        words
    }

    /// `ip`, or what it is for this family.
    pub fn ip(self) -> &'static str {
        self.family.ip()
    }
}

impl Family {
    /// `ip`, or what it is for this family.
    pub fn ip(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip -6",
        }
    }

    /// The family of an address.
    pub fn of(net: IpNet) -> Family {
        match net {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }
}

/// The settings below /proc/sys/net/ipv6/conf/NAME that fit an interface, with their values: its
/// addresses are made from the hardware address, since the host lets out no others.
pub fn sysctls(netif: &Netif) -> Vec<(&'static str, &'static str)> {
    let mut all = vec![("addr_gen_mode", "0"), ("use_tempaddr", "0")];
    if netif.is_dhcp() {
        // 2: also when the guest forwards packets itself.
        all.extend([("accept_ra", "2"), ("autoconf", "1")]);
    } else {
        all.extend([("accept_ra", "0"), ("autoconf", "0")]);
    }
    if netif.is_routed() {
        // There is nobody to have the same address, and nobody waits.
        all.push(("accept_dad", "0"));
    }
    all
}
