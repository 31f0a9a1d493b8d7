//! Private networks behind the host's addresses: what leaves them for elsewhere gets the address of
//! the interface that it leaves by, answers come back, and nothing else comes in from elsewhere.
//!
//! [`Nat`] owns a table of nf_tables of its own, called like the daemon's cgroup root with `-nat`.
//! It does not turn on forwarding.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use osctl_api::net::{IfName, Network};

use super::nft::{
    self, Batch, Family, Field, Hook, HookKind, Monitor, Protection, Range, Rule, Socket,
    Statement, Table, Value, field,
};

const FORWARD: u32 = 2;
const POSTROUTING: u32 = 4;
const FILTER: i32 = 0;
const SOURCE: i32 = 100;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[error("cannot translate addresses of bridge {bridge}")]
pub struct Error {
    bridge: String,
    #[source]
    source: nft::Error,
}

/// Translation for the networks of one bridge.
#[derive(Debug)]
pub struct Nat {
    table: Table,
    port: u32,
    /// Which protection against others is tried, best first.
    protections: &'static [Protection],
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: Socket,
    /// What is translated.
    wanted: Option<(IfName, Vec<Network>)>,
}

impl Nat {
    /// Opens it for the daemon whose cgroup root is `root`, in the network namespace of the calling
    /// thread. Nothing is changed.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(root: &str) -> Result<Nat, Error> {
        let socket = Socket::open().map_err(|source| Error {
            bridge: "of all containers".into(),
            source,
        })?;
        Ok(Nat {
            table: Table::new(Family::Inet, &format!("{root}-nat")),
            port: socket.port(),
            protections: &[Protection::Owned, Protection::None],
            inner: Mutex::new(Inner {
                socket,
                wanted: None,
            }),
        })
    }

    /// As on a kernel that protects no tables, which is one before 6.9.
    #[cfg(test)]
    pub fn unprotected(root: &str) -> Result<Nat, Error> {
        Ok(Nat {
            protections: &[Protection::None],
            ..Nat::open(root)?
        })
    }

    /// Tells when somebody else changes the table; then [`Nat::restore`] is needed.
    ///
    /// # Errors
    /// [`nft::Error::Socket`].
    pub fn monitor(&self) -> Result<Monitor, nft::Error> {
        Monitor::open(&self.table.name, &[self.port])
    }

    /// Makes the table what it should be for these networks of `bridge`, in one transaction,
    /// whatever is in it.
    ///
    /// # Errors
    /// [`Error`]; then nothing has changed.
    pub fn ensure(&self, bridge: &IfName, subnets: &[Network]) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.wanted = Some((bridge.clone(), subnets.to_vec()));
        self.apply(&mut inner)
    }

    /// Makes the table again what it was, when somebody else has changed it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn restore(&self) -> Result<(), Error> {
        self.apply(&mut self.lock())
    }

    /// Deletes the table. That there is none is fine.
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove(&self) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.wanted = None;
        self.apply(&mut inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, inner: &mut Inner) -> Result<(), Error> {
        let Some((bridge, subnets)) = &inner.wanted else {
            return self.transact(&mut inner.socket, "that is gone", |batch| {
                batch.delete_table(&self.table);
            });
        };
        let (source, forward) = (masquerade(bridge, subnets), forward(bridge, subnets));
        self.transact(&mut inner.socket, bridge.as_str(), |batch| {
            let chains = [
                ("masquerade", HookKind::Nat, POSTROUTING, SOURCE, &source),
                ("forward", HookKind::Filter, FORWARD, FILTER, &forward),
            ];
            for (name, kind, number, priority, rules) in chains {
                let hook = Hook {
                    kind,
                    number,
                    priority,
                };
                batch.base_chain(&self.table, name, &hook);
                batch.flush_chain(&self.table, name);
                batch.rules(&self.table, name, rules);
            }
        })
    }

    // Whether the kernel knows protected tables is learnt by asking it; what others made under our
    // name is made anew.
    fn transact(
        &self,
        socket: &mut Socket,
        bridge: &str,
        fill: impl Fn(&mut Batch),
    ) -> Result<(), Error> {
        let mut first = None;
        for anew in [false, true] {
            for protection in self.protections.iter().copied() {
                let mut batch = Batch::new();
                batch.table(&self.table, protection);
                if anew {
                    batch.delete_table(&self.table);
                    batch.table(&self.table, protection);
                }
                fill(&mut batch);
                match socket.transact(batch) {
                    Ok(()) => return Ok(()),
                    Err(e) => {
                        let refused = e.errno().is_some_and(|e| e != Errno::EPERM);
                        let source = first.get_or_insert(e);
                        if !refused {
                            let source = std::mem::replace(source, nft::Error::Unconfirmed);
                            return Err(failed(bridge, source));
                        }
                    }
                }
            }
        }
        Err(failed(bridge, first.unwrap_or(nft::Error::Unconfirmed)))
    }
}

fn failed(bridge: &str, source: nft::Error) -> Error {
    Error {
        bridge: bridge.to_owned(),
        source,
    }
}

// Of one network: its protocol, and conditions on source and destination.
fn each(subnet: Network, with: impl Fn(Rule, Range, Version) -> Rule) -> Rule {
    let range = Range::network(subnet);
    let (protocol, version) = match subnet.net().addr().is_ipv4() {
        true => (0x0800, Version::V4),
        false => (0x86dd, Version::V6),
    };
    with(Rule::new().is(field::PROTOCOL, protocol), range, version)
}

#[derive(Clone, Copy)]
enum Version {
    V4,
    V6,
}

impl Version {
    fn from(self, rule: Rule, range: Range) -> Rule {
        match self {
            Version::V4 => within(rule, field::IP_SADDR, range),
            Version::V6 => within(rule, field::IP6_SADDR, range),
        }
    }

    fn to(self, rule: Rule, range: Range) -> Rule {
        match self {
            Version::V4 => within(rule, field::IP_DADDR, range),
            Version::V6 => within(rule, field::IP6_DADDR, range),
        }
    }
}

fn within<T: Value>(rule: Rule, field: Field<T>, range: Range) -> Rule {
    rule.one_of(field, vec![range])
}

fn masquerade(bridge: &IfName, subnets: &[Network]) -> Vec<Rule> {
    let of = |subnet: &Network| {
        let outward = |rule: Rule, range, version: Version| {
            version
                .from(rule, range)
                .is_not(field::OIFNAME, bridge.clone())
                .then(Statement::Masquerade)
        };
        each(*subnet, outward)
    };
    subnets.iter().map(of).collect()
}

fn forward(bridge: &IfName, subnets: &[Network]) -> Vec<Rule> {
    let old = field::States::ESTABLISHED.and(field::States::RELATED);
    let inward = || Rule::new().is(field::OIFNAME, bridge.clone());
    let translated = field::Statuses::DESTINATION_TRANSLATED;
    let mut rules = vec![
        Rule::new().is(field::IIFNAME, bridge.clone()).accept(),
        inward()
            .bits_are_not(field::STATE, old, field::States::NONE)
            .accept(),
        // Whoever forwards a port here means it.
        inward()
            .bits_are_not(field::STATUS, translated, field::Statuses::NONE)
            .accept(),
    ];
    let direct = |subnet: &Network| {
        each(*subnet, |rule, range, version| {
            version
                .to(rule, range)
                .is(field::OIFNAME, bridge.clone())
                .drop()
        })
    };
    rules.extend(subnets.iter().map(direct));
    rules
}
