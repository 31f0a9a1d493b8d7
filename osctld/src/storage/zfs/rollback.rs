//! Returning to a snapshot.
//!
//! ZFS does it for each dataset by itself: a note in the pool says that it has begun, so that it is
//! finished after a crash. The note is the name of an empty file, `ct/.rollback/ID@NAME`, written
//! before anything is changed; see the head of `containers` for why it is on the disk in time.

use std::collections::BTreeMap;

use nix::errno::Errno;
use osctl_linux::beneath::Kind;

use super::rows::Row;
use super::{ZfsStorage, failed, program};
use crate::failpoint;
use crate::storage::snapshots::{Newer, TEMPORARY, check_name};
use crate::storage::{Error, Note, Result, Storage, check_id, text};

/// Directory of the notes.
pub(super) const NOTES: &str = "ct/.rollback";
/// What bounds a rollback: of datasets and bookmarks.
const BOUNDS: &str = "name,createtxg,refquota";

/// What returning to a snapshot takes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Those of the snapshot.
    to: Vec<Row>,
    /// Those that are newer, of the same datasets.
    newer: Vec<Row>,
    /// Whole names of bookmarks that are newer: they would be of a past that is none any more.
    bookmarks: Vec<String>,
}

impl Plan {
    /// Newer snapshots that are not the daemon's own.
    pub(super) fn newer_of_users(&self) -> impl Iterator<Item = &Row> {
        let rows = self.newer.iter();
        rows.filter(|row| !row.name.starts_with(TEMPORARY))
    }

    /// Names of what is lost, in order.
    fn lost(&self) -> Vec<String> {
        let rows = self.newer_of_users().map(|row| row.name.clone());
        let bookmarks = self
            .bookmarks
            .iter()
            .filter_map(|name| name.split_once('#'));
        let mut lost: Vec<String> = rows
            .chain(bookmarks.map(|(_, name)| format!("#{name}")))
            .collect();
        lost.sort();
        lost.dedup();
        lost
    }

    /// Notes newer bookmarks, of what `zfs list` tells of [`BOUNDS`] of the datasets from `top` on.
    ///
    /// # Errors
    /// When a dataset may not have what the snapshot has: the kernel would refuse that, when others
    /// are returned already.
    fn add_bounds(&mut self, top: &str, rows: &[program::Row]) -> Result<()> {
        for row in rows {
            let [name, txg, quota] = row.as_slice() else {
                continue;
            };
            let dataset = name.split('#').next().unwrap_or_default();
            let Some(below) = dataset.strip_prefix(top) else {
                continue;
            };
            let below = below.strip_prefix('/').unwrap_or(below);
            let Some(to) = self.to.iter().find(|to| to.dataset == below) else {
                continue;
            };
            if name.contains('#') {
                if program::number(txg).is_some_and(|txg| txg > to.txg) {
                    self.bookmarks.push(name.clone());
                }
                continue;
            }
            let quota = program::number(quota).filter(|quota| *quota > 0);
            if let Some(quota) = quota.filter(|quota| to.referenced > *quota) {
                return Err(Error::OverQuota {
                    name: to.name.clone(),
                    dataset: to.dataset.clone(),
                    bytes: to.referenced,
                    quota,
                });
            }
        }
        Ok(())
    }
}

/// What returning to `name` takes, of all rows of a container; nothing when there is no such
/// snapshot. Datasets that do not have it are not concerned.
fn plan(rows: Vec<Row>, name: &str) -> Option<Plan> {
    let named = rows.iter().filter(|row| row.name == name);
    let since: BTreeMap<String, u64> = named.map(|row| (row.dataset.clone(), row.txg)).collect();
    since.get("")?;
    let mut plan = Plan::default();
    for row in rows {
        match since.get(&row.dataset) {
            Some(_) if row.name == name => plan.to.push(row),
            Some(txg) if row.txg >= *txg => plan.newer.push(row),
            _ => {}
        }
    }
    Some(plan)
}

impl ZfsStorage {
    /// What a rollback takes; whatever is known to stand in its way is told here.
    pub(super) fn planned(&self, id: &str, name: &str, newer: Newer) -> Result<Plan> {
        let no_snapshot = || Error::NoSnapshot {
            id: id.to_owned(),
            name: name.to_owned(),
        };
        let mut plan = plan(self.rows_of(id)?, name).ok_or_else(no_snapshot)?;
        let top = self.base.container(id)?;
        let bounds = [
            "list",
            "-Hp",
            "-r",
            "-t",
            "filesystem,bookmark",
            "-o",
            BOUNDS,
            &top,
        ];
        plan.add_bounds(&top, &self.ask(&bounds)?)?;
        let lost = plan.lost();
        if newer == Newer::Keep && !lost.is_empty() {
            return Err(Error::Newer {
                id: id.to_owned(),
                name: name.to_owned(),
                newer: lost,
            });
        }
        Ok(plan)
    }

    /// What it ran from until now, a clone of a newer snapshot that is in the trash, goes first.
    fn destroy_past_run(&self, id: &str) -> Result<()> {
        let ran = |row: &Row| row.name.starts_with(TEMPORARY) && !row.clones.is_empty();
        if self.rows_of(id)?.iter().any(ran) {
            self.destroy_some(u64::MAX)?;
        }
        Ok(())
    }

    pub(super) fn return_to(&self, id: &str, name: &str, newer: Newer) -> Result<()> {
        self.destroy_past_run(id)?;
        let plan = self.planned(id, name, newer)?;
        let note = format!("{NOTES}/{id}@{name}");
        let shown = || format!("container {id} for a rollback");
        self.root()?
            .mkdir_all(NOTES, 0o700)
            .map_err(|e| Error::io("mark", shown(), e))?;
        match self.root()?.mknod(&note, Kind::File, 0o600, (0, 0)) {
            Err(e) if e.errno() != Errno::EEXIST => return Err(Error::io("mark", shown(), e)),
            _ => {}
        }
        failpoint!("rollback.marked");
        let mut changed = false;
        let done = self.carry_out(id, &plan, &mut changed);
        if done.is_err() && !changed {
            self.forget_note(&note)?;
            return done;
        }
        // With the note left, it would be returned once more: also then nothing may run before.
        let done = done.and_then(|()| self.forget_note(&note));
        done.map_err(|e| Error::HalfReturned {
            id: id.to_owned(),
            name: name.to_owned(),
            source: e.into(),
        })
    }

    /// Does it; whether anything was changed is told also when it fails.
    fn carry_out(&self, id: &str, plan: &Plan, changed: &mut bool) -> Result<()> {
        if !plan.newer.is_empty() {
            self.destroy_rows(&plan.newer)?;
            *changed = true;
            failpoint!("rollback.destroyed");
        }
        if !plan.bookmarks.is_empty() {
            let done = self.zfs()?.destroy_bookmarks(&plan.bookmarks);
            done.map_err(failed("destroy", format!("bookmarks of container {id}")))?;
            *changed = true;
        }
        for row in &plan.to {
            let (dataset, snapshot) = (self.base.below(&row.of()), self.base.below(&row.below()));
            let done = self.zfs()?.rollback_to(&dataset, &snapshot);
            done.map_err(failed("roll back", format!("data of container {id}")))?;
            *changed = true;
            failpoint!("rollback.dataset");
        }
        Ok(())
    }

    fn forget_note(&self, note: &str) -> Result<()> {
        let root = self.root()?;
        let gone = match root.unlink(note) {
            Err(e) if e.errno() != Errno::ENOENT => Err(e),
            // What the container writes and syncs from now on is on the disk before the next
            // operation on datasets is: the note must be gone earlier.
            _ => root.sync_dir(NOTES),
        };
        gone.map_err(|e| Error::io("remove", note, e))
    }

    /// What rollbacks were begun and not finished: containers and snapshots.
    fn unfinished(&self) -> Result<Vec<(String, String)>> {
        let entries = match self.root()?.read_dir(NOTES) {
            Ok(entries) => entries,
            Err(e) if e.errno() == Errno::ENOENT => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", NOTES, e)),
        };
        let names = entries.flatten().map(|entry| entry.name);
        let found = names.filter_map(|note| {
            let (id, name) = note.to_str()?.split_once('@')?;
            check_id(id).and_then(|()| check_name(name)).ok()?;
            Some((id.to_owned(), name.to_owned()))
        });
        Ok(found.collect())
    }

    /// Finishes one; whether there was anything to do. The note stays when that fails.
    fn finish_one(&self, id: &str, name: &str) -> Result<bool> {
        let note = format!("{NOTES}/{id}@{name}");
        let rows = match self.exists(id)? {
            true => self.rows_of(id)?,
            false => Vec::new(),
        };
        // Somebody has destroyed the container, or the snapshot: there is nothing to return to.
        if !rows
            .iter()
            .any(|row| row.name == name && row.dataset.is_empty())
        {
            return self.forget_note(&note).map(|()| false);
        }
        self.destroy_past_run(id)?;
        let plan = self.planned(id, name, Newer::Lose)?;
        self.carry_out(id, &plan, &mut false)?;
        self.forget_note(&note).map(|()| true)
    }

    /// Finishes what did not end of a container.
    pub(super) fn finish_rollbacks_of(&self, id: &str) -> Result<()> {
        let mut notes = self.unfinished()?;
        notes.retain(|(of, _)| of == id);
        notes.iter().try_for_each(|(id, name)| {
            self.finish_one(id, name)
                .map(drop)
                .map_err(|e| Error::HalfReturned {
                    id: id.clone(),
                    name: name.clone(),
                    source: e.into(),
                })
        })
    }

    /// Forgets what did not end of a container that goes.
    pub(super) fn forget_rollbacks_of(&self, id: &str) -> Result<()> {
        let mut notes = self.unfinished()?;
        notes.retain(|(of, _)| of == id);
        notes
            .iter()
            .try_for_each(|(id, name)| self.forget_note(&format!("{NOTES}/{id}@{name}")))
    }

    /// Finishes what a crash interrupted.
    pub(super) fn finish_rollbacks(&self) -> Vec<Note> {
        let notes = match self.unfinished() {
            Ok(notes) => notes,
            Err(e) => return vec![Note::Odd(text(&e))],
        };
        let finished = notes
            .iter()
            .filter_map(|(id, name)| match self.finish_one(id, name) {
                Ok(true) => Some(Note::Done(format!(
                    "finished returning container {id} to snapshot {name}"
                ))),
                Ok(false) => None,
                Err(e) => Some(Note::Odd(format!(
                    "container {id}: a rollback to {name} is half done: {}",
                    text(&e)
                ))),
            });
        finished.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(dataset: &str, name: &str, txg: u64) -> Row {
        Row {
            id: "a".into(),
            dataset: dataset.into(),
            name: name.into(),
            txg,
            created: 0,
            used: 0,
            referenced: 0,
            clones: Vec::new(),
            schedule: None,
        }
    }

    #[test]
    fn only_what_is_newer_is_lost_and_only_where_the_snapshot_is() {
        let rows = vec![
            row("", "old", 1),
            row("", "x", 5),
            row("", "new", 7),
            row("sub", "x", 5),
            row("sub", "own", 6),
            row("young", "later", 8),
        ];
        let plan = plan(rows.clone(), "x").unwrap();
        assert_eq!(plan.to, [row("", "x", 5), row("sub", "x", 5)]);
        assert_eq!(plan.newer, [row("", "new", 7), row("sub", "own", 6)]);
        let newest = super::plan(rows.clone(), "new").unwrap();
        assert!(newest.newer.is_empty() && newest.to.len() == 1);
        for none in ["gone", "own"] {
            assert!(super::plan(rows.clone(), none).is_none());
        }
    }

    #[test]
    fn bounds_of_a_rollback() {
        let large = |dataset: &str| Row {
            referenced: 100,
            ..row(dataset, "x", 5)
        };
        let bounded = |told: &[&str]| {
            let rows: Vec<program::Row> = told
                .iter()
                .map(|row| row.split(' ').map(str::to_owned).collect())
                .collect();
            let mut plan = plan(vec![large(""), large("var"), row("", "new", 6)], "x").unwrap();
            plan.add_bounds("t/ct/a", &rows).map(|()| plan)
        };
        let plan = bounded(&[
            "t/ct/a 1 100",
            "t/ct/a/var 2 0",
            "t/ct/a/young 9 1",
            "t/ct/a#of-x 5 -",
            "t/ct/a#later 7 -",
            "t/ct/a/young#later 9 -",
        ]);
        let plan = plan.unwrap();
        assert_eq!(plan.bookmarks, ["t/ct/a#later"]);
        assert_eq!(plan.lost(), ["#later", "new"]);
        let tight = bounded(&["t/ct/a 1 0", "t/ct/a/var 2 99"]).unwrap_err();
        assert!(
            matches!(&tight, Error::OverQuota { dataset, quota: 99, .. } if dataset == "var"),
            "{tight}"
        );
    }
}
