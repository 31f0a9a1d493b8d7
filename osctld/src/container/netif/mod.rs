//! Network interfaces in a container's configuration: their shape and their checks. Pure: no
//! kernel, no files.

use std::net::Ipv4Addr;

use osctl_api::net::{Address, HwAddr, IfName, Rate};
use osctl_api::netif::{BridgeOptions, Gateway, HwAddrPattern, Kind, Options, Route, Version};
use serde::{Deserialize, Serialize};

use crate::error::Error;

mod edit;
mod resolve;

pub use edit::{KeepRoute, Routed};
pub use resolve::{BridgeFacts, Managed};

/// Most interfaces of a container.
pub const MAX_NETIFS: usize = 64;
/// Most addresses, and most routes, of an interface.
const MAX_ADDRESSES: usize = 256;
/// Most queues in one direction.
const MAX_QUEUES: u32 = 64;
/// Least MTU of IPv4 (RFC 791) and of IPv6 (RFC 8200), and the most that a veth takes.
const MTU_V4: u32 = 68;
const MTU_V6: u32 = 1280;
const MTU_MAX: u32 = 65535;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netif {
    /// Name in the container.
    pub name: IfName,
    /// What it is connected to.
    #[serde(flatten)]
    pub link: Link,
    /// Hardware address.
    pub hwaddr: HwAddr,
    /// Addresses that users gave it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
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
    /// Largest packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether only its own addresses may come out of it.
    #[serde(default = "yes")]
    pub anti_spoof: bool,
}

/// What an interface is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Link {
    /// A bridge.
    Bridge(Bridged),
    /// The host, point to point.
    Routed {
        /// What is routed to it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        routes: Vec<Route>,
    },
}

/// How an interface is connected to a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridged {
    /// The bridge.
    pub link: IfName,
    /// Whether the container asks for its addresses.
    pub dhcp: bool,
    /// IPv4 gateway, without DHCP.
    #[serde(default)]
    pub gateway_v4: Gateway,
    /// IPv6 gateway, without DHCP.
    #[serde(default)]
    pub gateway_v6: Gateway,
    /// The IPv4 address that the default bridge keeps for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Ipv4Addr>,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn invalid(name: &IfName, what: impl std::fmt::Display) -> Error {
    Error::invalid(format!("interface {name}: {what}"))
}

impl Netif {
    /// A new interface, with what users said of it.
    ///
    /// # Errors
    /// `InvalidArgument`; `Backend` without random numbers.
    pub fn new(
        name: IfName,
        kind: Kind,
        bridge: BridgeOptions,
        options: Options,
    ) -> Result<Netif, Error> {
        let link = match kind {
            Kind::Routed => Link::Routed { routes: Vec::new() },
            Kind::Bridge => Link::Bridge(Bridged {
                link: bridge
                    .link
                    .clone()
                    .ok_or_else(|| invalid(&name, "name the bridge that it is connected to"))?,
                dhcp: true,
                gateway_v4: Gateway::Auto,
                gateway_v6: Gateway::Auto,
                lease: None,
            }),
        };
        let pattern = options.hwaddr.clone().unwrap_or_else(HwAddrPattern::any);
        let mut netif = Netif {
            name,
            link,
            hwaddr: draw(&pattern)?,
            addresses: Vec::new(),
            tx_queues: 1,
            rx_queues: 1,
            max_tx: Rate::UNLIMITED,
            max_rx: Rate::UNLIMITED,
            mtu: None,
            anti_spoof: true,
        };
        let rest = Options {
            hwaddr: None,
            ..options
        };
        netif.set(bridge, rest)?;
        Ok(netif)
    }

    /// Takes over what users say of it.
    ///
    /// # Errors
    /// `InvalidArgument`, and then it is to be thrown away; `Backend` without random numbers.
    pub fn set(&mut self, bridge: BridgeOptions, options: Options) -> Result<(), Error> {
        self.set_bridge(bridge)?;
        if let Some(pattern) = &options.hwaddr {
            self.hwaddr = draw(pattern)?;
        }
        let plain = [
            (&mut self.tx_queues, options.tx_queues),
            (&mut self.rx_queues, options.rx_queues),
        ];
        for (field, value) in plain {
            *field = value.unwrap_or(*field);
        }
        self.max_tx = options.max_tx.unwrap_or(self.max_tx);
        self.max_rx = options.max_rx.unwrap_or(self.max_rx);
        self.anti_spoof = options.anti_spoof.unwrap_or(self.anti_spoof);
        if let Some(mtu) = options.mtu {
            self.mtu = (mtu != 0).then_some(mtu);
        }
        self.check()
    }

    fn set_bridge(&mut self, options: BridgeOptions) -> Result<(), Error> {
        let BridgeOptions {
            link,
            dhcp,
            gateway_v4,
            gateway_v6,
        } = options;
        let Link::Bridge(bridged) = &mut self.link else {
            if link.is_some() || dhcp.is_some() || gateway_v4.is_some() || gateway_v6.is_some() {
                return Err(invalid(
                    &self.name,
                    "a routed interface has no bridge, DHCP or gateway",
                ));
            }
            return Ok(());
        };
        if let Some(link) = link
            && link != bridged.link
        {
            bridged.link = link;
            bridged.lease = None;
        }
        bridged.dhcp = dhcp.unwrap_or(bridged.dhcp);
        if !bridged.dhcp {
            bridged.lease = None;
        }
        bridged.gateway_v4 = gateway_v4.unwrap_or(bridged.gateway_v4);
        bridged.gateway_v6 = gateway_v6.unwrap_or(bridged.gateway_v6);
        Ok(())
    }

    /// One like it for another container: with a hardware address of its own, and without
    /// addresses and routes, which no two can have.
    ///
    /// # Errors
    /// `Backend` without random numbers.
    pub fn copied(&self) -> Result<Netif, Error> {
        let mut copy = self.clone();
        copy.hwaddr = draw(&HwAddrPattern::any())?;
        copy.addresses.clear();
        match &mut copy.link {
            Link::Bridge(bridged) => bridged.lease = None,
            Link::Routed { routes } => routes.clear(),
        }
        Ok(copy)
    }

    /// Checks it by the rules that hold for commands.
    ///
    /// # Errors
    /// `InvalidArgument` naming the first value that can't be.
    pub fn check(&self) -> Result<(), Error> {
        for (what, queues) in [("transmit", self.tx_queues), ("receive", self.rx_queues)] {
            if !(1..=MAX_QUEUES).contains(&queues) {
                return Err(invalid(
                    &self.name,
                    format!("{queues} {what} queues can't be: use 1 to {MAX_QUEUES}"),
                ));
            }
        }
        let has_v6 = self.addresses.iter().any(|a| a.ip().is_ipv6());
        let least = if has_v6 { MTU_V6 } else { MTU_V4 };
        if let Some(mtu) = self.mtu
            && !(least..=MTU_MAX).contains(&mtu)
        {
            return Err(invalid(
                &self.name,
                format!("an MTU of {mtu} bytes can't be: use {least} to {MTU_MAX}"),
            ));
        }
        for rate in [self.max_tx, self.max_rx] {
            if let Err(e) = rate.to_string().parse::<Rate>() {
                return Err(Error::invalid_with(format!("interface {}", self.name), e));
            }
        }
        if self.addresses.len() > MAX_ADDRESSES || self.routes().len() > MAX_ADDRESSES {
            return Err(invalid(
                &self.name,
                format!("more than {MAX_ADDRESSES} addresses or routes are too many"),
            ));
        }
        for (n, address) in self.addresses.iter().enumerate() {
            if self.addresses[..n].iter().any(|a| a.ip() == address.ip()) {
                return Err(invalid(
                    &self.name,
                    format!("{} is there twice", address.ip()),
                ));
            }
        }
        match &self.link {
            Link::Bridge(bridged) => self.check_gateways(bridged),
            Link::Routed { routes } => self.check_routes(routes),
        }
    }

    fn check_gateways(&self, bridged: &Bridged) -> Result<(), Error> {
        let families = [
            (bridged.gateway_v4, Version::V4, "IPv4"),
            (bridged.gateway_v6, Version::V6, "IPv6"),
        ];
        for (gateway, version, name) in families {
            if let Gateway::At(ip) = gateway
                && !version.is_of(ip)
            {
                return Err(invalid(&self.name, format!("{ip} is no gateway of {name}")));
            }
        }
        Ok(())
    }

    fn check_routes(&self, routes: &[Route]) -> Result<(), Error> {
        for (n, route) in routes.iter().enumerate() {
            let network = route.network;
            if routes[..n].iter().any(|r| r.network == network) {
                return Err(invalid(&self.name, format!("{network} is routed twice")));
            }
            if network.net().prefix_len() == 0 {
                return Err(invalid(
                    &self.name,
                    "everything can't be routed to a container",
                ));
            }
            if let Some(via) = route.via {
                if !self.addresses.iter().any(|a| a.ip() == via) {
                    return Err(invalid(
                        &self.name,
                        format!("{via} is none of its addresses: add it first"),
                    ));
                }
                if via.is_ipv4() != network.net().addr().is_ipv4() {
                    return Err(invalid(
                        &self.name,
                        format!("{network} can't go through {via}"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// What is routed to it; nothing when it is on a bridge.
    pub fn routes(&self) -> &[Route] {
        match &self.link {
            Link::Bridge(_) => &[],
            Link::Routed { routes } => routes,
        }
    }

    /// The bridge that it is on.
    pub fn bridge(&self) -> Option<&Bridged> {
        match &self.link {
            Link::Bridge(bridged) => Some(bridged),
            Link::Routed { .. } => None,
        }
    }

    /// What it is connected to.
    pub fn kind(&self) -> Kind {
        match self.link {
            Link::Bridge(_) => Kind::Bridge,
            Link::Routed { .. } => Kind::Routed,
        }
    }
}

/// An address that a pattern allows, at random; for `-` one of those that are for local use.
fn draw(pattern: &HwAddrPattern) -> Result<HwAddr, Error> {
    // Locally administered (IEEE 802, second bit), so that it is no manufacturer's.
    let pattern = match pattern.as_str() {
        "-" => "02:xx:xx:xx:xx:xx",
        other => other,
    };
    loop {
        let mut random = [0; 17];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::backend("cannot draw a hardware address", e))?;
        let digits = pattern.chars().zip(random).map(|(c, r)| match c {
            'x' => char::from(b"0123456789abcdef"[usize::from(r & 15)]),
            other => other,
        });
        // One that is zero or a group's is drawn again; the pattern allows others.
        if let Ok(hwaddr) = digits.collect::<String>().parse() {
            return Ok(hwaddr);
        }
    }
}

/// Checks the interfaces of a container together.
///
/// # Errors
/// `InvalidArgument` naming the first that can't be.
pub fn check_all(netifs: &[Netif]) -> Result<(), Error> {
    if netifs.len() > MAX_NETIFS {
        return Err(Error::invalid(format!(
            "{} network interfaces are too many: at most {MAX_NETIFS}",
            netifs.len()
        )));
    }
    for (n, netif) in netifs.iter().enumerate() {
        if netifs[..n].iter().any(|o| o.name == netif.name) {
            return Err(invalid(&netif.name, "there is one of that name already"));
        }
        netif.check()?;
    }
    Ok(())
}
