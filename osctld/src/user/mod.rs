//! A user: a named id map, which no other user's overlaps.
//!
//! It owns the user's document and the rule that maps never overlap. Blocks of ids come from
//! [`crate::id_range`].

mod create;
mod map;
#[cfg(test)]
mod property_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use osctl_api::names::{AttrName, MAX_NAME, Name};
use osctl_api::user as api;
use osctl_api::user::Mapping;
use serde::{Deserialize, Serialize};

pub use create::{New, create};
pub use map::{Maps, Overlap};

use crate::blocking::blocking;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::events::Change;
use crate::failpoint;
use crate::id_range;
use crate::pool::Pool;
use crate::store::{Document, Stored};
use crate::sync::RwLock;

/// A user as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Map of user ids.
    pub uid_map: Vec<Mapping>,
    /// Map of group ids.
    pub gid_map: Vec<Mapping>,
    /// Whether it stays when its last container is deleted.
    pub standalone: bool,
    /// Whether it was made for a container that was given no user: then it is nothing without one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub for_container: bool,
    /// Id range that the map was allocated from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_range: Option<Name>,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

fn is_false(b: &bool) -> bool {
    !b
}

impl Document for Config {
    const KIND: &'static str = "user";
    const VERSION: u32 = 1;
}

/// A user.
#[derive(Debug)]
pub struct User {
    /// Pool it is on.
    pub pool: Name,
    /// Name.
    pub name: Name,
    maps: Maps,
    config: RwLock<Arc<Stored<Config>>>,
    /// Serialises changes; whether it was deleted.
    changing: tokio::sync::Mutex<bool>,
    /// Why it can't be used.
    conflict: RwLock<Option<String>>,
}

impl User {
    /// A user whose document was read.
    ///
    /// # Errors
    /// `InvalidArgument` when its maps can't be.
    pub fn loaded(pool: &Name, name: &Name, stored: Stored<Config>) -> Result<User> {
        let maps = Maps {
            uid: stored.value.uid_map.clone(),
            gid: stored.value.gid_map.clone(),
        };
        maps.check()?;
        Ok(User {
            pool: pool.clone(),
            name: name.clone(),
            maps,
            config: RwLock::new(Arc::new(stored)),
            changing: tokio::sync::Mutex::default(),
            conflict: RwLock::default(),
        })
    }

    /// `pool:name`.
    pub fn label(&self) -> String {
        format!("{}:{}", self.pool, self.name)
    }

    /// Both maps.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Map of user ids.
    pub fn uid_map(&self) -> Vec<Mapping> {
        self.maps.uid.clone()
    }

    /// Map of group ids.
    pub fn gid_map(&self) -> Vec<Mapping> {
        self.maps.gid.clone()
    }

    /// Whether it stays when its last container is deleted.
    pub fn is_standalone(&self) -> bool {
        self.config.read().value.standalone
    }

    /// Whether it was made for a container that was given no user.
    pub fn is_for_container(&self) -> bool {
        self.config.read().value.for_container
    }

    /// Why its map can't be used: it overlaps that of another user.
    pub fn conflict(&self) -> Option<String> {
        self.conflict.read().clone()
    }

    /// Checks that containers may be started with its map.
    ///
    /// # Errors
    /// `InvalidState` when it overlaps that of another user.
    pub fn check_usable(&self) -> Result<()> {
        match self.conflict() {
            None => Ok(()),
            Some(reason) => Err(Error::state(format!(
                "user {} can't be used: {reason}",
                self.label()
            ))
            .hint("give the container to another user with `osctl ct chown`")),
        }
    }

    /// The user as clients see it.
    pub fn info(&self, pool: &Pool) -> api::User {
        let stored = self.config.read().clone();
        let config = &stored.value;
        api::User {
            pool: self.pool.clone(),
            name: self.name.clone(),
            standalone: config.standalone,
            uid_map: config.uid_map.clone(),
            gid_map: config.gid_map.clone(),
            id_range: config.id_range.clone(),
            containers: pool.containers_of_user(&self.name) as u64,
            attrs: config.attrs.clone(),
        }
    }

    /// Changes what can be changed, on the disk first.
    ///
    /// # Errors
    /// `InvalidArgument`; `Backend` when it can't be written, and then nothing has changed.
    pub async fn change(
        self: &Arc<User>,
        pool: &Arc<Pool>,
        standalone: Option<bool>,
        set: BTreeMap<AttrName, String>,
        unset: Vec<AttrName>,
    ) -> Result<()> {
        let deleted = self.changing.lock().await;
        if *deleted {
            return Err(Error::not_found(format!(
                "user {} was deleted",
                self.label()
            )));
        }
        let mut stored = Stored::clone(&self.config.read());
        if let Some(standalone) = standalone {
            stored.value.standalone = standalone;
        }
        crate::attrs::change(&mut stored.value.attrs, set, &unset)?;
        let (user, pool) = (self.clone(), pool.clone());
        blocking(move || {
            let saved = pool.conf.users.save(user.name.as_str(), &mut stored);
            saved.map_err(|e| Error::store(format!("cannot write user {}", user.label()), e))?;
            *user.config.write() = Arc::new(stored);
            Ok(())
        })
        .await
    }
}

/// Deletes a user that no container uses, and frees what was allocated for it.
///
/// # Errors
/// `InvalidState` when a container uses it; `Backend`.
pub async fn delete(daemon: &Daemon, pool: &Arc<Pool>, user: &Arc<User>) -> Result<()> {
    let _ids = daemon.ids.lock().await;
    let mut deleted = user.changing.lock().await;
    if *deleted {
        return Err(Error::not_found(format!(
            "user {} was deleted",
            user.label()
        )));
    }
    // Containers are added first and look for their user then: so either they don't find it, or
    // they are counted here.
    pool.users.write().remove(user.name.as_str());
    if let Err(e) = mark_deleted(pool, user).await {
        pool.users.write().insert(user.name.clone(), user.clone());
        return Err(e);
    }
    *deleted = true;
    // What fails from here on is done at the next import.
    if let Err(e) = finish_deletion(pool, &user.name).await {
        tracing::error!("what is left of user {}: {}", user.label(), e.chain());
    }
    daemon
        .events
        .db("user", &pool.name, &user.name, Change::Remove);
    settle_conflicts(daemon);
    Ok(())
}

async fn mark_deleted(pool: &Arc<Pool>, user: &Arc<User>) -> Result<()> {
    let containers = pool.containers_of_user(&user.name);
    if containers > 0 {
        let plural = if containers == 1 { "" } else { "s" };
        return Err(Error::state(format!(
            "user {} is used by {containers} container{plural}",
            user.label()
        )));
    }
    let (pool, user) = (pool.clone(), user.clone());
    blocking(move || {
        let marked = pool.conf.users.mark_deleting(user.name.as_str());
        marked.map_err(|e| Error::store(format!("cannot delete user {}", user.label()), e))
    })
    .await?;
    failpoint!("user.marked");
    Ok(())
}

/// Does what is left of a deletion once the user's document is marked.
pub(crate) async fn finish_deletion(pool: &Arc<Pool>, name: &Name) -> Result<()> {
    id_range::free_of_user(pool, name).await?;
    failpoint!("user.freed");
    let (pool, key) = (pool.clone(), name.to_string());
    blocking(move || {
        let forgotten = pool.conf.users.forget(&key);
        forgotten.map_err(|e| Error::store(format!("cannot forget user {}:{key}", pool.name), e))
    })
    .await
}

impl Pool {
    /// The user of a container that was given none: made with an id map of its own, to be deleted
    /// together with its last container. It has the container's name, with a number when a
    /// container that was renamed since has left a user of that name.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a user of that name; `InvalidState` when there are no ids
    /// left; `Backend`.
    pub async fn create_user_for_container(
        self: &Arc<Pool>,
        daemon: &Daemon,
        id: &Name,
    ) -> Result<Arc<User>> {
        let mut name = id.clone();
        let mut number = 2u32;
        while self.user(&name).is_some_and(|u| u.is_for_container()) {
            name = numbered(id, number)?;
            number += 1;
        }
        let new = New {
            name,
            id_range: None,
            block_index: None,
            maps: None,
            standalone: false,
            for_container: true,
        };
        create(daemon, self, new).await
    }

    /// Deletes the users that were made for containers which are no more, or never came to be: to
    /// be called when all containers of the pool are known.
    pub async fn drop_users_without_containers(self: &Arc<Pool>, daemon: &Daemon) {
        let all: Vec<Arc<User>> = self.users.read().values().cloned().collect();
        for user in all.iter().filter(|u| u.is_for_container()) {
            self.drop_user_if_unused(daemon, &user.name).await;
        }
    }

    /// Deletes a user that is not standalone and has no container any more. Failures are logged:
    /// whoever deletes the container has nothing to do with them.
    pub async fn drop_user_if_unused(self: &Arc<Pool>, daemon: &Daemon, name: &Name) {
        let Some(user) = self.user(name) else { return };
        if user.is_standalone() || self.containers_of_user(name) > 0 {
            return;
        }
        if let Err(e) = delete(daemon, self, &user).await {
            tracing::warn!("user {} stays: {}", user.label(), e.chain());
        }
    }
}

/// A name made of another and a number.
fn numbered(name: &Name, number: u32) -> Result<Name> {
    let suffix = format!("-{number}");
    let room = MAX_NAME - suffix.len();
    // Names are ASCII.
    let base = &name.as_str()[..name.as_str().len().min(room)];
    format!("{base}{suffix}")
        .parse()
        .map_err(|e| Error::invalid_with("there is no name for its user", e))
}

/// Finds conflicts of users that are about to be added: the first that comes has the ids, those
/// that come later are marked. The caller holds the lock of ids.
pub(crate) fn mark_conflicts(daemon: &Daemon, new: &Pool) {
    let mut known = users_of(daemon.all_pools().iter().filter(|p| p.name != new.name));
    known.retain(|u| u.conflict().is_none());
    let users = new.users.read().values().cloned().collect();
    for user in find_conflicts(known, users) {
        tracing::warn!(
            "user {}: {}",
            user.label(),
            user.conflict().unwrap_or_default()
        );
    }
}

/// Takes the marks from users whose rivals are gone. The caller holds the lock of ids.
pub(crate) fn settle_conflicts(daemon: &Daemon) {
    let all = users_of(daemon.all_pools().iter());
    let (bad, good): (Vec<_>, Vec<_>) = all.into_iter().partition(|u| u.conflict().is_some());
    find_conflicts(good, bad);
}

fn users_of<'a>(pools: impl Iterator<Item = &'a Arc<Pool>>) -> Vec<Arc<User>> {
    let users = |p: &Arc<Pool>| p.users.read().values().cloned().collect::<Vec<_>>();
    pools.flat_map(users).collect()
}

/// Marks those of `users` that overlap users before them or `known` ones; returns them.
fn find_conflicts(mut known: Vec<Arc<User>>, users: Vec<Arc<User>>) -> Vec<Arc<User>> {
    let mut owners = map::Owners::default();
    for (index, user) in known.iter().enumerate() {
        owners.add(&user.maps, index);
    }
    let mut marked = Vec::new();
    for user in users {
        let overlap = owners.overlap(&user.maps);
        let reason = overlap.and_then(|(overlap, owner)| {
            let owner = known.get(owner)?;
            Some(format!("{overlap} overlap those of user {}", owner.label()))
        });
        if reason.is_some() {
            marked.push(user.clone());
        } else {
            owners.add(&user.maps, known.len());
            known.push(user.clone());
        }
        *user.conflict.write() = reason;
    }
    marked
}
