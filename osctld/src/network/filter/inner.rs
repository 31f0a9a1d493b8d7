//! What is filtered, and how the kernel learns of a change of it.

use std::collections::BTreeMap;

use nix::errno::Errno;
use osctl_api::net::{IfName, Network};

use super::super::firewall::{self, Abilities, Firewall};
use super::super::nft::{self, Batch, Family, Protection, Socket, Table};
use super::super::wanted::Wanted;
use super::plan::{self, Part};
use super::{AddressSets, Error, FAMILIES, apply};
use crate::error::chain;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) socket: Socket,
    pub(super) protection: Protection,
    pub(super) abilities: Abilities,
    pub(super) entries: BTreeMap<IfName, Entry>,
    pub(super) sets: AddressSets,
    // Families whose tables are there, as far as is known.
    pub(super) made: Vec<Family>,
    // Whether the tables may have interfaces that are not among the entries.
    pub(super) has_others: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) of: String,
    pub(super) parts: Vec<Part>,
}

impl Inner {
    pub(super) fn entry(
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
    pub(super) fn change(
        &mut self,
        root: &str,
        name: &IfName,
        entry: Option<Entry>,
    ) -> Result<(), Error> {
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
            let used = of(&after) || self.has_others || self.entries.values().any(|e| of(&e.parts));
            if !used {
                batch.delete_table(&Table::new(*family, root));
            }
            used
        });
        batch
    }

    // Adds to the tables that are there, of which only our own part is known.
    fn extend(&mut self, root: &str, entries: &BTreeMap<IfName, Entry>) -> Result<(), nft::Error> {
        let (mut batch, mut made) = (Batch::new(), Vec::new());
        for family in FAMILIES {
            let table = Table::new(family, root);
            if self.socket.chains(&table)?.is_empty() {
                continue;
            }
            batch.table(&table, self.protection);
            for (name, networks) in &self.sets {
                apply::address_set(&mut batch, &table, name, None, Some(networks));
            }
            made.push(family);
        }
        for (name, entry) in entries {
            for part in &entry.parts {
                if !made.contains(&part.family) {
                    apply::base(&mut batch, root, part.family, self.protection, &self.sets);
                    made.push(part.family);
                }
            }
            apply::replace(&mut batch, root, name, &[], &entry.parts);
        }
        self.socket.transact(batch)?;
        self.entries.clone_from(entries);
        self.made = made;
        Ok(())
    }

    pub(super) fn restore(&mut self, root: &str) -> Result<(), Error> {
        self.make(root, self.entries.clone())
    }

    pub(super) fn make(
        &mut self,
        root: &str,
        entries: BTreeMap<IfName, Entry>,
    ) -> Result<(), Error> {
        if self.has_others {
            match self.extend(root, &entries) {
                Ok(()) => return Ok(()),
                Err(e) => tracing::warn!(error = %chain(&e), "filters are made anew after all"),
            }
        }
        self.rebuild(root, entries, self.sets.clone())
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
                    self.has_others = false;
                    return Ok(());
                }
                Err(e) if e.errno() == Some(Errno::EPERM) => return Err(failed(e)),
                Err(e) if e.errno().is_some() => _ = first.get_or_insert(e),
                Err(e) => return Err(failed(e)),
            }
        }
        Err(failed(first.unwrap_or(nft::Error::Unconfirmed)))
    }

    pub(super) fn change_set(
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
