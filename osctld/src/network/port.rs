//! What a bridge knows of a port: that of a container that must not use others' addresses is told,
//! and learns nothing.
//!
//! A bridge learns the source of some frames (LLDP) before it asks any filter: a container could
//! draw others' packets to itself with them.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::link::{
    InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute, LinkInfo,
};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::link::label;
use super::message::{indexed, with};
use super::netlink::Batch;
use super::wanted::{Attachment, Wanted};

/// Adds to a batch what makes the port with that index, of an interface on a bridge, what is wanted.
/// Nothing for others.
pub(super) fn settle(wanted: &Wanted, index: u32, batch: &mut Batch) {
    if !matches!(wanted.attachment, Attachment::Bridge { .. }) {
        return;
    }
    let label = label(wanted);
    let learning = InfoBridgePort::Learning(!wanted.anti_spoof);
    let port = LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![learning])),
    ]);
    let mut known = NeighbourMessage::default();
    known.header.family = AddressFamily::Bridge;
    known.header.ifindex = index;
    known.header.state = NeighbourState::Noarp;
    known.header.flags = NeighbourFlags::Controller;
    let hwaddr = wanted.hwaddr.octets().to_vec();
    known.attributes = vec![NeighbourAttribute::LinkLayerAddress(hwaddr)];
    // Known first: nothing for it goes to all others meanwhile.
    if wanted.anti_spoof {
        batch.add(
            RouteNetlinkMessage::NewNeighbour(known),
            NLM_F_CREATE | NLM_F_REPLACE,
            format!("tell its bridge where {label} is"),
        );
    } else {
        batch.add_tolerating(
            RouteNetlinkMessage::DelNeighbour(known),
            0,
            &[Errno::ENOENT],
            format!("let its bridge forget where {label} is"),
        );
    }
    batch.add(
        RouteNetlinkMessage::NewLink(with(indexed(index), [port])),
        0,
        format!("set what its bridge learns of {label}"),
    );
}
