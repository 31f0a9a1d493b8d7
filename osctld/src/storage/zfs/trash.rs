//! Destroying what is in the trash, and containers that had no room there.
//!
//! What is in use (mounted somewhere, held, cloned) stays for the next time. The snapshots of an
//! image that has containers are told to go with the last of these.

use std::collections::BTreeMap;

use nix::errno::Errno;
use osctl_linux::zfs::InUse;

use super::mounts;
use super::names::{Base, CT, DATASETS, GONE, REPOSITORY, TRASH};
use super::{ZfsStorage, failed, program};
use crate::failpoint;
use crate::storage::{Emptied, Error, Result, Trashed, trashed_at};

/// A dataset of the trash with its snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
struct Item {
    dataset: String,
    snapshots: Vec<String>,
}

/// The part of a name that tells what is deleted: in the trash, or beside other containers.
fn deleted<'a>(base: &Base, name: &'a str) -> Option<&'a str> {
    let relative = base.relative(name)?;
    let (of, prefix) = relative.split_once('/')?;
    let what = match of {
        TRASH => prefix,
        CT => prefix.strip_prefix(GONE)?,
        _ => return None,
    };
    Some(what).filter(|what| !what.is_empty())
}

/// What is deleted, in the order in which it can be destroyed: children before parents.
fn items(base: &Base, rows: &[program::Row]) -> Vec<Item> {
    let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in rows.iter().filter_map(|row| row.first()) {
        // Whatever `zfs` may say: nothing else is destroyed.
        if deleted(base, name).is_none() {
            continue;
        }
        match name.split_once('@') {
            Some((dataset, _)) => all.entry(dataset).or_default().push(name.clone()),
            None => drop(all.entry(name).or_default()),
        }
    }
    let items = all.into_iter().map(|(dataset, snapshots)| Item {
        dataset: dataset.to_owned(),
        snapshots,
    });
    // A parent's name is the beginning of its children's.
    let mut items: Vec<Item> = items.collect();
    items.reverse();
    items
}

/// What was deleted, of rows of `name,used,clones`; what is below belongs to it.
fn trashed(base: &Base, rows: &[program::Row]) -> Vec<Trashed> {
    let mut all: BTreeMap<&str, Trashed> = BTreeMap::new();
    for row in rows {
        let [name, used, clones] = row.as_slice() else {
            continue;
        };
        let Some(below) = deleted(base, name) else {
            continue;
        };
        let top = below.split(['/', '@']).next().unwrap_or(below);
        let item = all.entry(top).or_insert_with(|| Trashed {
            name: top.to_owned(),
            deleted_at: trashed_at(top),
            ..Trashed::default()
        });
        if top == below {
            item.used = program::number(used);
        }
        let made = clones.split(',').filter(|c| !c.is_empty() && *c != "-");
        item.needed_by.extend(made.map(str::to_owned));
    }
    let mut all: Vec<Trashed> = all.into_values().collect();
    all.sort_by_key(|item| item.deleted_at);
    all
}

/// Why a dataset is not for the trash, when the pool needs it; `relative` is its name in the pool.
fn needed(base: &str, dataset: &str, relative: Option<&str>) -> Option<&'static str> {
    let above = |name: &str| name == dataset || name.starts_with(&format!("{dataset}/"));
    let inner = relative.unwrap_or("");
    if above(base) || DATASETS.contains(&inner) {
        return Some("the pool is in it");
    }
    match inner.split_once('/') {
        Some((CT, _)) => None,
        Some((TRASH, _)) => Some("it is in the trash already"),
        Some((REPOSITORY, _)) => Some("it is an image, which goes when it is not needed any more"),
        _ => Some("only what is beside the data of containers is"),
    }
}

impl ZfsStorage {
    /// Moves to the trash what nobody knows.
    pub(super) fn discard_given(&self, dataset: &str) -> Result<()> {
        let given = Base::new(dataset)?;
        let refused = |problem: &str| Error::Layout {
            path: dataset.into(),
            problem: format!("can't be moved to the trash: {problem}"),
        };
        if given.pool() != self.base.pool() {
            return Err(refused("it is in another pool"));
        }
        if let Some(why) = needed(self.base.as_str(), dataset, self.base.relative(dataset)) {
            return Err(refused(why));
        }
        let exists = self.zfs()?.exists(dataset);
        if !exists.map_err(failed("look for", dataset))? {
            return Err(refused("it does not exist"));
        }
        // Before it has another name: what is mounted of it would be out of sight.
        let below = format!("{dataset}/");
        let mut mounted = mounts::all()?;
        mounted.retain(|m| m.dataset == dataset || m.dataset.starts_with(&below));
        for mount in mounted.iter().rev() {
            mounts::detach(&mount.path)?;
        }
        let name = dataset.rsplit('/').next().unwrap_or(dataset);
        let renamed = self.zfs()?.rename(dataset, &self.base.trashed(name));
        renamed.map_err(failed("move to the trash", dataset))?;
        failpoint!("storage.trashed");
        Ok(())
    }

    pub(super) fn list_trash(&self) -> Result<Vec<Trashed>> {
        Ok(trashed(&self.base, &self.deleted_rows("name,used,clones")?))
    }

    /// What `zfs` tells of all that is deleted.
    fn deleted_rows(&self, fields: &str) -> Result<Vec<program::Row>> {
        let mut gone = self.children(CT)?;
        gone.retain(|name| name.starts_with(GONE));
        let gone = gone.iter().map(|name| format!("{CT}/{name}"));
        let tops: Vec<String> = gone.map(|name| self.base.below(&name)).collect();
        let trash = self.base.below(TRASH);
        let types = "filesystem,volume,snapshot";
        let mut args = vec!["list", "-Hp", "-r", "-t", types, "-o", fields, &trash];
        args.extend(tops.iter().map(String::as_str));
        self.ask(&args)
    }

    pub(super) fn destroy_some(&self, limit: u64) -> Result<Emptied> {
        let mut out = Emptied {
            done: true,
            ..Emptied::default()
        };
        let mut mounted = None;
        for item in items(&self.base, &self.deleted_rows("name")?) {
            if out.removed >= limit {
                out.done = false;
                break;
            }
            let mounted = mounted.get_or_insert_with(mounts::all);
            for mount in mounted.iter().flatten() {
                let dataset = mount.dataset.split('@').next();
                if dataset == Some(&item.dataset) {
                    out.errors.extend(mounts::detach(&mount.path).err());
                }
            }
            match self.destroy(&item) {
                Ok(true) => out.removed += 1,
                Ok(false) => out.done = false,
                Err(e) => {
                    out.done = false;
                    out.errors.push(e);
                }
            }
        }
        Ok(out)
    }

    /// Destroys one; false when something that exists needs it.
    fn destroy(&self, item: &Item) -> Result<bool> {
        if !item.snapshots.is_empty() {
            let told = self.zfs()?.destroy_snapshots(&item.snapshots, InUse::Later);
            told.map_err(failed("destroy", format!("snapshots of {}", item.dataset)))?;
        }
        match self.zfs()?.destroy(&item.dataset) {
            Ok(()) => Ok(true),
            Err(e) if e.is(Errno::ENOENT) => Ok(true),
            // Of its snapshots, some go later.
            Err(e) if e.is(Errno::EEXIST) => Ok(false),
            Err(e) => Err(failed("destroy", item.dataset.clone())(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pool_needs_is_not_for_the_trash() {
        let of = |dataset: &str| {
            let base = Base::new("tank/vps").unwrap();
            needed("tank/vps", dataset, base.relative(dataset))
        };
        for bad in [
            "tank",
            "tank/vps",
            "tank/vps/ct",
            "tank/vps/conf",
            "tank/vps/trash",
            "tank/vps/trash/a.1",
            "tank/vps/repository/0f",
            "tank/vps/data",
            "tank/home",
            "tank/vp",
            "tank/ct/web1",
        ] {
            assert!(of(bad).is_some(), "{bad}");
        }
        assert_eq!(of("tank/vps/ct/web1"), None);
        assert_eq!(of("tank/vps/ct/web1/data"), None);
    }

    #[test]
    fn what_waits_and_for_whom() {
        let rows: Vec<program::Row> = [
            "t/trash\t9\t-",
            "t/trash/web1.1700000001-0f\t98304\t-",
            "t/trash/web1.1700000001-0f/sub@a\t1\tt/ct/a,t/ct/b",
            "t/trash/web1.1700000001-0f/sub\t1\t-",
            "t/trash/image-12.1600000000-aa\t5\t-",
            "t/ct/web1\t1\t-",
            "t/ct/gone.web2.1700000002-0f\t7\t-",
        ]
        .iter()
        .map(|row| row.split('\t').map(str::to_owned).collect())
        .collect();
        let found = trashed(&Base::new("t").unwrap(), &rows);
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].name, "web2.1700000002-0f");
        assert_eq!(found[0].name, "image-12.1600000000-aa");
        assert_eq!(found[1].deleted_at, Some(1_700_000_001));
        assert_eq!(found[1].used, Some(98304));
        assert_eq!(found[1].needed_by, ["t/ct/a", "t/ct/b"]);
    }

    #[test]
    fn children_go_before_parents_and_nothing_else_goes() {
        let rows: Vec<program::Row> = [
            "t/trash",
            "t/trash@kept",
            "t/trash/a.1",
            "t/trash/a.1@x",
            "t/trash/a.1@y",
            "t/trash/a.1/sub",
            "t/trash/a.1/sub@x",
            "t/trash/b.2",
            "t/trashy/c",
            "t/ct/web1",
            "t/ct/gone.",
            "t/ct/gone.c.3",
            "t/ct/gone.c.3/sub@x",
            "t/ct/web1/gone.d",
            "",
        ]
        .iter()
        .map(|name| vec![(*name).to_owned()])
        .collect();
        let found = items(&Base::new("t").unwrap(), &rows);
        let names: Vec<&str> = found.iter().map(|i| i.dataset.as_str()).collect();
        let gone = ["t/ct/gone.c.3/sub", "t/ct/gone.c.3"];
        assert_eq!(
            names[..3],
            ["t/trash/b.2", "t/trash/a.1/sub", "t/trash/a.1"]
        );
        assert_eq!(names[3..], gone);
        assert_eq!(found[2].snapshots, ["t/trash/a.1@x", "t/trash/a.1@y"]);
        assert!(found[0].snapshots.is_empty());
    }
}
