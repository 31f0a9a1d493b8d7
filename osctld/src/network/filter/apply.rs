//! Plans as messages to the kernel.

use std::collections::BTreeMap;

use osctl_api::net::{IfName, Network};

use super::super::firewall::{address_ranges, address_set_names};
use super::super::nft::{self, Batch, Family, Protection, Socket, Table};
use super::base::{self, Chain};
use super::plan::Part;
use super::{Entry, FAMILIES};

/// How all of it is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In the tables that are there: what is filtered stays so.
    InPlace,
    /// In new tables: for what others left.
    Anew,
}

/// The table of a family and what all interfaces share in it, made or made again.
pub(super) fn base(
    batch: &mut Batch,
    root: &str,
    family: Family,
    protection: Protection,
    sets: &BTreeMap<String, Vec<Network>>,
) {
    let table = Table::new(family, root);
    let base = base::base(family);
    batch.table(&table, protection);
    for (name, kind) in base.sets {
        batch.set(&table, name, kind);
        batch.flush_set(&table, name);
    }
    for (name, networks) in sets {
        address_set(batch, &table, name, None, Some(networks));
    }
    for chain in &base.chains {
        make_chain(batch, &table, chain);
    }
    for chain in &base.chains {
        batch.rules(&table, chain.name, &chain.rules);
    }
}

fn make_chain(batch: &mut Batch, table: &Table, chain: &Chain) {
    match &chain.hook {
        Some(hook) => batch.base_chain(table, chain.name, hook),
        None => batch.chain(table, chain.name),
    }
    batch.flush_chain(table, chain.name);
}

/// What an interface has, made out of what it had.
pub(super) fn replace(
    batch: &mut Batch,
    root: &str,
    name: &IfName,
    before: &[Part],
    after: &[Part],
) {
    let of = |parts: &[Part], family| parts.iter().find(|p| p.family == family).cloned();
    for old in before {
        let table = Table::new(old.family, root);
        let new = of(after, old.family);
        for listed in &old.listed {
            if !new.as_ref().is_some_and(|new| new.listed.contains(listed)) {
                batch.delete_interface(&table, listed.0, name);
            }
        }
        for own in &old.own {
            let kept = elements(new.as_ref(), own.set);
            batch.delete_ranges(&table, own.set, own.kind, &without(&own.ranges, kept));
        }
    }
    for new in after {
        put(batch, root, name, of(before, new.family).as_ref(), new);
    }
    for old in before {
        let table = Table::new(old.family, root);
        let new = of(after, old.family);
        let new = new.as_ref();
        for (chain, _) in &old.chains {
            if !new.is_some_and(|new| new.chains.iter().any(|(c, _)| c == chain)) {
                batch.delete_chain(&table, chain);
            }
        }
    }
}

fn elements<'a>(part: Option<&'a Part>, set: &str) -> &'a [nft::Range] {
    let own = part.and_then(|p| p.own.iter().find(|own| own.set == set));
    own.map(|own| own.ranges.as_slice()).unwrap_or_default()
}

fn without(all: &[nft::Range], these: &[nft::Range]) -> Vec<nft::Range> {
    let mut left = all.to_vec();
    left.retain(|range| !these.contains(range));
    left
}

// What is the same already is left alone.
fn put(batch: &mut Batch, root: &str, name: &IfName, before: Option<&Part>, part: &Part) {
    let table = Table::new(part.family, root);
    for own in &part.own {
        let there = elements(before, own.set);
        batch.add_ranges(&table, own.set, own.kind, &without(&own.ranges, there));
    }
    for chain in &part.chains {
        if before.is_some_and(|old| old.chains.contains(chain)) {
            continue;
        }
        batch.chain(&table, &chain.0);
        batch.flush_chain(&table, &chain.0);
        batch.rules(&table, &chain.0, &chain.1);
    }
    for (list, verdict) in &part.listed {
        let listed = (*list, verdict.clone());
        if before.is_none_or(|old| !old.listed.contains(&listed)) {
            batch.add_interface(&table, list, name, verdict.as_ref());
        }
    }
}

/// A named set of addresses, made out of what it was; `None` is none.
pub(super) fn address_set(
    batch: &mut Batch,
    table: &Table,
    name: &str,
    before: Option<&[Network]>,
    after: Option<&[Network]>,
) {
    if table.family == Family::Arp {
        return;
    }
    for (at, (set, kind)) in address_set_names(name).into_iter().enumerate() {
        let ranges = |networks: &[Network]| {
            let (v4, v6) = address_ranges(networks);
            if at == 0 { v4 } else { v6 }
        };
        match (before, after) {
            (_, None) => batch.delete_set(table, &set),
            (None, Some(after)) => {
                batch.set(table, &set, kind);
                batch.flush_set(table, &set);
                batch.add_ranges(table, &set, kind, &ranges(after));
            }
            // What stays is not touched: it is found at any moment.
            (Some(before), Some(after)) => {
                let (before, after) = (ranges(before), ranges(after));
                batch.delete_ranges(table, &set, kind, &without(&before, &after));
                batch.add_ranges(table, &set, kind, &without(&after, &before));
            }
        }
    }
}

/// Everything, and the families whose tables there are then.
pub(super) fn all(
    socket: &mut Socket,
    root: &str,
    protection: Protection,
    way: Way,
    entries: &BTreeMap<IfName, Entry>,
    sets: &BTreeMap<String, Vec<Network>>,
) -> Result<(Batch, Vec<Family>), nft::Error> {
    let mut batch = Batch::new();
    let mut made = Vec::new();
    for family in FAMILIES {
        let table = Table::new(family, root);
        let parts: Vec<(&IfName, &Part)> = entries
            .iter()
            .flat_map(|(name, e)| e.parts.iter().map(move |p| (name, p)))
            .filter(|(_, p)| p.family == family)
            .collect();
        if parts.is_empty() || way == Way::Anew {
            // A table that is not there can't be deleted; one that was just made can.
            batch.table(&table, protection);
            batch.delete_table(&table);
        }
        if parts.is_empty() {
            continue;
        }
        base(&mut batch, root, family, protection, sets);
        for (name, part) in &parts {
            put(&mut batch, root, name, None, part);
        }
        if way == Way::InPlace {
            delete_others(socket, &mut batch, &table, &parts, sets)?;
        }
        made.push(family);
    }
    Ok((batch, made))
}

fn delete_others(
    socket: &mut Socket,
    batch: &mut Batch,
    table: &Table,
    parts: &[(&IfName, &Part)],
    sets: &BTreeMap<String, Vec<Network>>,
) -> Result<(), nft::Error> {
    let base = base::base(table.family);
    let of_base = |name: &str| base.chains.iter().any(|c| c.name == name);
    let chains: std::collections::BTreeSet<&str> = parts
        .iter()
        .flat_map(|(_, p)| p.chains.iter().map(|(name, _)| name.as_str()))
        .collect();
    for chain in socket.chains(table)? {
        if !of_base(&chain) && !chains.contains(chain.as_str()) {
            batch.delete_chain(table, &chain);
        }
    }
    let of_base = base.sets.iter().map(|(name, _)| (*name).to_owned());
    let mut wanted: std::collections::BTreeSet<String> = of_base.collect();
    for name in sets.keys() {
        wanted.extend(address_set_names(name).map(|(set, _)| set));
    }
    for set in socket.sets(table)? {
        if !wanted.contains(&set) {
            batch.delete_set(table, &set);
        }
    }
    Ok(())
}
