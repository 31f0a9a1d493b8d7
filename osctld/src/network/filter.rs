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
mod own;
mod plan;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use osctl_api::net::{IfName, Network};

use super::firewall::{self, Abilities, Firewall};
use super::nft::{self, Batch, Count, Family, Monitor, Protection, Socket, Table};
use super::wanted::Wanted;
use plan::Part;

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

#[derive(Debug)]
struct Inner {
    socket: Socket,
    protection: Protection,
    abilities: Abilities,
    entries: BTreeMap<IfName, Entry>,
    sets: AddressSets,
    // Families whose tables are there, as far as is known.
    made: Vec<Family>,
}

#[derive(Debug, Clone)]
struct Entry {
    of: String,
    parts: Vec<Part>,
}

/// One interface with what its firewall is.
#[derive(Debug, Clone)]
pub struct Filtered {
    /// The interface.
    pub wanted: Wanted,
    /// The firewall of its container, if there is one.
    pub firewall: Option<Firewall>,
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
    /// comes or goes later is done on top of it.
    ///
    /// # Errors
    /// [`Error::Firewall`], [`Error::Kernel`]; then nothing has changed.
    pub fn rebuild(&self, all: impl FnOnce() -> Vec<Filtered>) -> Result<(), Error> {
        let mut inner = self.lock();
        let mut entries = BTreeMap::new();
        for one in all() {
            let entry = inner.entry(&one.wanted, one.firewall.as_ref(), &inner.sets)?;
            entries.insert(one.wanted.host_name.clone(), entry);
        }
        let sets = inner.sets.clone();
        inner.rebuild(&self.root, entries, sets)
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

impl Inner {
    fn entry(
        &self,
        wanted: &Wanted,
        firewall: Option<&Firewall>,
        sets: &AddressSets,
    ) -> Result<Entry, Error> {
        let of = format!("{} {}", wanted.owner, wanted.name);
        let compiled = |f| {
            firewall::check_sets(f, sets)?;
            firewall::compile(f, &wanted.attachment, self.abilities)
        };
        let chains = firewall.map(compiled).transpose();
        let chains = chains.map_err(|source| Error::Firewall {
            of: of.clone(),
            source,
        })?;
        Ok(Entry {
            parts: plan::plan(wanted, chains.as_ref()),
            of,
        })
    }

    // `None` for an interface that goes.
    fn change(&mut self, root: &str, name: &IfName, entry: Option<Entry>) -> Result<(), Error> {
        let before = self.entries.remove(name);
        let mut made = self.made.clone();
        let batch = self.batch(root, name, before.as_ref(), entry.as_ref(), &mut made);
        let (done, entry) = match self.socket.transact(batch) {
            Ok(()) => {
                self.made = made;
                (Ok(()), entry)
            }
            // Not what it should be: somebody has deleted something, or made it before us.
            Err(e) if e.errno().is_some() => {
                let mut entries = self.entries.clone();
                entries.extend(entry.clone().map(|e| (name.clone(), e)));
                (self.rebuild(root, entries, self.sets.clone()), entry)
            }
            Err(source) => {
                let of = entry.as_ref().or(before.as_ref()).map(|e| e.of.clone());
                let of = of.unwrap_or_else(|| name.to_string());
                (Err(Error::Kernel { of, source }), None)
            }
        };
        let now = if done.is_ok() { entry } else { before };
        self.entries.extend(now.map(|e| (name.clone(), e)));
        done
    }

    // What makes `after` out of `before`, which is not among the entries; `made` becomes what it is
    // when that is done.
    fn batch(
        &self,
        root: &str,
        name: &IfName,
        before: Option<&Entry>,
        after: Option<&Entry>,
        made: &mut Vec<Family>,
    ) -> Batch {
        let parts = |entry: Option<&'_ Entry>| entry.map_or_else(Vec::new, |e| e.parts.clone());
        let (before, after) = (parts(before), parts(after));
        let mut batch = Batch::new();
        for part in &after {
            if !made.contains(&part.family) {
                apply::base(&mut batch, root, part.family, self.protection, &self.sets);
                made.push(part.family);
            }
        }
        apply::replace(&mut batch, root, name, &before, &after);
        made.retain(|family| {
            let of = |parts: &[Part]| parts.iter().any(|p| p.family == *family);
            let used = of(&after) || self.entries.values().any(|e| of(&e.parts));
            if !used {
                batch.delete_table(&Table::new(*family, root));
            }
            used
        });
        batch
    }

    fn restore(&mut self, root: &str) -> Result<(), Error> {
        self.rebuild(root, self.entries.clone(), self.sets.clone())
    }

    fn rebuild(
        &mut self,
        root: &str,
        entries: BTreeMap<IfName, Entry>,
        sets: AddressSets,
    ) -> Result<(), Error> {
        let failed = |source| Error::Kernel {
            of: "all containers".into(),
            source,
        };
        // What the kernel takes is learnt by asking it; the gentlest way comes first.
        let mut ways = vec![(self.protection, apply::Way::InPlace)];
        if self.protection == Protection::Owned {
            ways.push((Protection::None, apply::Way::InPlace));
        }
        ways.push((self.protection, apply::Way::Anew));
        ways.push((Protection::None, apply::Way::Anew));
        let mut first = None;
        for (protection, way) in ways {
            let (batch, made) =
                apply::all(&mut self.socket, root, protection, way, &entries, &sets)
                    .map_err(failed)?;
            match self.socket.transact(batch) {
                Ok(()) => {
                    self.protection = protection;
                    self.entries = entries;
                    self.sets = sets;
                    self.made = made;
                    return Ok(());
                }
                Err(e) if e.errno() == Some(Errno::EPERM) => return Err(failed(e)),
                Err(e) if e.errno().is_some() => _ = first.get_or_insert(e),
                Err(e) => return Err(failed(e)),
            }
        }
        Err(failed(first.unwrap_or(nft::Error::Unconfirmed)))
    }

    fn change_set(
        &mut self,
        root: &str,
        name: &str,
        networks: Option<&[Network]>,
    ) -> Result<(), Error> {
        let mut sets = self.sets.clone();
        let before = sets.remove(name);
        if let Some(networks) = networks {
            sets.insert(name.to_owned(), networks.to_vec());
        }
        let mut batch = Batch::new();
        for family in &self.made {
            let table = Table::new(*family, root);
            apply::address_set(&mut batch, &table, name, before.as_deref(), networks);
        }
        match self.socket.transact(batch) {
            Ok(()) => {
                self.sets = sets;
                Ok(())
            }
            Err(e) if networks.is_some() && e.errno().is_some() => {
                self.rebuild(root, self.entries.clone(), sets)
            }
            Err(source) => Err(Error::Kernel {
                of: format!("containers whose firewalls use @{name}"),
                source,
            }),
        }
    }
}
