//! Looking after the network of containers while they run: what somebody else removes comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use osctl_api::net::IfName;
use tokio::sync::mpsc;

use super::Daemon;
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::network::Owner;
use crate::network::nft::Monitor;
use crate::network::watch::{Event, Watch};

/// How many interfaces may vanish before they are looked after.
const QUEUE: usize = 256;
/// How soon an interface that was brought back may vanish again without being waited for.
const PEACE: Duration = Duration::from_secs(30);
/// The longest that an interface that vanishes again and again is waited for.
const LONGEST: Duration = Duration::from_secs(60);
/// How long filters that are changed again and again are waited for.
const FILTER_PAUSE: Duration = Duration::from_secs(1);

/// Begins to look after links and filters, in tasks that live as long as the daemon.
///
/// # Errors
/// `Backend` when the kernel can't be listened to.
pub(super) fn watch(daemon: &Arc<Daemon>) -> Result<()> {
    let failed = |e| Error::backend("cannot watch the network of this host", e);
    let (sender, events) = mpsc::channel(QUEUE);
    let watch = Watch::open(&daemon.network.root).map_err(failed)?;
    tokio::spawn(async move {
        if let Err(e) = watch.run(sender).await {
            tracing::error!(error = %crate::error::chain(&e), "links are not looked after any more");
        }
    });
    tokio::spawn(bring_back(Arc::clone(daemon), events));
    match daemon.network.filters() {
        Ok(filters) => {
            let failed = |e| Error::backend("cannot watch the filters of this host", e);
            let monitor = filters.monitor().map_err(failed)?;
            tokio::spawn(keep_filters(Arc::clone(daemon), monitor));
        }
        Err(e) => tracing::warn!("no container can have a network: {}", e.chain()),
    }
    Ok(())
}

async fn keep_filters(daemon: Arc<Daemon>, monitor: Monitor) {
    loop {
        if let Err(e) = monitor.changed().await {
            tracing::error!(error = %crate::error::chain(&e), "filters are not looked after any more");
            return;
        }
        tracing::warn!("somebody changed the filters of containers: they are made anew");
        loop {
            let network = Arc::clone(&daemon);
            let refiltered = blocking(move || network.network.refilter()).await;
            // Whoever changes them again and again is not to keep the host busy.
            tokio::time::sleep(FILTER_PAUSE).await;
            match refiltered {
                Ok(()) => break,
                Err(e) => {
                    tracing::error!(error = %e.chain(), "the filters of containers are not as they should be");
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
    let Some(container) = container else {
        return;
    };
    let daemon = Arc::clone(daemon);
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        container.restore_netif(&daemon, &name).await;
    });
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
