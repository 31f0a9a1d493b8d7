//! Returning to a snapshot.
//!
//! ZFS does it for each dataset by itself: a note in the pool says that it has begun, so that it is
//! finished after a crash. The note is the name of an empty file, `ct/.rollback/ID@NAME`, written
//! before anything is changed; see the head of `containers` for why it is on the disk in time.

use std::collections::BTreeMap;

use nix::errno::Errno;
use osctl_linux::beneath::Kind;

use super::rows::Row;
use super::{ZfsStorage, failed};
use crate::failpoint;
use crate::storage::snapshots::{Newer, TEMPORARY, check_name};
use crate::storage::{Error, Note, Result, Storage, check_id, text};

/// Directory of the notes.
pub(super) const NOTES: &str = "ct/.rollback";

/// What returning to a snapshot takes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Those of the snapshot.
    to: Vec<Row>,
    /// Those that are newer, of the same datasets.
    newer: Vec<Row>,
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
    pub(super) fn return_to(&self, id: &str, name: &str, newer: Newer) -> Result<()> {
        let no_snapshot = || Error::NoSnapshot {
            id: id.to_owned(),
            name: name.to_owned(),
        };
        let mut rows = self.rows_of(id)?;
        // What it ran from until now goes first: a clone of a newer snapshot, in the trash by now.
        let ran = |row: &Row| row.name.starts_with(TEMPORARY) && !row.clones.is_empty();
        if rows.iter().any(ran) {
            self.destroy_some(u64::MAX)?;
            rows = self.rows_of(id)?;
        }
        let plan = plan(rows, name).ok_or_else(no_snapshot)?;
        let mut lost: Vec<String> = plan.newer.iter().map(|row| row.name.clone()).collect();
        lost.retain(|name| !name.starts_with(TEMPORARY));
        lost.sort();
        lost.dedup();
        if newer == Newer::Keep && !lost.is_empty() {
            return Err(Error::Newer {
                id: id.to_owned(),
                name: name.to_owned(),
                newer: lost,
            });
        }
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
        let done = self.carry_out(id, &plan);
        // Also when it failed: what the container does from now on is not to be lost later.
        self.forget_note(&note)?;
        done
    }

    fn carry_out(&self, id: &str, plan: &Plan) -> Result<()> {
        if !plan.newer.is_empty() {
            self.destroy_rows(&plan.newer)?;
            failpoint!("rollback.destroyed");
        }
        for row in &plan.to {
            let (dataset, snapshot) = (self.base.below(&row.of()), self.base.below(&row.below()));
            let done = self.zfs()?.rollback_to(&dataset, &snapshot);
            done.map_err(failed("roll back", format!("data of container {id}")))?;
            failpoint!("rollback.dataset");
        }
        Ok(())
    }

    fn forget_note(&self, note: &str) -> Result<()> {
        match self.root()?.unlink(note) {
            Err(e) if e.errno() != Errno::ENOENT => Err(Error::io("remove", note, e)),
            _ => Ok(()),
        }
    }

    /// Finishes what a crash interrupted.
    pub(super) fn finish_rollbacks(&self) -> Vec<Note> {
        let root = match self.root() {
            Ok(root) => root,
            Err(e) => return vec![Note::Odd(text(&e))],
        };
        let names = match root.read_dir(NOTES) {
            Ok(entries) => entries.flatten().map(|entry| entry.name),
            Err(e) if e.errno() == Errno::ENOENT => return Vec::new(),
            Err(e) => return vec![Note::Odd(text(&Error::io("list", NOTES, e)))],
        };
        let names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        let finished = names.iter().filter_map(|note| {
            let (id, name) = note.split_once('@')?;
            check_id(id).and_then(|()| check_name(name)).ok()?;
            if !self.exists(id).ok()? {
                let _ = self.forget_note(&format!("{NOTES}/{note}"));
                return None;
            }
            Some(match self.return_to(id, name, Newer::Lose) {
                Ok(()) => Note::Done(format!(
                    "finished returning container {id} to snapshot {name}"
                )),
                Err(e) => Note::Odd(format!(
                    "container {id}: a rollback to {name} is half done: {}",
                    text(&e)
                )),
            })
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
}
