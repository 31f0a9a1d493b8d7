//! The bridge in the kernel: made, told from other people's, given its addresses, removed.

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use nix::errno::Errno;
use nix::libc::{NLM_F_CREATE, NLM_F_EXCL};
use osctl_api::net::IfName;
use sha2::{Digest, Sha256};

use super::subnet::Networks;
use crate::error::{Error, Result};
use crate::network::error::Result as LinkResult;
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
    // Before it is up: a host that listens to its own containers would do as they say.
    for (setting, value) in [("accept_ra", "0"), ("accept_redirects", "0")] {
        let known = setting::set(&format!("ipv6/conf/{name}/{setting}"), value);
        known.map_err(failed)?;
    }
    let has = message::addresses_of(&mut host.lock(), link.index).map_err(Error::from)?;
    let mut batch = Batch::new();
    for address in [networks.v4, networks.v6] {
        if has.contains(&address.net()) {
            continue;
        }
        batch.add_tolerating(
            RouteNetlinkMessage::NewAddress(message::address(
                link.index,
                address.net(),
                AddressScope::Universe,
            )),
            flags(),
            &[Errno::EEXIST],
            format!("add address {address} to bridge {name}"),
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
        .ok_or_else(|| crate::network::error::Error::NoLink(name.to_string()))
}

/// Removes the bridge, if it is ours.
pub(super) fn remove(host: &Host, name: &IfName, mark: &str) -> Result<()> {
    let failed = |e| Error::backend(format!("cannot remove bridge {name}"), e);
    let Some(link) = host.link(name.as_str()).map_err(failed)? else {
        return Ok(());
    };
    if !is_ours(&link, mark) {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.add_tolerating(
        RouteNetlinkMessage::DelLink(message::indexed(link.index)),
        0,
        &[Errno::ENODEV],
        format!("remove bridge {name}"),
    );
    host.run(batch).map_err(failed)?;
    Ok(())
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
