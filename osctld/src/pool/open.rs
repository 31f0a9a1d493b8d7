//! Reading a pool from its directory. One object that can't be read does not take the others with
//! it: it is noted as a problem of the pool.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};

use osctl_api::names::{GroupPath, Name};
use rustix::fs::FlockOperation;

use super::installed::{DIR, ZFS};
use super::{Conf, Entry, Pool, Problem, Settings, State, Unreadable, conf};
use crate::autostart;
use crate::error::{Error, Result, chain};
use crate::group::{self, Groups};
use crate::handlers::Cancel;
use crate::id_range::{IdRange, Table};
use crate::image::ImageCache;
use crate::storage::{self, DirStorage, Storage, ZfsStorage};
use crate::store::{self, Document, History, Objects, Stored};
use crate::sync::{Mutex, RwLock};
use crate::user::{self, User};

/// Bound of each of the two files of a pool's history, bytes.
const HISTORY_BYTES: u64 = 8 * 1024 * 1024;

/// What is left of users that are not there.
#[derive(Debug, Default)]
pub(super) struct LeftUsers {
    /// Their documents can't be read.
    pub unreadable: BTreeSet<String>,
    /// They were being deleted.
    pub deleting: Vec<Name>,
    /// Which users there are can't be known.
    pub unknown: bool,
}

impl Pool {
    /// Reads the pool of an entry, which keeps about `cached` unpacked images. Blocks.
    ///
    /// # Errors
    /// `Busy` when another daemon has it; `Backend` when its directory can't be used.
    pub(super) fn open(entry: &Entry, cached: usize) -> Result<Pool> {
        let failed = |e| Error::backend(format!("cannot use {}", entry.place()), e);
        let storage = storage(entry)?;
        let path = &storage.path().to_owned();
        let lock = lock(path)?;
        for note in storage.ensure_layout().map_err(failed)? {
            tracing::info!(pool = %entry.name, "{note}");
        }
        let conf =
            Conf::open(&storage).map_err(|e| Error::store("cannot use the configuration", e))?;
        let history = History::open(path.join("log"), "history.jsonl", HISTORY_BYTES)
            .map_err(|e| Error::store("cannot use the history", e))?;
        let mut loading = Loading {
            pool: &entry.name,
            problems: Vec::new(),
        };
        let images = loading.images(&storage, cached);
        let settings = loading.settings(&conf);
        let id_ranges = loading.id_ranges(&conf);
        let (users, left_users) = loading.users(&conf);
        let groups = loading.groups(&conf);
        Ok(Pool {
            name: entry.name.clone(),
            path: path.clone(),
            dataset: entry.dataset.clone(),
            storage,
            images,
            history,
            users: RwLock::new(users),
            id_ranges: RwLock::new(id_ranges),
            groups,
            containers: RwLock::default(),
            condemned: Arc::default(),
            autostart: autostart::Queue::default(),
            emptying: AtomicU8::new(super::trash::IDLE),
            retries: Mutex::default(),
            settings: RwLock::new(Arc::new(settings)),
            changing: tokio::sync::Mutex::default(),
            address_sets: tokio::sync::Mutex::default(),
            loaded: AtomicBool::new(false),
            stuck_for: Mutex::default(),
            state: RwLock::new(State::Importing),
            problems: RwLock::new(loading.problems),
            left_users: Mutex::new(left_users),
            gate: Arc::default(),
            ending: Cancel::new(),
            lock: Mutex::new(Some(lock)),
            conf,
        })
    }
}

/// The storage of an entry's back end.
fn storage(entry: &Entry) -> Result<Arc<dyn Storage>> {
    let failed = |e| Error::backend(format!("cannot use {}", entry.place()), e);
    match (entry.backend.as_str(), &entry.dataset) {
        (DIR, None) => Ok(Arc::new(DirStorage::open(&entry.path).map_err(failed)?)),
        (ZFS, Some(dataset)) => {
            let opened = ZfsStorage::open(dataset);
            Ok(Arc::new(
                opened.map_err(|e| needs_key(&e).unwrap_or_else(|| failed(e)))?,
            ))
        }
        _ => Err(Error::unsupported(format!(
            "there is no storage back end {:?}",
            entry.backend
        ))),
    }
}

/// What is said of a pool whose key is not there.
pub(super) fn needs_key(e: &storage::Error) -> Option<Error> {
    match e {
        storage::Error::Locked(_) => Some(Error::state(e.to_string()).hint(
            "give its key to `osctl pool import` with --ask-key or --key-file, or load it with \
             `zfs load-key`",
        )),
        _ => None,
    }
}

/// Keeps other daemons from the pool for as long as the file is open.
pub(super) fn lock(path: &Path) -> Result<File> {
    let cannot = |e: io::Error| Error::backend(format!("cannot lock {}", path.display()), e);
    let dir = File::open(path).map_err(cannot)?;
    match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(dir),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let message = format!("another osctld has the pool in {}", path.display());
            Err(Error::busy(message))
        }
        Err(e) => Err(cannot(e.into())),
    }
}

struct Loading<'a> {
    pool: &'a Name,
    problems: Vec<Problem>,
}

impl Loading<'_> {
    fn problem(&mut self, what: String, reason: String) {
        let problem = Problem { what, reason };
        tracing::warn!(pool = %self.pool, "{problem}");
        self.problems.push(problem);
    }

    /// Without a cache every container is made from the image itself.
    fn images(&mut self, storage: &Arc<dyn Storage>, cached: usize) -> Option<ImageCache> {
        let cache = ImageCache::open(Arc::clone(storage), cached);
        cache
            .inspect_err(|e| self.problem("cache of images".to_owned(), chain(e)))
            .ok()
    }

    fn settings(&mut self, conf: &Conf) -> Stored<Settings> {
        let loaded = conf.pool.load(conf::SETTINGS).map_err(|e| chain(&e));
        let checked = loaded.and_then(|stored| {
            let stored = stored.unwrap_or_else(|| Stored::new(Settings::default()));
            stored.value.check().map_err(|e| e.chain())?;
            Ok(stored)
        });
        checked.unwrap_or_else(|reason| {
            self.problem("settings of the pool".to_owned(), reason);
            Stored::new(Settings::default())
        })
    }

    /// Loads every document of a directory; returns the keys of those that can't be read and of
    /// those that were being deleted.
    ///
    /// # Errors
    /// When it can't be known which there are.
    fn each<T: Document>(
        &mut self,
        objects: &Objects<T>,
        mut add: impl FnMut(&str, Stored<T>) -> Result<()>,
    ) -> store::Result<(Unreadable, Vec<String>)> {
        let mut unreadable = Unreadable::new();
        let mut deleting = Vec::new();
        let all = objects.load_all().inspect_err(|e| {
            self.problem(objects.path().display().to_string(), chain(e));
        })?;
        for loaded in all {
            if loaded.deleting {
                deleting.push(loaded.key);
                continue;
            }
            let added = loaded.object.map_err(|e| chain(&e));
            let added = added.and_then(|stored| add(&loaded.key, stored).map_err(|e| e.chain()));
            if let Err(reason) = added {
                self.problem(format!("{} {}", T::KIND, loaded.key), reason);
                unreadable.insert(loaded.key);
            }
        }
        Ok((unreadable, deleting))
    }

    fn id_ranges(&mut self, conf: &Conf) -> BTreeMap<Name, Arc<IdRange>> {
        let mut ranges = BTreeMap::new();
        let pool = self.pool;
        let loaded = self.each(&conf.id_ranges, |key, stored: Stored<Table>| {
            let name = name(key)?;
            let range = IdRange::loaded(pool, &name, stored)?;
            ranges.insert(name, Arc::new(range));
            Ok(())
        });
        forget(&conf.id_ranges, loaded);
        ranges
    }

    fn users(&mut self, conf: &Conf) -> (BTreeMap<Name, Arc<User>>, LeftUsers) {
        let mut users = BTreeMap::new();
        let pool = self.pool;
        let loaded = self.each(&conf.users, |key, stored: Stored<user::Config>| {
            let name = name(key)?;
            let user = User::loaded(pool, &name, stored)?;
            users.insert(name, Arc::new(user));
            Ok(())
        });
        let left = match loaded {
            Ok((unreadable, deleting)) => LeftUsers {
                unreadable,
                deleting: deleting.iter().filter_map(|k| k.parse().ok()).collect(),
                unknown: false,
            },
            Err(_) => LeftUsers {
                unknown: true,
                ..LeftUsers::default()
            },
        };
        (users, left)
    }

    fn groups(&mut self, conf: &Conf) -> Groups {
        let mut groups: BTreeMap<GroupPath, Stored<group::Config>> = BTreeMap::new();
        let loaded = self.each(&conf.groups, |key, stored: Stored<group::Config>| {
            let path = group::path_of_key(key).ok_or_else(|| Error::invalid("no such group"))?;
            stored.value.check()?;
            groups.insert(path, stored);
            Ok(())
        });
        if let Ok((unreadable, _)) = &loaded {
            // Containers may be in them: they exist, without their limits.
            for path in unreadable.iter().filter_map(|key| group::path_of_key(key)) {
                groups
                    .entry(path)
                    .or_insert_with(|| Stored::new(group::Config::default()));
            }
        }
        forget(&conf.groups, loaded);
        Groups::new(groups)
    }
}

fn name(key: &str) -> Result<Name> {
    key.parse()
        .map_err(|e| Error::invalid_with("its file has a name that it can't have", e))
}

/// Forgets what was being deleted and has nothing else that needs to be undone.
fn forget<T: Document>(objects: &Objects<T>, loaded: store::Result<(Unreadable, Vec<String>)>) {
    for key in loaded.map(|(_, deleting)| deleting).unwrap_or_default() {
        if let Err(e) = objects.forget(&key) {
            tracing::warn!("{}", chain(&e));
        }
    }
}
