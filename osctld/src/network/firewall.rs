//! Firewalls of containers: what rules are, and what they are as chains of nf_tables.
//!
//! The first rule that fits a packet decides, then the policy. Before the rules pass, where anything
//! is denied at all: ARP; neighbour discovery and multicast memberships, without which there is no
//! IPv6; DHCP, of an interface that uses it; and packets of connections that are established, or
//! related to one, unless a rule of that direction speaks of these states itself.
//!
//! On ports of bridges connections can only be followed by kernels with nf_conntrack_bridge, and
//! senders can't be told that they are rejected. What is impossible is refused, not ignored.

mod chains;

use std::collections::BTreeMap;

use osctl_api::net::Network;

use super::nft::{
    self, Batch, Count, Family, Hook, HookKind, Kind, Protection, Range, Rule as Entry, Socket,
    Table, field, ranges_of,
};
use super::wanted::Attachment;

pub use chains::compile;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Allow,
    /// It is dropped.
    Deny,
    /// It is dropped and its sender is told so.
    Reject,
}

/// Which way a packet goes, seen from the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the container.
    In,
    /// From the container.
    Out,
}

/// Where packets come from or go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A network.
    Network(Network),
    /// A named set of them.
    Set(String),
}

/// States of connections, as many as are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct States {
    /// It begins a connection.
    pub new: bool,
    /// It belongs to one.
    pub established: bool,
    /// It is related to one.
    pub related: bool,
    /// It fits none.
    pub invalid: bool,
}

/// A rule. Lists that are empty leave their matter open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What becomes of a packet that fits.
    pub verdict: Verdict,
    /// Which way it goes.
    pub direction: Direction,
    /// Protocol above IP.
    pub protocol: Option<u8>,
    /// Where it comes from.
    pub from: Vec<Peer>,
    /// Where it goes to.
    pub to: Vec<Peer>,
    /// Destination ports, first and last.
    pub ports: Vec<(u16, u16)>,
    /// Source ports, first and last.
    pub source_ports: Vec<(u16, u16)>,
    /// State of its connection; `None` is any.
    pub states: Option<States>,
    /// Whether the kernel logs it, at most 60 times a minute.
    pub log: bool,
}

/// A firewall: rules, and what becomes of what none of them fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// The rules of both directions, in their order.
    pub rules: Vec<Rule>,
    /// For packets to the container.
    pub incoming: Verdict,
    /// For packets from the container.
    pub outgoing: Verdict,
}

/// A firewall as chains: one for each direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chains {
    pub(super) incoming: Vec<Entry>,
    pub(super) outgoing: Vec<Entry>,
}

/// Why a firewall is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A rule speaks of states where connections can't be followed.
    #[error(
        "rule {0} uses 'state', but this kernel can't follow connections on ports of a bridge (it \
         lacks nf_conntrack_bridge)"
    )]
    RuleWithState(usize),
    /// A policy other than allow where connections can't be followed.
    #[error(
        "the policy '{0}' would also drop the answers to what is allowed the other way: this kernel \
         can't follow connections on ports of a bridge (it lacks nf_conntrack_bridge)"
    )]
    Policy(&'static str),
    /// A rejection where it is not possible.
    #[error("{0} rejects, which is not possible on ports of a bridge; use 'deny'")]
    Reject(String),
    /// A rule with a set that is not there.
    #[error("rule {rule} uses the address set @{set}, which does not exist")]
    NoSet {
        /// The rule, counted from 1.
        rule: usize,
        /// The set.
        set: String,
    },
}

/// What the kernel can do on ports of bridges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Whether it can follow connections there.
    pub bridge_states: bool,
}

impl Abilities {
    /// Those of the running kernel: asked by making and deleting a table in one transaction.
    pub(super) fn of_kernel(socket: &mut Socket) -> Result<Abilities, nft::Error> {
        let table = Table::new(Family::Bridge, &format!("osctl-probe-{}", socket.port()));
        let mut batch = Batch::new();
        batch.table(&table, Protection::None);
        let hook = Hook {
            kind: HookKind::Filter,
            number: 0,
            priority: 0,
        };
        batch.base_chain(&table, "probe", &hook);
        let rule = Entry::new().is(field::STATE, field::States::INVALID);
        batch.rules(&table, "probe", &[rule]);
        batch.delete_table(&table);
        match socket.transact(batch) {
            Ok(()) => Ok(Abilities {
                bridge_states: true,
            }),
            Err(e) if e.is_about_rule() => Ok(Abilities {
                bridge_states: false,
            }),
            Err(e) => Err(e),
        }
    }
}

/// What the rules of a firewall have counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// By the number of the rule in [`Firewall::rules`], from 0.
    pub rules: BTreeMap<usize, Count>,
    /// What came to the policy for packets to the container.
    pub incoming: Count,
    /// What came to the policy for packets from the container.
    pub outgoing: Count,
}

impl Counts {
    /// Adds what was counted by entries of chains, by their comments.
    pub(super) fn add(&mut self, counted: &[(String, Count)]) {
        for (comment, count) in counted {
            match comment.strip_prefix("rule ") {
                Some(number) => {
                    if let Some(at) = number.parse().ok().and_then(|n: usize| n.checked_sub(1)) {
                        *self.rules.entry(at).or_default() += *count;
                    }
                }
                None if comment == chains::POLICY_IN => self.incoming += *count,
                None if comment == chains::POLICY_OUT => self.outgoing += *count,
                None => {}
            }
        }
    }
}

/// Whether all sets that `firewall` uses are among `sets`.
pub(super) fn check_sets<T>(firewall: &Firewall, sets: &BTreeMap<String, T>) -> Result<(), Error> {
    for (at, rule) in firewall.rules.iter().enumerate() {
        for peer in rule.from.iter().chain(&rule.to) {
            if let Peer::Set(set) = peer
                && !sets.contains_key(set)
            {
                return Err(Error::NoSet {
                    rule: at + 1,
                    set: set.clone(),
                });
            }
        }
    }
    Ok(())
}

/// The sets of the kernel that a named set of addresses is: of IPv4 and of IPv6.
pub(super) fn address_set_names(name: &str) -> [(String, Kind); 2] {
    [
        (
            format!("set4-{name}"),
            Kind::intervals::<std::net::Ipv4Addr>(),
        ),
        (
            format!("set6-{name}"),
            Kind::intervals::<std::net::Ipv6Addr>(),
        ),
    ]
}

/// What is in them.
pub(super) fn address_ranges(networks: &[Network]) -> (Vec<Range>, Vec<Range>) {
    let of = |v4: bool| {
        let some = networks
            .iter()
            .filter(|n| n.net().addr().is_ipv4() == v4)
            .map(|n| Range::network(*n));
        ranges_of(some)
    };
    (of(true), of(false))
}
