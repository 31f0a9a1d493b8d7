//! What one interface has in the tables: a pure function of what is wanted of it.

use std::net::{Ipv4Addr, Ipv6Addr};

use osctl_api::net::{HwAddr, IfName, Network};

use super::super::firewall::Chains;
use super::super::nft::{Family, Kind, Range, Rule, Verdict, ranges_of};
use super::super::wanted::{Attachment, Wanted};
use super::base::{ADDRESSED, DHCP, GUARDED, HARDWARE, IN, NETWORK4, NETWORK6, OUT, OWN4, OWN6};

/// What one interface has in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) family: Family,
    /// What of its own is in sets that all share.
    pub(super) own: Vec<Own>,
    pub(super) chains: Vec<(String, Vec<Rule>)>,
    /// In which sets and maps its name is, and with what verdict.
    pub(super) listed: Vec<(&'static str, Option<Verdict>)>,
}

/// Elements of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) set: &'static str,
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
            own: Vec::new(),
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

fn guard(part: &mut Part, wanted: &Wanted) {
    part.listed.push((GUARDED, None));
    part.own.push(Own {
        set: HARDWARE,
        kind: Kind::pairs::<IfName, HwAddr>(),
        ranges: vec![Range::single(&wanted.hwaddr).with(&wanted.host_name)],
    });
    if wanted.addresses_are_unknown() {
        return;
    }
    if let Attachment::Bridge { dhcp, .. } = &wanted.attachment {
        part.listed.push((ADDRESSED, None));
        part.listed.extend(dhcp.then_some((DHCP, None)));
    }
    let mut networks = wanted.own_networks();
    networks.push(Network::host(wanted.hwaddr.link_local().into()));
    let of = |v4: bool, hosts: bool| {
        let is = |n: &&Network| {
            let net = n.net();
            (
                net.addr().is_ipv4(),
                net.prefix_len() == net.max_prefix_len(),
            ) == (v4, hosts)
        };
        let ranges = networks.iter().filter(is).map(|n| Range::network(*n));
        let own = |range: Range| range.with(&wanted.host_name);
        let mut ranges: Vec<Range> = match hosts {
            true => ranges.collect(),
            false => ranges_of(ranges),
        };
        ranges.sort_unstable();
        ranges.dedup();
        ranges.into_iter().map(own).collect::<Vec<_>>()
    };
    let sets = [
        (OWN4, Kind::pairs::<IfName, Ipv4Addr>(), of(true, true)),
        (OWN6, Kind::pairs::<IfName, Ipv6Addr>(), of(false, true)),
        (
            NETWORK4,
            Kind::pair_intervals::<IfName, Ipv4Addr>(),
            of(true, false),
        ),
        (
            NETWORK6,
            Kind::pair_intervals::<IfName, Ipv6Addr>(),
            of(false, false),
        ),
    ];
    for (set, kind, ranges) in sets {
        let of_arp = [OWN4, NETWORK4].contains(&set);
        if !ranges.is_empty() && (of_arp || part.family != Family::Arp) {
            part.own.push(Own { set, kind, ranges });
        }
    }
}
