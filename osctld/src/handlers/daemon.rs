//! Methods of the daemon itself.

use osctl_api::daemon as api;

use super::{Context, Handle};
use crate::blocking::blocking;
use crate::daemon;
use crate::error::{Error, Result};
use crate::events::event;

/// Most entries of one pool's history in a reply.
const MAX_HISTORY: usize = 100_000;

impl Handle for api::Ping {
    async fn handle(self, cx: &mut Context) -> Result<api::Pong> {
        Ok(api::Pong {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            initialized: cx.daemon.is_initialized(),
        })
    }
}

impl Handle for api::Subscribe {
    async fn handle(self, cx: &mut Context) -> Result<api::Event> {
        let mut subscription = cx.daemon.events.subscribe(&self.kinds);
        cx.event(&event(api::EventKind::Subscribed)).await?;
        loop {
            let event = tokio::select! {
                biased;
                event = subscription.next() => event,
                () = cx.daemon.stopped() => return Ok(event(api::EventKind::Shutdown)),
            };
            if event.kind == api::EventKind::Shutdown {
                return Ok(event);
            }
            cx.event(&event).await?;
        }
    }
}

impl Handle for api::History {
    async fn handle(self, cx: &mut Context) -> Result<api::HistoryEntries> {
        let pools = match self.pools.is_empty() {
            true => cx.daemon.all_pools(),
            false => {
                let named = self.pools.iter().map(|p| cx.daemon.pool(p));
                named.collect::<Result<_>>()?
            }
        };
        blocking(move || {
            let mut entries: Vec<api::HistoryEntry> = Vec::new();
            for pool in pools {
                let read = pool.history.read(MAX_HISTORY).map_err(|e| {
                    Error::store(format!("cannot read the history of pool {}", pool.name), e)
                })?;
                entries.extend(read);
            }
            entries.sort_by_key(|e| e.time);
            Ok(api::HistoryEntries { entries })
        })
        .await
    }
}

impl Handle for api::SelfAssets {
    async fn handle(self, cx: &mut Context) -> Result<api::Assets> {
        let daemon = cx.daemon.clone();
        let assets = blocking(move || Ok(daemon.assets())).await?;
        Ok(api::Assets { assets })
    }
}

impl Handle for api::Healthcheck {
    async fn handle(self, cx: &mut Context) -> Result<api::Health> {
        let pools = match self.all {
            true => cx.daemon.all_pools(),
            false => {
                let named = self.pools.iter().map(|p| cx.daemon.pool(p));
                named.collect::<Result<_>>()?
            }
        };
        let entities = cx.daemon.sick(pools).await?;
        Ok(api::Health { entities })
    }
}

impl Handle for api::Shutdown {
    async fn handle(self, cx: &mut Context) -> Result<api::Done> {
        if self.abort {
            let daemon = cx.daemon.clone();
            blocking(move || daemon::abort_shutdown(&daemon)).await?;
        } else {
            daemon::shutdown(&cx.daemon, self.message, cx.progress_sender()).await?;
        }
        Ok(api::Done {})
    }
}
