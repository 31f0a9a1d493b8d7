//! Looking after the network of containers while they run: what somebody else removes comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use osctl_api::net::IfName;
use tokio::sync::mpsc;

use super::Daemon;
use crate::blocking::blocking;
use crate::error::{Error, Result, chain};
use crate::network::Owner;
use crate::network::nft::{self, Foreign, Monitor};
use crate::network::watch::{Event, Watch};

/// How many interfaces may vanish before they are looked after.
const QUEUE: usize = 256;
/// How soon an interface that was brought back may vanish again without being waited for.
const PEACE: Duration = Duration::from_secs(30);
/// The longest that an interface that vanishes again and again is waited for.
const LONGEST: Duration = Duration::from_secs(60);
/// How long tables that are changed again and again are waited for, and what fails again and again.
const PAUSE: Duration = Duration::from_secs(1);

/// Begins to look after links, filters and the translation of addresses, in tasks that live as long
/// as the daemon.
///
/// # Errors
/// `Backend` when the kernel can't be listened to.
pub(super) fn watch(daemon: &Arc<Daemon>) -> Result<()> {
    let failed = |e| Error::backend("cannot watch the network of this host", e);
    let (sender, events) = mpsc::channel(QUEUE);
    let watch = Watch::open(&daemon.network.root).map_err(failed)?;
    tokio::spawn(keep_watching(Arc::clone(daemon), watch, sender));
    tokio::spawn(bring_back(Arc::clone(daemon), events));
    if let Err(e) = daemon.network.filters() {
        tracing::warn!("no container can have a network: {}", e.chain());
    }
    for tables in [Tables::Filters, Tables::Nat] {
        if let Some(monitor) = tables.monitor(daemon) {
            let monitor =
                monitor.map_err(|e| Error::backend("cannot watch the tables of this host", e))?;
            tokio::spawn(keep_tables(Arc::clone(daemon), tables, monitor));
        }
    }
    Ok(())
}

async fn keep_watching(daemon: Arc<Daemon>, mut watch: Watch, events: mpsc::Sender<Event>) {
    while let Err(e) = watch.run(events.clone()).await {
        tracing::error!(error = %chain(&e), "links are looked after anew");
        watch = loop {
            tokio::time::sleep(PAUSE).await;
            match Watch::open(&daemon.network.root) {
                Ok(watch) => break watch,
                Err(e) => tracing::error!(error = %chain(&e), "links are not looked after"),
            }
        };
        if events.send(Event::Missed).await.is_err() {
            return;
        }
    }
}

/// Tables of nf_tables that somebody else may change.
#[derive(Debug, Clone, Copy)]
enum Tables {
    Filters,
    Nat,
}

impl Tables {
    /// `None` where the kernel has no such tables.
    fn monitor(self, daemon: &Daemon) -> Option<std::result::Result<Monitor, nft::Error>> {
        match self {
            Tables::Filters => Some(daemon.network.filters().ok()?.monitor()),
            Tables::Nat => Some(daemon.bridge.nat()?.monitor()),
        }
    }

    fn restore(self, daemon: &Daemon) -> Result<()> {
        match self {
            Tables::Filters => daemon.network.restore_filters(),
            Tables::Nat => daemon.bridge.restore_nat(),
        }
    }
}

async fn keep_tables(daemon: Arc<Daemon>, tables: Tables, mut monitor: Monitor) {
    loop {
        match monitor.changed().await {
            Ok(Foreign::Ours) => {
                tracing::warn!(?tables, "somebody changed our tables: they are made anew");
            }
            Ok(Foreign::Unknown) => tracing::debug!(?tables, "checked: much has changed at once"),
            Err(e) => {
                tracing::error!(?tables, error = %chain(&e), "they are looked after anew");
                monitor = loop {
                    tokio::time::sleep(PAUSE).await;
                    match tables.monitor(&daemon) {
                        Some(Ok(monitor)) => break monitor,
                        Some(Err(e)) => {
                            tracing::error!(?tables, error = %chain(&e), "they are not looked after");
                        }
                        None => return,
                    }
                };
            }
        }
        loop {
            let this = Arc::clone(&daemon);
            let restored = blocking(move || tables.restore(&this)).await;
            // Whoever changes them again and again is not to keep the host busy.
            tokio::time::sleep(PAUSE).await;
            match restored {
                Ok(()) => break,
                Err(e) => {
                    tracing::error!(?tables, error = %e.chain(), "they are not as they should be");
                }
            }
        }
    }
}

async fn bring_back(daemon: Arc<Daemon>, mut events: mpsc::Receiver<Event>) {
    let mut patience = Patience::default();
    while let Some(event) = events.recv().await {
        match event {
            Event::Vanished {
                host_name, owner, ..
            } => {
                let Ok(name) = host_name.parse::<IfName>() else {
                    continue;
                };
                // What we remove is not expected any more.
                if daemon.network.is_expected(&name) {
                    let pause = patience.pause(&name, Instant::now());
                    restore(&daemon, &owner, name, pause);
                }
            }
            Event::Missed => {
                for (name, owner) in daemon.network.all_expected() {
                    restore(&daemon, &owner, name, Duration::ZERO);
                }
            }
        }
    }
}

fn restore(daemon: &Arc<Daemon>, owner: &Owner, name: IfName, pause: Duration) {
    let container = daemon
        .containers()
        .into_iter()
        .find(|c| c.pool.as_str() == owner.pool && c.id.as_str() == owner.container);
    let daemon = Arc::clone(daemon);
    let Some(container) = container else {
        tokio::spawn(let_go(daemon, owner.clone(), name));
        return;
    };
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        container.restore_netif(&daemon, &name).await;
    });
}

/// An interface of a container that ran on after its pool was exported is gone.
async fn let_go(daemon: Arc<Daemon>, owner: Owner, name: IfName) {
    let gone = blocking(move || {
        let gone = daemon.network.let_go(&name);
        let is_known = daemon.containers().iter().any(|c| c.owner() == owner);
        if !is_known && !daemon.network.has(&owner) {
            daemon.book.release(&owner);
        }
        daemon.update_bridge();
        gone
    });
    if let Err(e) = gone.await {
        tracing::warn!("something is left of a container: {}", e.chain());
    }
}

/// How often interfaces vanished lately: a guest that removes its interface in a loop is not to
/// keep the host busy.
#[derive(Debug, Default)]
struct Patience {
    lately: HashMap<IfName, (Instant, Duration)>,
}

impl Patience {
    /// How long to wait before an interface that vanished `now` is brought back.
    fn pause(&mut self, name: &IfName, now: Instant) -> Duration {
        let is_recent =
            |last: &Instant, pause: &Duration| now.duration_since(*last) < *pause + PEACE;
        self.lately
            .retain(|_, (last, pause)| is_recent(last, pause));
        let pause = match self.lately.get(name) {
            None => Duration::ZERO,
            Some((_, before)) => (*before * 2).clamp(Duration::from_millis(100), LONGEST),
        };
        self.lately.insert(name.clone(), (now, pause));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vanishes_in_a_loop_is_waited_for_longer_and_longer() {
        let mut patience = Patience::default();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let start = Instant::now();
        let mut pauses = Vec::new();
        for second in 0..12 {
            let now = start + Duration::from_secs(second);
            pauses.push(patience.pause(&a, now).as_millis());
        }
        assert_eq!(pauses[..4], [0, 100, 200, 400]);
        assert_eq!(pauses[11], 60_000);
        assert_eq!(patience.pause(&b, start), Duration::ZERO);
        let later = start + Duration::from_secs(3600);
        assert_eq!(patience.pause(&a, later), Duration::ZERO);
    }
}
