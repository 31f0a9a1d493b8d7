//! nf_tables over netlink: what the `nft` program does for people, for the daemon, without it.
//!
//! A [`Batch`] of typed messages is sent over a [`Socket`] and takes effect as a whole or not at
//! all. It owns the encoding; what is filtered is decided by who builds the batch.

mod attr;
mod batch;
mod dump;
mod encode;
mod error;
pub mod field;
mod message;
mod monitor;
mod rule;
mod set;
mod socket;

pub use batch::{Batch, Hook, HookKind, Protection};
pub use dump::Count;
pub use error::Error;
pub use field::{Field, Value};
pub use monitor::{Foreign, Monitor};
pub use rule::{Rule, Statement, Test, Verdict};
pub use set::{Kind, Range, ranges_of};
pub use socket::Socket;

/// What kind of packets a table sees (`NFPROTO_*` of linux/netfilter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// ARP.
    Arp,
    /// Frames that cross a bridge.
    Bridge,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Arp => 3,
            Family::Bridge => 7,
        }
    }
}

/// A table: its family and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Which packets it sees.
    pub family: Family,
    /// Its name, which other families' tables may share.
    pub name: String,
}

impl Table {
    /// The table called `name` of `family`.
    pub fn new(family: Family, name: &str) -> Table {
        Table {
            family,
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = match self.family {
            Family::Inet => "inet",
            Family::Arp => "arp",
            Family::Bridge => "bridge",
        };
        write!(f, "{family} {}", self.name)
    }
}
