//! Snapshots of the back end for tests: copies of the tree.

use std::collections::BTreeMap;
use std::path::PathBuf;

use osctl_linux::beneath::{Mounts, Root, Symlinks};

use super::{FakeStorage, State, find};
use crate::storage::snapshots::{Newer, Snapshot, Snapshots, TEMPORARY, check_name};
use crate::storage::{Error, Result, Storage, Watch, copy_tree};

/// A copy of a container's tree.
#[derive(Debug)]
pub(super) struct Kept {
    /// The container's directory, by number: names change.
    of: u64,
    /// Its own directory.
    number: u64,
    name: String,
    created: u64,
    schedule: Option<String>,
    /// Directories of the containers that were cloned of it.
    clones: Vec<u64>,
    mounted: bool,
}

fn position(state: &State, id: &str, name: &str) -> Result<usize> {
    check_name(name)?;
    let of = find(state, id)?;
    let found = state
        .snapshots
        .iter()
        .position(|s| s.of == of && s.name == name);
    found.ok_or_else(|| Error::NoSnapshot {
        id: id.to_owned(),
        name: name.to_owned(),
    })
}

/// Ids of the clones of a snapshot that exist.
fn clones(state: &State, kept: &Kept) -> Vec<String> {
    let containers = state.containers.iter();
    let found = containers.filter(|(_, number)| kept.clones.contains(number));
    found.map(|(id, _)| id.clone()).collect()
}

fn refuse_used(state: &State, id: &str, kept: &Kept) -> Result<()> {
    let shown = format!("snapshot {} of container {id}", kept.name);
    match clones(state, kept).first() {
        Some(clone) => Err(Error::InUse(format!("{shown} has the clone {clone}"))),
        None if kept.mounted => Err(Error::InUse(format!("{shown} is mounted"))),
        None => Ok(()),
    }
}

impl FakeStorage {
    fn tree(&self, number: u64) -> Result<Root> {
        Root::open_tree(self.place(number), Symlinks::Refuse, Mounts::Refuse)
            .map_err(|e| Error::io("open", number.to_string(), e))
    }

    fn copy(&self, id: &str, from: u64) -> Result<u64> {
        let from = self.tree(from)?;
        self.fill(id, &mut |tree| {
            Ok(copy_tree(&from, tree, Watch::none()).map(drop)?)
        })
    }

    /// What destroying a snapshot takes away.
    fn drop_at(state: &mut State, at: usize) {
        let kept = state.snapshots.remove(at);
        state.trash.push(kept.number);
    }
}

/// As at the start of the daemon: nothing is temporary any more.
pub(super) fn forget_temporary(state: &mut State) {
    while let Some(at) = state
        .snapshots
        .iter()
        .position(|s| s.name.starts_with(TEMPORARY))
    {
        FakeStorage::drop_at(state, at);
    }
}

/// Snapshots of a container that goes.
pub(super) fn forget_of(state: &mut State, number: u64) {
    while let Some(at) = state.snapshots.iter().position(|s| s.of == number) {
        FakeStorage::drop_at(state, at);
    }
}

/// The tree of a container, and that of the snapshot to return it to.
fn returnable(state: &State, id: &str, name: &str, newer: Newer) -> Result<(u64, u64)> {
    let at = position(state, id, name)?;
    let (of, to) = (state.snapshots[at].of, state.snapshots[at].number);
    let is_newer = |s: &&Kept| s.of == of && s.number > to;
    let found: Vec<&Kept> = state.snapshots.iter().filter(is_newer).collect();
    let users = found.iter().filter(|s| !s.name.starts_with(TEMPORARY));
    let named: Vec<String> = users.map(|s| s.name.clone()).collect();
    if newer == Newer::Keep && !named.is_empty() {
        return Err(Error::Newer {
            id: id.to_owned(),
            name: name.to_owned(),
            newer: named,
        });
    }
    found.iter().try_for_each(|s| refuse_used(state, id, s))?;
    Ok((of, to))
}

impl Snapshots for FakeStorage {
    fn datasets(&self, id: &str) -> Result<Vec<String>> {
        find(&*self.enter("datasets", id)?, id).map(|_| vec![String::new()])
    }

    fn snapshots(&self, id: &str) -> Result<Vec<Snapshot>> {
        let state = self.enter("snapshots", id)?;
        let of = find(&state, id)?;
        let kept = state.snapshots.iter().filter(|s| s.of == of);
        let shown = kept.map(|s| Snapshot {
            name: s.name.clone(),
            order: s.number,
            created: s.created,
            used: 0,
            referenced: 1,
            schedule: s.schedule.clone(),
            clones: clones(&state, s),
            mounted: s.mounted.then(|| self.place(s.number)),
        });
        Ok(shown.collect())
    }

    fn all_snapshots(&self) -> Result<BTreeMap<String, Vec<Snapshot>>> {
        let ids = self.list()?.into_iter();
        let all: Result<BTreeMap<_, _>> = ids
            .map(|id| Ok((id.clone(), self.snapshots(&id)?)))
            .collect();
        let mut all = all?;
        all.retain(|_, snapshots| !snapshots.is_empty());
        Ok(all)
    }

    fn snapshot(&self, id: &str, name: &str, schedule: Option<&str>) -> Result<()> {
        let (of, there) = {
            let state = self.enter("snapshot", id)?;
            (find(&state, id), position(&state, id, name))
        };
        let of = match there {
            Ok(_) => {
                return Err(Error::SnapshotExists {
                    id: id.to_owned(),
                    name: name.to_owned(),
                });
            }
            Err(Error::NoSnapshot { .. }) => of?,
            Err(e) => return Err(e),
        };
        let number = self.copy(id, of)?;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.lock().snapshots.push(Kept {
            of,
            number,
            name: name.to_owned(),
            created: now.as_secs(),
            schedule: schedule.map(str::to_owned),
            clones: Vec::new(),
            mounted: false,
        });
        Ok(())
    }

    fn destroy_snapshot(&self, id: &str, name: &str) -> Result<()> {
        let mut state = self.enter("destroy_snapshot", id)?;
        let at = position(&state, id, name)?;
        refuse_used(&state, id, &state.snapshots[at])?;
        Self::drop_at(&mut state, at);
        Ok(())
    }

    fn check_rollback(&self, id: &str, name: &str, newer: Newer) -> Result<()> {
        let state = self.enter("check_rollback", id)?;
        returnable(&state, id, name, newer).map(drop)
    }

    fn rollback(&self, id: &str, name: &str, newer: Newer) -> Result<()> {
        let (of, to) = {
            let mut state = self.enter("rollback", id)?;
            let (of, to) = returnable(&state, id, name, newer)?;
            let is_newer = |s: &Kept| s.of == of && s.number > to;
            while let Some(at) = state.snapshots.iter().position(is_newer) {
                Self::drop_at(&mut state, at);
            }
            (of, to)
        };
        let number = self.copy(id, to)?;
        let mut state = self.lock();
        state.containers.insert(id.to_owned(), number);
        state.trash.push(of);
        for kept in &mut state.snapshots {
            if kept.of == of {
                kept.of = number;
            }
            for clone in kept.clones.iter_mut().filter(|n| **n == of) {
                *clone = number;
            }
        }
        Ok(())
    }

    fn clone_snapshot(&self, id: &str, name: &str, to: &str) -> Result<()> {
        let from = {
            let state = self.enter("clone_snapshot", to)?;
            let at = position(&state, id, name)?;
            if state.containers.contains_key(to) {
                return Err(Error::Exists(to.to_owned()));
            }
            state.snapshots[at].number
        };
        let number = self.copy(to, from)?;
        let mut state = self.lock();
        let at = position(&state, id, name)?;
        state.snapshots[at].clones.push(number);
        state.containers.insert(to.to_owned(), number);
        state.incomplete.insert(to.to_owned());
        Ok(())
    }

    fn open_snapshot(&self, id: &str, dataset: &str, name: &str) -> Result<Root> {
        let state = self.enter("open_snapshot", id)?;
        let at = position(&state, id, name)?;
        match dataset {
            "" => self.tree(state.snapshots[at].number),
            _ => Err(Error::NoSnapshot {
                id: id.to_owned(),
                name: name.to_owned(),
            }),
        }
    }

    fn mount_snapshot(&self, id: &str, name: &str) -> Result<PathBuf> {
        let mut state = self.enter("mount_snapshot", id)?;
        let at = position(&state, id, name)?;
        state.snapshots[at].mounted = true;
        Ok(self.place(state.snapshots[at].number))
    }

    fn unmount_snapshot(&self, id: &str, name: &str) -> Result<bool> {
        let mut state = self.enter("unmount_snapshot", id)?;
        match position(&state, id, name) {
            Ok(at) => Ok(std::mem::take(&mut state.snapshots[at].mounted)),
            Err(Error::NoSnapshot { .. } | Error::NotFound(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
