//! Methods of archives of containers.

use std::fs::File;

use osctl_api::archive as api;

use super::{Context, Handle};
use crate::container;
use crate::error::Result;

impl Handle for api::Export {
    async fn handle(self, cx: &mut Context) -> Result<api::Exported> {
        let container = cx.container(&self.id)?;
        let out = File::from(cx.take_fd(0)?);
        let audience = cx.paced(self.limit)?;
        container.export(&self, out, audience).await
    }
}

impl Handle for api::Import {
    async fn handle(self, cx: &mut Context) -> Result<api::Imported> {
        let named = self.id.as_ref().and_then(|id| id.pool.as_ref());
        let pool = cx.daemon.pool_for(named.or(self.pool.as_ref()))?;
        let file = File::from(cx.take_fd(0)?);
        let audience = cx.paced(self.limit)?;
        let made = container::import(&cx.daemon, &pool, self, file, audience).await;
        let (container, warnings) = made?;
        Ok(api::Imported {
            container: container.info(&cx.daemon, &pool, None),
            warnings,
        })
    }
}
