//! Network interfaces of containers: parameters, replies.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::names::{InvalidName, Name, Ref, invalid, string_newtype};
use crate::net::{Address, HwAddr, IfName, Network, Rate};

/// What an interface is connected to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A bridge of the host.
    Bridge,
    /// The host alone, point to point.
    Routed,
}

/// Where packets for everywhere else go: `auto`, `none` or an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Gateway {
    /// The first address of the bridge.
    #[default]
    Auto,
    /// Nowhere.
    None,
    /// Here.
    At(IpAddr),
}

impl Gateway {
    fn to_text(self) -> Cow<'static, str> {
        match self {
            Gateway::Auto => "auto".into(),
            Gateway::None => "none".into(),
            Gateway::At(ip) => ip.to_string().into(),
        }
    }
}

impl FromStr for Gateway {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Gateway, InvalidName> {
        match s {
            "auto" => Ok(Gateway::Auto),
            "none" => Ok(Gateway::None),
            _ => match s.parse::<IpAddr>() {
                Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() => {
                    Ok(Gateway::At(ip))
                }
                _ => Err(invalid("gateway", s, "use 'auto', 'none' or an address")),
            },
        }
    }
}

string_newtype!(Gateway, "Gateway");

/// How to choose a hardware address: `-` for any, or an address in which every `x` stands for any
/// digit. What comes out is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HwAddrPattern(String);

impl HwAddrPattern {
    /// Any address.
    pub fn any() -> HwAddrPattern {
        HwAddrPattern("-".to_owned())
    }

    /// The pattern as text: `-`, or six bytes of hexadecimal digits and `x` with colons.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromStr for HwAddrPattern {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<HwAddrPattern, InvalidName> {
        const RULE: &str = "use '-', or six bytes such as 52:54:00:xx:xx:xx, neither all zero nor \
                            a group address";
        let pattern = s.to_ascii_lowercase();
        // A digit for each x: whether there can be such an address at all. 2 is that of an address
        // that is neither zero nor a group's, in every place.
        let example: Result<HwAddr, _> = pattern.replace('x', "2").parse();
        match s == "-" || example.is_ok() {
            true => Ok(HwAddrPattern(pattern)),
            false => Err(invalid("hardware address", s, RULE)),
        }
    }
}

string_newtype!(HwAddrPattern, "HwAddrPattern");

/// Some address, or all of them: `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Addresses {
    /// All of them.
    All,
    /// This one.
    One(Address),
}

impl Addresses {
    fn to_text(self) -> Cow<'static, str> {
        match self {
            Addresses::All => "all".into(),
            Addresses::One(address) => address.to_string().into(),
        }
    }
}

impl FromStr for Addresses {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Addresses, InvalidName> {
        match s {
            "all" => Ok(Addresses::All),
            _ => s.parse().map(Addresses::One),
        }
    }
}

string_newtype!(Addresses, "Addresses");

/// Some network, or all of them: `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Networks {
    /// All of them.
    All,
    /// This one.
    One(Network),
}

impl Networks {
    fn to_text(self) -> Cow<'static, str> {
        match self {
            Networks::All => "all".into(),
            Networks::One(network) => network.to_string().into(),
        }
    }
}

impl FromStr for Networks {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Networks, InvalidName> {
        match s {
            "all" => Ok(Networks::All),
            _ => s.parse().map(Networks::One),
        }
    }
}

string_newtype!(Networks, "Networks");

/// A version of the internet protocol.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
pub enum Version {
    /// IPv4.
    #[value(name = "4")]
    #[serde(rename = "4")]
    V4,
    /// IPv6.
    #[value(name = "6")]
    #[serde(rename = "6")]
    V6,
}

impl Version {
    /// Whether it is the version of this address.
    pub fn is_of(self, ip: IpAddr) -> bool {
        (self == Version::V4) == ip.is_ipv4()
    }
}

/// A network that is routed to a container.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Route {
    /// Where to.
    pub network: Network,
    /// Through this address of the container, rather than directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
}

/// What went through an interface since it was made, as the container sees it: kept over restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Bytes that came in.
    pub rx_bytes: u64,
    /// Packets that came in.
    pub rx_packets: u64,
    /// Bytes that went out.
    pub tx_bytes: u64,
    /// Packets that went out.
    pub tx_packets: u64,
}

/// A network interface of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Netif {
    /// Pool of the container.
    pub pool: Name,
    /// Id of the container.
    pub ctid: Name,
    /// Name in the container.
    pub name: IfName,
    /// Position among the container's interfaces, from 0.
    pub index: u32,
    /// What it is connected to.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<IfName>,
    /// Whether the container asks a DHCP server for its addresses.
    pub dhcp: bool,
    /// IPv4 gateway, unless DHCP says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_v4: Option<Gateway>,
    /// IPv6 gateway, unless DHCP says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_v6: Option<Gateway>,
    /// Name of its other end on the host, while the container runs.
    pub veth: IfName,
    /// Hardware address.
    pub hwaddr: HwAddr,
    /// Number of transmit queues.
    pub tx_queues: u32,
    /// Number of receive queues.
    pub rx_queues: u32,
    /// Highest rate out of the container, bits per second; 0 is no limit.
    pub max_tx: Rate,
    /// Highest rate into the container, bits per second; 0 is no limit.
    pub max_rx: Rate,
    /// Largest packet, when it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether only its own addresses may come out of it.
    pub anti_spoof: bool,
    /// Addresses that were added to it.
    pub addresses: Vec<Address>,
    /// Addresses that the default bridge gives to it.
    pub leases: Vec<Address>,
    /// Networks that are routed to it.
    pub routes: Vec<Route>,
    /// What went through it.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// List network interfaces of containers
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct List {
    /// Of this container; of all when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Ref>,
    /// Of this pool
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Of this kind
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// On this bridge
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<IfName>,
}

/// Reply of `NetifList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Netifs {
    /// The interfaces.
    pub netifs: Vec<Netif>,
}

/// What can be said of an interface besides its name and kind
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Hardware address; every `x` in it is any digit, and `-` any address
    #[arg(long, value_name = "HWADDR")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hwaddr: Option<HwAddrPattern>,
    /// Number of transmit queues
    #[arg(long, value_name = "QUEUES")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_queues: Option<u32>,
    /// Number of receive queues
    #[arg(long, value_name = "QUEUES")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_queues: Option<u32>,
    /// Highest rate out of the container, such as `10m`, or `unlimited`
    #[arg(long, value_name = "RATE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tx: Option<Rate>,
    /// Highest rate into the container, such as `10m`, or `unlimited`
    #[arg(long, value_name = "RATE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rx: Option<Rate>,
    /// Largest packet in bytes; 0 for the bridge's, or the kernel's
    #[arg(long, value_name = "BYTES")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether only its own addresses may come out of it
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_spoof: Option<bool>,
}

/// What can be said of an interface on a bridge
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct BridgeOptions {
    /// Bridge of the host
    #[arg(long, value_name = "BRIDGE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<IfName>,
    /// Whether the container asks a DHCP server for its addresses
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
    /// IPv4 gateway without DHCP: an address, `auto` for the first of the bridge, or `none`
    #[arg(long, value_name = "GATEWAY")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_v4: Option<Gateway>,
    /// IPv6 gateway without DHCP: an address, `auto` for the first of the bridge, or `none`
    #[arg(long, value_name = "GATEWAY")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_v6: Option<Gateway>,
}

/// Add a network interface to a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct New {
    /// Id of the container
    pub id: Ref,
    /// Name in the container
    pub name: IfName,
    /// What it is connected to
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Of a bridged one
    #[serde(flatten)]
    pub bridge: BridgeOptions,
    /// Of any
    #[serde(flatten)]
    pub options: Options,
}

/// Remove a network interface from a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Delete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
}

/// Give a network interface of a container another name
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Rename {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
    /// Its new name
    #[arg(value_name = "NEW-IFNAME")]
    pub new_name: IfName,
}

/// Change a network interface of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Set {
    /// Id of the container
    pub id: Ref,
    /// Name of the interface
    pub name: IfName,
    /// Of a bridged one
    #[serde(flatten)]
    pub bridge: BridgeOptions,
    /// Of any
    #[serde(flatten)]
    pub options: Options,
}

/// List addresses of network interfaces
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct IpList {
    /// Of this container; of all when absent
    #[arg(value_name = "CTID")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Ref>,
    /// Of this interface
    #[arg(value_name = "IFNAME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<IfName>,
    /// Of this version of the internet protocol
    #[arg(short, long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Of this pool
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
}

/// An address of an interface.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct IpRow {
    /// Pool of the container.
    pub pool: Name,
    /// Id of the container.
    pub ctid: Name,
    /// Name of the interface.
    pub netif: IfName,
    /// The address.
    pub addr: Address,
    /// Version of the internet protocol.
    pub version: Version,
}

/// Reply of `NetifIpList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct IpRows {
    /// The addresses.
    pub addresses: Vec<IpRow>,
}

/// Add an address to a network interface
///
/// To a routed interface, the address' network is routed as well, unless a route has it already.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct IpAdd {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
    /// Address with the length of its prefix
    #[arg(value_name = "ADDR")]
    pub addr: Address,
    /// Route nothing to the container
    #[arg(long, conflicts_with = "route_as")]
    #[serde(default)]
    pub no_route: bool,
    /// Route this network rather than that of the address
    #[arg(long, value_name = "NETWORK")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_as: Option<Network>,
}

/// Remove an address, or all of them, from a network interface
///
/// From a routed interface, the route to the address and all that go through it are removed as well.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct IpDelete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
    /// The address, or `all`
    #[arg(value_name = "ADDR")]
    pub addr: Addresses,
    /// Keep the route to it
    #[arg(long)]
    #[serde(default)]
    pub keep_route: bool,
    /// All of this version of the internet protocol
    #[arg(short, long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

/// List networks that are routed to containers
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct RouteList {
    /// To this container; to all when absent
    #[arg(value_name = "CTID")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Ref>,
    /// To this interface
    #[arg(value_name = "IFNAME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<IfName>,
    /// Of this version of the internet protocol
    #[arg(short, long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Of this pool
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
}

/// A route to an interface.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RouteRow {
    /// Pool of the container.
    pub pool: Name,
    /// Id of the container.
    pub ctid: Name,
    /// Name of the interface.
    pub netif: IfName,
    /// The network.
    pub addr: Network,
    /// Through this address of the container, rather than directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// Version of the internet protocol.
    pub version: Version,
}

/// Reply of `NetifRouteList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RouteRows {
    /// The routes.
    pub routes: Vec<RouteRow>,
}

/// Route a network to a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct RouteAdd {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface, a routed one
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
    /// The network
    #[arg(value_name = "NETWORK")]
    pub addr: Network,
    /// Through this address, which the interface has
    #[arg(long, value_name = "ADDR")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
}

/// Route a network, or all of them, to a container no more
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct RouteDelete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
    /// The network, or `all`
    #[arg(value_name = "NETWORK")]
    pub addr: Networks,
    /// All of this version of the internet protocol
    #[arg(short, long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_hardware_addresses() {
        for s in [
            "-",
            "52:54:00:xx:xx:xx",
            "xx:xx:xx:xx:xx:xx",
            "X2:54:00:12:34:56",
        ] {
            assert!(s.parse::<HwAddrPattern>().is_ok(), "{s}");
        }
        for s in [
            "",
            "--",
            "53:xx:xx:xx:xx:xx",
            "x3:54:00:12:34:56",
            "52:54:00:xx:xx",
            "52:54:00:yy:xx:xx",
        ] {
            assert!(s.parse::<HwAddrPattern>().is_err(), "{s}");
        }
    }

    #[test]
    fn gateways() {
        for s in ["auto", "none", "192.0.2.1", "fe80::1"] {
            assert_eq!(s.parse::<Gateway>().unwrap().to_string(), s);
        }
        for s in [
            "",
            "Auto",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "127.0.0.1",
            "192.0.2.1/24",
            "192.0.2.1\n",
        ] {
            assert!(s.parse::<Gateway>().is_err(), "{s:?}");
        }
    }
}
