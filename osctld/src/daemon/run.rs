//! The order in which the daemon starts and stops.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use osctl_api::daemon::EventKind;

use super::signals::Signals;
use super::{Daemon, bridge, denials, logging, lxcfs, network, notify, schedules};
use crate::config::Config;
use crate::container::{self, Autostart, plan};
use crate::error::{Error, Result};
use crate::{events, pool, server};

/// Threads that carry tasks; what blocks runs on others, which come and go.
const WORKERS: usize = 2;
/// Most threads that block at the same time, for what is soon done: [`crate::blocking`].
const MAX_BLOCKING: usize = 32;
/// How long a daemon that is told to stop waits for operations to end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a daemon until it is told to stop.
///
/// # Errors
/// Whatever keeps it from serving: another daemon, a run directory that can't be used, …
pub fn run(config: Config) -> Result<()> {
    osctl_linux::process::bound_heap();
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
    raise_file_limit();
    let (socket, listener) = server::bind(&config)?;
    let daemon = Daemon::new(config)?;
    make_run_dirs(&daemon)?;
    network::watch(&daemon)?;
    tokio::spawn(bridge::watch(daemon.clone()));
    tokio::spawn(lxcfs::watch(daemon.clone()));
    tokio::spawn(schedules::keep(daemon.clone()));
    denials::follow(&daemon)?;
    let server = tokio::spawn(server::serve(daemon.clone(), listener));
    notify::tell("READY=1");
    tracing::info!("serving in {}", daemon.config.run_dir.display());
    let import = tokio::spawn(import_pools(daemon.clone()));
    let signal = signals.next().await;
    tracing::info!("{signal}: stopping; containers stay as they are");
    notify::tell("STOPPING=1");
    drop(socket);
    import.abort();
    daemon.stop().await;
    // Clients that don't read their last reply are not waited for.
    let _ = tokio::time::timeout(GRACE, server).await;
    Ok(())
}

fn make_run_dirs(daemon: &Daemon) -> Result<()> {
    let dir = daemon.config.run_dir.join("pools");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|e| Error::backend(format!("cannot make {}", dir.display()), e))
}

async fn import_pools(daemon: Arc<Daemon>) {
    // Each failure is logged where it happens and shown by the health check.
    if let Err(e) = pool::import_all(&daemon, Autostart::Yes).await {
        tracing::error!("not all pools are imported: {}", e.chain());
    }
    bridge::settle(&daemon).await;
    lxcfs::repair_all(&daemon).await;
    daemon.initialized.store(true, Ordering::Release);
    let pools = daemon.pools.read().len();
    notify::tell(&format!("STATUS=Pools imported: {pools}"));
}

/// Connections and supervisors need file descriptors; the usual soft limit is 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let both = |n| Rlimit {
        current: n,
        maximum: n,
    };
    // Containers can't have more than the daemon, which is allowed to raise its own limit or not.
    let most = limit.maximum.map(|n| n.max(plan::NOFILE.1));
    if setrlimit(Resource::Nofile, both(most)).is_ok() {
        return;
    }
    if let Err(e) = setrlimit(Resource::Nofile, both(limit.maximum)) {
        tracing::warn!("cannot raise the limit of open files: {e}");
    }
}

impl Daemon {
    /// Stops serving: whoever waits is told, operations get a moment to end.
    async fn stop(self: &Arc<Self>) {
        self.events.publish(events::event(EventKind::Shutdown));
        self.stopping.send_replace(true);
        let mut operations = self.operations.subscribe();
        let ended = operations.wait_for(|n| *n == 0);
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("operations are abandoned; the next start finishes or undoes them");
        }
        let kept = tokio::time::timeout(GRACE, container::keep_all_traffic(self));
        if kept.await.is_err() {
            tracing::warn!("not all traffic is kept that was counted");
        }
    }
}
