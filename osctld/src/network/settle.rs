//! What the host's end of an interface has, and turning it into what is wanted.

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::link::{AfSpecUnspec, LinkAttribute};
use netlink_packet_route::route::RouteMessage;
use nix::errno::Errno;

use super::error::Result;
use super::link::{Host, label};
use super::message::{self, Link, indexed, with};
use super::netlink::Batch;
use super::port;
use super::setting;
use super::shaping;
use super::wanted::{Attachment, Route, Wanted};

/// Settings of a routed interface for IPv4 (linux/ip.h, `IPV4_DEVCONF_*`): packets are passed on,
/// their sources are those that are routed there, and a container redirects nobody.
const ROUTED_V4: [(u16, u32); 6] = [
    (1, 1),  // forwarding
    (4, 0),  // accept_redirects
    (6, 0),  // send_redirects
    (8, 1),  // rp_filter: strict
    (9, 0),  // accept_source_route
    (26, 0), // route_localnet
];

impl Host {
    /// What the kernel takes for a routed interface through files only.
    pub(super) fn set_routed(&self, wanted: &Wanted) -> Result<()> {
        if self.ipv6 && matches!(wanted.attachment, Attachment::Routed { .. }) {
            let conf = format!("ipv6/conf/{}", wanted.host_name);
            if speaks_v6(wanted) {
                // A host may keep it from new interfaces.
                setting::set(&format!("{conf}/disable_ipv6"), "0")?;
            }
            for (name, value) in [
                ("accept_ra", "0"),
                ("accept_redirects", "0"),
                ("forwarding", "1"),
            ] {
                setting::set(&format!("{conf}/{name}"), value)?;
            }
        }
        Ok(())
    }

    /// Settings of the host's end that the kernel takes for a link that is there.
    pub(super) fn families(&self, wanted: &Wanted) -> Vec<AfSpecUnspec> {
        let mut families = Vec::new();
        if matches!(wanted.attachment, Attachment::Routed { .. }) {
            families.push(message::conf_v4(&ROUTED_V4));
        }
        if self.ipv6 {
            families.push(message::no_generated_addresses());
        }
        families
    }

    /// Makes a link that is there as it is wanted.
    pub(super) fn settle(&self, wanted: &Wanted, link: &Link, bridge: Option<&Link>) -> Result<()> {
        self.set_routed(wanted)?;
        let state = {
            let mut socket = self.lock();
            State {
                addresses: message::addresses_of(&mut socket, link.index)?,
                routes: message::routes_over(&mut socket, link.index)?,
            }
        };
        self.shape(wanted, link, shaping::Before::Unknown)?;
        let mut batch = Batch::new();
        // A bridge's may have changed since, and with it that of no container.
        if let Some(mtu) = wanted.mtu.filter(|mtu| *mtu != link.mtu) {
            batch.add(
                RouteNetlinkMessage::SetLink(with(indexed(link.index), [LinkAttribute::Mtu(mtu)])),
                0,
                format!("set the largest packet of {} to {mtu}", label(wanted)),
            );
        }
        let controller = bridge.map(|b| b.index);
        self.differences(wanted, link, controller, &state, &mut batch);
        self.run(batch)?;
        if link.controller == controller {
            return Ok(());
        }
        self.notice_peer(&Link {
            controller,
            ..link.clone()
        })
    }

    /// Has its bridge forget the hardware address that an interface had before a change.
    pub(super) fn forget_hwaddr(&self, before: &Wanted, after: &Wanted) -> Result<()> {
        let is_port = matches!(before.attachment, Attachment::Bridge { .. });
        if !is_port || before.hwaddr == after.hwaddr {
            return Ok(());
        }
        let Some(link) = self.link(after.host_name.as_str())? else {
            return Ok(());
        };
        let mut batch = Batch::new();
        port::forget(before, link.index, &mut batch);
        self.run(batch).map(drop)
    }

    /// Adds to a batch what turns `state` of a link into what is wanted.
    pub(super) fn differences(
        &self,
        wanted: &Wanted,
        link: &Link,
        controller: Option<u32>,
        state: &State,
        batch: &mut Batch,
    ) {
        let label = label(wanted);
        if link.controller != controller {
            let change = LinkAttribute::Controller(controller.unwrap_or(0));
            batch.add(
                RouteNetlinkMessage::SetLink(with(indexed(link.index), [change])),
                0,
                format!("link {label} to its bridge"),
            );
        }
        port::settle(wanted, link.index, batch);
        if !link.up {
            batch.add(
                RouteNetlinkMessage::SetLink(message::up(indexed(link.index))),
                0,
                format!("let {label} go up"),
            );
        }
        let Attachment::Routed { routes } = &wanted.attachment else {
            return;
        };
        // A host may keep IPv6 from new interfaces; whoever does not speak it does not mind.
        let tolerated: &[Errno] = match speaks_v6(wanted) {
            true => &[Errno::EEXIST],
            false => &[Errno::EEXIST, Errno::EACCES],
        };
        for (net, scope) in self.routed_addresses() {
            if !state.addresses.contains(&net) {
                batch.add_tolerating(
                    RouteNetlinkMessage::NewAddress(message::address(link.index, net, scope)),
                    NLM_F_CREATE | NLM_F_EXCL,
                    tolerated,
                    format!("add address {net} to the host's end of {label}"),
                );
            }
        }
        // Networks come before routes through addresses in them, and new ones before old ones go.
        let mut new: Vec<&Route> = routes
            .iter()
            .filter(|r| !state.routes.contains(r))
            .collect();
        new.sort_by_key(|r| r.via.is_some());
        for route in new {
            // With another next hop it is the same to the kernel: then it is replaced.
            let replaces = state.routes.iter().any(|r| r.network == route.network);
            let flags = if replaces { NLM_F_REPLACE } else { NLM_F_EXCL };
            batch.add(
                RouteNetlinkMessage::NewRoute(to_route(link.index, route)),
                NLM_F_CREATE | flags,
                format!("add route {} to {label}", route.network),
            );
        }
        for route in &state.routes {
            if !routes.iter().any(|r| r.network == route.network) {
                batch.add_tolerating(
                    RouteNetlinkMessage::DelRoute(to_route(link.index, route)),
                    0,
                    &[Errno::ESRCH],
                    format!("remove route {} to {label}", route.network),
                );
            }
        }
    }

    /// Next hops of the containers: the same on every routed interface.
    fn routed_addresses(&self) -> Vec<(IpNet, AddressScope)> {
        let v4 = IpNet::new_assert(Wanted::ROUTED_NEXT_HOP_V4.into(), 32);
        let mut all = vec![(v4, AddressScope::Host)];
        if self.ipv6 {
            all.push((next_hop_v6(), AddressScope::Link));
        }
        all
    }

    /// The next hop of an interface that speaks IPv6 to the host alone.
    pub(super) fn next_hop_v6(&self, wanted: &Wanted) -> Option<IpNet> {
        let routed = matches!(wanted.attachment, Attachment::Routed { .. });
        (routed && self.ipv6 && speaks_v6(wanted)).then(next_hop_v6)
    }
}

/// What a link has.
#[derive(Debug, Default)]
pub(super) struct State {
    addresses: Vec<IpNet>,
    routes: Vec<Route>,
}

fn next_hop_v6() -> IpNet {
    IpNet::new_assert(Wanted::ROUTED_NEXT_HOP_V6.into(), 64)
}

/// Whether an interface has anything to do with IPv6.
fn speaks_v6(wanted: &Wanted) -> bool {
    let own = wanted.own_networks();
    own.iter().any(|network| network.net().addr().is_ipv6())
}

fn to_route(index: u32, route: &Route) -> RouteMessage {
    message::route(index, route.network.net(), route.via)
}
