//! Starting containers by themselves: a queue for each pool, in order of priority, with as many
//! starts at a time as the pool allows.
//!
//! Which containers were started since the host was booted is remembered in the run directory, so
//! that a daemon that is started anew doesn't bring back what was stopped by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use osctl_api::container::State;
use osctl_api::names::Name;
use osctl_api::pool::QueuedContainer;

use crate::container::plan::Mode;
use crate::container::{Container, started_marker};
use crate::daemon::Daemon;
use crate::pool::Pool;
use crate::sync::Mutex;

/// Pauses between attempts to start a container that doesn't.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(15),
    Duration::from_secs(20),
];

/// Containers of one pool that wait to be started.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By priority, then by the order in which they came.
    waiting: BTreeMap<(u32, u64), Name>,
    next: u64,
    starting: u32,
}

impl Queue {
    /// Queues those that start by themselves and were not started since the host was booted.
    pub fn queue_new(&self, daemon: &Arc<Daemon>, pool: &Arc<Pool>) {
        self.queue_all(daemon, pool, |c| !started_marker(daemon, c).exists());
    }

    /// Queues all that start by themselves, also those that were stopped by hand.
    pub fn trigger(&self, daemon: &Arc<Daemon>, pool: &Arc<Pool>) {
        self.queue_all(daemon, pool, |_| true);
    }

    fn queue_all(
        &self,
        daemon: &Arc<Daemon>,
        pool: &Arc<Pool>,
        wanted: impl Fn(&Container) -> bool,
    ) {
        for container in pool.containers() {
            if let Some(autostart) = container.config().autostart
                && container.state() == State::Stopped
                && wanted(&container)
            {
                self.add(container.id.clone(), autostart.priority);
            }
        }
        self.pump(daemon, pool);
    }

    /// Queues one container.
    pub fn queue(&self, daemon: &Arc<Daemon>, pool: &Arc<Pool>, id: &Name, priority: u32) {
        self.add(id.clone(), priority);
        self.pump(daemon, pool);
    }

    fn add(&self, id: Name, priority: u32) {
        let mut inner = self.inner.lock();
        inner.waiting.retain(|_, waiting| *waiting != id);
        let order = inner.next;
        inner.next += 1;
        inner.waiting.insert((priority, order), id);
    }

    /// Those that wait, next first.
    pub fn waiting(&self) -> Vec<QueuedContainer> {
        let inner = self.inner.lock();
        let rows = inner.waiting.iter();
        rows.map(|((priority, _), id)| QueuedContainer {
            id: id.clone(),
            priority: *priority,
        })
        .collect()
    }

    /// Forgets those that wait.
    pub fn cancel(&self) {
        self.inner.lock().waiting.clear();
    }

    /// Forgets one that waits, because somebody stops it.
    pub fn remove(&self, id: &Name) {
        self.inner.lock().waiting.retain(|_, waiting| waiting != id);
    }

    /// Starts as many as may start at a time.
    pub fn pump(&self, daemon: &Arc<Daemon>, pool: &Arc<Pool>) {
        let mut inner = self.inner.lock();
        while inner.starting < pool.parallel_start() && pool.is_active() {
            let Some((_, id)) = inner.waiting.pop_first() else {
                break;
            };
            let Some(container) = pool.container(&id) else {
                continue;
            };
            inner.starting += 1;
            let (daemon, pool) = (Arc::downgrade(daemon), Arc::downgrade(pool));
            tokio::spawn(async move {
                start(&container, &pool).await;
                drop(container);
                finished(&daemon, &pool);
            });
        }
    }
}

/// A place is free: the next one starts.
fn finished(daemon: &Weak<Daemon>, pool: &Weak<Pool>) {
    if let (Some(daemon), Some(pool)) = (daemon.upgrade(), pool.upgrade()) {
        pool.autostart.inner.lock().starting -= 1;
        pool.autostart.pump(&daemon, &pool);
    }
}

async fn start(container: &Arc<Container>, pool: &Weak<Pool>) {
    let mut pauses = PAUSES.iter();
    loop {
        match container.start(Mode::Boot).await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(container = %container.label(), error = %error.chain(), "did not start by itself");
                let again = pool.upgrade().is_some_and(|p| p.is_active())
                    && container.state() == State::Stopped;
                match pauses.next() {
                    Some(pause) if again => tokio::time::sleep(*pause).await,
                    _ => return,
                }
            }
        }
    }
    if let Some(autostart) = container.config().autostart
        && loaded()
    {
        tokio::time::sleep(Duration::from_secs(autostart.delay)).await;
    }
}

/// Whether the host has more to do than processors to do it.
fn loaded() -> bool {
    let average = std::fs::read_to_string("/proc/loadavg").ok();
    let average = average.and_then(|s| s.split(' ').next().and_then(|n| n.parse::<f64>().ok()));
    let processors = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    average.is_some_and(|a| a >= processors)
}

/// Directory in which started containers are noted.
pub fn started_dir(daemon: &Daemon, pool: &Name) -> PathBuf {
    daemon.pool_run_dir(pool).join("started")
}
