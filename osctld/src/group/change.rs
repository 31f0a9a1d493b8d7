//! Making, deleting and changing groups.

use std::sync::Arc;

use osctl_api::names::GroupPath;

use super::{Config, apply, ensure_cgroup, key, label, node};
use crate::blocking::blocking;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::events::Change;
use crate::pool::Pool;
use crate::store::Stored;

/// Whether groups above a new one are made too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    /// They are made.
    Make,
    /// They have to exist.
    Require,
}

/// Makes a group.
///
/// # Errors
/// `AlreadyExists`; `NotFound` when the group above doesn't exist; `Backend`.
pub async fn create(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    path: &GroupPath,
    parents: Parents,
) -> Result<()> {
    let _changing = pool.groups.changing.lock().await;
    if pool.groups.contains(path) {
        return Err(Error::exists(format!(
            "{} exists already",
            label(pool, path)
        )));
    }
    let mut missing = vec![path.clone()];
    let mut next = path.parent();
    while let Some(above) = next.filter(|p| !pool.groups.contains(p)) {
        if parents == Parents::Require {
            let message = format!("{} does not exist", label(pool, &above));
            return Err(Error::not_found(message).hint("use --parents to make it too"));
        }
        next = above.parent();
        missing.push(above);
    }
    for path in missing.into_iter().rev() {
        create_one(daemon, pool, path).await?;
    }
    Ok(())
}

async fn create_one(daemon: &Arc<Daemon>, pool: &Arc<Pool>, path: GroupPath) -> Result<()> {
    let (task_daemon, task_pool, task_path) = (daemon.clone(), pool.clone(), path.clone());
    let stored = blocking(move || {
        let (daemon, pool, path) = (task_daemon, task_pool, task_path);
        ensure_cgroup(&daemon, &pool, &path)?;
        let stored = pool.conf.groups.create(key(&path), Config::default());
        stored.map_err(|e| Error::store(format!("cannot make {}", label(&pool, &path)), e))
    })
    .await?;
    pool.groups
        .all
        .write()
        .insert(path.clone(), Arc::new(stored));
    daemon.events.db("group", &pool.name, &path, Change::Add);
    Ok(())
}

/// Deletes a group that has neither containers nor groups below it.
///
/// # Errors
/// `InvalidState` when it has, or when it is one of those that always exist; `Backend`.
pub async fn delete(daemon: &Arc<Daemon>, pool: &Arc<Pool>, path: &GroupPath) -> Result<()> {
    let _changing = pool.groups.changing.lock().await;
    if *path == GroupPath::root() || *path == GroupPath::default_group() {
        return Err(Error::state(format!("{} always exists", label(pool, path))));
    }
    let below = |p: &GroupPath| p != path && path.contains(p);
    if let Some(child) = pool.groups.paths().into_iter().find(below) {
        let message = format!("{} has group {child} below it", label(pool, path));
        return Err(Error::state(message));
    }
    // Containers are added first and look for their group then: so either they don't find it, or
    // they are counted here.
    let removed = pool.groups.all.write().remove(path);
    let Some(removed) = removed else {
        return Err(Error::not_found(format!(
            "{} does not exist",
            label(pool, path)
        )));
    };
    if let Err(e) = delete_removed(daemon, pool, path, &removed).await {
        pool.groups.all.write().insert(path.clone(), removed);
        return Err(e);
    }
    daemon.events.db("group", &pool.name, path, Change::Remove);
    Ok(())
}

async fn delete_removed(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    path: &GroupPath,
    stored: &Stored<Config>,
) -> Result<()> {
    let containers = pool.containers_of_group(path);
    if containers > 0 {
        let plural = if containers == 1 { "" } else { "s" };
        return Err(Error::state(format!(
            "{} has {containers} container{plural}",
            label(pool, path)
        )));
    }
    // One that exists only because groups below it did has no document.
    let written = stored.generation > 0;
    let (daemon, pool, path) = (daemon.clone(), pool.clone(), path.clone());
    blocking(move || {
        let failed = |e| Error::store(format!("cannot delete {}", label(&pool, &path)), e);
        let store = &pool.conf.groups;
        if written {
            store.mark_deleting(key(&path)).map_err(failed)?;
        }
        let node = node(&pool.name, &path)?;
        if let Err(e) = daemon.cgroups.remove_group(&node) {
            tracing::warn!("{}: {}", label(&pool, &path), crate::error::chain(&e));
        }
        // What is marked is gone; the mark is removed at the next import if it can't be now.
        if let Err(e) = store.forget(key(&path)) {
            tracing::warn!("{}: {}", label(&pool, &path), crate::error::chain(&e));
        }
        Ok(())
    })
    .await
}

/// Changes a group: in the cgroup tree, on the disk, in memory.
///
/// # Errors
/// `NotFound`; `InvalidArgument`; `Backend`, and then nothing has changed.
pub async fn change(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    path: &GroupPath,
    change: impl FnOnce(&mut Config) -> Result<()>,
) -> Result<()> {
    let _changing = pool.groups.changing.lock().await;
    let Some(old) = pool.groups.get(path) else {
        return Err(Error::not_found(format!(
            "{} does not exist",
            label(pool, path)
        )));
    };
    let mut stored = Stored::clone(&old);
    change(&mut stored.value)?;
    stored.value.check()?;
    let (task_daemon, task_pool, task_path) = (daemon.clone(), pool.clone(), path.clone());
    let stored = blocking(move || {
        let (daemon, pool, path) = (task_daemon, task_pool, task_path);
        carry_out(&daemon, &pool, &path, &old.value, &stored.value)?;
        let saved = pool.conf.groups.save(key(&path), &mut stored);
        if let Err(e) = saved {
            if let Err(back) = carry_out(&daemon, &pool, &path, &stored.value, &old.value) {
                tracing::error!("its old limits could not be set again: {}", back.chain());
            }
            return Err(Error::store(
                format!("cannot write {}", label(&pool, &path)),
                e,
            ));
        }
        Ok(stored)
    })
    .await?;
    pool.groups
        .all
        .write()
        .insert(path.clone(), Arc::new(stored));
    Ok(())
}

/// Brings the cgroup from the old limits to the new ones. Blocks.
fn carry_out(
    daemon: &Daemon,
    pool: &Pool,
    path: &GroupPath,
    old: &Config,
    new: &Config,
) -> Result<()> {
    let wanted = new.params()?;
    let mut gone = old.params()?;
    gone.retain(|p| {
        !wanted
            .iter()
            .any(|w| w.version == p.version && w.name == p.name)
    });
    if wanted.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let node = node(&pool.name, path)?;
    let failed = |e| {
        Error::backend(
            format!("{}: a limit can't be changed", label(pool, path)),
            e,
        )
    };
    daemon.cgroups.ensure_group(&node).map_err(failed)?;
    daemon.cgroups.reset(&node, &gone).map_err(failed)?;
    apply(daemon, pool, path, &node, &wanted)
}
