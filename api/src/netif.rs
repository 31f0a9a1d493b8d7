//! Network interfaces of containers ("netifs"): making, changing and listing them, their addresses
//! and routes.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{Name, Ref};
use crate::net::{Address, HwAddr, IfName, Network, Rate};

mod values;

pub use values::{Chosen, GatewayV4, GatewayV6, HwAddrPattern, IpVersion, Kind};

/// Most interfaces of a container.
pub const MAX_NETIFS: usize = 64;
/// Most addresses, and most routes, of an interface.
pub const MAX_ADDRESSES: usize = 256;
/// Most transmit or receive queues.
pub const MAX_QUEUES: u32 = 64;
/// Smallest and largest mtu.
pub const MTU: std::ops::RangeInclusive<u32> = 68..=65535;
/// Smallest mtu with IPv6 (RFC 8200).
pub const MIN_MTU_V6: u32 = 1280;

/// List network interfaces of containers
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct NetifList {
    /// Only those of this container
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Ref>,
    /// Only those of containers of this pool
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Only those of this kind
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Only those that are ports of this bridge
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<IfName>,
}

/// Reply of `NetifList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Netifs {
    /// The interfaces, by pool and container, in the order that they have there.
    pub netifs: Vec<Netif>,
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
    /// Place among the container's interfaces, from 0; the first one has the default route.
    pub index: u32,
    /// Kind.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Bridge that it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<IfName>,
    /// Whether the container asks for its addresses; of ports of bridges only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
    /// Next hops for everything, when the container does not ask; of ports of bridges only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Gateways>,
    /// Name of its other end on the host; there only while the container runs.
    pub veth: IfName,
    /// Hardware address in the container.
    pub hwaddr: HwAddr,
    /// Number of transmit queues.
    pub tx_queues: u32,
    /// Number of receive queues.
    pub rx_queues: u32,
    /// Highest rate out of the container, bits per second; 0 is no limit.
    pub max_tx: Rate,
    /// Highest rate into the container, bits per second; 0 is no limit.
    pub max_rx: Rate,
    /// Largest packet, bytes; that of the bridge, or 1500, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether only packets with its own addresses may come out of it.
    pub anti_spoof: bool,
    /// Static addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Addresses that the default bridge hands out to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lease: Vec<Address>,
    /// What is routed to the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Why the container can't be started with it: somebody else has its addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// Bytes that came into the container, over all its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_bytes: Option<u64>,
    /// Packets that came into the container, over all its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_packets: Option<u64>,
    /// Bytes that went out of the container, over all its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_bytes: Option<u64>,
    /// Packets that went out of the container, over all its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_packets: Option<u64>,
}

/// Next hops for everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gateways {
    /// Of IPv4.
    pub ipv4: GatewayV4,
    /// Of IPv6.
    pub ipv6: GatewayV6,
}

/// A network that is routed to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Where to.
    pub network: Network,
    /// Through this address of the container, rather than directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
}

/// Add a network interface to a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NetifNew {
    /// Id of the container
    pub id: Ref,
    /// Name of the interface in the container
    pub name: IfName,
    /// Kind
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Bridge that it becomes a port of; the default one when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<IfName>,
    /// Whether the container asks for its addresses; it does when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
    /// Next hop of IPv4 when it does not ask
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_v4: Option<GatewayV4>,
    /// Next hop of IPv6 when it does not ask
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_v6: Option<GatewayV6>,
    /// Everything else
    #[serde(flatten)]
    pub options: Options,
}

/// What netifs of all kinds have; what is absent has its default, or is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Hardware address in the container; digits `x` are drawn at random, `-` draws all of it
    #[arg(long, allow_hyphen_values = true)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hwaddr: Option<HwAddrPattern>,
    /// Number of transmit queues, 1 to 64
    #[arg(long, value_name = "QUEUES")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_queues: Option<u32>,
    /// Number of receive queues, 1 to 64
    #[arg(long, value_name = "QUEUES")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_queues: Option<u32>,
    /// Highest rate out of the container, bits per second with suffix k, m, g or t, or `unlimited`
    #[arg(long, value_name = "RATE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tx: Option<Rate>,
    /// Highest rate into the container, as --max-tx
    #[arg(long, value_name = "RATE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rx: Option<Rate>,
    /// Largest packet, 68 to 65535 bytes, with IPv6 at least 1280; 0 for that of the bridge, or 1500
    #[arg(long, value_name = "BYTES")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether only packets with its own addresses may come out of the container; they do when
    /// absent
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_spoof: Option<bool>,
}

/// Remove a network interface from a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct NetifDelete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface in the container
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
}

/// Give a network interface of a container another name
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct NetifRename {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface in the container
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
    /// New name
    #[arg(value_name = "NEW-IFNAME")]
    pub new_name: IfName,
}

/// Change a network interface of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NetifSet {
    /// Id of the container
    pub id: Ref,
    /// Name of the interface in the container
    pub name: IfName,
    /// Bridge that it is a port of
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<IfName>,
    /// Whether the container asks for its addresses
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
    /// Next hop of IPv4 when it does not ask
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_v4: Option<GatewayV4>,
    /// Next hop of IPv6 when it does not ask
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_v6: Option<GatewayV6>,
    /// Everything else
    #[serde(flatten)]
    pub options: Options,
}

/// List addresses of network interfaces of containers
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct NetifIpList {
    /// Only those of this container
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Ref>,
    /// Only those of containers of this pool
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Only those of interfaces of this name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<IfName>,
    /// Only those of this version of IP
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<IpVersion>,
}

/// An address of a network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressRow {
    /// Pool of the container.
    pub pool: Name,
    /// Id of the container.
    pub ctid: Name,
    /// Name of the interface in the container.
    pub netif: IfName,
    /// Version of IP.
    pub version: IpVersion,
    /// The address.
    pub addr: Address,
    /// Whether the default bridge hands it out, rather than that it was added.
    pub lease: bool,
}

/// Reply of `NetifIpList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Addresses {
    /// The addresses.
    pub addresses: Vec<AddressRow>,
}

/// Add an address to a network interface of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NetifIpAdd {
    /// Id of the container
    pub id: Ref,
    /// Name of the interface in the container
    pub name: IfName,
    /// The address
    pub addr: Address,
    /// On a routed interface: leave the routes as they are, rather than add one to the address
    /// unless there is one that contains it
    #[serde(default)]
    pub no_route: bool,
    /// On a routed interface: route this network, which contains the address, rather than that of
    /// the address
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_as: Option<Network>,
}

/// Remove an address, or all of them, from a network interface of a container
///
/// On a routed interface, routes through the address go with it, and so does the route to exactly
/// its network.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NetifIpDelete {
    /// Id of the container
    pub id: Ref,
    /// Name of the interface in the container
    pub name: IfName,
    /// The address, also without the length of its prefix, or `all`
    pub addr: Chosen<Address>,
    /// Leave the route to the network of the address
    #[serde(default)]
    pub keep_route: bool,
    /// With `all`: only those of this version of IP
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<IpVersion>,
}

/// List what is routed to network interfaces of containers
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct NetifRouteList {
    /// Only what is routed to this container
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Ref>,
    /// Only what is routed to containers of this pool
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Only what is routed to interfaces of this name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<IfName>,
    /// Only networks of this version of IP
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<IpVersion>,
}

/// What is routed to a network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteRow {
    /// Pool of the container.
    pub pool: Name,
    /// Id of the container.
    pub ctid: Name,
    /// Name of the interface in the container.
    pub netif: IfName,
    /// Version of IP.
    pub version: IpVersion,
    /// The network.
    pub addr: Network,
    /// Through this address of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
}

/// Reply of `NetifRouteList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Routes {
    /// The routes.
    pub routes: Vec<RouteRow>,
}

/// Route a network to a routed interface of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct NetifRouteAdd {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface in the container
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
    /// The network
    pub addr: Network,
    /// Through this address of the interface, rather than directly
    #[arg(long, value_name = "HOSTADDR")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
}

/// Stop routing a network, or all of them, to a routed interface of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct NetifRouteDelete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the interface in the container
    #[arg(value_name = "IFNAME")]
    pub name: IfName,
    /// The network, or `all`
    pub addr: Chosen<Network>,
    /// With `all`: only those of this version of IP
    #[arg(short, long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<IpVersion>,
}
