//! What a neighbour on the same bridge hears of a container that means ill.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::frames::{self, Arp, ether, icmpv6, ipv4, ipv6, udp};
use super::*;
use crate::network::DhcpLease;

pub const OWN4: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 2);
pub const VICTIM4: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 3);
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 1);
pub const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 2);
pub const VICTIM6: Ipv6Addr = Ipv6Addr::new(0xfd00, 5, 0, 0, 0, 0, 0, 3);
pub const FOREIGN: [u8; 6] = [0x52, 0x54, 0, 0xbe, 0xef, 0];
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A bridge with an attacker and a victim; the attacker's interface is as wanted.
pub struct Lab {
    pub attacker: Wire,
    pub victim: Wire,
    pub own: [u8; 6],
    pub theirs: [u8; 6],
    pub own_ll: Ipv6Addr,
    // Namespaces end with these.
    _held: (Host, OwnedFd, OwnedFd),
}

pub fn attacker(dhcp: bool) -> Wanted {
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

pub fn lab(wanted: &Wanted) -> Lab {
    let host = host();
    // Otherwise the host itself throws away what is broken, and nothing is learnt of the filter.
    for file in ["call-iptables", "call-ip6tables", "call-arptables"] {
        std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-{file}"), "0").ok();
    }
    std::fs::write("/sys/class/net/br0/bridge/multicast_snooping", "0").ok();
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
    pub fn host(&self) -> &Host {
        &self._held.0
    }

    pub fn fence(&self) -> Vec<u8> {
        self.ip(&ipv4(OWN4, VICTIM4, 17, &udp(1, 9, b"fence")))
    }

    pub fn to_all(&self, kind: u16, payload: &[u8]) -> Vec<u8> {
        ether(frames::BROADCAST, self.own, kind, payload)
    }

    pub fn ip(&self, packet: &[u8]) -> Vec<u8> {
        ether(self.theirs, self.own, frames::IP, packet)
    }

    pub fn ip6(&self, packet: &[u8]) -> Vec<u8> {
        ether(self.theirs, self.own, frames::IP6, packet)
    }

    pub fn arp(&self, operation: u16, sha: [u8; 6], spa: Ipv4Addr, tpa: Ipv4Addr) -> Vec<u8> {
        let arp = Arp {
            operation,
            sha,
            spa,
            tpa,
        };
        self.to_all(frames::ARP, &arp.bytes())
    }

    pub fn icmp(&self, from: Ipv6Addr, kind: u8, rest: &[u8]) -> Vec<u8> {
        let message = icmpv6(from, ALL_NODES, kind, rest);
        self.ip6(&ipv6(from, ALL_NODES, 58, 255, &message))
    }

    /// The same message behind `headers`, the first of which is of type `next`.
    pub fn hidden(&self, next: u8, headers: &[u8], kind: u8, rest: &[u8]) -> Vec<u8> {
        let message = icmpv6(OWN6, ALL_NODES, kind, rest);
        let payload = [headers, &message].concat();
        self.ip6(&ipv6(OWN6, ALL_NODES, next, 255, &payload))
    }

    pub fn advertised(&self, from: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        self.icmp(from, 136, &frames::discovery(target, options))
    }

    pub fn solicited(&self, from: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        self.icmp(from, 135, &frames::discovery(target, options))
    }
}

pub fn ipv4_of(from: Ipv4Addr, fragment: u16, payload: &[u8]) -> Vec<u8> {
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
