//! Coming and going of pools: installing, importing, exporting, uninstalling.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use osctl_api::names::Name;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::installed::{DIR, ZFS};
use super::{Conf, Entry, Pool, State, open};
use crate::blocking::blocking;
use crate::container::{self, Autostart, StopAll};
use crate::daemon::Daemon;
use crate::error::{Error, Result, chain};
use crate::events::Change;
use crate::id_range::{self, Table};
use crate::network::Owner;
use crate::storage::{DirStorage, Storage, ZfsStorage, zfs};
use crate::{address_set, group, user};

/// How long an export of a pool that is not forced waits for what is done there.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to become a pool.
#[derive(Debug, Clone)]
pub enum Place {
    /// A directory.
    Directory(String),
    /// A dataset of ZFS.
    Dataset(String),
}

/// Makes a directory or dataset a pool and imports it.
///
/// # Errors
/// `AlreadyExists`; `InvalidArgument` when it can't become a pool; `Backend`.
pub async fn install(
    daemon: &Arc<Daemon>,
    name: &Name,
    place: Place,
    key: Option<Key>,
) -> Result<Arc<Pool>> {
    let _claim = daemon.claim(name, "pool install")?;
    let given = match &place {
        Place::Directory(dir) if !dir.starts_with('/') || dir.contains('\0') => {
            return Err(Error::invalid(format!("{dir:?} is not an absolute path")));
        }
        Place::Directory(dir) => PathBuf::from(dir),
        Place::Dataset(dataset) => {
            zfs::check(name.as_str(), dataset)
                .map_err(|e| Error::invalid_with(format!("{dataset} can't be pool {name}"), e))?;
            Path::new("/").join(dataset)
        }
    };
    // Compared before anything is made, and again with the path that it really has.
    let entry = |path: PathBuf| match &place {
        Place::Directory(_) => Entry {
            name: name.clone(),
            backend: DIR.to_owned(),
            path,
            dataset: None,
        },
        Place::Dataset(dataset) => Entry {
            name: name.clone(),
            backend: ZFS.to_owned(),
            path,
            dataset: Some(dataset.clone()),
        },
    };
    daemon.installed.check(&entry(given.clone())).await?;
    if let Some(key) = key {
        let dataset = match &place {
            Place::Dataset(dataset) => Some(dataset.clone()),
            Place::Directory(_) => None,
        };
        unlock(name, dataset, key).await?;
    }
    let at = place.clone();
    let path = blocking(move || make(&at)).await?;
    let entry = entry(path);
    daemon.installed.add(entry.clone()).await?;
    let pool = match import_claimed(daemon, entry, Autostart::No).await {
        Ok(pool) => pool,
        Err(e) => {
            if let Err(left) = daemon.installed.remove(name.clone()).await {
                tracing::error!("pool {name} stays installed: {}", left.chain());
            }
            return Err(e);
        }
    };
    Ok(pool)
}

/// The key of an encrypted dataset, as `zfs` reads it.
pub struct Key(pub Vec<u8>);

async fn unlock(name: &Name, dataset: Option<String>, key: Key) -> Result<()> {
    let Some(dataset) = dataset else {
        let error = format!("pool {name} is a directory, and has no key");
        return Err(Error::invalid(error));
    };
    let cannot = format!("cannot unlock pool {name}");
    blocking(move || {
        zfs::unlock(&dataset, Some(&key.0)).map_err(|e| Error::invalid_with(cannot, e))
    })
    .await
}

/// Makes the directories of a pool and its default id range; returns its real path. Blocks.
fn make(place: &Place) -> Result<PathBuf> {
    let (Place::Directory(what) | Place::Dataset(what)) = place;
    let cannot = || format!("{what} can't become a pool");
    let invalid = |e| Error::invalid_with(cannot(), e);
    let storage: Arc<dyn Storage> = match place {
        Place::Directory(dir) => {
            DirStorage::install(dir).map_err(invalid)?;
            let real = Path::new(dir).canonicalize();
            let real = real.map_err(|e| Error::backend(cannot(), e))?;
            Arc::new(DirStorage::open(real).map_err(invalid)?)
        }
        Place::Dataset(dataset) => {
            let installed = ZfsStorage::install(dataset);
            Arc::new(installed.map_err(|e| open::needs_key(&e).unwrap_or_else(|| invalid(e)))?)
        }
    };
    let path = storage.path().to_owned();
    let _lock = open::lock(&path)?;
    let conf = Conf::open(&storage).map_err(|e| Error::store(cannot(), e))?;
    let ranges = conf.id_ranges.load_all();
    // A pool that comes from elsewhere keeps what it has, readable or not.
    if ranges.is_ok_and(|r| r.is_empty()) {
        let table = id_range::default_table()?;
        let made = conf.id_ranges.create(id_range::DEFAULT, table);
        made.map_err(|e| Error::store(cannot(), e))?;
    }
    Ok(path)
}

/// Forgets an installed pool.
///
/// # Errors
/// `NotFound`; `Backend`.
pub async fn uninstall(daemon: &Arc<Daemon>, name: &Name) -> Result<()> {
    let _claim = daemon.claim(name, "pool uninstall")?;
    daemon.installed.remove(name.clone()).await?;
    daemon.set_import_problem(name, None);
    Ok(())
}

/// Imports an installed pool.
///
/// # Errors
/// `NotFound`; `InvalidState` when it is imported; `Busy` when another daemon has it; `Backend`.
pub async fn import(
    daemon: &Arc<Daemon>,
    name: &Name,
    autostart: Autostart,
    key: Option<Key>,
) -> Result<Arc<Pool>> {
    let _claim = daemon.claim(name, "pool import")?;
    if daemon.pool(name).is_ok() {
        return Err(Error::state(format!("pool {name} is imported already")));
    }
    let entry = daemon.installed.entry(name).await?;
    if let Some(key) = key {
        unlock(name, entry.dataset.clone(), key).await?;
    }
    import_claimed(daemon, entry, autostart).await
}

async fn import_claimed(
    daemon: &Arc<Daemon>,
    entry: Entry,
    autostart: Autostart,
) -> Result<Arc<Pool>> {
    let name = entry.name.clone();
    let imported = async {
        let pool = read(daemon, entry).await?;
        register(daemon, &pool).await;
        load(daemon, &pool).await;
        container::filter_adopted(daemon).await;
        activate(daemon, &pool, autostart).await;
        Ok(pool)
    };
    let result = imported.await.map_err(|e| cannot_import(&name, e));
    note(daemon, &name, &result);
    result
}

fn cannot_import(name: &Name, e: Error) -> Error {
    e.context(format!("cannot import pool {name}"))
}

fn note(daemon: &Daemon, name: &Name, result: &Result<Arc<Pool>>) {
    let problem = result.as_ref().err().map(Error::chain);
    daemon.set_import_problem(name, problem);
}

/// Imports all installed pools that are not imported, at the same time. One that can't be does not
/// keep the others from it.
///
/// # Errors
/// When the list of pools can't be read; the first of the errors of pools that can't be imported.
pub async fn import_all(daemon: &Arc<Daemon>, autostart: Autostart) -> Result<()> {
    let mut claims = Vec::new();
    let mut opening = JoinSet::new();
    for entry in daemon.installed.list().await? {
        if daemon.pool(&entry.name).is_ok() {
            continue;
        }
        // One that is busy is being imported, exported or removed by somebody else.
        let Ok(claim) = daemon.claim(&entry.name, "pool import") else {
            continue;
        };
        claims.push(claim);
        let daemon = daemon.clone();
        opening.spawn(async move { (entry.name.clone(), read(&daemon, entry).await) });
    }
    let mut opened = Vec::new();
    while let Some(joined) = opening.join_next().await {
        opened.extend(joined);
    }
    // By name, so that it doesn't depend on the disk which pool's users have the ids that two
    // pools claim.
    opened.sort_by(|a, b| a.0.cmp(&b.0));
    let mut first_error = None;
    let mut loading = JoinSet::new();
    for (name, result) in opened {
        let result = result.map_err(|e| cannot_import(&name, e));
        note(daemon, &name, &result);
        match result {
            Ok(pool) => {
                register(daemon, &pool).await;
                let daemon = daemon.clone();
                loading.spawn(async move {
                    load(&daemon, &pool).await;
                    pool
                });
            }
            Err(e) => {
                tracing::error!("{}", e.chain());
                first_error.get_or_insert(e);
            }
        }
    }
    let mut loaded = Vec::new();
    while let Some(joined) = loading.join_next().await {
        loaded.extend(joined);
    }
    // Once the running containers of all pools are known, and before any other one is started.
    container::filter_adopted(daemon).await;
    let mut activating = JoinSet::new();
    for pool in loaded {
        let daemon = daemon.clone();
        activating.spawn(async move { activate(&daemon, &pool, autostart).await });
    }
    while activating.join_next().await.is_some() {}
    first_error.map_or(Ok(()), Err)
}

async fn read(daemon: &Daemon, entry: Entry) -> Result<Arc<Pool>> {
    let cached = daemon.config.image.cached as usize;
    blocking(move || Pool::open(&entry, cached).map(Arc::new)).await
}

/// Makes a pool known, with the ids of its users: those that others have already are marked.
async fn register(daemon: &Arc<Daemon>, pool: &Arc<Pool>) {
    let _ids = daemon.ids.lock().await;
    free_left_ids(pool).await;
    user::mark_conflicts(daemon, pool);
    daemon.pools.write().insert(pool.name.clone(), pool.clone());
}

/// Frees what was allocated for users that are no more or never came to be. The document of a
/// user that can't be read still has its ids.
async fn free_left_ids(pool: &Arc<Pool>) {
    let (unknown, deleting) = {
        let mut left = pool.left_users.lock();
        (left.unknown, std::mem::take(&mut left.deleting))
    };
    for name in deleting {
        if let Err(e) = user::finish_deletion(pool, &name).await {
            pool.add_problem(format!("deleted user {name}"), e.chain());
        }
    }
    if unknown {
        return;
    }
    let mut orphans: Vec<Name> = Vec::new();
    for range in pool.id_ranges.read().values() {
        let owners = range.with_table(|t: &Table| {
            let for_users = t.allocations.iter().filter(|a| a.for_user);
            for_users
                .filter_map(|a| a.owner.clone())
                .collect::<Vec<_>>()
        });
        orphans.extend(owners.into_iter().filter(|o| !pool.has_user_document(o)));
    }
    for owner in orphans {
        tracing::info!(pool = %pool.name, "freeing ids of user {owner}, which was never made");
        if let Err(e) = id_range::free_of_user(pool, &owner).await {
            pool.add_problem(format!("ids of user {owner}"), e.chain());
        }
    }
}

/// Makes what the pool's objects need, and loads its containers.
async fn load(daemon: &Arc<Daemon>, pool: &Arc<Pool>) {
    let (task_daemon, task_pool) = (daemon.clone(), pool.clone());
    let ensured = blocking(move || {
        let run_dir = task_daemon.pool_run_dir(&task_pool.name);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&run_dir);
        if let Err(e) = made {
            task_pool.add_problem(run_dir.display().to_string(), e.to_string());
        }
        address_set::load(&task_daemon, &task_pool);
        for path in task_pool.groups.paths() {
            if let Err(e) = group::ensure_cgroup(&task_daemon, &task_pool, &path) {
                task_pool.add_problem(format!("group {path}"), e.chain());
            }
        }
        Ok(())
    });
    if let Err(e) = ensured.await {
        pool.add_problem("groups", e.chain());
    }
    container::load_all(daemon, pool).await;
}

/// Looks after what runs, and lets it be used.
async fn activate(daemon: &Arc<Daemon>, pool: &Arc<Pool>, autostart: Autostart) {
    container::ensure_all_netifs(daemon, pool).await;
    pool.set_state(State::Active);
    tracing::info!(
        "pool {} is imported: {} containers",
        pool.name,
        pool.containers.read().len()
    );
    daemon
        .events
        .db("pool", &pool.name, &pool.name, Change::Add);
    daemon.schedules.notify_one();
    let autostart = match daemon.is_shutting_down() {
        true => Autostart::No,
        false => autostart,
    };
    pool.empty_trash();
    container::loaded(daemon, pool, autostart).await;
}

/// How a pool is exported.
#[derive(Debug, Clone)]
pub struct Export {
    /// Export although containers run.
    pub force: bool,
    /// How they are stopped; `None` leaves them running.
    pub stop: Option<StopAll>,
}

/// Takes a pool out of use.
///
/// # Errors
/// `NotFound`; `InvalidState` when containers run; whatever keeps them from being stopped, and
/// then it stays imported.
pub async fn export(daemon: &Arc<Daemon>, name: &Name, how: Export) -> Result<()> {
    let _claim = daemon.claim(name, "pool export")?;
    let pool = daemon.pool(name)?;
    let check = || {
        let running = pool.active_containers();
        if running == 0 || how.force {
            return Ok(());
        }
        let (plural, are) = if running == 1 {
            ("", "is")
        } else {
            ("s", "are")
        };
        let message = format!("{running} container{plural} of pool {name} {are} running");
        Err(Error::state(message).hint("stop them, or use --force"))
    };
    check()?;
    // Nothing is started from here on.
    pool.set_state(State::Disabled);
    // They would keep containers from being stopped, and the pool from being let go of.
    pool.ending.0.send_replace(how.force);
    let ready = async {
        check()?;
        match &how.stop {
            Some(stop) => container::stop_all(daemon, &pool, stop).await,
            None => Ok(()),
        }
    };
    if let Err(e) = ready.await {
        pool.ending.0.send_replace(false);
        pool.set_state(State::Active);
        return Err(e);
    }
    // Those that are forced have been cancelled.
    let at_work = match how.force {
        true => Ok(pool.gate.write().await),
        false => timeout(PATIENCE, pool.gate.write()).await,
    };
    let Ok(_gate) = at_work else {
        pool.set_state(State::Active);
        let message = format!("something is still done on pool {name}");
        return Err(Error::busy(message).hint("wait for its end, or use --force"));
    };
    container::release_all(daemon, &pool).await;
    {
        let _ids = daemon.ids.lock().await;
        daemon.pools.write().remove(name.as_str());
        let runs = |owner: &Owner| daemon.network.has(owner);
        daemon.book.release_pool(name.as_str(), runs);
        user::settle_conflicts(daemon);
    }
    let (task_daemon, task_pool) = (daemon.clone(), pool.clone());
    let stopped = how.stop.is_some();
    let last = daemon.pools.read().is_empty();
    blocking(move || {
        // Those that go on running need both.
        if stopped {
            task_daemon.update_bridge();
            task_daemon
                .network
                .forget_firewalls(task_pool.name.as_str());
            address_set::unload(&task_daemon, &task_pool);
        }
        if stopped && let Err(e) = task_daemon.cgroups.remove_pool(task_pool.name.as_str()) {
            tracing::warn!("pool {}: {}", task_pool.name, chain(&e));
        }
        if last && let Err(e) = task_daemon.cgroups.remove_root() {
            // Containers that were left running are below it.
            tracing::debug!("{}", chain(&e));
        }
        Ok(())
    })
    .await?;
    *pool.lock.lock() = None;
    let task_pool = pool.clone();
    blocking(move || {
        task_pool.storage.close();
        Ok(())
    })
    .await?;
    tracing::info!("pool {name} is exported");
    daemon.events.db("pool", name, name, Change::Remove);
    Ok(())
}
