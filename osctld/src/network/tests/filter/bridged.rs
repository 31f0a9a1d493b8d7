//! What a neighbour on the same bridge hears of a container that means ill.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::frames::{self, Arp, ether, icmpv6, ipv4, ipv6, udp};
use super::*;
use crate::network::DhcpLease;

const OWN4: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 2);
const VICTIM4: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 3);
const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 2);
const VICTIM6: Ipv6Addr = Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 3);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A bridge with an attacker and a victim; the attacker's interface is as wanted.
struct Lab {
    attacker: Wire,
    victim: Wire,
    own: [u8; 6],
    theirs: [u8; 6],
    own_ll: Ipv6Addr,
    // Namespaces end with these.
    _held: (Host, OwnedFd, OwnedFd),
}

fn attacker(dhcp: bool) -> Wanted {
    let mut wanted = bridged("attacker", &["10.5.0.2/24", "fd00:5::2/64"]);
    if let (
        Attachment::Bridge {
            dhcp: on, lease, ..
        },
        true,
    ) = (&mut wanted.attachment, dhcp)
    {
        *on = true;
        *lease = Some(DhcpLease {
            v4: "10.5.0.2/24".parse().unwrap(),
            v6: "fd00:5::2/64".parse().unwrap(),
            gateways: Gateways::default(),
        });
    }
    wanted
}

fn lab(wanted: &Wanted) -> Lab {
    let host = host();
    let (one, two) = (namespace(), namespace());
    let victim = bridged("victim", &["10.5.0.3/24", "fd00:5::3/64"]);
    let mine = start(&host, wanted, &one);
    let theirs = start(&host, &victim, &two);
    Lab {
        attacker: Wire::open(&one, mine.inside_index),
        victim: Wire::open(&two, theirs.inside_index),
        own: wanted.hwaddr.octets(),
        theirs: victim.hwaddr.octets(),
        own_ll: wanted.hwaddr.link_local(),
        _held: (host, one, two),
    }
}

impl Lab {
    fn fence(&self) -> Vec<u8> {
        self.ip(&ipv4(OWN4, VICTIM4, 17, &udp(1, 9, b"fence")))
    }

    fn to_all(&self, kind: u16, payload: &[u8]) -> Vec<u8> {
        ether(frames::BROADCAST, self.own, kind, payload)
    }

    fn ip(&self, packet: &[u8]) -> Vec<u8> {
        ether(self.theirs, self.own, frames::IP, packet)
    }

    fn ip6(&self, packet: &[u8]) -> Vec<u8> {
        ether(self.theirs, self.own, frames::IP6, packet)
    }

    fn arp(&self, operation: u16, sha: [u8; 6], spa: Ipv4Addr, tpa: Ipv4Addr) -> Vec<u8> {
        let arp = Arp {
            operation,
            sha,
            spa,
            tpa,
        };
        self.to_all(frames::ARP, &arp.bytes())
    }

    fn icmp(&self, from: Ipv6Addr, kind: u8, rest: &[u8]) -> Vec<u8> {
        let message = icmpv6(from, ALL_NODES, kind, rest);
        self.ip6(&ipv6(from, ALL_NODES, 58, 255, &message))
    }

    /// The same message behind `headers`, the first of which is of type `next`.
    fn hidden(&self, next: u8, headers: &[u8], kind: u8, rest: &[u8]) -> Vec<u8> {
        let message = icmpv6(OWN6, ALL_NODES, kind, rest);
        let payload = [headers, &message].concat();
        self.ip6(&ipv6(OWN6, ALL_NODES, next, 255, &payload))
    }

    fn advertised(&self, from: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        self.icmp(from, 136, &frames::discovery(target, options))
    }

    fn solicited(&self, from: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        self.icmp(from, 135, &frames::discovery(target, options))
    }

    fn legitimate(&self) -> Vec<Sent> {
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

fn ipv4_of(from: Ipv4Addr, fragment: u16, payload: &[u8]) -> Vec<u8> {
    frames::ipv4_fragment(from, VICTIM4, 17, fragment, payload)
}

#[test]
fn legitimate_traffic_passes() {
    on_a_host(|| {
        let filters = Filters::open("test").unwrap();
        let wanted = attacker(true);
        filters.add(&wanted, None).unwrap();
        let lab = lab(&wanted);
        let mut all = lab.legitimate();
        let request = udp(68, 67, &frames::dhcp(1, lab.own));
        let nobody = Ipv4Addr::UNSPECIFIED;
        let packet = ipv4(nobody, Ipv4Addr::BROADCAST, 17, &request);
        all.push(("DHCP", lab.to_all(frames::IP, &packet)));
        all.push(("DHCP renewal", lab.ip(&ipv4(OWN4, GATEWAY4, 17, &request))));
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        let arrived = arrives(&lab.attacker, &lab.victim, &all, &lab.fence());
        assert_eq!(arrived, names);
    });
}
