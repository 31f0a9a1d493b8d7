//! Methods of the daemon itself.

use osctl_api::daemon as api;

use super::{Context, Handle};
use crate::error::{Error, Result};

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
        cx.event(&crate::events::event(api::EventKind::Subscribed))
            .await?;
        loop {
            let event = tokio::select! {
                event = subscription.next() => event,
                () = cx.daemon.stopped() => return Ok(crate::events::event(api::EventKind::Shutdown)),
            };
            cx.event(&event).await?;
        }
    }
}
macro_rules! unsupported {
    ($($params:ty),* $(,)?) => {
        $(impl Handle for $params {
            async fn handle(self, _: &mut Context) -> Result<Self::Reply> {
                Err(Error::unsupported("not yet"))
            }
        })*
    };
}
unsupported!(
    api::History,
    api::SelfAssets,
    api::Healthcheck,
    api::Shutdown
);
use osctl_api::{group, id_range, pool, user};
unsupported!(
    pool::Install,
    pool::Uninstall,
    pool::Import,
    pool::Export,
    pool::List,
    pool::Show,
    pool::Set,
    pool::Unset,
    pool::Assets
);
unsupported!(
    id_range::New,
    id_range::Delete,
    id_range::List,
    id_range::Show,
    id_range::Allocate,
    id_range::Free,
    id_range::TableList,
    id_range::TableShow,
    id_range::Set,
    id_range::Unset
);
unsupported!(
    user::New,
    user::Delete,
    user::List,
    user::Show,
    user::Map,
    user::Set,
    user::Unset
);
unsupported!(
    group::New,
    group::Delete,
    group::List,
    group::Show,
    group::Set,
    group::Unset
);
