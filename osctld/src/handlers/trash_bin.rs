//! Methods of what was deleted, and of what was left behind.

use std::sync::Arc;

use osctl_api::daemon::Done;
use osctl_api::names::Name;
use osctl_api::trash_bin as api;

use super::{Context, Handle};
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::pool::Pool;

/// These pools, or all.
fn pools(cx: &Context, names: &[Name]) -> Result<Vec<Arc<Pool>>> {
    match names {
        [] => Ok(cx.daemon.all_pools()),
        names => names.iter().map(|name| cx.daemon.pool(name)).collect(),
    }
}

impl Handle for api::List {
    async fn handle(self, cx: &mut Context) -> Result<api::Trash> {
        let pools = pools(cx, &self.pools)?;
        blocking(move || {
            let mut items = Vec::new();
            for pool in pools {
                items.extend(pool.trash_items()?);
            }
            Ok(api::Trash { items })
        })
        .await
    }
}

impl Handle for api::DatasetAdd {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let name = self.dataset.split('/').next().unwrap_or_default();
        let name = name.parse::<Name>();
        let name = name.map_err(|e| Error::invalid_with("this is no name of a dataset", e))?;
        let pool = cx.daemon.pool(&name)?;
        pool.add_to_trash(self.dataset).await?;
        Ok(Done {})
    }
}

impl Handle for api::Prune {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        for pool in pools(cx, &self.pools)? {
            let _gate = pool.enter()?;
            pool.empty_trash();
        }
        Ok(Done {})
    }
}

impl Handle for api::Collect {
    async fn handle(self, cx: &mut Context) -> Result<api::Collected> {
        let mut notes = Vec::new();
        for pool in pools(cx, &self.pools)? {
            for text in pool.collect_garbage().await? {
                let pool = pool.name.clone();
                notes.push(api::Note { pool, text });
            }
        }
        Ok(api::Collected { notes })
    }
}
