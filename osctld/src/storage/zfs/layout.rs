//! The datasets and directories of a pool: made, mounted, checked.

use std::path::{Path, PathBuf};

use osctl_linux::beneath::{Mounts, Root, Symlinks};
use osctl_linux::zfs::Value;

use super::containers::MARKS;
use super::mounts::{self, Allow, Mount};
use super::names::{Base, CT, DATASETS, REPOSITORY, TRASH};
use super::{NOAUTO, ZfsStorage, failed, keys, program, state};
use crate::failpoint;
use crate::storage::layout::{LAYOUT, ensure_dir};
use crate::storage::{Error, Result};

/// User property of the datasets that we have made, so that nobody else's is taken for one.
const ROLE: &str = "org.osctl:role";
/// Datasets with bytes that nobody else can take, so that what a full pool holds can still be
/// deleted: there ZFS refuses whatever may need a block, also the change of a name. What a change
/// of a file may need at worst is counted, 16 MiB and more for each that is going on. A dataset can
/// change its parent when that has as much room as the pool may be overfull.
const RESERVED: [(&str, u64); 2] = [("conf", 128 << 20), (TRASH, 16 << 20)];
/// `xattr=sa`, `acltype=posix` as the kernel numbers them: what systems in containers need.
const XATTR_SA: u64 = 2;
const ACL_POSIX: u64 = 1;

/// Properties of a dataset of the layout.
fn properties(role: &str) -> Vec<(&'static str, Value)> {
    let canmount = if role == TRASH { 0 } else { NOAUTO };
    vec![
        ("canmount", Value::Number(canmount)),
        ("devices", Value::Number(0)),
        ("xattr", Value::Number(XATTR_SA)),
        ("acltype", Value::Number(ACL_POSIX)),
        (ROLE, Value::Text(role.to_owned())),
    ]
}

/// Where `zfs` says that a dataset is to be mounted.
pub(super) fn mountpoint(base: &Base) -> Result<PathBuf> {
    let dataset = base.as_str();
    let rows = program::zfs(
        base.pool(),
        &["get", "-Hp", "-o", "value", "mountpoint", dataset],
    )?;
    let value = rows.first().and_then(|row| row.first());
    let path = PathBuf::from(value.map_or("", String::as_str));
    if path.is_absolute() && path != Path::new("/") {
        return Ok(path);
    }
    Err(Error::Layout {
        path: dataset.into(),
        problem: format!(
            "its mountpoint is {path:?}: set one with `zfs set mountpoint=PATH {dataset}`"
        ),
    })
}

impl ZfsStorage {
    /// Makes a pool of a dataset, which is made when it is missing and its parent exists. One
    /// that holds anything under the names of ours is refused.
    pub fn install(dataset: &str) -> Result<ZfsStorage> {
        let base = Base::new(dataset)?;
        let zfs = state::library(base.pool())?;
        keys::unlock(dataset, None)?;
        let exists = |name: &str| zfs.exists(name).map_err(failed("look for", name));
        if exists(dataset)? {
            for name in DATASETS.map(|d| base.below(d)) {
                if exists(&name)? && !is_ours(&base, &name)? {
                    return Err(Error::NotEmpty(name.into()));
                }
            }
        } else {
            let made = zfs.create(dataset, &properties("pool"));
            made.map_err(failed("make", dataset))?;
        }
        let storage = ZfsStorage::mounted(base)?;
        storage.make_layout()?;
        Ok(storage)
    }

    /// Opens the pool in a dataset, which is mounted for that. Its datasets and directories are
    /// seen to by [`super::Storage::ensure_layout`].
    pub fn open(dataset: &str) -> Result<ZfsStorage> {
        let base = Base::new(dataset)?;
        let zfs = state::library(base.pool())?;
        for name in [base.below(CT), base.below("conf")] {
            let exists = zfs.exists(&name);
            if !exists.map_err(failed("look for", &name))? {
                return Err(Error::NotAPool(dataset.into()));
            }
        }
        keys::unlock(dataset, None)?;
        ZfsStorage::mounted(base)
    }

    fn mounted(base: Base) -> Result<ZfsStorage> {
        let path = mountpoint(&base)?;
        let is_it = |mount: &&Mount| mount.dataset == base.as_str();
        match mounts::all()?.iter().find(is_it) {
            Some(mount) if mount.path == path => {}
            Some(mount) => {
                let problem = format!("is mounted on {}", mount.path.display());
                return Err(Error::Layout { path, problem });
            }
            None => mounts::mount(base.as_str(), &path, Allow::Data)?,
        }
        let root = Root::open_tree(&path, Symlinks::Refuse, Mounts::Cross)
            .map_err(|e| Error::io("open", path.display().to_string(), e))?;
        Ok(ZfsStorage {
            base,
            path,
            tree: root,
        })
    }

    pub(super) fn make_layout(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        for name in DATASETS {
            let dataset = self.base.below(name);
            if !self.exists_below(name)? {
                let made = self.zfs()?.create(&dataset, &properties(name));
                made.map_err(failed("make", &dataset))?;
                done.push(format!("made {dataset}"));
            }
            if name != TRASH {
                self.ensure_at(name, Allow::Data)?;
            }
            failpoint!("storage.layout");
        }
        match self.reserve() {
            Ok(notes) => done.extend(notes),
            Err(e) => tracing::warn!(
                "when the pool is full, nothing can be deleted: {}",
                crate::storage::text(&e)
            ),
        }
        for dir in std::iter::once(".").chain(LAYOUT).chain([MARKS]) {
            done.extend(ensure_dir(&self.path, self.root()?, dir)?);
        }
        Ok(done)
    }

    /// Sees to it that datasets have for themselves what is [`RESERVED`]; tells what it did.
    fn reserve(&self) -> Result<Vec<String>> {
        let [conf, trash] = RESERVED.map(|(name, _)| self.base.below(name));
        let rows = self.ask(&["get", "-Hp", "-o", "value", "reservation", &conf, &trash])?;
        let mut done = Vec::new();
        for (row, (name, bytes)) in rows.iter().zip(RESERVED) {
            if row.first().and_then(|value| program::number(value)) < Some(bytes) {
                let reservation = format!("reservation={bytes}");
                self.ask(&["set", &reservation, &self.base.below(name)])?;
                done.push(format!("reserved {} MiB for {name}", bytes >> 20));
            }
        }
        Ok(done)
    }

    /// Takes all that we have mounted out of the file tree, except for the pool itself: others
    /// may have mounted something in it.
    pub(super) fn unmount_all(&self) {
        let mounted = mounts::all().unwrap_or_else(|e| {
            tracing::warn!("{}", crate::storage::text(&e));
            Vec::new()
        });
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        for mount in &mounted {
            match self.base.relative(&mount.dataset) {
                Some(name) if DATASETS.contains(&name) => outer.push(mount),
                Some(name)
                    if [CT, REPOSITORY]
                        .iter()
                        .any(|d| name.starts_with(&format!("{d}/"))) =>
                {
                    inner.push(mount);
                }
                _ => {}
            }
        }
        // What is in another one first.
        for mount in inner.into_iter().rev().chain(outer) {
            if let Err(e) = mounts::detach(&mount.path) {
                tracing::warn!("{}", crate::storage::text(&e));
            }
        }
    }
}

fn is_ours(base: &Base, dataset: &str) -> Result<bool> {
    let rows = program::zfs(
        base.pool(),
        &["get", "-Hp", "-s", "local", "-o", "value", ROLE, dataset],
    )?;
    Ok(!rows.is_empty())
}
