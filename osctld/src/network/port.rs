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
    let text = label(wanted);
    let learning = InfoBridgePort::Learning(!wanted.anti_spoof);
    let port = LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![learning])),
    ]);
    // Known first: nothing for it goes to all others meanwhile.
    if wanted.anti_spoof {
        batch.add(
            RouteNetlinkMessage::NewNeighbour(known(wanted, index)),
            NLM_F_CREATE | NLM_F_REPLACE,
            format!("tell its bridge where {text} is"),
        );
    } else {
        forget(wanted, index, batch);
    }
    batch.add(
        RouteNetlinkMessage::NewLink(with(indexed(index), [port])),
        0,
        format!("set what its bridge learns of {text}"),
    );
}

/// Adds to a batch what makes the bridge of the port with that index forget that the hardware
/// address of an interface is there.
pub(super) fn forget(wanted: &Wanted, index: u32, batch: &mut Batch) {
    batch.add_tolerating(
        RouteNetlinkMessage::DelNeighbour(known(wanted, index)),
        0,
        &[Errno::ENOENT],
        format!("let its bridge forget where {} is", label(wanted)),
    );
}

/// What a bridge knows of a hardware address that is told.
fn known(wanted: &Wanted, index: u32) -> NeighbourMessage {
    let mut known = NeighbourMessage::default();
    known.header.family = AddressFamily::Bridge;
    known.header.ifindex = index;
    known.header.state = NeighbourState::Noarp;
    known.header.flags = NeighbourFlags::Controller;
    let hwaddr = wanted.hwaddr.octets().to_vec();
    known.attributes = vec![NeighbourAttribute::LinkLayerAddress(hwaddr)];
    known
}
