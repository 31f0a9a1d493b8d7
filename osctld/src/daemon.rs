//! The daemon: what all parts share, and the order in which they start and stop.
//!
//! It is the only place that spawns tasks that live long.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use osctl_api::daemon::{EventKind, HistoryEntry};
use osctl_api::names::{Name, Ref};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::events::{self, Hub};
use crate::pool::Pool;
use crate::sync::RwLock;
use crate::user::User;

mod logging;
mod notify;
mod signals;

use signals::Signals;

/// Threads that carry tasks; what blocks runs on others, which come and go.
const WORKERS: usize = 2;
/// Most threads that block at the same time.
const MAX_BLOCKING: usize = 32;
/// How long a daemon that is told to stop waits for operations to end.
const GRACE: Duration = Duration::from_secs(5);

/// What all parts of the daemon share.
#[derive(Debug)]
pub struct Daemon {
    /// Its configuration.
    pub config: Config,
    /// Where events are published.
    pub events: Hub,
    /// Imported pools.
    pub pools: RwLock<BTreeMap<Name, Arc<Pool>>>,
    initialized: AtomicBool,
    /// Whether the daemon stops serving.
    stopping: watch::Sender<bool>,
    /// How many operations are being carried out.
    operations: watch::Sender<usize>,
}

impl Daemon {
    /// A daemon without pools.
    pub fn new(config: Config) -> Arc<Daemon> {
        Arc::new(Daemon {
            config,
            events: Hub::default(),
            pools: RwLock::default(),
            initialized: AtomicBool::new(false),
            stopping: watch::channel(false).0,
            operations: watch::channel(0).0,
        })
    }

    /// Whether all installed pools were imported, or found not to be importable.
    pub fn is_initialized(&self) -> bool {
        self.initialized.load(Ordering::Acquire)
    }

    /// Waits until the daemon stops serving.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`.
        let _ = stopping.wait_for(|s| *s).await;
    }

    /// Stops serving: whoever waits is told, operations get a moment to end.
    async fn stop(&self) {
        self.events.publish(events::event(EventKind::Shutdown));
        self.stopping.send_replace(true);
        let mut operations = self.operations.subscribe();
        let ended = operations.wait_for(|n| *n == 0);
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!(
                "operations are abandoned; they are finished or undone at the next start"
            );
        }
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

    /// The name of the first pool for which `has` holds.
    pub fn first_pool(&self, has: impl Fn(&Pool) -> bool) -> Option<Name> {
        let pools = self.pools.read();
        pools.values().find(|p| has(p)).map(|p| p.name.clone())
    }

    /// Finds an object on the pool that is named, or on the first that has it.
    ///
    /// # Errors
    /// `NotFound`, naming `kind`.
    pub fn find<T>(
        &self,
        pool: Option<&Name>,
        kind: &str,
        name: impl std::fmt::Display,
        get: impl Fn(&Pool) -> Option<T>,
    ) -> Result<T> {
        let found = match pool {
            Some(pool) => get(&*self.pool(pool)?),
            None => self.pools.read().values().find_map(|p| get(p)),
        };
        found.ok_or_else(|| {
            Error::not_found(match pool {
                Some(pool) => format!("there is no {kind} {pool}:{name}"),
                None => format!("there is no {kind} {name}"),
            })
        })
    }

    /// The container that is meant.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn container(&self, id: &Ref) -> Result<Arc<Container>> {
        self.find(id.pool.as_ref(), "container", &id.name, |p| {
            p.container(&id.name)
        })
    }

    /// The user that is meant.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn user(&self, user: &Ref) -> Result<Arc<User>> {
        self.find(user.pool.as_ref(), "user", &user.name, |p| {
            p.user(&user.name)
        })
    }

    /// Keeps an entry in the history of its pool.
    pub fn record_history(&self, _entry: HistoryEntry) {}
}

struct OperationGuard(Arc<Daemon>);

impl Drop for OperationGuard {
    fn drop(&mut self) {
        self.0.operations.send_modify(|n| *n -= 1);
    }
}

/// Runs a daemon until it is told to stop.
///
/// # Errors
/// Whatever keeps it from serving: another daemon, a run directory that can't be used, …
pub fn run(config: Config) -> Result<()> {
    logging::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(MAX_BLOCKING)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .map_err(|e| Error::backend("cannot start the threads of the daemon", e))?;
    let result = runtime.block_on(serve(config));
    // What blocks still is waiting for the disk; the state it leaves is consistent at any moment.
    runtime.shutdown_timeout(GRACE);
    result
}

async fn serve(config: Config) -> Result<()> {
    let mut signals = Signals::new()?;
    let (socket, listener) = crate::server::bind(&config)?;
    let daemon = Daemon::new(config);
    let server = tokio::spawn(crate::server::serve(daemon.clone(), listener));
    notify::tell("READY=1");
    tracing::info!("serving in {}", daemon.config.run_dir.display());
    daemon.initialized.store(true, Ordering::Release);
    let signal = signals.next().await;
    tracing::info!("{signal}: stopping; containers stay as they are");
    notify::tell("STOPPING=1");
    drop(socket);
    daemon.stop().await;
    let _ = server.await;
    Ok(())
}
