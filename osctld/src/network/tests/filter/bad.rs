//! What a container sends that means ill.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::bridged::{ALL_NODES, FOREIGN, GATEWAY4, Lab, OWN4, OWN6, VICTIM4, VICTIM6, ipv4_of};
use super::frames::{self, Arp, ether, icmpv6, ipv4, ipv6, tagged, udp};
use super::*;

const NOBODY4: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const NOBODY6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
pub const SERVER: &[u8] = &[2; 240];

impl Lab {
    pub fn of_arp(&self) -> Vec<Sent> {
        let own = Arp {
            operation: 2,
            sha: self.own,
            spa: OWN4,
            tpa: VICTIM4,
        }
        .bytes();
        let changed = |at: usize, to: u8| {
            let mut bytes = own.clone();
            bytes[at] = to;
            self.to_all(frames::ARP, &bytes)
        };
        let poison = self.arp(2, self.own, GATEWAY4, VICTIM4);
        let twice = tagged(&tagged(&poison, 0x8100, 5), 0x88a8, 6);
        vec![
            ("reply", poison.clone()),
            ("gratuitous", self.arp(1, self.own, GATEWAY4, GATEWAY4)),
            ("request", self.arp(1, self.own, VICTIM4, GATEWAY4)),
            (
                "probe for another's",
                self.arp(1, self.own, NOBODY4, VICTIM4),
            ),
            ("reply of nobody", self.arp(2, self.own, NOBODY4, OWN4)),
            ("another's hardware", self.arp(2, FOREIGN, OWN4, VICTIM4)),
            (
                "another's frame",
                ether(self.theirs, FOREIGN, frames::ARP, &own),
            ),
            ("RARP reply", changed(7, 4)),
            ("InARP", changed(7, 9)),
            ("of IEEE 802", changed(1, 6)),
            ("of another protocol", changed(3, 1)),
            ("longer hardware", changed(4, 8)),
            ("longer protocol", changed(5, 6)),
            ("short", self.to_all(frames::ARP, &own[..13])),
            ("RARP", self.to_all(0x8035, &own)),
            ("priority tag", tagged(&poison, 0x8100, 0)),
            ("priority", tagged(&poison, 0x8100, 0xe000)),
            ("VLAN", tagged(&poison, 0x8100, 5)),
            (
                "own in VLAN",
                tagged(&self.to_all(frames::ARP, &own), 0x8100, 5),
            ),
            ("service tag", tagged(&poison, 0x88a8, 5)),
            ("QinQ", twice),
        ]
    }

    pub fn of_other_types(&self) -> Vec<Sent> {
        let of = |kind| ether(self.theirs, self.own, kind, &[0xaa; 46]);
        vec![
            ("802.3", of(46)),
            (
                "LLC",
                ether(
                    self.theirs,
                    self.own,
                    40,
                    &[&[0x42, 0x42, 3][..], &[0; 37]].concat(),
                ),
            ),
            ("LLDP", of(0x88cc)),
            ("EAPOL", of(0x888e)),
            ("MPLS", of(0x8847)),
            ("PPPoE", of(0x8863)),
            ("IPX", of(0x8137)),
            ("loopback", of(0x9000)),
        ]
    }

    pub fn of_ipv4(&self) -> Vec<Sent> {
        let to_all = |packet: &[u8]| self.to_all(frames::IP, packet);
        let datagram = udp(1, 9, b"12345678");
        let ping = ipv4(OWN4, VICTIM4, 1, &[8, 0, 0, 0, 0, 1, 0, 1]);
        let discover = |client| udp(68, 67, &frames::dhcp(1, client));
        let mut other_type = frames::dhcp(1, self.own);
        other_type[1] = 6;
        let mut longer = frames::dhcp(1, self.own);
        longer[2] = 16;
        let nobody = |protocol, payload: &[u8]| {
            to_all(&ipv4(NOBODY4, Ipv4Addr::BROADCAST, protocol, payload))
        };
        let changed = |packet: &[u8], at: usize, to: u8| {
            let mut packet = packet.to_vec();
            packet[at] = to;
            self.ip(&packet)
        };
        vec![
            ("neighbour's", self.ip(&ipv4(VICTIM4, OWN4, 17, &datagram))),
            (
                "gateway's",
                self.ip(&ipv4(GATEWAY4, VICTIM4, 17, &datagram)),
            ),
            (
                "loopback",
                self.ip(&ipv4(Ipv4Addr::LOCALHOST, VICTIM4, 17, &datagram)),
            ),
            (
                "broadcast",
                self.ip(&ipv4(Ipv4Addr::BROADCAST, VICTIM4, 17, &datagram)),
            ),
            (
                "another's frame",
                ether(self.theirs, FOREIGN, frames::IP, &ping),
            ),
            ("ping of nobody", nobody(1, &[8, 0, 0, 0, 0, 1, 0, 1])),
            ("UDP of nobody", nobody(17, &datagram)),
            ("IGMP of nobody", nobody(2, &[0x22, 0, 0, 0, 0, 0, 0, 0])),
            ("DHCP for another", nobody(17, &discover(FOREIGN))),
            (
                "DHCP of its own for another",
                self.ip(&ipv4(OWN4, GATEWAY4, 17, &discover(FOREIGN))),
            ),
            (
                "DHCP of another type",
                nobody(17, &udp(68, 67, &other_type)),
            ),
            ("DHCP of another length", nobody(17, &udp(68, 67, &longer))),
            (
                "DHCP to one",
                to_all(&ipv4(NOBODY4, GATEWAY4, 17, &discover(self.own))),
            ),
            (
                "DHCP from elsewhere",
                nobody(17, &udp(1, 67, &frames::dhcp(1, self.own))),
            ),
            ("short DHCP", nobody(17, &udp(68, 67, &[1, 1, 6]))),
            (
                "first of DHCP",
                self.ip(&ipv4_of(OWN4, 0x2000, &discover(self.own)[..16])),
            ),
            (
                "server",
                self.ip(&ipv4(OWN4, VICTIM4, 17, &udp(67, 68, SERVER))),
            ),
            (
                "server's port",
                self.ip(&ipv4(OWN4, VICTIM4, 17, &udp(67, 9, SERVER))),
            ),
            (
                "client's port",
                self.ip(&ipv4(OWN4, VICTIM4, 17, &udp(99, 68, SERVER))),
            ),
            (
                "first of server",
                self.ip(&ipv4_of(OWN4, 0x2000, &udp(99, 68, SERVER)[..8])),
            ),
            (
                "IGMP query",
                self.ip(&ipv4(OWN4, VICTIM4, 2, &[0x11, 0, 0, 0, 0, 0, 0, 0])),
            ),
            ("PIM", self.ip(&ipv4(OWN4, VICTIM4, 103, &[0x20, 0, 0, 0]))),
            ("short", self.ip(&ping[..15])),
            ("of version 5", changed(&ping, 0, 0x55)),
            ("without header", changed(&ping, 0, 0x44)),
            ("header longer than all", changed(&ping, 0, 0x4f)),
            ("longer than it is", changed(&ping, 3, 90)),
            (
                "IPv6 as IPv4",
                self.ip(&ipv6(OWN6, VICTIM6, 17, 64, &datagram)),
            ),
        ]
    }

    pub fn of_discovery(&self) -> Vec<Sent> {
        let own = |kind| frames::address_option(kind, self.own);
        let foreign = |kind| frames::address_option(kind, FOREIGN);
        let both = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
        let gateway = Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 1);
        let mut low = self.advertised(OWN6, OWN6, &own(2));
        low[14 + 7] = 64;
        let mut long = own(2);
        long[1] = 2;
        let mut none = own(2);
        none[1] = 0;
        vec![
            ("NA for another", self.advertised(OWN6, VICTIM6, &own(2))),
            (
                "NA for the gateway",
                self.advertised(self.own_ll, gateway, &own(2)),
            ),
            (
                "NA for another without option",
                self.advertised(OWN6, VICTIM6, &[]),
            ),
            ("NA of another", self.advertised(VICTIM6, VICTIM6, &own(2))),
            (
                "NA with another's hardware",
                self.advertised(OWN6, OWN6, &foreign(2)),
            ),
            (
                "NA with both",
                self.advertised(OWN6, OWN6, &both(own(2), foreign(2))),
            ),
            (
                "NA with nonce first",
                self.advertised(OWN6, OWN6, &both(vec![14, 1, 0, 0, 0, 0, 0, 0], foreign(2))),
            ),
            (
                "NA with nonce",
                self.advertised(OWN6, OWN6, &[14, 1, 0, 0, 0, 0, 0, 0]),
            ),
            ("NA with source", self.advertised(OWN6, OWN6, &own(1))),
            (
                "NA with more",
                self.advertised(OWN6, OWN6, &both(own(2), vec![0])),
            ),
            ("NA with less", self.advertised(OWN6, OWN6, &own(2)[..7])),
            ("NA with long option", self.advertised(OWN6, OWN6, &long)),
            ("NA with empty option", self.advertised(OWN6, OWN6, &none)),
            ("NA from afar", low),
            (
                "NS with another's hardware",
                self.solicited(OWN6, VICTIM6, &foreign(1)),
            ),
            (
                "NS with both",
                self.solicited(OWN6, VICTIM6, &both(own(1), foreign(1))),
            ),
            ("NS with target", self.solicited(OWN6, VICTIM6, &own(2))),
            ("NS of another", self.solicited(VICTIM6, OWN6, &own(1))),
            (
                "NS of a link-local",
                self.solicited("fe80::1".parse().unwrap(), VICTIM6, &own(1)),
            ),
            ("DAD of another's", self.solicited(NOBODY6, VICTIM6, &[])),
            (
                "DAD of another's with nonce",
                self.solicited(NOBODY6, VICTIM6, &[14, 1, 0, 0, 0, 0, 0, 0]),
            ),
            ("DAD with source", self.solicited(NOBODY6, OWN6, &own(1))),
            (
                "RS with another's hardware",
                self.icmp(OWN6, 133, &both(vec![0; 4], foreign(1))),
            ),
            (
                "RS of nobody with source",
                self.icmp(NOBODY6, 133, &both(vec![0; 4], own(1))),
            ),
            (
                "RS with both",
                self.icmp(OWN6, 133, &[vec![0; 4], own(1), foreign(1)].concat()),
            ),
            (
                "inverse NS",
                self.icmp(OWN6, 141, &[&[0; 4][..], &own(1), &own(2)].concat()),
            ),
            ("NA of nobody", self.advertised(NOBODY6, OWN6, &own(2))),
        ]
    }

    pub fn of_routers(&self) -> Vec<Sent> {
        let advertisement = [64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let theirs = frames::discovery(VICTIM6, &frames::address_option(2, self.own));
        let first = |next| frames::fragment_header(next, 0, true);
        let atomic = |next| frames::fragment_header(next, 0, false);
        let later = |next| frames::fragment_header(next, 1, false);
        let chain = |headers: &[[u8; 8]]| headers.concat();
        let options = frames::extension(58);
        let routing = [58, 0, 0, 0, 0, 0, 0, 0];
        vec![
            ("RA", self.icmp(self.own_ll, 134, &advertisement)),
            ("RA of its own", self.icmp(OWN6, 134, &advertisement)),
            ("redirect", self.icmp(self.own_ll, 137, &[0; 36])),
            ("renumbering", self.icmp(OWN6, 138, &[0; 12])),
            ("MLD query", self.icmp(self.own_ll, 130, &[0; 20])),
            (
                "MLD query as it should be",
                self.hidden(0, &options, 130, &[0; 20]),
            ),
            ("multicast router", self.icmp(self.own_ll, 151, &[0; 4])),
            (
                "RA behind hop-by-hop",
                self.hidden(0, &options, 134, &advertisement),
            ),
            (
                "RA behind destination",
                self.hidden(60, &options, 134, &advertisement),
            ),
            (
                "RA behind routing",
                self.hidden(43, &routing, 134, &advertisement),
            ),
            (
                "RA behind two",
                self.hidden(
                    0,
                    &chain(&[frames::extension(60), options]),
                    134,
                    &advertisement,
                ),
            ),
            (
                "RA in all of a fragment",
                self.hidden(44, &atomic(58), 134, &advertisement),
            ),
            (
                "RA in the first fragment",
                self.hidden(44, &first(58), 134, &advertisement),
            ),
            (
                "RA behind destination in a fragment",
                self.hidden(44, &chain(&[first(60), options]), 134, &advertisement),
            ),
            (
                "RA behind destination before a fragment",
                self.hidden(
                    60,
                    &chain(&[frames::extension(44), atomic(58)]),
                    134,
                    &advertisement,
                ),
            ),
            (
                "RA in a fragment of a fragment",
                self.hidden(44, &chain(&[atomic(44), atomic(58)]), 134, &advertisement),
            ),
            (
                "RA in the second of a fragment",
                self.hidden(44, &chain(&[atomic(44), later(58)]), 134, &advertisement),
            ),
            (
                "NA behind hop-by-hop",
                self.hidden(0, &options, 136, &theirs),
            ),
            (
                "own NA behind destination",
                self.hidden(60, &options, 136, &frames::discovery(OWN6, &[])),
            ),
            (
                "NA in a fragment",
                self.hidden(44, &atomic(58), 136, &theirs),
            ),
            (
                "fragment without header",
                self.ip6(&ipv6(OWN6, VICTIM6, 44, 64, &chain(&[first(60), options]))),
            ),
            (
                "fragment without anything",
                self.ip6(&ipv6(OWN6, VICTIM6, 44, 64, &first(58))),
            ),
            (
                "fragment of UDP without ports",
                self.ip6(&ipv6(OWN6, VICTIM6, 44, 64, &first(17))),
            ),
            (
                "fragment of nobody",
                self.ip6(&ipv6(NOBODY6, VICTIM6, 44, 64, &later(58))),
            ),
        ]
    }

    pub fn of_ipv6(&self) -> Vec<Sent> {
        let datagram = udp(1, 9, b"12345678");
        let of = |from, payload: &[u8]| self.ip6(&ipv6(from, VICTIM6, 17, 64, payload));
        let in_fragment = |payload: &[u8]| {
            let first = frames::fragment_header(17, 0, true);
            self.ip6(&ipv6(OWN6, VICTIM6, 44, 64, &[&first, payload].concat()))
        };
        let echo = icmpv6(NOBODY6, ALL_NODES, 128, &[0, 1, 0, 1]);
        let good = ipv6(OWN6, VICTIM6, 17, 64, &datagram);
        let changed = |at: usize, to: u8| {
            let mut packet = good.clone();
            packet[at] = to;
            self.ip6(&packet)
        };
        let foreign_ll = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        vec![
            ("neighbour's", of(VICTIM6, &datagram)),
            (
                "of its prefix",
                of("fd00:5::77".parse().unwrap(), &datagram),
            ),
            ("router's", of(foreign_ll, &datagram)),
            ("loopback", of(Ipv6Addr::LOCALHOST, &datagram)),
            ("mapped", of(OWN4.to_ipv6_mapped(), &datagram)),
            ("nobody's", of(NOBODY6, &datagram)),
            (
                "ping of nobody",
                self.ip6(&ipv6(NOBODY6, ALL_NODES, 58, 255, &echo)),
            ),
            (
                "another's frame",
                ether(self.theirs, FOREIGN, frames::IP6, &good),
            ),
            ("DHCP server", of(OWN6, &udp(547, 546, SERVER))),
            ("DHCP from elsewhere", of(OWN6, &udp(99, 546, SERVER))),
            ("DHCP server's port", of(OWN6, &udp(547, 9, SERVER))),
            ("DHCP in a fragment", in_fragment(&udp(99, 546, SERVER))),
            (
                "DHCP behind options",
                self.ip6(&ipv6(
                    OWN6,
                    VICTIM6,
                    60,
                    64,
                    &[&frames::extension(17)[..], &udp(99, 546, SERVER)].concat(),
                )),
            ),
            (
                "ICMPv6 without type",
                self.ip6(&ipv6(OWN6, VICTIM6, 58, 255, &[])),
            ),
            (
                "headers without end",
                self.ip6(&ipv6(OWN6, VICTIM6, 0, 64, &frames::extension(60))),
            ),
            ("of version 4", changed(0, 0x45)),
            ("longer than it is", changed(5, 200)),
            ("short", self.ip6(&good[..30])),
            ("tagged", tagged(&of(VICTIM6, &datagram), 0x8100, 0)),
            (
                "IPv4 as IPv6",
                self.ip6(&ipv4(OWN4, VICTIM4, 17, &datagram)),
            ),
        ]
    }

    pub fn attacks(&self) -> Vec<Vec<Sent>> {
        vec![
            self.of_arp(),
            self.of_other_types(),
            self.of_ipv4(),
            self.of_discovery(),
            self.of_routers(),
            self.of_ipv6(),
        ]
    }
}
