//! What went through interfaces.

use std::collections::HashMap;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkMessage};
use osctl_api::net::IfName;

use super::error::Result;
use super::link::Host;
use super::message::{self, Link};

/// What went through an interface since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets to it that were dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets from it that were dropped.
    pub tx_dropped: u64,
}

impl Counters {
    /// From `struct rtnl_link_stats64`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Counters> {
        let field = |n: usize| {
            let bytes = bytes.get(8 * n..8 * n + 8)?.try_into().ok()?;
            Some(u64::from_ne_bytes(bytes))
        };
        Some(Counters {
            rx_packets: field(0)?,
            tx_packets: field(1)?,
            rx_bytes: field(2)?,
            tx_bytes: field(3)?,
            rx_dropped: field(6)?,
            tx_dropped: field(7)?,
        })
    }

    /// As the other end of the pair sees it.
    #[must_use]
    pub fn from_the_other_end(self) -> Counters {
        Counters {
            rx_bytes: self.tx_bytes,
            rx_packets: self.tx_packets,
            rx_dropped: self.tx_dropped,
            tx_bytes: self.rx_bytes,
            tx_packets: self.rx_packets,
            tx_dropped: self.rx_dropped,
        }
    }
}

impl std::ops::Add for Counters {
    type Output = Counters;
    fn add(self, other: Counters) -> Counters {
        Counters {
            rx_bytes: self.rx_bytes.saturating_add(other.rx_bytes),
            rx_packets: self.rx_packets.saturating_add(other.rx_packets),
            rx_dropped: self.rx_dropped.saturating_add(other.rx_dropped),
            tx_bytes: self.tx_bytes.saturating_add(other.tx_bytes),
            tx_packets: self.tx_packets.saturating_add(other.tx_packets),
            tx_dropped: self.tx_dropped.saturating_add(other.tx_dropped),
        }
    }
}

impl Host {
    /// What went through one interface, as the container sees it; `None` when there is no such
    /// interface.
    ///
    /// # Errors
    /// Those of asking the kernel.
    pub fn stats(&self, host_name: &IfName) -> Result<Option<Counters>> {
        let link = self.link_with(message::named(host_name.as_str()))?;
        Ok(link.map(|l| l.counters.from_the_other_end()))
    }

    /// What went through all interfaces with our mark, as the containers see it, by the name of
    /// the host's end.
    ///
    /// # Errors
    /// Those of asking the kernel.
    pub fn all_stats(&self) -> Result<HashMap<String, Counters>> {
        let mut filter = LinkMessage::default();
        let kind = vec![message::kind(InfoKind::Veth)];
        filter.attributes.push(LinkAttribute::LinkInfo(kind));
        let replies = self.dump(RouteNetlinkMessage::GetLink(filter), "list links")?;
        Ok(Link::all(&replies)
            .filter(|link| self.mark_of(link).is_some())
            .map(|link| (link.name, link.counters.from_the_other_end()))
            .collect())
    }
}
