//! What an interface comes to on this host.

use std::net::IpAddr;

use osctl_api::net::Address;
use osctl_api::netif::Gateway;

use super::{Link, Netif};
use crate::network::{self, Attachment, DhcpLease, Gateways, Owner, Wanted};

/// What a bridge of the host is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BridgeFacts {
    /// Its first addresses.
    pub gateways: Gateways,
    /// Its addresses with their prefixes, when it is the default bridge.
    pub managed: Option<Managed>,
}

/// The networks of the default bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Managed {
    /// Its IPv4 address.
    pub v4: Address,
    /// Its IPv6 address.
    pub v6: Address,
}

impl Netif {
    /// What the default bridge gives to it, on that bridge.
    pub fn lease(&self, bridge: &BridgeFacts) -> Option<DhcpLease> {
        let bridged = self.bridge().filter(|b| b.dhcp)?;
        let managed = bridge.managed?;
        let IpAddr::V6(prefix) = managed.v6.ip() else {
            return None;
        };
        Some(DhcpLease {
            v4: with_prefix(bridged.lease?.into(), managed.v4)?,
            v6: with_prefix(self.hwaddr.eui64(prefix).into(), managed.v6)?,
            gateways: bridge.gateways,
        })
    }

    /// What it comes to on this host.
    pub fn wanted(&self, root: &str, owner: &Owner, bridge: &BridgeFacts) -> Wanted {
        let attachment = match &self.link {
            Link::Bridge(bridged) => Attachment::Bridge {
                link: bridged.link.clone(),
                dhcp: bridged.dhcp,
                lease: self.lease(bridge),
                gateways: Gateways {
                    v4: match (bridged.dhcp, bridged.gateway_v4) {
                        (false, Gateway::Auto) => bridge.gateways.v4,
                        (false, Gateway::At(IpAddr::V4(ip))) => Some(ip),
                        _ => None,
                    },
                    v6: match (bridged.dhcp, bridged.gateway_v6) {
                        (false, Gateway::Auto) => bridge.gateways.v6,
                        (false, Gateway::At(IpAddr::V6(ip))) => Some(ip),
                        _ => None,
                    },
                },
            },
            Link::Routed { routes } => Attachment::Routed {
                routes: routes
                    .iter()
                    .map(|r| network::Route {
                        network: r.network,
                        via: r.via,
                    })
                    .collect(),
            },
        };
        Wanted {
            owner: owner.clone(),
            name: self.name.clone(),
            host_name: network::host_name(root, owner, &self.name),
            hwaddr: self.hwaddr,
            attachment,
            addresses: self.addresses.clone(),
            mtu: self.mtu,
            tx_queues: self.tx_queues,
            rx_queues: self.rx_queues,
            max_tx: self.max_tx,
            max_rx: self.max_rx,
            anti_spoof: self.anti_spoof,
        }
    }
}

fn with_prefix(ip: IpAddr, of: Address) -> Option<Address> {
    let net = ipnet::IpNet::new(ip, of.net().prefix_len()).ok()?;
    Address::try_from(net).ok()
}
