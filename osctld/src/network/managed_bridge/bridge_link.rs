//! The bridge in the kernel: made, told from other people's, given its addresses, removed.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use nix::errno::Errno;
use nix::libc::{NLM_F_CREATE, NLM_F_EXCL};
use osctl_api::net::IfName;
use sha2::{Digest, Sha256};

use super::subnet::Networks;
use crate::error::{Error, Result};
use crate::network::error::{Error as LinkError, Result as LinkResult};
use crate::network::link::Host;
use crate::network::message::Link;
use crate::network::netlink::Batch;
use crate::network::{message, setting};

/// Makes sure that there is a bridge of ours with these addresses, up.
pub(super) fn ensure(host: &Host, name: &IfName, mark: &str, networks: &Networks) -> Result<()> {
    let failed = |e| Error::backend(format!("cannot make bridge {name}"), e);
    let link = match host.link(name.as_str()).map_err(failed)? {
        Some(link) => link,
        None => make(host, name, mark).map_err(failed)?,
    };
    if !is_ours(&link, mark) {
        return Err(Error::exists(format!("interface {name} was made by somebody else"))
            .hint("name another bridge, or `bridge = \"\"` for none, in the section [network] of the configuration"));
    }
    if host.ipv6 {
        // Before it is up: a host that listens to its own containers would do as they say; and it
        // may keep IPv6 from new interfaces.
        for (setting, value) in [
            ("accept_ra", "0"),
            ("accept_redirects", "0"),
            ("disable_ipv6", "0"),
        ] {
            let known = setting::set(&format!("ipv6/conf/{name}/{setting}"), value);
            known.map_err(failed)?;
        }
    }
    let has = message::addresses_of(&mut host.lock(), link.index).map_err(Error::from)?;
    let mut wanted = vec![networks.v4.net()];
    wanted.extend(host.ipv6.then(|| networks.v6.net()));
    let mut batch = Batch::new();
    for net in wanted.iter().filter(|net| !has.contains(net)) {
        batch.add_tolerating(
            RouteNetlinkMessage::NewAddress(universal(link.index, *net)),
            flags(),
            &[Errno::EEXIST],
            format!("add address {net} to bridge {name}"),
        );
    }
    // What an earlier daemon was told is not so any more.
    for net in has.iter().filter(|net| !wanted.contains(net)) {
        if matches!(net.addr(), IpAddr::V6(ip) if ip.is_unicast_link_local()) {
            continue;
        }
        batch.add_tolerating(
            RouteNetlinkMessage::DelAddress(universal(link.index, *net)),
            0,
            &[Errno::EADDRNOTAVAIL],
            format!("remove address {net} from bridge {name}"),
        );
    }
    if !link.up {
        let up = message::up(message::indexed(link.index));
        batch.add(
            RouteNetlinkMessage::SetLink(up),
            0,
            format!("bring up bridge {name}"),
        );
    }
    host.run(batch).map_err(failed)?;
    Ok(())
}

fn universal(index: u32, net: IpNet) -> AddressMessage {
    message::address(index, net, AddressScope::Universe)
}

fn flags() -> u16 {
    u16::try_from(NLM_F_CREATE | NLM_F_EXCL).unwrap_or_default()
}

fn is_ours(link: &Link, mark: &str) -> bool {
    link.kind.as_deref() == Some("bridge") && link.alias.as_deref() == Some(mark)
}

fn make(host: &Host, name: &IfName, mark: &str) -> LinkResult<Link> {
    // Its own, so that it does not change with its ports.
    let hash = Sha256::digest(format!("{mark}/{name}"));
    let hwaddr = vec![0x02, hash[0], hash[1], hash[2], hash[3], hash[4]];
    let link = message::with(
        message::named(name.as_str()),
        [
            LinkAttribute::Address(hwaddr),
            LinkAttribute::LinkInfo(vec![message::kind(InfoKind::Bridge)]),
        ],
    );
    let alias = message::with(
        message::named(name.as_str()),
        [LinkAttribute::IfAlias(mark.to_owned())],
    );
    let mut batch = Batch::new();
    batch.add(
        RouteNetlinkMessage::NewLink(link),
        flags(),
        format!("make bridge {name}"),
    );
    batch.add(
        RouteNetlinkMessage::SetLink(alias),
        0,
        format!("mark bridge {name}"),
    );
    host.run(batch)?;
    host.link(name.as_str())?
        .ok_or_else(|| LinkError::NoLink(name.to_string()))
}

/// What became of a bridge that is not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// There is none of ours.
    Gone,
    /// It has ports: somebody uses it whom we don't know.
    Used,
}

/// Removes the bridge, if it is ours and nobody uses it.
pub(super) fn remove(host: &Host, name: &IfName, mark: &str) -> Result<Removed> {
    match host.link(name.as_str()).map_err(failed_to_remove(name))? {
        Some(link) if is_ours(&link, mark) => remove_link(host, &link),
        _ => Ok(Removed::Gone),
    }
}

/// As [`remove`], for all of ours but the one of that name.
pub(super) fn remove_others(host: &Host, but: Option<&IfName>, mark: &str) -> Result<Removed> {
    let all = message::with(LinkMessage::default(), [message::without_counters()]);
    let all = host.dump(RouteNetlinkMessage::GetLink(all), "list links");
    let all = all.map_err(failed_to_remove(&mark))?;
    let mut result = Removed::Gone;
    for link in Link::all(&all) {
        if is_ours(&link, mark)
            && but.is_none_or(|b| b.as_str() != link.name)
            && remove_link(host, &link)? == Removed::Used
        {
            result = Removed::Used;
        }
    }
    Ok(result)
}

fn remove_link(host: &Host, bridge: &Link) -> Result<Removed> {
    let name = &bridge.name;
    let mut ports = LinkMessage::default();
    ports.attributes = vec![
        LinkAttribute::Controller(bridge.index),
        message::without_counters(),
    ];
    let ports = host
        .dump(RouteNetlinkMessage::GetLink(ports), "list ports")
        .map_err(failed_to_remove(name))?;
    if let Some(port) = Link::all(&ports).find(|l| l.controller == Some(bridge.index)) {
        tracing::info!(port = %port.name, "bridge {name} stays: it is used");
        return Ok(Removed::Used);
    }
    let mut batch = Batch::new();
    batch.add_tolerating(
        RouteNetlinkMessage::DelLink(message::indexed(bridge.index)),
        0,
        &[Errno::ENODEV],
        format!("remove bridge {name}"),
    );
    host.run(batch).map_err(failed_to_remove(name))?;
    Ok(Removed::Gone)
}

fn failed_to_remove(name: &impl std::fmt::Display) -> impl Fn(LinkError) -> Error {
    let message = format!("cannot remove bridge {name}");
    move |e| Error::backend(message.clone(), e)
}

/// What the host's addresses and routes are about.
pub(super) fn used_networks(host: &Host) -> LinkResult<Vec<IpNet>> {
    let mut used = Vec::new();
    let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    for reply in host.dump(addresses, "list addresses")? {
        if let RouteNetlinkMessage::NewAddress(found) = reply.parse()? {
            used.extend(message::net_of(&found, found.header.index));
        }
    }
    let mut filter = RouteMessage::default();
    filter.header.address_family = netlink_packet_route::AddressFamily::Inet;
    filter.header.table = RouteHeader::RT_TABLE_MAIN;
    for reply in host.dump(RouteNetlinkMessage::GetRoute(filter), "list routes")? {
        if let RouteNetlinkMessage::NewRoute(found) = reply.parse()? {
            let to = found.attributes.iter().find_map(|a| match a {
                RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(*ip),
                _ => None,
            });
            let length = found.header.destination_prefix_length;
            used.extend(to.and_then(|ip| IpNet::new(ip.into(), length).ok()));
        }
    }
    Ok(used)
}
