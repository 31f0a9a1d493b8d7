//! Which pools of ZFS are ours: two user properties of the pool's own dataset, so that a pool is
//! known wherever it is imported.

use super::names::Base;
use super::program::{self, Row};
use super::{layout, state};
use crate::storage::{Error, Result};

use std::path::{Path, PathBuf};

const ACTIVE: &str = "org.osctl:active";
const DATASET: &str = "org.osctl:dataset";

/// A pool of ZFS that is marked as ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Name of the pool of ZFS, and of ours.
    pub name: String,
    /// The dataset that holds ours.
    pub dataset: String,
    /// Where it is mounted, or would be.
    pub path: PathBuf,
}

/// The pools of this host that are marked as ours; none where there is no ZFS.
pub fn installed() -> Result<Vec<Installed>> {
    if !Path::new("/sys/module/zfs").exists() {
        return Ok(Vec::new());
    }
    let wanted = format!("{ACTIVE},{DATASET}");
    let fields = "name,property,value";
    let mut rows = Vec::new();
    for pool in state::answering()? {
        let get = ["get", "-Hp", "-s", "local", "-o", fields, &wanted, &pool];
        rows.extend(program::zfs(&pool, &get)?);
    }
    let found = marked(&rows).into_iter().map(|(name, dataset)| Installed {
        // What is wrong with it is told when it is imported.
        path: Base::new(&dataset)
            .and_then(|base| layout::mountpoint(&base))
            .unwrap_or_else(|_| Path::new("/").join(&dataset)),
        name,
        dataset,
    });
    Ok(found.collect())
}

/// Pools with their datasets, of rows of `name,property,value`.
fn marked(rows: &[Row]) -> Vec<(String, String)> {
    let value = |pool: &str, property: &str| {
        let row = rows
            .iter()
            .find(|r| matches!(&r[..], [n, p, _] if n == pool && p == property));
        row.and_then(|row| row.get(2))
    };
    let active = rows.iter().filter(
        |row| matches!(&row[..], [name, p, v] if p == ACTIVE && v == "yes" && !name.contains('/')),
    );
    let pools = active.filter_map(|row| row.first());
    pools
        .map(|pool| {
            let dataset = value(pool, DATASET).unwrap_or(pool);
            (pool.clone(), dataset.clone())
        })
        .collect()
}

/// Marks the pool of a dataset as ours.
pub fn install(dataset: &str) -> Result<()> {
    let base = Base::new(dataset)?;
    let (active, name) = (format!("{ACTIVE}=yes"), format!("{DATASET}={dataset}"));
    program::zfs(base.pool(), &["set", &active, &name, base.pool()]).map(drop)
}

/// Takes the mark off again.
pub fn uninstall(dataset: &str) -> Result<()> {
    let base = Base::new(dataset)?;
    let pool = base.pool();
    for property in [ACTIVE, DATASET] {
        program::zfs(pool, &["inherit", property, pool])?;
    }
    Ok(())
}

/// Whether a dataset can hold the pool of this name: it must be of the pool of ZFS of this name.
///
/// # Errors
/// When it can't.
pub fn check(name: &str, dataset: &str) -> Result<()> {
    let base = Base::new(dataset)?;
    if base.pool() == name {
        return Ok(());
    }
    Err(Error::Layout {
        path: dataset.into(),
        problem: format!("is not of the pool {name} of ZFS"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_that_are_marked() {
        let rows: Vec<Row> = [
            ["tank", ACTIVE, "yes"],
            ["tank", DATASET, "tank/vps"],
            ["data", DATASET, "data/x"],
            ["off", ACTIVE, "no"],
            ["old", ACTIVE, "yes"],
            ["old/x", ACTIVE, "yes"],
        ]
        .map(|row| row.map(str::to_owned).to_vec())
        .to_vec();
        let found = marked(&rows);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(found, [pair("tank", "tank/vps"), pair("old", "old")]);
        assert!(marked(&[]).is_empty());
    }

    #[test]
    fn a_dataset_is_of_the_pool_of_its_name() {
        check("tank", "tank").unwrap();
        check("tank", "tank/a/b").unwrap();
        for (name, dataset) in [("tank", "tankx"), ("tank", "x/tank"), ("tank", "tank/../x")] {
            assert!(check(name, dataset).is_err(), "{dataset}");
        }
    }
}
