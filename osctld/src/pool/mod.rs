//! A pool: a directory that holds containers, their configuration and their logs.
//!
//! It owns what is loaded from the pool while it is imported.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use osctl_api::names::Name;
pub use osctl_api::pool::State;

use crate::container::Container;
use crate::group::Groups;
use crate::id_range::IdRange;
use crate::sync::RwLock;
use crate::user::User;

/// How many containers autostart starts at the same time, unless set otherwise.
pub const PARALLEL_START: u32 = 2;
/// How many containers are stopped at the same time, unless set otherwise.
pub const PARALLEL_STOP: u32 = 4;

/// An imported pool.
#[derive(Debug)]
pub struct Pool {
    /// Name.
    pub name: Name,
    /// Directory that holds it.
    pub path: PathBuf,
    /// Users, by name.
    pub users: RwLock<BTreeMap<Name, Arc<User>>>,
    /// Id ranges, by name.
    pub id_ranges: RwLock<BTreeMap<Name, Arc<IdRange>>>,
    /// Groups.
    pub groups: Groups,
    /// Containers, by id.
    pub containers: RwLock<BTreeMap<Name, Arc<Container>>>,
    state: RwLock<State>,
    problems: RwLock<Vec<Problem>>,
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

    /// The container of this id.
    pub fn container(&self, id: &Name) -> Option<Arc<Container>> {
        self.containers.read().get(id.as_str()).cloned()
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        *self.state.read()
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

    /// What could not be loaded.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.read().clone()
    }
}
