//! A pool: a directory that holds containers, their configuration and their logs.
//!
//! It owns what is loaded from the pool while it is imported. Coming and going of pools is
//! [`registry`], reading one from its directory is [`open`].

mod assets;
mod conf;
mod installed;
mod open;
mod registry;
mod trash;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use osctl_api::names::{AttrName, GroupPath, Name};
use osctl_api::pool as api;
pub use osctl_api::pool::State;
use tokio::sync::OwnedRwLockReadGuard;

pub use conf::{Conf, Settings};
pub use installed::{Entry, Installed};
pub use registry::{Export, Key, Place, export, import, import_all, install, uninstall};

use crate::autostart;
use crate::blocking::blocking;
use crate::container::{Container, Waiting};
use crate::error::{Error, Result};
use crate::group::Groups;
use crate::handlers::Cancel;
use crate::id_range::IdRange;
use crate::image::ImageCache;
use crate::storage::Storage;
use crate::store::{History, Stored};
use crate::sync::{Mutex, RwLock};
use crate::user::User;

/// An imported pool.
#[derive(Debug)]
pub struct Pool {
    /// Name.
    pub name: Name,
    /// Directory that holds it.
    pub path: PathBuf,
    /// Dataset that holds it, with ZFS.
    pub dataset: Option<String>,
    /// The data of its containers.
    pub storage: Arc<dyn Storage>,
    /// Unpacked images; absent when they can't be kept.
    pub images: Option<ImageCache>,
    /// The documents of its objects.
    pub conf: Conf,
    /// What was done to it.
    pub history: History,
    /// Users, by name.
    pub users: RwLock<BTreeMap<Name, Arc<User>>>,
    /// Id ranges, by name.
    pub id_ranges: RwLock<BTreeMap<Name, Arc<IdRange>>>,
    /// Groups.
    pub groups: Groups,
    /// Held while address sets are changed.
    pub address_sets: tokio::sync::Mutex<()>,
    /// Containers, by id.
    pub containers: RwLock<BTreeMap<Name, Arc<Container>>>,
    /// Containers that are deleted as soon as it answers.
    pub condemned: Arc<Waiting>,
    /// Containers that wait to be started.
    pub autostart: autostart::Queue,
    /// Whether deleted data are being removed, and whether more came meanwhile.
    emptying: AtomicU8,
    /// Whether its containers are known.
    loaded: AtomicBool,
    /// When deleted data that could not be removed are tried again.
    retries: Mutex<trash::Retries>,
    /// What deleted data could not be removed for.
    stuck_for: Mutex<Vec<String>>,
    settings: RwLock<Arc<Stored<Settings>>>,
    /// Serialises changes of the settings.
    changing: tokio::sync::Mutex<()>,
    state: RwLock<State>,
    problems: RwLock<Vec<Problem>>,
    /// Users whose documents can't be read, or that were being deleted.
    left_users: Mutex<open::LeftUsers>,
    /// Held by operations that change the pool's objects; taken whole to export it.
    gate: Arc<tokio::sync::RwLock<()>>,
    /// Whether it is being exported by force: what reads and copies for long ends early.
    ending: (tokio::sync::watch::Sender<bool>, Cancel),
    /// Keeps other daemons from importing it.
    lock: Mutex<Option<File>>,
}

/// Something on a pool that could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about: a file, or `user NAME`.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

impl Pool {
    /// The user of this name.
    pub fn user(&self, name: &Name) -> Option<Arc<User>> {
        self.users.read().get(name.as_str()).cloned()
    }

    /// The id range of this name.
    pub fn id_range(&self, name: &Name) -> Option<Arc<IdRange>> {
        self.id_ranges.read().get(name.as_str()).cloned()
    }

    /// The container of this id.
    pub fn container(&self, id: &Name) -> Option<Arc<Container>> {
        self.containers.read().get(id.as_str()).cloned()
    }

    /// How many containers use a user.
    pub fn containers_of_user(&self, user: &Name) -> usize {
        let containers = self.containers.read();
        containers.values().filter(|c| c.user() == *user).count()
    }

    /// How many containers are directly in a group.
    pub fn containers_of_group(&self, group: &GroupPath) -> usize {
        let containers = self.containers.read();
        containers.values().filter(|c| c.group() == *group).count()
    }

    /// How many containers run.
    pub fn active_containers(&self) -> usize {
        let containers = self.containers.read();
        containers.values().filter(|c| c.is_active()).count()
    }

    /// Whether there is a document of such a user, readable or not.
    pub(crate) fn has_user_document(&self, name: &Name) -> bool {
        self.users.read().contains_key(name.as_str())
            || self.left_users.lock().unreadable.contains(name.as_str())
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        *self.state.read()
    }

    /// Whether its containers are known.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Notes that its containers are known.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    fn set_state(&self, state: State) {
        *self.state.write() = state;
    }

    /// Refuses what would wait for ever: a change of a pool that does not answer.
    ///
    /// # Errors
    /// `Unavailable`, with the cause.
    pub fn answers(&self) -> Result<()> {
        self.storage
            .trouble()
            .map_or(Ok(()), |cause| Err(Error::unavailable(cause)))
    }

    /// Keeps the pool from being exported, for an operation that changes its objects.
    ///
    /// # Errors
    /// `Unavailable` while it is being imported or exported, or does not answer.
    pub fn enter(&self) -> Result<OwnedRwLockReadGuard<()>> {
        self.answers()?;
        self.condemned.pool_answers();
        let entered = self.gate.clone().try_read_owned();
        match (entered, self.state()) {
            (Ok(guard), State::Active) => Ok(guard),
            (_, State::Importing) => Err(Error::unavailable(format!(
                "pool {} is still being imported",
                self.name
            ))),
            _ => Err(Error::unavailable(format!(
                "pool {} is being exported",
                self.name
            ))),
        }
    }

    /// Cancels what takes long when the pool is exported by force.
    pub fn ending(&self) -> &Cancel {
        &self.ending.1
    }

    /// As [`Pool::enter`], for what an export waits for: also while containers are being stopped.
    ///
    /// # Errors
    /// `Unavailable` once the pool is let go of, and when it does not answer.
    pub fn finish_in(&self) -> Result<OwnedRwLockReadGuard<()>> {
        self.answers()?;
        self.gate
            .clone()
            .try_read_owned()
            .map_err(|_| Error::unavailable(format!("pool {} is being exported", self.name)))
    }

    /// Notes what could not be loaded; it is shown with the pool and told in the log.
    pub fn add_problem(&self, what: impl Into<String>, reason: impl Into<String>) {
        let problem = Problem {
            what: what.into(),
            reason: reason.into(),
        };
        tracing::warn!(pool = %self.name, "{problem}");
        self.problems.write().push(problem);
    }

    /// What could not be loaded, and which users can't be used.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.problems.read().clone();
        problems.extend(self.storage.trouble().map(|reason| Problem {
            what: "storage".to_owned(),
            reason,
        }));
        for user in self.users.read().values() {
            problems.extend(user.conflict().map(|reason| Problem {
                what: format!("user {}", user.name),
                reason,
            }));
        }
        problems
    }

    /// How many containers autostart starts at the same time.
    pub fn parallel_start(&self) -> u32 {
        self.settings.read().value.parallel_start()
    }

    /// How many containers are stopped at the same time.
    pub fn parallel_stop(&self) -> u32 {
        self.settings.read().value.parallel_stop()
    }

    /// The pool as clients see it.
    pub fn info(&self) -> api::Pool {
        let settings = self.settings.read().clone();
        api::Pool {
            name: self.name.clone(),
            backend: self.storage.backend().to_owned(),
            dataset: self.dataset.clone(),
            path: self.path.display().to_string(),
            state: self.state(),
            users: self.users.read().len() as u64,
            groups: self.groups.count() as u64,
            containers: self.containers.read().len() as u64,
            parallel_start: settings.value.parallel_start(),
            parallel_stop: settings.value.parallel_stop(),
            attrs: settings.value.attrs.clone(),
            problems: self.problems().iter().map(Problem::to_string).collect(),
        }
    }

    /// Changes the settings, on the disk first.
    ///
    /// # Errors
    /// Those of `change`; `Backend` when they can't be written, and then nothing has changed.
    pub async fn change_settings(
        self: &Arc<Pool>,
        change: impl FnOnce(&mut Settings) -> Result<()>,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        let mut stored = Stored::clone(&self.settings.read());
        change(&mut stored.value)?;
        stored.value.check()?;
        let pool = self.clone();
        blocking(move || {
            let saved = pool.conf.pool.save(conf::SETTINGS, &mut stored);
            saved.map_err(|e| {
                Error::store(
                    format!("cannot write the settings of pool {}", pool.name),
                    e,
                )
            })?;
            *pool.settings.write() = Arc::new(stored);
            Ok(())
        })
        .await
    }

    /// Sets and removes user attributes.
    ///
    /// # Errors
    /// As [`Pool::change_settings`].
    pub async fn change_attrs(
        self: &Arc<Pool>,
        set: BTreeMap<AttrName, String>,
        unset: Vec<AttrName>,
    ) -> Result<()> {
        self.change_settings(|s| crate::attrs::change(&mut s.attrs, set, &unset))
            .await
    }
}

/// Names of documents that can't be read.
type Unreadable = BTreeSet<String>;
