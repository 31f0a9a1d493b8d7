//! A back end for tests: names live in memory, so that nothing depends on how `dir` lays out a
//! pool, and any operation can be made to fail.

mod snapshots;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use osctl_linux::beneath::{Mounts, Root, Symlinks};

use super::snapshots::Snapshots;
use super::{
    Cause, Datasets, Disk, Emptied, Error, Form, Note, Populate, Result, Space, Storage, Trashed,
    Watch, check_id, copy_tree,
};

#[derive(Debug, Default)]
struct State {
    /// Number of each container's directory.
    containers: BTreeMap<String, u64>,
    incomplete: BTreeSet<String>,
    /// Number of each image's directory.
    images: BTreeMap<String, u64>,
    quotas: BTreeMap<String, u64>,
    snapshots: Vec<snapshots::Kept>,
    trash: Vec<u64>,
    next: u64,
    failing: BTreeMap<&'static str, String>,
}

/// A pool that vanishes with the value.
#[derive(Debug)]
pub struct FakeStorage {
    dir: tempfile::TempDir,
    state: Mutex<State>,
}

impl Default for FakeStorage {
    fn default() -> FakeStorage {
        FakeStorage::new()
    }
}

impl FakeStorage {
    /// An empty pool.
    pub fn new() -> FakeStorage {
        FakeStorage {
            dir: tempfile::tempdir().expect("a temporary directory"),
            state: Mutex::default(),
        }
    }

    /// Makes `operation` (a name of a method of [`Storage`]) fail from now on.
    pub fn fail(&self, operation: &'static str, message: &str) {
        self.lock().failing.insert(operation, message.to_owned());
    }

    /// Makes `operation` work again.
    pub fn heal(&self, operation: &'static str) {
        self.lock().failing.remove(operation);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn enter(&self, operation: &'static str, id: &str) -> Result<MutexGuard<'_, State>> {
        check_id(id)?;
        let state = self.lock();
        match state.failing.get(operation) {
            Some(message) => Err(Error::io(operation, id, message.clone())),
            None => Ok(state),
        }
    }

    /// Makes a directory and fills it; gives its number.
    fn fill(&self, id: &str, populate: Populate<'_>) -> Result<u64> {
        let number = {
            let mut state = self.lock();
            state.next += 1;
            state.next
        };
        let place = self.place(number);
        fs::create_dir(&place).map_err(io(&place))?;
        let filled = Root::open_tree(&place, Symlinks::Refuse, Mounts::Refuse)
            .map_err(Cause::from)
            .and_then(|tree| {
                tree.chmod(".", 0o755)?;
                populate(&tree)
            });
        match filled {
            Ok(()) => Ok(number),
            Err(source) => {
                self.lock().trash.push(number);
                Err(Error::populate(id, source))
            }
        }
    }

    fn place(&self, number: u64) -> PathBuf {
        self.dir.path().join(number.to_string())
    }
}

fn find(state: &State, id: &str) -> Result<u64> {
    let found = state.containers.get(id).copied();
    found.ok_or_else(|| Error::NotFound(id.to_owned()))
}

fn io(what: &Path) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::io("change", what.display().to_string(), e)
}

impl Datasets for FakeStorage {}

impl Storage for FakeStorage {
    fn backend(&self) -> &'static str {
        "fake"
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn ensure_layout(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn recover(&self, known: &dyn Fn(&str) -> bool) -> Vec<Note> {
        let mut state = self.lock();
        let mut notes = Vec::new();
        snapshots::forget_temporary(&mut state);
        let unknown: Vec<String> = state
            .containers
            .keys()
            .filter(|id| !known(id))
            .cloned()
            .collect();
        for id in unknown {
            if state.incomplete.remove(&id) {
                let number = state.containers.remove(&id);
                state.trash.extend(number);
                notes.push(Note::Done(format!("discarded {id}")));
            } else {
                notes.push(Note::Odd(format!("{id} has no configuration")));
            }
        }
        state.incomplete.clear();
        notes
    }

    fn create(&self, id: &str, populate: Populate<'_>) -> Result<()> {
        if self.enter("create", id)?.containers.contains_key(id) {
            return Err(Error::Exists(id.to_owned()));
        }
        let number = self.fill(id, populate)?;
        let mut state = self.lock();
        state.containers.insert(id.to_owned(), number);
        state.incomplete.insert(id.to_owned());
        Ok(())
    }

    fn create_from(&self, id: &str, image: &str, watch: Watch<'_>) -> Result<()> {
        let number = self.lock().images.get(image).copied();
        let number = number.ok_or_else(|| Error::NoImage(image.to_owned()))?;
        let image = Root::open_tree(self.place(number), Symlinks::Refuse, Mounts::Refuse)
            .map_err(|e| Error::io("open", image, e))?;
        self.create(
            id,
            &mut |tree| Ok(copy_tree(&image, tree, watch).map(drop)?),
        )
    }

    fn keep_image(&self, key: &str, populate: Populate<'_>) -> Result<()> {
        drop(self.enter("keep_image", key)?);
        let number = self.fill(key, populate)?;
        let mut state = self.lock();
        if state.images.contains_key(key) {
            state.trash.push(number);
        } else {
            state.images.insert(key.to_owned(), number);
        }
        Ok(())
    }

    fn has_image(&self, key: &str) -> Result<bool> {
        Ok(self.enter("has_image", key)?.images.contains_key(key))
    }

    fn images(&self) -> Result<Vec<String>> {
        Ok(self.lock().images.keys().cloned().collect())
    }

    fn discard_image(&self, key: &str) -> Result<()> {
        let mut state = self.enter("discard_image", key)?;
        let number = state.images.remove(key);
        state.trash.extend(number);
        Ok(())
    }

    fn is_new(&self, id: &str) -> Result<bool> {
        Ok(self.enter("is_new", id)?.incomplete.contains(id))
    }

    fn complete(&self, id: &str) -> Result<()> {
        let mut state = self.enter("complete", id)?;
        find(&state, id)?;
        state.incomplete.remove(id);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_id(to)?;
        let mut state = self.enter("rename", from)?;
        let number = find(&state, from)?;
        if state.containers.contains_key(to) {
            return Err(Error::Exists(to.to_owned()));
        }
        state.containers.remove(from);
        state.containers.insert(to.to_owned(), number);
        if let Some(quota) = state.quotas.remove(from) {
            state.quotas.insert(to.to_owned(), quota);
        }
        if state.incomplete.remove(from) {
            state.incomplete.insert(to.to_owned());
        }
        Ok(())
    }

    fn trash(&self, id: &str) -> Result<()> {
        let mut state = self.enter("trash", id)?;
        let number = find(&state, id)?;
        state.containers.remove(id);
        state.quotas.remove(id);
        state.incomplete.remove(id);
        snapshots::forget_of(&mut state, number);
        state.trash.push(number);
        Ok(())
    }

    fn trashed(&self) -> Result<Vec<Trashed>> {
        let state = self.enter("trashed", "trash")?;
        let item = |number: &u64| Trashed {
            name: number.to_string(),
            ..Trashed::default()
        };
        Ok(state.trash.iter().map(item).collect())
    }

    fn empty_trash(&self, limit: u64) -> Result<Emptied> {
        let mut state = self.enter("empty_trash", "trash")?;
        let tree = Root::open_tree(self.dir.path(), Symlinks::Refuse, Mounts::Refuse)
            .map_err(|e| Error::io("open", "the trash", e))?;
        let mut out = Emptied::default();
        while let Some(number) = state.trash.last().copied() {
            if out.removed >= limit {
                return Ok(out);
            }
            let part = tree
                .remove_some(number.to_string(), limit - out.removed)
                .map_err(|e| Error::io("remove", number.to_string(), e))?;
            out.removed += part.removed;
            if part.done {
                state.trash.pop();
            }
        }
        out.done = true;
        Ok(out)
    }

    fn dataset(&self, id: &str) -> Result<PathBuf> {
        self.rootfs(id)
    }

    fn rootfs(&self, id: &str) -> Result<PathBuf> {
        let state = self.enter("rootfs", id)?;
        // A container that does not exist has a path too, as with any back end.
        let number = state.containers.get(id).copied().unwrap_or(u64::MAX);
        Ok(self.place(number))
    }

    fn open_rootfs(&self, id: &str) -> Result<Root> {
        let state = self.enter("open_rootfs", id)?;
        Root::open_tree(
            self.place(find(&state, id)?),
            Symlinks::Refuse,
            Mounts::Refuse,
        )
        .map_err(|e| Error::io("open", id, e))
    }

    fn exists(&self, id: &str) -> Result<bool> {
        Ok(self.enter("exists", id)?.containers.contains_key(id))
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(self.lock().containers.keys().cloned().collect())
    }

    fn ensure_mounted(&self, id: &str) -> Result<()> {
        find(&*self.enter("ensure_mounted", id)?, id).map(drop)
    }

    fn usage(&self, id: &str, watch: Watch<'_>) -> Result<u64> {
        super::usage::usage(&self.open_rootfs(id)?, watch)
    }

    fn space(&self) -> Result<BTreeMap<String, Space>> {
        let mut all = BTreeMap::new();
        for id in self.list()? {
            let used = self.usage(&id, Watch::none())?;
            let space = Space {
                used,
                referenced: used,
                quota: self.lock().quotas.get(&id).copied(),
            };
            all.insert(id, space);
        }
        Ok(all)
    }

    fn disk(&self) -> Result<Disk> {
        Err(Error::Unsupported("memory is no disk"))
    }

    fn send_size(
        &self,
        id: &str,
        _dataset: &str,
        _from: Option<&str>,
        to: &str,
        _form: Form,
    ) -> Result<u64> {
        drop(self.enter("send_size", id)?);
        match self.snapshots(id)?.iter().any(|s| s.name == to) {
            true => Ok(1),
            false => Err(Error::NoSnapshot {
                id: id.to_owned(),
                name: to.to_owned(),
            }),
        }
    }

    fn set_quota(&self, id: &str, bytes: Option<u64>) -> Result<()> {
        let mut state = self.enter("set_quota", id)?;
        find(&state, id)?;
        state.quotas.remove(id);
        state
            .quotas
            .extend(bytes.map(|bytes| (id.to_owned(), bytes)));
        Ok(())
    }
}
