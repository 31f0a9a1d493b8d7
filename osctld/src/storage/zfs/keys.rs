//! Keys of encrypted datasets: whether what a pool needs can be read, and loading keys.
//!
//! A key is loaded for an encryption root: the dataset that it was given to, which others below
//! inherit it from. The kernel keeps it until the pool of ZFS is exported.

use std::collections::BTreeSet;

use super::names::{Base, DATASETS};
use super::program::{self, Row};
use super::state;
use crate::storage::{Error, Result};

/// Encryption roots that have no key, of rows of `name,property,value`, for a pool in `base`.
fn locked(base: &str, rows: &[Row]) -> BTreeSet<String> {
    let value = |name: &str, property: &str| {
        let row = rows
            .iter()
            .find(|r| matches!(&r[..], [n, p, _] if n == name && p == property));
        row.and_then(|row| row.get(2))
    };
    let needed = DATASETS.map(|dataset| format!("{base}/{dataset}"));
    let names = std::iter::once(base).chain(needed.iter().map(String::as_str));
    let locked = names.filter(|name| {
        let status = value(name, "keystatus");
        status.is_some_and(|status| status == "unavailable")
    });
    locked
        .map(|name| match value(name, "encryptionroot") {
            Some(root) if root != "-" => root.clone(),
            _ => name.to_owned(),
        })
        .collect()
}

fn ask(pool: &str, base: &str) -> Result<BTreeSet<String>> {
    let rows = program::zfs(
        pool,
        &[
            "get",
            "-Hp",
            "-r",
            "-d",
            "1",
            "-t",
            "filesystem",
            "-o",
            "name,property,value",
            "keystatus,encryptionroot",
            base,
        ],
    )?;
    Ok(locked(base, &rows))
}

/// Makes what a pool needs readable: with this key, or with those that its datasets say where to
/// find. Nothing is mounted. Of a dataset that is missing, the one that it is to be made in counts.
///
/// # Errors
/// [`Error::Locked`] when there is no key; when one is wrong.
pub fn unlock(dataset: &str, key: Option<&[u8]>) -> Result<()> {
    let base = Base::new(dataset)?;
    let zfs = state::library(base.pool())?;
    let exists = zfs.exists(dataset);
    let there = match exists.map_err(super::failed("look for", dataset))? {
        true => dataset,
        false => dataset.rsplit_once('/').map_or(dataset, |(above, _)| above),
    };
    for root in ask(base.pool(), there)? {
        load(base.pool(), &root, key)?;
    }
    Ok(())
}

fn load(pool: &str, root: &str, key: Option<&[u8]>) -> Result<()> {
    if let Some(key) = key {
        return program::zfs_given(pool, &["load-key", "-L", "prompt", root], key).map(drop);
    }
    let rows = program::zfs(pool, &["get", "-Hp", "-o", "value", "keylocation", root])?;
    let location = rows.first().and_then(|row| row.first());
    match location {
        Some(location) if location.starts_with("file://") => {
            program::zfs(pool, &["load-key", root]).map(drop)
        }
        _ => Err(Error::Locked(root.to_owned())),
    }
}

/// Whether a dataset can't be mounted because there is no key for it.
pub(super) fn is_locked(dataset: &str) -> bool {
    let pool = dataset.split('/').next().unwrap_or(dataset);
    let rows = program::zfs(pool, &["get", "-Hp", "-o", "value", "keystatus", dataset]);
    let rows = rows.unwrap_or_default();
    let status = rows.first().and_then(|row| row.first());
    status.is_some_and(|status| status == "unavailable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pool_needs_is_looked_at() {
        let rows = |lines: &[&str]| -> Vec<Row> {
            let split = |line: &&str| line.split(' ').map(str::to_owned).collect();
            lines.iter().map(split).collect()
        };
        let open = rows(&["tank keystatus -", "tank encryptionroot -"]);
        assert!(locked("tank", &open).is_empty());
        let all = rows(&[
            "tank/vps keystatus unavailable",
            "tank/vps encryptionroot tank",
            "tank/vps/ct keystatus unavailable",
            "tank/vps/ct encryptionroot tank",
            "tank/vps/log keystatus available",
            "tank/vps/log encryptionroot tank/vps/log",
            "tank/vps/conf keystatus unavailable",
            "tank/vps/conf encryptionroot tank/vps/conf",
            "tank/vps/other keystatus unavailable",
            "tank/vps/other encryptionroot tank/vps/other",
        ]);
        let found: Vec<String> = locked("tank/vps", &all).into_iter().collect();
        assert_eq!(found, ["tank", "tank/vps/conf"]);
    }
}
