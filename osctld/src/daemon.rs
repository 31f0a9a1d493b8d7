//! The daemon: what all parts share, and how objects are found.
//!
//! [`run`] has the order in which the parts start and stop. It is the only place that spawns tasks
//! that live long.

mod assets;
mod bridge;
mod claims;
mod denials;
mod logging;
mod lxcfs;
mod network;
mod notify;
mod run;
mod schedules;
mod shutdown;
mod signals;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use osctl_api::names::{Name, Ref};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use claims::Claim;
pub use run::run;
pub use shutdown::{abort_shutdown, shutdown};

use crate::cgroup::{Layout, Tree};
use crate::config::{Config, Confinement};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::events::Hub;
use crate::id_range::IdRange;
use crate::lxcfs::Found;
use crate::network::Network;
use crate::network::book::Book;
use crate::network::managed_bridge::ManagedBridge;
use crate::pool::{Installed, Pool};
use crate::security::apparmor::AppArmor;
use crate::supervisor::RuntimeBinary;
use crate::sync::{Mutex, RwLock};
use crate::user::User;

/// What all parts of the daemon share.
#[derive(Debug)]
pub struct Daemon {
    /// Its configuration.
    pub config: Config,
    /// The cgroups of its pools.
    pub cgroups: Tree,
    /// The profiles of its containers.
    pub apparmor: AppArmor,
    /// The network of its containers.
    pub network: Network,
    /// The program that runs containers.
    pub runtime: RuntimeBinary,
    /// Where events are published.
    pub events: Hub,
    /// Imported pools.
    pub pools: RwLock<BTreeMap<Name, Arc<Pool>>>,
    /// Installed pools.
    pub installed: Installed,
    /// Held while host ids are given away or taken back, on whichever pool.
    pub ids: tokio::sync::Mutex<()>,
    /// The lxcfs that serves containers, if one does.
    pub lxcfs: watch::Sender<Option<Found>>,
    /// The default bridge.
    pub bridge: ManagedBridge,
    /// Who has which address.
    pub book: Book,
    /// Told when schedules of snapshots are others, or other containers are there.
    pub schedules: Notify,
    claims: claims::Claims,
    /// Why installed pools are not imported.
    import_problems: RwLock<BTreeMap<Name, String>>,
    initialized: AtomicBool,
    shutdown: Mutex<shutdown::Stage>,
    /// Whether the daemon stops serving.
    stopping: watch::Sender<bool>,
    /// How many operations are being carried out.
    operations: watch::Sender<usize>,
}

impl Daemon {
    /// A daemon that has imported no pool yet.
    ///
    /// # Errors
    /// `Backend` when the host's cgroups or the state directory can't be used.
    pub fn new(config: Config) -> Result<Arc<Daemon>> {
        if let Some(directory) = &config.zfs_library_dir {
            osctl_linux::zfs::look_in(directory.clone());
        }
        let unusable = |e| Error::backend("cannot use the cgroups of this host", e);
        let layout = Layout::detect().map_err(unusable)?;
        let cgroups = Tree::new(layout, &config.cgroup_root).map_err(unusable)?;
        // It makes the state directory.
        let installed = Installed::open(&config.state_dir)?;
        let bridge = ManagedBridge::open(
            config.bridge.clone(),
            &config.cgroup_root,
            &config.state_dir,
            config.run_dir.join("bridge"),
        )?;
        Ok(Arc::new(Daemon {
            installed,
            shutdown: Mutex::new(shutdown::Stage::at_start(&config)),
            cgroups,
            apparmor: AppArmor::new(
                &config.cgroup_root,
                config.state_dir.join("apparmor"),
                config.apparmor == Confinement::Auto,
            ),
            network: Network::open(&config.cgroup_root)?,
            runtime: RuntimeBinary::load(&config.runtime)?,
            config,
            events: Hub::default(),
            pools: RwLock::default(),
            ids: tokio::sync::Mutex::default(),
            lxcfs: watch::channel(None).0,
            bridge,
            book: Book::default(),
            schedules: Notify::new(),
            claims: claims::Claims::default(),
            import_problems: RwLock::default(),
            initialized: AtomicBool::new(false),
            stopping: watch::channel(false).0,
            operations: watch::channel(0).0,
        }))
    }

    /// Whether all installed pools were imported, or found not to be importable.
    pub fn is_initialized(&self) -> bool {
        self.initialized.load(Ordering::Acquire)
    }

    /// Whether the host is about to go down: nothing is to be started.
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.lock().forbids_starts()
    }

    /// Whether the daemon stops serving.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the daemon stops serving.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`.
        let _ = stopping.wait_for(|s| *s).await;
    }

    /// Carries out an operation in a task of its own, for whose end a stopping daemon waits a
    /// little.
    pub fn operation<F>(self: &Arc<Daemon>, operation: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.operations.send_modify(|n| *n += 1);
        let guard = OperationGuard(self.clone());
        tokio::spawn(async move {
            let _guard = guard;
            operation.await
        })
    }

    /// Directory of what a pool's containers need while they run.
    pub fn pool_run_dir(&self, pool: &Name) -> PathBuf {
        self.config.run_dir.join("pools").join(pool.as_str())
    }

    /// Directory of what a container needs while it runs.
    pub fn container_run_dir(&self, pool: &Name, id: &Name) -> PathBuf {
        self.pool_run_dir(pool).join("ct").join(id.as_str())
    }

    /// Takes the name of a pool for an operation that makes it come or go.
    ///
    /// # Errors
    /// `Busy` naming the operation that has it.
    pub fn claim(self: &Arc<Daemon>, pool: &Name, operation: &'static str) -> Result<Claim> {
        self.claims.take(pool, operation)
    }

    /// Notes why a pool is not imported, or that there is nothing to note.
    pub(crate) fn set_import_problem(&self, pool: &Name, problem: Option<String>) {
        let mut problems = self.import_problems.write();
        match problem {
            Some(problem) => problems.insert(pool.clone(), problem),
            None => problems.remove(pool.as_str()),
        };
    }

    /// Why installed pools are not imported.
    pub fn import_problems(&self) -> BTreeMap<Name, String> {
        self.import_problems.read().clone()
    }

    /// The pool of this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn pool(&self, name: &Name) -> Result<Arc<Pool>> {
        let found = self.pools.read().get(name.as_str()).cloned();
        found.ok_or_else(|| {
            Error::not_found(format!("pool {name} is not imported"))
                .hint("`osctl pool ls` lists imported pools")
        })
    }

    /// The pool on which objects are made when none is named: the first by name.
    ///
    /// # Errors
    /// `InvalidState` when none is imported.
    pub fn default_pool(&self) -> Result<Arc<Pool>> {
        let first = self.pools.read().values().next().cloned();
        first.ok_or_else(|| {
            Error::state("no pool is imported").hint("make one with `osctl pool install`")
        })
    }

    /// The pool to make an object on: the one that is named, or the default one.
    ///
    /// # Errors
    /// As [`Daemon::pool`] and [`Daemon::default_pool`].
    pub fn pool_for(&self, name: Option<&Name>) -> Result<Arc<Pool>> {
        match name {
            Some(name) => self.pool(name),
            None => self.default_pool(),
        }
    }

    /// All imported pools, by name.
    pub fn all_pools(&self) -> Vec<Arc<Pool>> {
        self.pools.read().values().cloned().collect()
    }

    /// Finds an object on the pool that is named, or on the first that has it; returns the pool
    /// too.
    ///
    /// # Errors
    /// `NotFound`, naming `kind`.
    pub fn find<T>(
        &self,
        pool: Option<&Name>,
        kind: &str,
        name: impl std::fmt::Display,
        get: impl Fn(&Pool) -> Option<T>,
    ) -> Result<(Arc<Pool>, T)> {
        let candidates = match pool {
            Some(pool) => vec![self.pool(pool)?],
            None => self.all_pools(),
        };
        let mut found = candidates.into_iter().filter_map(|p| {
            let object = get(&p)?;
            Some((p, object))
        });
        found.next().ok_or_else(|| {
            Error::not_found(match pool {
                Some(pool) => format!("{kind} {pool}:{name} does not exist"),
                None => format!("{kind} {name} does not exist"),
            })
        })
    }

    /// The container that is meant.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn container(&self, id: &Ref) -> Result<Arc<Container>> {
        let get = |p: &Pool| p.container(&id.name);
        let found = self.find(id.pool.as_ref(), "container", &id.name, get);
        found.map(|(_, container)| container)
    }

    /// All containers of all imported pools.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.all_pools()
            .iter()
            .flat_map(|pool| pool.containers())
            .collect()
    }

    /// The user that is meant, and its pool.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn user(&self, user: &Ref) -> Result<(Arc<Pool>, Arc<User>)> {
        self.find(user.pool.as_ref(), "user", &user.name, |p| {
            p.user(&user.name)
        })
    }

    /// The id range that is meant, and its pool.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn id_range(&self, range: &Ref) -> Result<(Arc<Pool>, Arc<IdRange>)> {
        let get = |p: &Pool| p.id_range(&range.name);
        self.find(range.pool.as_ref(), "id range", &range.name, get)
    }
}

struct OperationGuard(Arc<Daemon>);

impl Drop for OperationGuard {
    fn drop(&mut self) {
        self.0.operations.send_modify(|n| *n -= 1);
    }
}
