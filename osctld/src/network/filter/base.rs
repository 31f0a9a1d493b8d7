//! What all interfaces share: the chains at the hooks, the sets and maps that interfaces are in, and
//! those checks of what comes out of a container that need to know nothing about it.
//!
//! Nothing here depends on which containers there are.

use std::net::{Ipv4Addr, Ipv6Addr};

use osctl_api::net::{HwAddr, IfName};

use super::super::nft::{Family, Hook, HookKind, Kind, Range, Rule, field};
use super::own;

/// Set of the interfaces whose containers may not use others' addresses.
pub(super) const GUARDED: &str = "guarded";
/// Set of those of them whose addresses are known.
pub(super) const ADDRESSED: &str = "addressed";
/// Set of those of them that may ask for an address.
pub(super) const DHCP: &str = "dhcp";
/// Set of interfaces with the hardware address of each.
pub(super) const HARDWARE: &str = "hardware";
/// Sets of interfaces with addresses of each.
pub(super) const OWN4: &str = "own4";
/// The same for IPv6.
pub(super) const OWN6: &str = "own6";
/// Sets of interfaces with networks of each.
pub(super) const NETWORK4: &str = "network4";
/// The same for IPv6.
pub(super) const NETWORK6: &str = "network6";
/// Map to the chains of a firewall for what comes out of a container.
pub(super) const OUT: &str = "out";
/// Map to the chains of a firewall for what goes into a container.
pub(super) const IN: &str = "in";

pub(super) const IP: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IP6: u16 = 0x86dd;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const ROUTER_SOLICITATION: u8 = 133;
pub(super) const NEIGHBOUR_SOLICITATION: u8 = 135;
pub(super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
pub(super) const SOURCE_OPTION: [u8; 2] = [1, 1];
const TARGET_OPTION: [u8; 2] = [2, 1];
const NONCE_OPTION: [u8; 2] = [14, 1];

const IGMP: u8 = 2;
const PIM: u8 = 103;
const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

// Before connection tracking puts fragments together (-400): every fragment is checked.
const BEFORE_ALL: i32 = -450;
// After connection tracking (-200).
const TRACKED: i32 = -150;

/// A chain and what is in it.
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Rule>,
}

/// What every table of a family has.
pub(super) struct Base {
    pub(super) sets: Vec<(&'static str, Kind)>,
    /// Those that are jumped to come first.
    pub(super) chains: Vec<Chain>,
}

/// What a table of `family` has.
pub(super) fn base(family: Family) -> Base {
    let names = Kind::values::<IfName>();
    let verdicts = Kind::verdicts::<IfName>();
    let mut sets = vec![
        (GUARDED, names),
        (HARDWARE, Kind::pairs::<IfName, HwAddr>()),
        (OWN4, Kind::pairs::<IfName, Ipv4Addr>()),
    ];
    if family != Family::Arp {
        sets.extend([(OUT, verdicts), (IN, verdicts)]);
        sets.push((OWN6, Kind::pairs::<IfName, Ipv6Addr>()));
    }
    if family != Family::Bridge {
        sets.push((NETWORK4, Kind::pair_intervals::<IfName, Ipv4Addr>()));
    }
    let mut chains = Vec::new();
    match family {
        Family::Bridge => {
            sets.extend([(ADDRESSED, names), (DHCP, names)]);
            chains.extend(of_ip());
            chains.push(jumped("any", frames()));
            chains.push(jumped("addressed", own::addressed()));
            chains.push(jumped("guarded", own::bridged()));
            chains.push(at("spoofed", PREROUTING, BEFORE_ALL, spoofed()));
            chains.push(at("group-frames", INPUT, BEFORE_ALL, group_frames()));
            chains.push(at("leaving", PREROUTING, TRACKED, leaving()));
            chains.push(at("entering", POSTROUTING, 0, entering()));
        }
        Family::Inet => {
            sets.push((NETWORK6, Kind::pair_intervals::<IfName, Ipv6Addr>()));
            chains.extend(of_ip());
            chains.push(jumped("any", packets()));
            chains.push(jumped("guarded", own::routed()));
            chains.push(at("spoofed", PREROUTING, BEFORE_ALL, spoofed()));
            chains.push(at("leaving", PREROUTING, TRACKED, leaving()));
            // Where packets can still be rejected, which is not so after routing.
            chains.push(at("entering", FORWARD, TRACKED, entering()));
            chains.push(at("entering-local", OUTPUT, TRACKED, entering()));
        }
        Family::Arp => {
            chains.push(jumped("any", arp()));
            chains.push(jumped("guarded", own::arp()));
            chains.push(at("spoofed", PREROUTING, BEFORE_ALL, spoofed()));
        }
    }
    Base { sets, chains }
}

fn at(name: &'static str, number: u32, priority: i32, rules: Vec<Rule>) -> Chain {
    let kind = HookKind::Filter;
    Chain {
        name,
        hook: Some(Hook {
            kind,
            number,
            priority,
        }),
        rules,
    }
}

fn jumped(name: &'static str, rules: Vec<Rule>) -> Chain {
    Chain {
        name,
        hook: None,
        rules,
    }
}

fn spoofed() -> Vec<Rule> {
    vec![Rule::new().is_in(field::IIFNAME, GUARDED).goto("guarded")]
}

// Frames to 01:80:c2:00:00:0X (spanning tree, LLDP, …) do not pass the hook of all others, but the
// bridge learns their source all the same.
fn group_frames() -> Vec<Rule> {
    let mask = [0xff, 0xff, 0xff, 0xff, 0xff, 0xf0];
    let group = [0x01, 0x80, 0xc2, 0, 0, 0];
    vec![
        Rule::new()
            .is_in(field::IIFNAME, GUARDED)
            .bits_are(field::ETHER_DADDR, mask, group)
            .drop(),
    ]
}

fn leaving() -> Vec<Rule> {
    vec![Rule::new().map(field::IIFNAME, OUT)]
}

fn entering() -> Vec<Rule> {
    vec![Rule::new().map(field::OIFNAME, IN)]
}

// Only what is meant by its header to be what the kernel takes it for: a VLAN tag is a difference
// between the two.
fn frames() -> Vec<Rule> {
    let both = |kind| {
        Rule::new()
            .is(field::ETHER_TYPE, kind)
            .is(field::PROTOCOL, kind)
    };
    vec![
        both(IP).goto("ipv4"),
        both(IP6).goto("ipv6"),
        whole_arp(both(ARP), 1),
        whole_arp(both(ARP), 2),
        Rule::new().drop(),
    ]
}

fn packets() -> Vec<Rule> {
    vec![
        Rule::new().is(field::PROTOCOL, IP).goto("ipv4"),
        Rule::new().is(field::PROTOCOL, IP6).goto("ipv6"),
        Rule::new().drop(),
    ]
}

fn arp() -> Vec<Rule> {
    vec![
        whole_arp(Rule::new(), 1),
        whole_arp(Rule::new(), 2),
        Rule::new().drop(),
    ]
}

// Ethernet and IPv4; RARP and InARP are other operations.
fn whole_arp(rule: Rule, operation: u16) -> Rule {
    rule.is(field::ARP_LAYOUT, [0, 1, 8, 0, 6, 4])
        .is(field::ARP_OPERATION, operation)
        .back()
}

fn of_ip() -> [Chain; 4] {
    [
        jumped("ipv4", ipv4()),
        jumped("fragments", fragments()),
        jumped("icmpv6", icmpv6()),
        jumped("ipv6", ipv6()),
    ]
}

fn one_of(values: &[u8]) -> Vec<Range> {
    super::super::nft::ranges_of(values.iter().map(Range::single))
}

fn udp() -> Rule {
    Rule::new().is(field::L4PROTO, UDP)
}

fn icmp() -> Rule {
    Rule::new().is(field::L4PROTO, ICMPV6)
}

fn igmp(kind: u8) -> Rule {
    Rule::new()
        .is(field::L4PROTO, IGMP)
        .is(field::ICMP_TYPE, kind)
        .drop()
}

// Neither a DHCP server nor a multicast router is in a container: whoever asks for memberships gets
// all multicast of a bridge. A client looks at the port that is its own, so both are refused.
fn ipv4() -> Vec<Rule> {
    let whole = Rule::new().bits_are_not(field::IP_FRAGMENT, 0x3fff, 0);
    vec![
        udp().is(field::DPORT, 68).drop(),
        udp().is(field::SPORT, 67).drop(),
        // The hardware address in a request must be in sight.
        whole.is(field::L4PROTO, UDP).is(field::DPORT, 67).drop(),
        udp()
            .is(field::DPORT, 67)
            .is(field::DHCP_LAYOUT, [1, 1, 6])
            .has(field::DHCP_CHADDR)
            .back(),
        udp().is(field::DPORT, 67).drop(),
        igmp(0x11),
        igmp(0x30),
        igmp(0x32),
        Rule::new().is(field::L4PROTO, PIM).drop(),
        // Headers that do not add up have no protocol.
        Rule::new().has(field::L4PROTO).back(),
        Rule::new().drop(),
    ]
}

fn ipv6() -> Vec<Rule> {
    vec![
        Rule::new().has(field::IP6_FRAGMENT).goto("fragments"),
        icmp().goto("icmpv6"),
        Rule::new()
            .is(field::IP6_SADDR, Ipv6Addr::UNSPECIFIED)
            .drop(),
        udp().is(field::SPORT, 547).drop(),
        udp().is(field::DPORT, 546).drop(),
        Rule::new().is(field::L4PROTO, PIM).drop(),
        Rule::new().has(field::L4PROTO).back(),
        Rule::new().drop(),
    ]
}

// Nothing that is checked elsewhere may hide in fragments (RFC 6980), and the first has to show what
// it is (RFC 7112): then the others need no look.
fn fragments() -> Vec<Rule> {
    vec![
        Rule::new()
            .is(field::IP6_SADDR, Ipv6Addr::UNSPECIFIED)
            .drop(),
        Rule::new()
            .bits_are_not(field::IP6_FRAGMENT, 0xfff8, 0)
            .has(field::L4PROTO)
            .back(),
        icmp().is(field::ICMP_TYPE, 128).back(),
        icmp().is(field::ICMP_TYPE, 129).back(),
        icmp().drop(),
        udp().is(field::SPORT, 547).drop(),
        udp().is(field::DPORT, 546).drop(),
        Rule::new().has(field::TRANSPORT_BEGIN).back(),
        Rule::new().drop(),
    ]
}

// Neighbour discovery passes in the few layouts that hosts use, without extension headers: then what
// it claims is at fixed places. A router's part of it does not pass at all.
fn icmpv6() -> Vec<Rule> {
    let discovery = one_of(&[
        ROUTER_SOLICITATION,
        NEIGHBOUR_SOLICITATION,
        NEIGHBOUR_ADVERTISEMENT,
    ]);
    let nameless = one_of(&[131, 132, ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION, 143]);
    // Membership query, router advertisement, redirect, renumbering, inverse discovery,
    // certification path advertisement, multicast router advertisement and termination.
    let of_routers = one_of(&[130, 134, 137, 138, 141, 142, 149, 151, 153]);
    let plain = |kind: u8, len: u16| {
        Rule::new()
            .is(field::ICMP_TYPE, kind)
            .is(field::IP6_NEXT, ICMPV6)
            .is(field::IP6_HOPS, 255)
            .is(field::IP6_LENGTH, len)
    };
    let named = |rule: Rule| rule.is_not(field::IP6_SADDR, Ipv6Addr::UNSPECIFIED);
    vec![
        Rule::new()
            .is(field::IP6_SADDR, Ipv6Addr::UNSPECIFIED)
            .none_of(field::ICMP_TYPE, nameless)
            .drop(),
        plain(NEIGHBOUR_SOLICITATION, 24).back(),
        named(plain(NEIGHBOUR_SOLICITATION, 32))
            .is(field::ND_OPTION, SOURCE_OPTION)
            .back(),
        plain(NEIGHBOUR_SOLICITATION, 32)
            .is(field::ND_OPTION, NONCE_OPTION)
            .back(),
        plain(NEIGHBOUR_ADVERTISEMENT, 24).back(),
        plain(NEIGHBOUR_ADVERTISEMENT, 32)
            .is(field::ND_OPTION, TARGET_OPTION)
            .back(),
        plain(ROUTER_SOLICITATION, 8).back(),
        named(plain(ROUTER_SOLICITATION, 16))
            .is(field::RS_OPTION, SOURCE_OPTION)
            .back(),
        Rule::new().one_of(field::ICMP_TYPE, discovery).drop(),
        Rule::new().one_of(field::ICMP_TYPE, of_routers).drop(),
        Rule::new().has(field::ICMP_TYPE).back(),
        Rule::new().drop(),
    ]
}

/// A request of a DHCP client that has no address yet.
pub(super) fn first_dhcp_request() -> Rule {
    udp()
        .is(field::PROTOCOL, IP)
        .is(field::IP_SADDR, Ipv4Addr::UNSPECIFIED)
        .is(field::IP_DADDR, Ipv4Addr::BROADCAST)
        .is(field::SPORT, 68)
        .is(field::DPORT, 67)
}
