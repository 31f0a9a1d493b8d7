//! Whether what comes out of a container is its own: the same rules for all, which look into sets of
//! interfaces together with what belongs to each.
//!
//! So one more interface is a few elements more: rules would be checked by the kernel all together
//! whenever one is added.

use std::net::{Ipv4Addr, Ipv6Addr};

use osctl_api::net::{HwAddr, IfName};

use super::super::nft::{Field, Rule, field};
use super::base::{
    self, ADDRESSED, DHCP, HARDWARE, NETWORK4, NETWORK6, OWN4, OWN6, first_dhcp_request,
};

const FROM: Field<IfName> = field::IIFNAME;

fn protocol(number: u16) -> Rule {
    Rule::new().is(field::PROTOCOL, number)
}

fn discovery(kind: u8) -> Rule {
    Rule::new()
        .is(field::L4PROTO, base::ICMPV6)
        .is(field::ICMP_TYPE, kind)
}

fn foreign(rule: Rule, hardware: Field<HwAddr>) -> Rule {
    rule.are_not_in((FROM, hardware), HARDWARE).drop()
}

// What nobody knows anything about but its interface is looked at first; `any` leaves only what is
// where it is looked for here.
fn begun() -> Vec<Rule> {
    let solicited = discovery(base::NEIGHBOUR_SOLICITATION)
        .is(field::IP6_LENGTH, 32)
        .is(field::ND_OPTION, base::SOURCE_OPTION);
    let advertised = discovery(base::NEIGHBOUR_ADVERTISEMENT).is(field::IP6_LENGTH, 32);
    let router = discovery(base::ROUTER_SOLICITATION).is(field::IP6_LENGTH, 16);
    vec![
        Rule::new().jump("any"),
        foreign(solicited, field::ND_OPTION_ADDRESS),
        foreign(advertised, field::ND_OPTION_ADDRESS),
        foreign(router, field::RS_OPTION_ADDRESS),
    ]
}

/// Of ports of bridges. Of those whose addresses nobody knows only the hardware's is checked.
pub(super) fn bridged() -> Vec<Rule> {
    let request = protocol(base::IP)
        .is(field::L4PROTO, base::UDP)
        .is(field::DPORT, 67);
    let mut rules = vec![foreign(Rule::new(), field::ETHER_SADDR)];
    rules.extend(begun());
    rules.extend([
        foreign(request, field::DHCP_CHADDR),
        foreign(protocol(base::ARP), field::ARP_SHA),
        Rule::new().is_in(FROM, ADDRESSED).goto("addressed"),
        Rule::new().accept(),
    ]);
    rules
}

/// Of ports of bridges, when their addresses are known.
pub(super) fn addressed() -> Vec<Rule> {
    let nobody = Ipv6Addr::UNSPECIFIED;
    vec![
        protocol(base::IP)
            .are_in((FROM, field::IP_SADDR), OWN4)
            .accept(),
        protocol(base::ARP)
            .are_in((FROM, field::ARP_SPA), OWN4)
            .accept(),
        // Whether somebody has the address that it is about to use.
        protocol(base::ARP)
            .is(field::ARP_OPERATION, 1)
            .is(field::ARP_SPA, Ipv4Addr::UNSPECIFIED)
            .are_in((FROM, field::ARP_TPA), OWN4)
            .accept(),
        first_dhcp_request().is_in(FROM, DHCP).accept(),
        Rule::new().is_not(field::PROTOCOL, base::IP6).drop(),
        discovery(base::NEIGHBOUR_ADVERTISEMENT)
            .are_not_in((FROM, field::ND_TARGET), OWN6)
            .drop(),
        Rule::new().are_in((FROM, field::IP6_SADDR), OWN6).accept(),
        // From no address, `any` lets pass only what begins with that; of it, asking who has an
        // address is a claim to it.
        discovery(base::NEIGHBOUR_SOLICITATION)
            .is(field::IP6_SADDR, nobody)
            .are_not_in((FROM, field::ND_TARGET), OWN6)
            .drop(),
        Rule::new().is(field::IP6_SADDR, nobody).accept(),
        Rule::new().drop(),
    ]
}

/// Of routed interfaces.
pub(super) fn routed() -> Vec<Rule> {
    let v4 = || protocol(base::IP);
    let mut rules = begun();
    rules.extend([
        v4().are_in((FROM, field::IP_SADDR), OWN4).accept(),
        v4().are_in((FROM, field::IP_SADDR), NETWORK4).accept(),
        Rule::new().is_not(field::PROTOCOL, base::IP6).drop(),
        discovery(base::NEIGHBOUR_ADVERTISEMENT)
            .are_not_in((FROM, field::ND_TARGET), OWN6)
            .are_not_in((FROM, field::ND_TARGET), NETWORK6)
            .drop(),
        Rule::new().are_in((FROM, field::IP6_SADDR), OWN6).accept(),
        Rule::new()
            .are_in((FROM, field::IP6_SADDR), NETWORK6)
            .accept(),
        Rule::new().drop(),
    ]);
    rules
}

/// Of routed interfaces: what they say of themselves.
pub(super) fn arp() -> Vec<Rule> {
    vec![
        Rule::new().jump("any"),
        foreign(Rule::new(), field::ARP_SHA),
        Rule::new().are_in((FROM, field::ARP_SPA), OWN4).accept(),
        Rule::new()
            .are_in((FROM, field::ARP_SPA), NETWORK4)
            .accept(),
        Rule::new()
            .is(field::ARP_OPERATION, 1)
            .is(field::ARP_SPA, Ipv4Addr::UNSPECIFIED)
            .accept(),
        Rule::new().drop(),
    ]
}
