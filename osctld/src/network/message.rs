//! Requests about links, addresses and routes, and what the kernel says of a link.
//!
//! It decides nothing: which link gets what is for those who ask.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NlasIterator};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc;
use osctl_api::net::Network;

use super::netlink::{Error, Reply, Socket, text};
use super::stats::Counters;
use super::wanted::Route;

/// Marks our routes (linux/rtnetlink.h, rtm_protocol: values from 4 on mean nothing to the kernel).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(111);

/// An attribute that holds others.
pub(super) fn nest(kind: u16, children: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; children.buffer_len()];
    children.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

/// An attribute that is a number.
pub(super) fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

/// A link, by its index.
pub(super) fn indexed(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link
}

/// A link, by its name.
pub(super) fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

/// Adds what makes it go up.
pub(super) fn up(mut link: LinkMessage) -> LinkMessage {
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}

/// Adds what makes it go down.
pub(super) fn down(mut link: LinkMessage) -> LinkMessage {
    link.header.change_mask = LinkFlags::Up;
    link
}

/// Adds attributes.
pub(super) fn with<const N: usize>(
    mut link: LinkMessage,
    attributes: [LinkAttribute; N],
) -> LinkMessage {
    link.attributes.extend(attributes);
    link
}

/// Settings of a link for IPv4: pairs of `IPV4_DEVCONF_*` and value.
pub(super) fn conf_v4(settings: &[(u16, u32)]) -> AfSpecUnspec {
    let all: Vec<DefaultNla> = settings.iter().map(|(k, v)| number(*k, *v)).collect();
    const IFLA_INET_CONF: u16 = 1;
    AfSpecUnspec::Inet(vec![AfSpecInet::Other(nest(IFLA_INET_CONF, &all))])
}

/// Has the kernel make no IPv6 addresses for a link by itself.
pub(super) fn no_generated_addresses() -> AfSpecUnspec {
    AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)])
}

/// Settings of a link for the families.
pub(super) fn settings(families: Vec<AfSpecUnspec>) -> LinkAttribute {
    LinkAttribute::AfSpecUnspec(families)
}

/// The kind of a link to be made.
pub(super) fn kind(kind: InfoKind) -> LinkInfo {
    LinkInfo::Kind(kind)
}

/// An address of a link; IPv6 ones can be used at once, without looking for duplicates.
pub(super) fn address(index: u32, net: IpNet, scope: AddressScope) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = net.prefix_len();
    message.header.scope = scope;
    let ip = net.addr();
    message.attributes.push(AddressAttribute::Local(ip));
    match net {
        IpNet::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            message.attributes.push(AddressAttribute::Address(ip));
            if v4.prefix_len() < 31 {
                let all = AddressAttribute::Broadcast(v4.broadcast());
                message.attributes.push(all);
            }
        }
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            message.attributes.push(flags);
        }
    }
    message
}

/// A route over a link: directly, or through `via`, which need not be in a network of the link.
pub(super) fn route(index: u32, net: IpNet, via: Option<IpAddr>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.destination_prefix_length = net.prefix_len();
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = PROTOCOL;
    header.kind = RouteType::Unicast;
    header.address_family = family(net);
    if via.is_some() {
        header.flags = RouteFlags::Onlink;
    } else if net.addr().is_ipv4() {
        header.scope = RouteScope::Link;
    }
    let attributes = &mut message.attributes;
    if net.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(net.addr().into()));
    }
    attributes.push(RouteAttribute::Oif(index));
    match via {
        Some(IpAddr::V6(hop)) if net.addr().is_ipv4() => {
            attributes.push(RouteAttribute::Via(RouteVia::Inet6(hop)));
        }
        Some(hop) => attributes.push(RouteAttribute::Gateway(hop.into())),
        None => {}
    }
    message
}

/// The address family of a network.
pub(super) fn family(net: IpNet) -> AddressFamily {
    match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}

/// Our routes over a link.
///
/// # Errors
/// Those of asking for them.
pub(super) fn routes_over(socket: &mut Socket, index: u32) -> Result<Vec<Route>, Error> {
    let mut all = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut filter = RouteMessage::default();
        filter.header.address_family = family;
        filter.header.table = RouteHeader::RT_TABLE_MAIN;
        filter.header.protocol = PROTOCOL;
        filter.attributes.push(RouteAttribute::Oif(index));
        for reply in socket.dump(RouteNetlinkMessage::GetRoute(filter), "list routes")? {
            if let RouteNetlinkMessage::NewRoute(found) = reply.parse()? {
                all.extend(ours(&found, index));
            }
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// The route, if it is one of ours over that link.
fn ours(message: &RouteMessage, index: u32) -> Option<Route> {
    let header = &message.header;
    let (mut to, mut via, mut over) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(ip) => to = plain(ip),
            RouteAttribute::Gateway(ip) => via = plain(ip),
            RouteAttribute::Via(RouteVia::Inet6(ip)) => via = Some(IpAddr::V6(*ip)),
            RouteAttribute::Oif(index) => over = Some(*index),
            _ => {}
        }
    }
    let everywhere = match header.address_family {
        AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let to = IpNet::new(to.unwrap_or(everywhere), header.destination_prefix_length).ok()?;
    let good = header.protocol == PROTOCOL
        && header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
        && over == Some(index);
    let network: Network = to.to_string().parse().ok()?;
    good.then_some(Route { network, via })
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

/// Addresses of a link.
///
/// # Errors
/// Those of asking for them.
pub(super) fn addresses_of(socket: &mut Socket, index: u32) -> Result<Vec<IpNet>, Error> {
    let mut filter = AddressMessage::default();
    filter.header.index = index;
    let mut all = Vec::new();
    for reply in socket.dump(RouteNetlinkMessage::GetAddress(filter), "list addresses")? {
        if let RouteNetlinkMessage::NewAddress(found) = reply.parse()? {
            all.extend(net_of(&found, index));
        }
    }
    Ok(all)
}

/// The address that a message is about, if it is one of that link.
pub(super) fn net_of(message: &AddressMessage, index: u32) -> Option<IpNet> {
    let (mut local, mut plain) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // Of a point to point address, `Local` is ours and `Address` the other's.
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => plain = Some(*ip),
            _ => {}
        }
    }
    let net = IpNet::new(local.or(plain)?, message.header.prefix_len).ok()?;
    (message.header.index == index).then_some(net)
}

/// What the kernel says of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alias, which holds our mark.
    pub alias: Option<String>,
    /// `veth`, `bridge`, `ifb`; absent for real ones.
    pub kind: Option<String>,
    /// Whether it is up.
    pub up: bool,
    /// Whether packets can go through it: it is up and so is its other end.
    pub running: bool,
    /// The kind of its queueing discipline: `noqueue`, `tbf`.
    pub discipline: String,
    /// Largest packet.
    pub mtu: u32,
    /// Index of the bridge that it is a port of.
    pub controller: Option<u32>,
    /// Index of its other end, in the namespace where that is.
    pub peer: Option<u32>,
    /// Where its other end is, as the kernel numbers namespaces; absent when that is here.
    pub peer_namespace: Option<i32>,
    /// Hardware address.
    pub hwaddr: Vec<u8>,
    /// Counters, as the kernel has them: `rx` is what came in over this link.
    pub counters: Counters,
}

impl Link {
    /// The link that a reply is about; `None` when it is about something else.
    pub(super) fn parse(kind: u16, body: &[u8]) -> Option<Link> {
        if kind != libc::RTM_NEWLINK && kind != libc::RTM_DELLINK {
            return None;
        }
        let (header, attributes) = body.split_at_checked(16)?;
        // AF_BRIDGE is about ports and what they know, not about links.
        if header[0] != 0 {
            return None;
        }
        let flags = word(&header[8..])?;
        let mut link = Link {
            index: word(&header[4..])?,
            up: flags & LinkFlags::Up.bits() != 0,
            running: flags & LinkFlags::Running.bits() != 0,
            ..Link::default()
        };
        for nla in NlasIterator::new(attributes).filter_map(Result::ok) {
            let value = nla.value();
            match nla.kind() {
                libc::IFLA_IFNAME => link.name = text(value),
                libc::IFLA_IFALIAS => link.alias = Some(text(value)),
                libc::IFLA_ADDRESS => link.hwaddr = value.to_vec(),
                libc::IFLA_QDISC => link.discipline = text(value),
                libc::IFLA_MTU => link.mtu = word(value)?,
                libc::IFLA_MASTER => link.controller = word(value),
                libc::IFLA_LINK => link.peer = word(value),
                libc::IFLA_LINK_NETNSID => {
                    link.peer_namespace = word(value).map(u32::cast_signed);
                }
                libc::IFLA_STATS64 => link.counters = Counters::parse(value)?,
                libc::IFLA_LINKINFO => {
                    link.kind = NlasIterator::new(value)
                        .filter_map(Result::ok)
                        .find(|nla| nla.kind() == libc::IFLA_INFO_KIND)
                        .map(|nla| text(nla.value()));
                }
                _ => {}
            }
        }
        Some(link)
    }

    /// The links of a list of replies.
    pub(super) fn all(replies: &[Reply]) -> impl Iterator<Item = Link> {
        replies.iter().filter_map(|r| Link::parse(r.kind, &r.body))
    }
}

fn word(bytes: &[u8]) -> Option<u32> {
    let bytes = bytes.get(..4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(bytes))
}

/// Leaves the counters out of what is said of a link.
pub(super) fn without_counters() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}
