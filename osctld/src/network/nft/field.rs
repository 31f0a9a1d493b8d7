//! The parts of a packet that rules look at: where each is, and of what type it is.
//!
//! A [`Field`] can only be compared with values of its own type, and a [`Value`] knows in which
//! byte order the kernel has it in a register.

use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};

use osctl_api::net::{HwAddr, IfName};

/// How a field gets into a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// What the kernel knows about a packet: a key of `enum nft_meta_keys`.
    Meta(u32),
    /// Bytes of the packet.
    Payload {
        /// Which header: 0 link, 1 network, 2 transport.
        base: u32,
        /// Where they begin.
        offset: u32,
    },
    /// Bytes of the first IPv6 fragment header; a rule does not fit packets without one.
    Fragment {
        /// Where they begin.
        offset: u32,
    },
    /// What connection tracking knows: a key of `enum nft_ct_keys`.
    Connection(u32),
}

/// A part of a packet, of type `T`. A rule that looks at a part that a packet does not have does
/// not fit it, whatever the comparison.
#[derive(Debug)]
pub struct Field<T> {
    pub(super) load: Load,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Field<T> {
    fn clone(&self) -> Field<T> {
        *self
    }
}

impl<T> Copy for Field<T> {}

const fn field<T>(load: Load) -> Field<T> {
    Field {
        load,
        value: PhantomData,
    }
}

const fn link<T>(offset: u32) -> Field<T> {
    field(Load::Payload { base: 0, offset })
}

const fn network<T>(offset: u32) -> Field<T> {
    field(Load::Payload { base: 1, offset })
}

const fn transport<T>(offset: u32) -> Field<T> {
    field(Load::Payload { base: 2, offset })
}

/// What can be in a field.
pub trait Value {
    /// Its length in a register.
    const LEN: usize;
    /// Its number in `enum datatypes` of the nft program, so that it shows it well.
    const TYPE: u32;
    /// As the kernel has it in a register.
    fn octets(&self) -> Vec<u8>;
}

macro_rules! value {
    ($type:ty, $len:literal, $number:literal, $octets:expr) => {
        impl Value for $type {
            const LEN: usize = $len;
            const TYPE: u32 = $number;
            fn octets(&self) -> Vec<u8> {
                let octets: fn(&$type) -> Vec<u8> = $octets;
                octets(self)
            }
        }
    };
}

value!(u8, 1, 4, |v| vec![*v]);
value!(u16, 2, 13, |v| v.to_be_bytes().to_vec());
value!(Ipv4Addr, 4, 7, |v| v.octets().to_vec());
value!(Ipv6Addr, 16, 8, |v| v.octets().to_vec());
value!(HwAddr, 6, 9, |v| HwAddr::octets(*v).to_vec());
value!(IfName, 16, 41, |v| {
    let mut octets = v.as_str().as_bytes().to_vec();
    octets.resize(16, 0);
    octets
});
value!(States, 4, 26, |v| v.0.to_ne_bytes().to_vec());
value!(Statuses, 4, 28, |v| v.0.to_ne_bytes().to_vec());

impl<const N: usize> Value for [u8; N] {
    const LEN: usize = N;
    const TYPE: u32 = 4;
    fn octets(&self) -> Vec<u8> {
        self.to_vec()
    }
}

/// States of connection tracking, some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// None.
    pub const NONE: States = States(0);
    /// Fits no connection.
    pub const INVALID: States = States(1);
    /// Packets of both directions were seen.
    pub const ESTABLISHED: States = States(2);
    /// Announced by another connection, or an error about one.
    pub const RELATED: States = States(4);
    /// Begins a connection.
    pub const NEW: States = States(8);

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: States) -> States {
        States(self.0 | other.0)
    }
}

/// What was done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses(u32);

impl Statuses {
    /// None of it.
    pub const NONE: Statuses = Statuses(0);
    /// Its destination was translated.
    pub const DESTINATION_TRANSLATED: Statuses = Statuses(1 << 5);
}

/// Protocol of a frame as the kernel took it, whatever its link header says: behind one VLAN tag.
pub const PROTOCOL: Field<u16> = field(Load::Meta(1));
/// Interface that it came from; of a bridge, the port.
pub const IIFNAME: Field<IfName> = field(Load::Meta(6));
/// Interface that it goes to; of a bridge, the port.
pub const OIFNAME: Field<IfName> = field(Load::Meta(7));
/// Protocol above IP, behind all of IPv6's extension headers. A packet whose headers do not add up
/// has none.
pub const L4PROTO: Field<u8> = field(Load::Meta(16));
/// State of its connection, one bit.
pub const STATE: Field<States> = field(Load::Connection(0));
/// What was done to its connection, bits.
pub const STATUS: Field<Statuses> = field(Load::Connection(2));

/// Destination of a frame.
pub const ETHER_DADDR: Field<[u8; 6]> = link(0);
/// Source of a frame.
pub const ETHER_SADDR: Field<HwAddr> = link(6);
/// Type of a frame, as it is in its header: that of the outer tag of a tagged one.
pub const ETHER_TYPE: Field<u16> = link(12);

/// ARP: types and lengths of its addresses.
pub const ARP_LAYOUT: Field<[u8; 6]> = network(0);
/// ARP: operation.
pub const ARP_OPERATION: Field<u16> = network(6);
/// ARP: hardware address of the sender.
pub const ARP_SHA: Field<HwAddr> = network(8);
/// ARP: address of the sender.
pub const ARP_SPA: Field<Ipv4Addr> = network(14);
/// ARP: address that is asked for.
pub const ARP_TPA: Field<Ipv4Addr> = network(24);

/// IPv4: flags and offset of a fragment.
pub const IP_FRAGMENT: Field<u16> = network(6);
/// IPv4: source.
pub const IP_SADDR: Field<Ipv4Addr> = network(12);
/// IPv4: destination.
pub const IP_DADDR: Field<Ipv4Addr> = network(16);
/// IPv6: length of what follows its header.
pub const IP6_LENGTH: Field<u16> = network(4);
/// IPv6: what follows its header.
pub const IP6_NEXT: Field<u8> = network(6);
/// IPv6: hop limit.
pub const IP6_HOPS: Field<u8> = network(7);
/// IPv6: source.
pub const IP6_SADDR: Field<Ipv6Addr> = network(8);
/// IPv6: destination.
pub const IP6_DADDR: Field<Ipv6Addr> = network(24);
/// IPv6: offset and flag of a fragment.
pub const IP6_FRAGMENT: Field<u16> = field(Load::Fragment { offset: 2 });

/// TCP, UDP, SCTP: source port.
pub const SPORT: Field<u16> = transport(0);
/// TCP, UDP, SCTP: destination port.
pub const DPORT: Field<u16> = transport(2);
/// First four bytes behind the IP headers, whatever they are.
pub const TRANSPORT_BEGIN: Field<[u8; 4]> = transport(0);
/// DHCP: operation, type and length of the hardware address.
pub const DHCP_LAYOUT: Field<[u8; 3]> = transport(8);
/// DHCP: hardware address of the client.
pub const DHCP_CHADDR: Field<HwAddr> = transport(36);
/// ICMP, ICMPv6, IGMP: type.
pub const ICMP_TYPE: Field<u8> = transport(0);
/// Neighbour solicitation and advertisement: whom it is about.
pub const ND_TARGET: Field<Ipv6Addr> = transport(8);
/// Neighbour solicitation and advertisement: type and length of the first option.
pub const ND_OPTION: Field<[u8; 2]> = transport(24);
/// Neighbour solicitation and advertisement: the hardware address in the first option.
pub const ND_OPTION_ADDRESS: Field<HwAddr> = transport(26);
/// Router solicitation: type and length of the first option.
pub const RS_OPTION: Field<[u8; 2]> = transport(8);
/// Router solicitation: the hardware address in the first option.
pub const RS_OPTION_ADDRESS: Field<HwAddr> = transport(10);
