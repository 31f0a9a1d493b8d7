//! Which pools there are: those in directories from a document in the daemon's state directory,
//! those of ZFS from marks that they carry, so that they are known wherever they are imported.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use osctl_api::names::Name;
use serde::{Deserialize, Serialize};

use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::storage::zfs;
use crate::store::{Document, Objects, Stored};

/// What is told when ZFS can't be asked.
const NO_MARKS: &str = "cannot find out which pools of ZFS are installed";
/// Key of the document.
const KEY: &str = "pools";

/// The back end of pools in directories.
pub(super) const DIR: &str = "dir";
/// The back end of pools of ZFS.
pub(super) const ZFS: &str = "zfs";

/// An installed pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name.
    pub name: Name,
    /// Storage back end: `dir`, `zfs`.
    pub backend: String,
    /// Directory that holds it.
    pub path: PathBuf,
    /// Dataset that holds it, with ZFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
}

impl Entry {
    /// What holds it, for messages.
    pub(super) fn place(&self) -> String {
        match &self.dataset {
            Some(dataset) => format!("dataset {dataset}"),
            None => self.path.display().to_string(),
        }
    }

    fn of_zfs(found: zfs::Installed) -> Option<Entry> {
        // One of another name can't be ours, whatever its marks.
        let name = found.name.parse().ok()?;
        Some(Entry {
            name,
            backend: ZFS.to_owned(),
            path: found.path,
            dataset: Some(found.dataset),
        })
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Pools {
    pools: Vec<Entry>,
}

impl Document for Pools {
    const KIND: &'static str = "list of pools";
    const VERSION: u32 = 1;
}

/// The list of installed pools. It is read whenever it is asked for, so that a file that was
/// repaired is good at once.
#[derive(Debug)]
pub struct Installed {
    store: Arc<Objects<Pools>>,
    changing: tokio::sync::Mutex<()>,
}

impl Installed {
    /// The list in this directory, which is made when it is missing.
    ///
    /// # Errors
    /// `Backend` when the directory can't be used.
    pub fn open(state_dir: &Path) -> Result<Installed> {
        let cannot = || format!("cannot use the state directory {}", state_dir.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(|e| Error::backend(cannot(), e))?;
        let store = Objects::open(state_dir).map_err(|e| Error::backend(cannot(), e))?;
        Ok(Installed {
            store: Arc::new(store),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Installed pools, by name.
    ///
    /// # Errors
    /// `Backend` when the list can't be read.
    pub async fn list(&self) -> Result<Vec<Entry>> {
        let mut pools = self.read().await?.value.pools;
        let marked = blocking(|| zfs::installed().map_err(|e| Error::backend(NO_MARKS, e))).await;
        // Pools in directories don't depend on it.
        let marked = marked.unwrap_or_else(|e| {
            tracing::error!("{}", e.chain());
            Vec::new()
        });
        for entry in marked.into_iter().filter_map(Entry::of_zfs) {
            match pools.iter().find(|other| other.name == entry.name) {
                Some(other) => tracing::error!(
                    "{} is not used: pool {} is in {}",
                    entry.place(),
                    entry.name,
                    other.place()
                ),
                None => pools.push(entry),
            }
        }
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pools)
    }

    /// The installed pool of this name.
    ///
    /// # Errors
    /// `NotFound`; `Backend` when the list can't be read.
    pub async fn entry(&self, name: &Name) -> Result<Entry> {
        let found = self.list().await?.into_iter().find(|e| e.name == *name);
        found.ok_or_else(|| {
            Error::not_found(format!("pool {name} is not installed"))
                .hint("make it with `osctl pool install`")
        })
    }

    /// Adds a pool.
    ///
    /// # Errors
    /// `AlreadyExists` when the name or the directory is taken; `Backend`.
    pub async fn add(&self, new: Entry) -> Result<()> {
        if let Some(dataset) = new.dataset.clone() {
            self.check(&new).await?;
            let cannot = format!("cannot mark the pool of {dataset}");
            return blocking(move || zfs::install(&dataset).map_err(|e| Error::backend(cannot, e)))
                .await;
        }
        self.change(move |pools| {
            for entry in pools.iter() {
                check_apart(entry, &new)?;
            }
            pools.push(new);
            Ok(())
        })
        .await
    }

    /// Checks that a pool could be added.
    ///
    /// # Errors
    /// As [`Installed::add`].
    pub async fn check(&self, new: &Entry) -> Result<()> {
        self.list()
            .await?
            .iter()
            .try_for_each(|entry| check_apart(entry, new))
    }

    /// Removes a pool.
    ///
    /// # Errors
    /// `NotFound`; `Backend`.
    pub async fn remove(&self, name: Name) -> Result<()> {
        if let Some(dataset) = self.entry(&name).await?.dataset {
            let cannot = format!("cannot take the mark off the pool of {dataset}");
            return blocking(move || {
                zfs::uninstall(&dataset).map_err(|e| Error::backend(cannot, e))
            })
            .await;
        }
        self.change(move |pools| {
            let before = pools.len();
            pools.retain(|e| e.name != name);
            if pools.len() == before {
                return Err(Error::not_found(format!("pool {name} is not installed")));
            }
            Ok(())
        })
        .await
    }

    async fn read(&self) -> Result<Stored<Pools>> {
        let store = self.store.clone();
        blocking(move || {
            let loaded = store.load(KEY);
            let loaded = loaded.map_err(|e| Error::store("cannot read the list of pools", e))?;
            Ok(loaded.unwrap_or_else(|| Stored::new(Pools::default())))
        })
        .await
    }

    async fn change(&self, change: impl FnOnce(&mut Vec<Entry>) -> Result<()>) -> Result<()> {
        let _changing = self.changing.lock().await;
        let mut stored = self.read().await?;
        change(&mut stored.value.pools)?;
        let store = self.store.clone();
        blocking(move || {
            let saved = store.save(KEY, &mut stored);
            saved.map_err(|e| Error::store("cannot write the list of pools", e))
        })
        .await
    }
}

fn check_apart(old: &Entry, new: &Entry) -> Result<()> {
    if old.name == new.name {
        return Err(Error::exists(format!(
            "pool {} is installed already, in {}",
            old.name,
            old.path.display()
        )));
    }
    if old.path.starts_with(&new.path) || new.path.starts_with(&old.path) {
        return Err(Error::exists(format!(
            "{} is the directory of pool {}, or one lies in the other",
            old.path.display(),
            old.name
        )));
    }
    Ok(())
}
