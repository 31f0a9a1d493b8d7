//! What may come out of a container and what its firewall lets through, in the kernel.
//!
//! [`Filters`] owns the tables of nf_tables that carry the name of the daemon's cgroup root: of the
//! family bridge for ports of bridges, of inet and arp for routed interfaces. Rules against foreign
//! addresses are the same for all and look into sets, in which each interface has a few elements; with
//! a firewall it has chains of its own, to which a map leads. Nothing else is touched when one comes
//! or goes. What the rules are is decided in `base` and `own`, what an interface has in `plan`, and
//! its firewall in `firewall`.

mod apply;
mod base;
mod inner;
mod own;
mod plan;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use osctl_api::net::{IfName, Network};

use super::firewall::{self, Abilities, Firewall};
use super::nft::{self, Count, Family, Monitor, Protection, Socket, Table};
use super::wanted::Wanted;
use inner::{Entry, Inner};

/// Those that have tables of ours.
const FAMILIES: [Family; 3] = [Family::Bridge, Family::Inet, Family::Arp];

/// Named sets of addresses.
pub type AddressSets = BTreeMap<String, Vec<Network>>;

/// What can go wrong with filters.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused it.
    #[error("cannot filter what {of} sends and receives")]
    Kernel {
        /// Which interface, of which container; or all.
        of: String,
        /// Why.
        #[source]
        source: nft::Error,
    },
    /// The firewall of an interface is not possible there.
    #[error("the firewall of {of} is not possible")]
    Firewall {
        /// Which interface, of which container.
        of: String,
        /// Why.
        #[source]
        source: firewall::Error,
    },
}

/// The filters of all interfaces of a daemon. Every change takes effect as a whole or not at all,
/// also for packets that are on their way.
#[derive(Debug)]
pub struct Filters {
    root: String,
    port: u32,
    inner: Mutex<Inner>,
}

/// One interface with what its firewall is.
#[derive(Debug, Clone)]
pub struct Filtered {
    /// The interface.
    pub wanted: Wanted,
    /// The firewall of its container, if there is one.
    pub firewall: Option<Firewall>,
}

/// What becomes of filters of interfaces that nothing is known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They are removed.
    Go,
    /// They stay.
    Stay,
}

impl Filters {
    /// Opens them for the daemon whose cgroup root is `root`, in the network namespace of the
    /// calling thread. Nothing is changed: what a daemon before left is there until
    /// [`Filters::rebuild`].
    ///
    /// # Errors
    /// [`Error::Kernel`] when nf_tables can't be used.
    pub fn open(root: &str) -> Result<Filters, Error> {
        let failed = |source| Error::Kernel {
            of: "a container".into(),
            source,
        };
        let mut socket = Socket::open().map_err(failed)?;
        let abilities = Abilities::of_kernel(&mut socket).map_err(failed)?;
        Ok(Filters {
            root: root.to_owned(),
            port: socket.port(),
            inner: Mutex::new(Inner {
                socket,
                protection: Protection::Owned,
                abilities,
                entries: BTreeMap::new(),
                sets: BTreeMap::new(),
                made: Vec::new(),
                has_others: false,
            }),
        })
    }

    /// Tells when somebody else changes the tables; then [`Filters::restore`] is needed. In the
    /// network namespace of the calling thread.
    ///
    /// # Errors
    /// [`nft::Error::Socket`].
    pub fn monitor(&self) -> Result<Monitor, nft::Error> {
        Monitor::open(&self.root, &[self.port])
    }

    /// Whether `firewall` is possible for interfaces that are attached like that one.
    ///
    /// # Errors
    /// [`Error::Firewall`].
    pub fn check(&self, wanted: &Wanted, firewall: &Firewall) -> Result<(), Error> {
        let inner = self.lock();
        inner.entry(wanted, Some(firewall), &inner.sets).map(drop)
    }

    /// Makes what is filtered on an interface what is wanted, whether it was there before or not;
    /// before its link is up. Packets never pass unfiltered in between. Costs the same however many
    /// others there are.
    ///
    /// # Errors
    /// [`Error::Firewall`], [`Error::Kernel`]; then nothing has changed.
    pub fn add(&self, wanted: &Wanted, firewall: Option<&Firewall>) -> Result<(), Error> {
        let mut inner = self.lock();
        let entry = inner.entry(wanted, firewall, &inner.sets)?;
        inner.change(&self.root, &wanted.host_name, Some(entry))
    }

    /// Forgets an interface; after its link is gone. With the last one the tables go too. One that
    /// is not there is fine.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn remove(&self, host_name: &IfName) -> Result<(), Error> {
        self.lock().change(&self.root, host_name, None)
    }

    /// Makes the tables exactly what the named sets and `all` want, whatever is in them, in one
    /// transaction; interfaces that were filtered already stay so in between. For adoption, when
    /// nothing is known of them. `all` is asked when nothing else can change them any more: what
    /// comes or goes later is done on top of it. What the tables have of interfaces that are not
    /// among `all` is removed, or stays, as far as the kernel lets it.
    ///
    /// # Errors
    /// [`Error::Firewall`], [`Error::Kernel`]; then nothing has changed.
    pub fn rebuild(
        &self,
        others: Others,
        all: impl FnOnce() -> Vec<Filtered>,
    ) -> Result<(), Error> {
        let mut inner = self.lock();
        let mut entries = BTreeMap::new();
        for one in all() {
            let entry = inner.entry(&one.wanted, one.firewall.as_ref(), &inner.sets)?;
            entries.insert(one.wanted.host_name.clone(), entry);
        }
        inner.has_others = others == Others::Stay;
        inner.make(&self.root, entries)
    }

    /// Makes the tables again what they are supposed to be, in one transaction.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn restore(&self) -> Result<(), Error> {
        self.lock().restore(&self.root)
    }

    /// The interfaces that are filtered.
    pub fn names(&self) -> Vec<IfName> {
        self.lock().entries.keys().cloned().collect()
    }

    /// Makes a named set of addresses, which firewalls use, what it is wanted to be, for all of them
    /// at once. It needs not be there before.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn set(&self, name: &str, networks: &[Network]) -> Result<(), Error> {
        self.lock().change_set(&self.root, name, Some(networks))
    }

    /// Forgets a named set of addresses; no firewall may use it any more.
    ///
    /// # Errors
    /// [`Error::Kernel`], also when one does.
    pub fn remove_set(&self, name: &str) -> Result<(), Error> {
        self.lock().change_set(&self.root, name, None)
    }

    /// What the rules of an interface's firewall have counted since they were made or changed.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn counts(&self, host_name: &IfName) -> Result<firewall::Counts, Error> {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get(host_name) else {
            return Ok(firewall::Counts::default());
        };
        let of = entry.of.clone();
        let family = entry.parts.first().map_or(Family::Bridge, |p| p.family);
        let table = Table::new(family, &self.root);
        let mut counts = firewall::Counts::default();
        for chain in [base::IN, base::OUT] {
            let counted: Vec<(String, Count)> = inner
                .socket
                .counts(&table, &format!("{chain}-{host_name}"))
                .map_err(|source| Error::Kernel {
                    of: of.clone(),
                    source,
                })?;
            counts.add(&counted);
        }
        Ok(counts)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
