//! Rules of a container's firewall as users write them: `allow in tcp port 22,80-90 from @office
//! state new`. The types, their text and nothing else: what they mean to a kernel is the daemon's.
//!
//! ```text
//! rule      = verdict direction [protocol] clause…          each clause once, in any order
//! verdict   = allow | deny | reject
//! direction = in | out
//! protocol  = tcp | udp | sctp | icmp | icmpv6 | esp | ah | gre | 0…255
//! clause    = from peers | to peers | port ports | source-port ports | state states | log
//! peers     = peer{,peer}      peer  = network | @set
//! ports     = port{,port}      port  = 1…65535 | first-last
//! states    = state{,state}    state = new | established | related | invalid
//! ```

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::names::Name;
use crate::net::Network;

mod calls;
mod words;

pub use calls::{
    AddressSet, AddressSets, Clear, Firewall, RuleAdd, RuleDelete, RuleRow, SetAdd, SetDelete,
    SetList, SetNew, SetPolicy, SetRemove, SetShow, Show,
};

use words::shortened;

/// Longest text of a rule, bytes.
pub const MAX_RULE: usize = 2048;
/// Most items of one clause.
pub const MAX_ITEMS: usize = 64;

/// Why a text is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("firewall rule {given:?} is not valid: {why}")]
pub struct InvalidRule {
    given: String,
    why: String,
}

/// What becomes of a packet.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It passes.
    Allow,
    /// It is dropped without a word.
    Deny,
    /// It is dropped and its sender is told so.
    Reject,
}

/// Which way a packet goes, seen from the container.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the container.
    In,
    /// From the container.
    Out,
}

/// A protocol above IP, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

/// Where packets come from or go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A network, or one host.
    Network(Network),
    /// The networks in a named set, whatever they are at the time.
    Set(Name),
}

/// Ports from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    first: u16,
    last: u16,
}

/// What connection tracking says about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It begins a connection.
    New,
    /// It belongs to a connection that has seen packets of both directions.
    Established,
    /// It begins a connection that another one announced, or is an error about one.
    Related,
    /// It fits no connection.
    Invalid,
}

/// One rule; see the [module](self) for its text. The first rule that fits a packet decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FirewallRule {
    verdict: Verdict,
    direction: Direction,
    protocol: Option<Protocol>,
    from: Vec<Peer>,
    to: Vec<Peer>,
    ports: Vec<Ports>,
    source_ports: Vec<Ports>,
    states: Vec<State>,
    log: bool,
}

/// What becomes of packets that no rule fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallPolicy {
    /// Of those to the container.
    #[serde(rename = "in")]
    pub incoming: Verdict,
    /// Of those from the container.
    #[serde(rename = "out")]
    pub outgoing: Verdict,
}

impl Default for FirewallPolicy {
    fn default() -> FirewallPolicy {
        FirewallPolicy {
            incoming: Verdict::Allow,
            outgoing: Verdict::Allow,
        }
    }
}

impl FirewallRule {
    /// What becomes of a packet that fits.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
    /// Which way it goes.
    pub fn direction(&self) -> Direction {
        self.direction
    }
    /// Its protocol; any when absent.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }
    /// Where it comes from: any of these; from anywhere when there are none.
    pub fn from(&self) -> &[Peer] {
        &self.from
    }
    /// Where it goes to: any of these; to anywhere when there are none.
    pub fn to(&self) -> &[Peer] {
        &self.to
    }
    /// Its destination port: any of these; any at all when there are none.
    pub fn ports(&self) -> &[Ports] {
        &self.ports
    }
    /// Its source port: any of these; any at all when there are none.
    pub fn source_ports(&self) -> &[Ports] {
        &self.source_ports
    }
    /// Its state: any of these; any at all when there are none.
    pub fn states(&self) -> &[State] {
        &self.states
    }
    /// Whether the kernel logs it.
    pub fn log(&self) -> bool {
        self.log
    }
    /// Names of the sets that it uses.
    pub fn sets(&self) -> impl Iterator<Item = &Name> {
        self.from.iter().chain(&self.to).filter_map(|p| match p {
            Peer::Set(name) => Some(name),
            Peer::Network(_) => None,
        })
    }

    fn parse(s: &str) -> Result<FirewallRule, String> {
        if s.len() > MAX_RULE {
            return Err(format!("it is longer than {MAX_RULE} bytes"));
        }
        let mut words = s.split_ascii_whitespace().peekable();
        let mut need = |what: &str| words.next().ok_or(format!("{what} is missing"));
        let mut rule = FirewallRule {
            verdict: need("the verdict (allow, deny or reject)")?.parse()?,
            direction: need("the direction (in or out)")?.parse()?,
            protocol: None,
            from: Vec::new(),
            to: Vec::new(),
            ports: Vec::new(),
            source_ports: Vec::new(),
            states: Vec::new(),
            log: false,
        };
        if let Some(word) = words.next_if(|w| !CLAUSES.contains(w)) {
            rule.protocol = Some(word.parse()?);
        }
        let mut seen = [false; CLAUSES.len()];
        while let Some(word) = words.next() {
            let at = CLAUSES.iter().position(|c| *c == word).ok_or_else(|| {
                format!(
                    "{:?} is none of {}",
                    shortened(word, 32),
                    CLAUSES.join(", ")
                )
            })?;
            if std::mem::replace(&mut seen[at], true) {
                return Err(format!("there is a second '{word}'"));
            }
            if word == "log" {
                rule.log = true;
                continue;
            }
            let list = words
                .next()
                .ok_or(format!("what follows '{word}' is missing"))?;
            match word {
                "from" => rule.from = items(list)?,
                "to" => rule.to = items(list)?,
                "port" => rule.ports = items(list)?,
                "source-port" => rule.source_ports = items(list)?,
                _ => rule.states = items(list)?,
            }
        }
        rule.check()?;
        Ok(rule)
    }

    fn check(&self) -> Result<(), String> {
        let with_ports = matches!(
            self.protocol,
            Some(Protocol::TCP | Protocol::UDP | Protocol::SCTP)
        );
        let some_ports = !self.ports.is_empty() || !self.source_ports.is_empty();
        if some_ports && !with_ports {
            return Err("ports need the protocol tcp, udp or sctp".into());
        }
        let bound = match self.protocol {
            Some(Protocol::ICMP) => Families::V4,
            Some(Protocol::ICMPV6) => Families::V6,
            _ => Families::BOTH,
        };
        let left = bound & Families::of(&self.from) & Families::of(&self.to);
        if left == Families::NONE {
            return Err("its protocol and its addresses are of different IP versions".into());
        }
        Ok(())
    }
}

const CLAUSES: [&str; 6] = ["from", "to", "port", "source-port", "state", "log"];

#[derive(Clone, Copy, PartialEq, Eq)]
struct Families(u8);

impl Families {
    const NONE: Families = Families(0);
    const V4: Families = Families(1);
    const V6: Families = Families(2);
    const BOTH: Families = Families(3);

    fn of(peers: &[Peer]) -> Families {
        if peers.is_empty() {
            return Families::BOTH;
        }
        Families(peers.iter().fold(0, |all, peer| {
            all | match peer {
                Peer::Set(_) => Families::BOTH.0,
                Peer::Network(n) if n.net().addr().is_ipv4() => Families::V4.0,
                Peer::Network(_) => Families::V6.0,
            }
        }))
    }
}

impl std::ops::BitAnd for Families {
    type Output = Families;
    fn bitand(self, other: Families) -> Families {
        Families(self.0 & other.0)
    }
}

fn items<T: FromStr<Err = String> + PartialEq>(list: &str) -> Result<Vec<T>, String> {
    let mut all = Vec::new();
    for item in list.split(',') {
        if all.len() == MAX_ITEMS {
            return Err(format!(
                "there are more than {MAX_ITEMS} items after one another"
            ));
        }
        let item: T = item.parse()?;
        if all.contains(&item) {
            return Err(format!("{:?} repeats an item", shortened(list, 64)));
        }
        all.push(item);
    }
    Ok(all)
}

fn joined<T: fmt::Display>(f: &mut fmt::Formatter<'_>, clause: &str, all: &[T]) -> fmt::Result {
    let mut before = format!(" {clause} ");
    for item in all {
        write!(f, "{before}{item}")?;
        ",".clone_into(&mut before);
    }
    Ok(())
}

impl fmt::Display for FirewallRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verdict, self.direction)?;
        if let Some(protocol) = self.protocol {
            write!(f, " {protocol}")?;
        }
        joined(f, "from", &self.from)?;
        joined(f, "source-port", &self.source_ports)?;
        joined(f, "to", &self.to)?;
        joined(f, "port", &self.ports)?;
        joined(f, "state", &self.states)?;
        if self.log {
            f.write_str(" log")?;
        }
        Ok(())
    }
}

impl FromStr for FirewallRule {
    type Err = InvalidRule;
    fn from_str(s: &str) -> Result<FirewallRule, InvalidRule> {
        FirewallRule::parse(s).map_err(|why| InvalidRule {
            given: shortened(s, 100),
            why,
        })
    }
}

impl From<FirewallRule> for String {
    fn from(rule: FirewallRule) -> String {
        rule.to_string()
    }
}

impl TryFrom<String> for FirewallRule {
    type Error = InvalidRule;
    fn try_from(s: String) -> Result<FirewallRule, InvalidRule> {
        s.parse()
    }
}

impl JsonSchema for FirewallRule {
    fn schema_name() -> Cow<'static, str> {
        "FirewallRule".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests;
