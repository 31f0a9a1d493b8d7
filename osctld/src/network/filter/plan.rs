//! What one interface has in the tables: a pure function of what is wanted of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use osctl_api::net::{HwAddr, Network};

use super::super::firewall::Chains;
use super::super::nft::{Family, Field, Kind, Range, Rule, Value, Verdict, field, ranges_of};
use super::super::wanted::{Attachment, Wanted};
use super::base::{self, FROM, GUARDED, IN, OUT};

/// What one interface has in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) family: Family,
    pub(super) sets: Vec<OwnSet>,
    pub(super) chains: Vec<(String, Vec<Rule>)>,
    /// In which sets and maps its name is, and with what verdict.
    pub(super) listed: Vec<(&'static str, Option<Verdict>)>,
}

/// A set of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnSet {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) ranges: Vec<Range>,
}

/// Families whose tables an interface that is attached like that is in.
pub(super) fn families(attachment: &Attachment) -> &'static [Family] {
    match attachment {
        Attachment::Bridge { .. } => &[Family::Bridge],
        Attachment::Routed { .. } => &[Family::Inet, Family::Arp],
    }
}

/// What `wanted` has, with that firewall.
pub(super) fn plan(wanted: &Wanted, firewall: Option<&Chains>) -> Vec<Part> {
    let mut parts: Vec<Part> = families(&wanted.attachment)
        .iter()
        .map(|family| Part {
            family: *family,
            sets: Vec::new(),
            chains: Vec::new(),
            listed: Vec::new(),
        })
        .collect();
    if wanted.anti_spoof {
        for part in &mut parts {
            guard(part, wanted);
        }
    }
    // Firewalls know no ARP.
    if let (Some(chains), Some(part)) = (firewall, parts.first_mut()) {
        let name = wanted.host_name.as_str();
        for (map, rules) in [(OUT, &chains.outgoing), (IN, &chains.incoming)] {
            let chain = format!("{map}-{name}");
            part.listed.push((map, Some(Verdict::Jump(chain.clone()))));
            part.chains.push((chain, rules.clone()));
        }
    }
    parts
}

// Names of its sets in every table.
struct Own {
    hwaddr: HwAddr,
    v4: String,
    v6: String,
}

fn guard(part: &mut Part, wanted: &Wanted) {
    let name = wanted.host_name.as_str();
    let own = Own {
        hwaddr: wanted.hwaddr,
        v4: format!("own4-{name}"),
        v6: format!("own6-{name}"),
    };
    let rules = match (part.family, &wanted.attachment) {
        (Family::Arp, _) => arp(&own),
        (_, Attachment::Routed { .. }) => routed(&own),
        (_, Attachment::Bridge { .. }) if wanted.addresses_are_unknown() => unknown(&own),
        (_, Attachment::Bridge { dhcp, .. }) => {
            let dhcp = dhcp.then(|| base::first_dhcp_request().accept());
            bridged(&own, dhcp)
        }
    };
    if !wanted.addresses_are_unknown() {
        let networks = wanted.own_networks();
        part.sets.push(set::<Ipv4Addr>(
            own.v4,
            wanted,
            |ip| ip.is_ipv4(),
            &networks,
        ));
        if part.family != Family::Arp {
            let link_local = Network::host(wanted.hwaddr.link_local().into());
            let networks = [networks, vec![link_local]].concat();
            part.sets.push(set::<Ipv6Addr>(
                own.v6,
                wanted,
                |ip| ip.is_ipv6(),
                &networks,
            ));
        }
    }
    let chain = format!("from-{name}");
    part.listed.push((GUARDED, None));
    part.listed.push((FROM, Some(Verdict::Jump(chain.clone()))));
    part.chains.push((chain, rules));
}

fn set<T: Value>(
    name: String,
    wanted: &Wanted,
    of: fn(&IpAddr) -> bool,
    all: &[Network],
) -> OwnSet {
    let ranges = all
        .iter()
        .filter(|n| of(&n.net().addr()))
        .map(|n| Range::network(*n));
    match wanted.attachment {
        // Hosts only.
        Attachment::Bridge { .. } => {
            let mut ranges: Vec<Range> = ranges.collect();
            ranges.sort_unstable();
            ranges.dedup();
            OwnSet {
                name,
                kind: Kind::values::<T>(),
                ranges,
            }
        }
        Attachment::Routed { .. } => OwnSet {
            name,
            kind: Kind::intervals::<T>(),
            ranges: ranges_of(ranges),
        },
    }
}

fn protocol(number: u16) -> Rule {
    Rule::new().is(field::PROTOCOL, number)
}

fn discovery(kind: u8) -> Rule {
    Rule::new()
        .is(field::L4PROTO, base::ICMPV6)
        .is(field::ICMP_TYPE, kind)
}

// The shared chains made sure that these are where they are looked for.
fn foreign_hardware(own: &Own) -> [Rule; 3] {
    let other = |rule: Rule, field: Field<HwAddr>| rule.is_not(field, own.hwaddr).drop();
    let solicited = discovery(base::NEIGHBOUR_SOLICITATION)
        .is(field::IP6_LENGTH, 32)
        .is(field::ND_OPTION, base::SOURCE_OPTION);
    let advertised = discovery(base::NEIGHBOUR_ADVERTISEMENT).is(field::IP6_LENGTH, 32);
    let router = discovery(base::ROUTER_SOLICITATION).is(field::IP6_LENGTH, 16);
    [
        other(solicited, field::ND_OPTION_ADDRESS),
        other(advertised, field::ND_OPTION_ADDRESS),
        other(router, field::RS_OPTION_ADDRESS),
    ]
}

fn foreign_frames(own: &Own) -> [Rule; 2] {
    [
        Rule::new().is_not(field::ETHER_SADDR, own.hwaddr).drop(),
        protocol(base::IP)
            .is(field::L4PROTO, base::UDP)
            .is(field::DPORT, 67)
            .is_not(field::DHCP_CHADDR, own.hwaddr)
            .drop(),
    ]
}

fn foreign_advertisement(own: &Own) -> Rule {
    discovery(base::NEIGHBOUR_ADVERTISEMENT)
        .is_not_in(field::ND_TARGET, &own.v6)
        .drop()
}

fn bridged(own: &Own, dhcp: Option<Rule>) -> Vec<Rule> {
    let mut rules = Vec::from(foreign_frames(own));
    rules.extend([
        protocol(base::ARP)
            .is(field::ARP_SHA, own.hwaddr)
            .is_in(field::ARP_SPA, &own.v4)
            .accept(),
        // Whether somebody has the address that it is about to use.
        protocol(base::ARP)
            .is(field::ARP_SHA, own.hwaddr)
            .is(field::ARP_OPERATION, 1)
            .is(field::ARP_SPA, Ipv4Addr::UNSPECIFIED)
            .is_in(field::ARP_TPA, &own.v4)
            .accept(),
        protocol(base::IP).is_in(field::IP_SADDR, &own.v4).accept(),
    ]);
    rules.extend(dhcp);
    rules.push(Rule::new().is_not(field::PROTOCOL, base::IP6).drop());
    rules.extend(foreign_hardware(own));
    rules.extend([
        foreign_advertisement(own),
        Rule::new().is_in(field::IP6_SADDR, &own.v6).accept(),
        // From no address, the shared chains let pass only what begins with that; of it, asking who
        // has an address is a claim to it.
        discovery(base::NEIGHBOUR_SOLICITATION)
            .is(field::IP6_SADDR, Ipv6Addr::UNSPECIFIED)
            .is_not_in(field::ND_TARGET, &own.v6)
            .drop(),
        Rule::new()
            .is(field::IP6_SADDR, Ipv6Addr::UNSPECIFIED)
            .accept(),
        Rule::new().drop(),
    ]);
    rules
}

fn unknown(own: &Own) -> Vec<Rule> {
    let mut rules = Vec::from(foreign_frames(own));
    rules.extend([
        protocol(base::ARP).is(field::ARP_SHA, own.hwaddr).accept(),
        protocol(base::IP).accept(),
        Rule::new().is_not(field::PROTOCOL, base::IP6).drop(),
    ]);
    rules.extend(foreign_hardware(own));
    rules.push(Rule::new().accept());
    rules
}

fn routed(own: &Own) -> Vec<Rule> {
    let mut rules = vec![
        protocol(base::IP).is_in(field::IP_SADDR, &own.v4).accept(),
        Rule::new().is_not(field::PROTOCOL, base::IP6).drop(),
    ];
    rules.extend(foreign_hardware(own));
    rules.extend([
        foreign_advertisement(own),
        Rule::new().is_in(field::IP6_SADDR, &own.v6).accept(),
        Rule::new().drop(),
    ]);
    rules
}

fn arp(own: &Own) -> Vec<Rule> {
    vec![
        Rule::new()
            .is(field::ARP_SHA, own.hwaddr)
            .is_in(field::ARP_SPA, &own.v4)
            .accept(),
        Rule::new()
            .is(field::ARP_SHA, own.hwaddr)
            .is(field::ARP_OPERATION, 1)
            .is(field::ARP_SPA, Ipv4Addr::UNSPECIFIED)
            .accept(),
        Rule::new().drop(),
    ]
}
