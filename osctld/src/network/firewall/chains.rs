//! A firewall compiled: pure.

use std::net::IpAddr;

use super::super::nft::{Field, Statement, Value};
use super::{
    Abilities, Attachment, Chains, Direction, Entry, Error, Firewall, Peer, Range, Rule, States,
    Verdict, address_set_names, field, ranges_of,
};

pub(super) const POLICY_IN: &str = "policy in";
pub(super) const POLICY_OUT: &str = "policy out";

const IP: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IP6: u16 = 0x86dd;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const LINES_A_MINUTE: u32 = 60;

/// `firewall` as chains for an interface that is attached like that.
///
/// # Errors
/// [`Error`] when it is not possible there.
pub fn compile(
    firewall: &Firewall,
    attachment: &Attachment,
    abilities: Abilities,
) -> Result<Chains, Error> {
    let bridged = matches!(attachment, Attachment::Bridge { .. });
    if bridged {
        check_bridged(firewall, abilities)?;
    }
    let place = Place {
        bridged,
        dhcp: matches!(attachment, Attachment::Bridge { dhcp: true, .. }),
        states: !bridged || abilities.bridge_states,
    };
    Ok(Chains {
        incoming: chain(firewall, Direction::In, place),
        outgoing: chain(firewall, Direction::Out, place),
    })
}

#[derive(Clone, Copy)]
struct Place {
    bridged: bool,
    dhcp: bool,
    states: bool,
}

fn check_bridged(firewall: &Firewall, abilities: Abilities) -> Result<(), Error> {
    for (at, rule) in firewall.rules.iter().enumerate() {
        if rule.verdict == Verdict::Reject {
            return Err(Error::Reject(format!("rule {}", at + 1)));
        }
        if rule.states.is_some() && !abilities.bridge_states {
            return Err(Error::RuleWithState(at + 1));
        }
    }
    for policy in [firewall.incoming, firewall.outgoing] {
        match policy {
            Verdict::Reject => return Err(Error::Reject("a policy".into())),
            Verdict::Deny if !abilities.bridge_states => return Err(Error::Policy("deny")),
            _ => {}
        }
    }
    Ok(())
}

fn chain(firewall: &Firewall, direction: Direction, place: Place) -> Vec<Entry> {
    let rules = || {
        let of_direction = |(_, r): &(usize, &Rule)| r.direction == direction;
        firewall.rules.iter().enumerate().filter(of_direction)
    };
    let (policy, name) = match direction {
        Direction::In => (firewall.incoming, POLICY_IN),
        Direction::Out => (firewall.outgoing, POLICY_OUT),
    };
    let denies = policy != Verdict::Allow || rules().any(|(_, r)| r.verdict != Verdict::Allow);
    let mut all = Vec::new();
    if denies {
        all.extend(always(direction, place));
        let own_states =
            |(_, r): (usize, &Rule)| r.states.is_some_and(|s| s.established || s.related);
        if place.states && !rules().any(own_states) {
            let old = field::States::ESTABLISHED.and(field::States::RELATED);
            all.push(in_states(Entry::new(), old).accept());
        }
    }
    for (at, rule) in rules() {
        let comment = format!("rule {}", at + 1);
        for fits in conditions(rule) {
            if rule.log {
                all.push(fits.clone().then(log(&comment)));
            }
            all.extend(decided(fits, rule.verdict, &comment));
        }
    }
    all.extend(decided(Entry::new(), policy, name));
    all
}

// What passes whatever the rules say.
fn always(direction: Direction, place: Place) -> Vec<Entry> {
    let discovery = [(130, 136), (143, 143)].map(|(a, b): (u8, u8)| Range::new(&a, &b));
    let mut all = vec![
        Entry::new()
            .is(field::PROTOCOL, IP6)
            .is(field::L4PROTO, ICMPV6)
            .one_of(field::ICMP_TYPE, discovery.to_vec())
            .accept(),
    ];
    if place.bridged {
        all.push(Entry::new().is(field::PROTOCOL, ARP).accept());
    }
    if place.dhcp {
        for (server, client) in [(67, 68), (547, 546)] {
            let (from, to) = match direction {
                Direction::In => (server, client),
                Direction::Out => (client, server),
            };
            let between = Entry::new()
                .is(field::L4PROTO, UDP)
                .is(field::DPORT, to)
                .is(field::SPORT, from);
            all.push(between.accept());
        }
    }
    all
}

fn in_states(entry: Entry, states: field::States) -> Entry {
    entry.bits_are_not(field::STATE, states, field::States::NONE)
}

fn log(comment: &str) -> Statement {
    Statement::Log {
        prefix: format!("osctl {comment}: "),
        per_minute: LINES_A_MINUTE,
    }
}

// A TCP connection is reset, of anything else the sender is told by ICMP.
fn decided(fits: Entry, verdict: Verdict, comment: &str) -> Vec<Entry> {
    let counted = |fits: Entry| fits.counter().comment(comment);
    match verdict {
        Verdict::Allow => vec![counted(fits).accept()],
        Verdict::Deny => vec![counted(fits).drop()],
        Verdict::Reject => vec![
            counted(fits.clone().is(field::L4PROTO, TCP)).then(Statement::Reset),
            counted(fits).then(Statement::Reject),
        ],
    }
}

// An entry fits one family and one alternative of addresses; a rule may be several.
fn conditions(rule: &Rule) -> Vec<Entry> {
    let v4 = Addresses {
        version: 0,
        protocol: IP,
        from: field::IP_SADDR,
        to: field::IP_DADDR,
    };
    let v6 = Addresses {
        version: 1,
        protocol: IP6,
        from: field::IP6_SADDR,
        to: field::IP6_DADDR,
    };
    let addressed = !(rule.from.is_empty() && rule.to.is_empty());
    let begun = match rule.protocol {
        Some(ICMP) => v4.entries(rule),
        Some(ICMPV6) => v6.entries(rule),
        _ if addressed => [v4.entries(rule), v6.entries(rule)].concat(),
        _ => vec![Entry::new()],
    };
    begun.into_iter().map(|e| above_ip(e, rule)).collect()
}

fn above_ip(mut entry: Entry, rule: &Rule) -> Entry {
    if let Some(protocol) = rule.protocol {
        entry = entry.is(field::L4PROTO, protocol);
    }
    for (ports, field) in [
        (&rule.source_ports, field::SPORT),
        (&rule.ports, field::DPORT),
    ] {
        if !ports.is_empty() {
            let ranges = ports.iter().map(|(first, last)| Range::new(first, last));
            entry = entry.one_of(field, ranges_of(ranges));
        }
    }
    match rule.states {
        Some(states) => in_states(entry, bits(states)),
        None => entry,
    }
}

fn bits(states: States) -> field::States {
    [
        (states.new, field::States::NEW),
        (states.established, field::States::ESTABLISHED),
        (states.related, field::States::RELATED),
        (states.invalid, field::States::INVALID),
    ]
    .into_iter()
    .filter(|(named, _)| *named)
    .fold(field::States::NONE, |all, (_, bit)| all.and(bit))
}

// Where the addresses of a version of IP are.
struct Addresses<T> {
    version: usize,
    protocol: u16,
    from: Field<T>,
    to: Field<T>,
}

impl<T: Value> Addresses<T> {
    fn entries(&self, rule: &Rule) -> Vec<Entry> {
        let begun = vec![Entry::new().is(field::PROTOCOL, self.protocol)];
        let with_source = self.with(begun, &rule.from, self.from);
        self.with(with_source, &rule.to, self.to)
    }

    // Each of `begun` with each alternative: all networks together are one, each set is one.
    fn with(&self, begun: Vec<Entry>, peers: &[Peer], field: Field<T>) -> Vec<Entry> {
        if peers.is_empty() {
            return begun;
        }
        let ranges = ranges_of(peers.iter().filter_map(|peer| match peer {
            Peer::Network(n) if self.is_of(n.net().addr()) => Some(Range::network(*n)),
            _ => None,
        }));
        let mut all = Vec::new();
        for entry in begun {
            if !ranges.is_empty() {
                all.push(entry.clone().one_of(field, ranges.clone()));
            }
            for peer in peers {
                if let Peer::Set(name) = peer {
                    let [v4, v6] = address_set_names(name);
                    let set = if self.version == 0 { v4.0 } else { v6.0 };
                    all.push(entry.clone().is_in(field, &set));
                }
            }
        }
        all
    }

    fn is_of(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == (self.version == 0)
    }
}
