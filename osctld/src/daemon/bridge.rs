//! The default bridge and the containers on it: who they are is known here, what that means there.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use super::Daemon;
use crate::blocking::blocking;
use crate::error::Result;
use crate::network::managed_bridge::{Client, Running, Service};
use crate::network::{Attachment, Owner, Wanted};

/// How long dnsmasq has to run for its end to be forgotten.
const PEACE: Duration = Duration::from_secs(60);
/// The first pause before it is started once more.
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest that a dnsmasq that ends again and again is waited for.
const LONGEST: Duration = Duration::from_secs(60);

impl Daemon {
    /// The interfaces on the default bridge, of all containers. Blocks.
    fn bridge_clients(&self) -> Vec<Client> {
        let all = self.containers();
        let of_all = all.iter().flat_map(|c| c.wanted_on_bridge(self));
        // Those of pools that were exported run on.
        let known: HashSet<Owner> = all.iter().map(|c| c.owner()).collect();
        let others = self.network.there();
        let others = others.into_iter().filter(|w| !known.contains(&w.owner));
        of_all
            .chain(others)
            .filter_map(|w| self.client(w))
            .collect()
    }

    fn client(&self, wanted: Wanted) -> Option<Client> {
        let Attachment::Bridge {
            link, dhcp, lease, ..
        } = wanted.attachment
        else {
            return None;
        };
        let leased = lease.iter().flat_map(|l| [l.v4, l.v6]);
        let all = wanted.addresses.iter().copied().chain(leased);
        self.bridge.is(&link).then(|| Client {
            container: wanted.owner.container,
            pool: wanted.owner.pool,
            hwaddr: wanted.hwaddr,
            addresses: all.map(|a| a.ip()).collect(),
            dhcp,
        })
    }

    /// Makes sure that the default bridge is there, for a container that is about to be on it.
    /// Blocks.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn ensure_bridge(&self) -> Result<()> {
        let _changing = self.bridge.changing();
        self.bridge
            .ensure(self.network.host(), &self.bridge_clients())
    }

    /// Tells the default bridge who is on it now; without anybody there is none. Blocks.
    pub fn update_bridge(&self) {
        let _changing = self.bridge.changing();
        let clients = self.bridge_clients();
        let updated = match clients.is_empty() {
            true => self.bridge.remove(self.network.host()),
            false => self.bridge.update(&clients),
        };
        if let Err(e) = updated {
            tracing::warn!("the default bridge is not as it should be: {}", e.chain());
        }
    }
}

/// Looks after the bridge that an earlier daemon left, once all containers are known.
pub(super) async fn settle(daemon: &Arc<Daemon>) {
    let daemon = Arc::clone(daemon);
    let settled = blocking(move || {
        daemon.bridge.remove_earlier(daemon.network.host())?;
        if daemon.containers().iter().any(|c| c.is_on_bridge(&daemon)) {
            daemon.ensure_bridge()?;
        } else {
            daemon.update_bridge();
        }
        Ok(())
    });
    if let Err(e) = settled.await {
        tracing::warn!("the default bridge is not as it should be: {}", e.chain());
    }
}

/// Has dnsmasq come back whenever it ends by itself or could not be started, as long as the daemon
/// lives.
pub(super) async fn watch(daemon: Arc<Daemon>) {
    let mut service = daemon.bridge.service();
    let mut pause = Duration::ZERO;
    loop {
        let current = service.borrow_and_update().clone();
        match current {
            Service::Off => {
                pause = Duration::ZERO;
                if service.changed().await.is_err() {
                    return;
                }
            }
            Service::Runs(running) => {
                let since = Instant::now();
                tokio::select! {
                    // It was stopped, or replaced, on purpose.
                    changed = service.changed() => if changed.is_err() {
                        return;
                    },
                    () = end(&running) => note_end(&daemon, running).await,
                }
                if since.elapsed() > PEACE {
                    pause = Duration::ZERO;
                }
            }
            Service::Failed => {
                tokio::select! {
                    changed = service.changed() => if changed.is_err() {
                        return;
                    },
                    () = tokio::time::sleep(pause) => {
                        pause = (pause * 2).clamp(SHORTEST, LONGEST);
                        revive(&daemon).await;
                    }
                }
            }
        }
    }
}

async fn note_end(daemon: &Arc<Daemon>, running: Running) {
    let daemon = Arc::clone(daemon);
    let noted = blocking(move || Ok((daemon.bridge.note_end(&running), running.pid)));
    if let Ok((Some(problem), pid)) = noted.await {
        tracing::warn!(pid, "{problem}: it is started again");
    }
}

async fn revive(daemon: &Arc<Daemon>) {
    let daemon = Arc::clone(daemon);
    let revived = blocking(move || {
        let before = daemon.bridge.problem();
        let revived = daemon.bridge.revive();
        // Said once, not every minute.
        let is_new = before != daemon.bridge.problem();
        if let Err(e) = revived
            && is_new
        {
            tracing::error!("nothing answers on the default bridge: {}", e.chain());
        }
        Ok(())
    });
    drop(revived.await);
}

/// Waits until a process has ended.
async fn end(running: &Running) {
    loop {
        match running.pidfd.try_clone().and_then(watched) {
            Ok(watched) => return drop(watched.readable().await),
            Err(e) => {
                tracing::error!("dnsmasq can't be watched: {e}");
                tokio::time::sleep(LONGEST).await;
            }
        }
    }
}

/// A descriptor as something that tokio can wait for: it only ever asks whether that is ready.
pub(super) fn watched(fd: OwnedFd) -> std::io::Result<UnixStream> {
    let twin = std::os::unix::net::UnixStream::from(fd);
    twin.set_nonblocking(true)?;
    UnixStream::from_std(twin)
}
