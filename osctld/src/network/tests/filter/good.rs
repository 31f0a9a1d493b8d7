//! What a container sends that means well.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::bridged::{Lab, OWN4, OWN6, VICTIM4, VICTIM6, ipv4_of};
use super::frames::{self, ipv4, ipv6, udp};
use super::*;

impl Lab {
    pub fn legitimate(&self) -> Vec<Sent> {
        let own = |kind| frames::address_option(kind, self.own);
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let nobody = Ipv4Addr::UNSPECIFIED;
        let first = frames::fragment_header(17, 0, true);
        let second = frames::fragment_header(17, 2, false);
        let datagram = udp(1, 9, b"12345678");
        vec![
            ("ARP request", self.arp(1, self.own, OWN4, VICTIM4)),
            ("ARP reply", self.arp(2, self.own, OWN4, VICTIM4)),
            ("gratuitous ARP", self.arp(1, self.own, OWN4, OWN4)),
            ("ARP probe", self.arp(1, self.own, nobody, OWN4)),
            (
                "ping",
                self.ip(&ipv4(OWN4, VICTIM4, 1, &[8, 0, 0, 0, 0, 1, 0, 1])),
            ),
            ("UDP", self.ip(&ipv4(OWN4, VICTIM4, 17, &datagram))),
            (
                "broadcast",
                self.to_all(frames::IP, &ipv4(OWN4, Ipv4Addr::BROADCAST, 17, &datagram)),
            ),
            ("fragment", self.ip(&ipv4_of(OWN4, 0x2000, &datagram))),
            ("last fragment", self.ip(&ipv4_of(OWN4, 2, &datagram))),
            (
                "IP in IP",
                self.ip(&ipv4(OWN4, VICTIM4, 4, &ipv4(VICTIM4, OWN4, 17, &datagram))),
            ),
            ("NS", self.solicited(OWN6, VICTIM6, &own(1))),
            (
                "NS without option",
                self.solicited(self.own_ll, VICTIM6, &[]),
            ),
            ("DAD", self.solicited(Ipv6Addr::UNSPECIFIED, OWN6, &[])),
            (
                "DAD with nonce",
                self.solicited(Ipv6Addr::UNSPECIFIED, self.own_ll, &nonce),
            ),
            ("NA", self.advertised(OWN6, OWN6, &own(2))),
            ("NA without option", self.advertised(self.own_ll, OWN6, &[])),
            (
                "RS",
                self.icmp(self.own_ll, 133, &[&[0; 4][..], &own(1)].concat()),
            ),
            (
                "RS of nobody",
                self.icmp(Ipv6Addr::UNSPECIFIED, 133, &[0; 4]),
            ),
            ("ping of IPv6", self.icmp(OWN6, 128, &[0, 1, 0, 1])),
            ("MLD report", self.icmp(self.own_ll, 143, &[0; 4])),
            (
                "MLD report of nobody",
                self.icmp(Ipv6Addr::UNSPECIFIED, 143, &[0; 4]),
            ),
            (
                "MLD report as it should be",
                self.hidden(0, &frames::extension(58), 143, &[0; 4]),
            ),
            (
                "UDP of IPv6",
                self.ip6(&ipv6(OWN6, VICTIM6, 17, 64, &datagram)),
            ),
            (
                "first of IPv6",
                self.ip6(&ipv6(
                    OWN6,
                    VICTIM6,
                    44,
                    64,
                    &[&first[..], &datagram].concat(),
                )),
            ),
            (
                "last of IPv6",
                self.ip6(&ipv6(
                    OWN6,
                    VICTIM6,
                    44,
                    64,
                    &[&second[..], &datagram].concat(),
                )),
            ),
        ]
    }
}
