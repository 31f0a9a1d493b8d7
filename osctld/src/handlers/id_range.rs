//! Methods of id ranges.

use osctl_api::daemon::Done;
use osctl_api::id_range as api;

use super::{Context, Handle, matches};
use crate::error::{Error, Result};
use crate::id_range::{self, Blocks, Freed, Table};

impl Handle for api::New {
    async fn handle(self, cx: &mut Context) -> Result<api::IdRange> {
        let table = Table::new(self.start_id, self.block_size, self.block_count)?;
        let pool = cx.daemon.pool_for(self.id_range.pool.as_ref())?;
        let _in = pool.enter()?;
        let range = id_range::create(&cx.daemon, &pool, &self.id_range.name, table).await?;
        Ok(range.info())
    }
}

impl Handle for api::Delete {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let (pool, range) = cx.daemon.id_range(&self.id_range)?;
        let _in = pool.enter()?;
        id_range::delete(&cx.daemon, &pool, &range).await?;
        Ok(Done {})
    }
}

impl Handle for api::List {
    async fn handle(self, cx: &mut Context) -> Result<api::IdRanges> {
        let mut id_ranges = Vec::new();
        for pool in cx.daemon.all_pools() {
            if self.pool.as_ref().is_some_and(|p| *p != pool.name) {
                continue;
            }
            let ranges = pool.id_ranges.read();
            id_ranges.extend(
                ranges
                    .values()
                    .filter(|r| matches(&self.id_ranges, &r.pool, &r.name))
                    .map(|r| r.info()),
            );
        }
        Ok(api::IdRanges { id_ranges })
    }
}

impl Handle for api::Show {
    async fn handle(self, cx: &mut Context) -> Result<api::IdRange> {
        let (_, range) = cx.daemon.id_range(&self.id_range)?;
        Ok(range.info())
    }
}

impl Handle for api::Allocate {
    async fn handle(self, cx: &mut Context) -> Result<api::Blocks> {
        let (pool, range) = cx.daemon.id_range(&self.id_range)?;
        let _in = pool.enter()?;
        let _ids = cx.daemon.ids.lock().await;
        let blocks = self.block_index.map_or(Blocks::FirstFit, Blocks::At);
        let (count, owner) = (self.block_count, self.owner);
        id_range::allocate(&cx.daemon, &pool, &range, count, blocks, owner, false).await
    }
}

impl Handle for api::Free {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let (pool, range) = cx.daemon.id_range(&self.id_range)?;
        let which = match (self.block_index, self.owner) {
            (Some(index), None) => Freed::At(index),
            (None, Some(owner)) => Freed::Owner(owner),
            _ => return Err(Error::invalid("give either a block index or an owner")),
        };
        let _in = pool.enter()?;
        id_range::free(&cx.daemon, &pool, &range, which).await?;
        Ok(Done {})
    }
}

impl Handle for api::TableList {
    async fn handle(self, cx: &mut Context) -> Result<api::Table> {
        let (_, range) = cx.daemon.id_range(&self.id_range)?;
        let rows = range.with_table(|t| t.rows(self.filter));
        Ok(api::Table { rows })
    }
}

impl Handle for api::TableShow {
    async fn handle(self, cx: &mut Context) -> Result<api::Blocks> {
        let (_, range) = cx.daemon.id_range(&self.id_range)?;
        range.with_table(|t| t.row_at(self.block_index))
    }
}

impl Handle for api::Set {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let (pool, range) = cx.daemon.id_range(&self.id_range)?;
        let _in = pool.enter()?;
        id_range::change_attrs(&cx.daemon, &pool, &range, self.attrs, Vec::new()).await?;
        Ok(Done {})
    }
}

impl Handle for api::Unset {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let (pool, range) = cx.daemon.id_range(&self.id_range)?;
        let _in = pool.enter()?;
        id_range::change_attrs(&cx.daemon, &pool, &range, Default::default(), self.attrs).await?;
        Ok(Done {})
    }
}
