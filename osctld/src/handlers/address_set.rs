//! Methods of named sets of addresses.

use std::sync::Arc;

use osctl_api::daemon::Done;
use osctl_api::firewall as api;
use osctl_api::names::Ref;

use super::{Context, Handle};
use crate::address_set;
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::pool::Pool;

/// The pool that has the set.
async fn find(cx: &Context, set: &Ref) -> Result<Arc<Pool>> {
    let (daemon, set) = (Arc::clone(&cx.daemon), set.clone());
    blocking(move || {
        let get = |p: &Pool| p.has_address_set(&set.name).then_some(());
        let found = daemon.find(set.pool.as_ref(), "address set", &set.name, get);
        found.map(|(pool, ())| pool)
    })
    .await
}

impl Handle for api::SetNew {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = cx.daemon.pool_for(self.set.pool.as_ref())?;
        let _in = pool.enter()?;
        address_set::create(&cx.daemon, &pool, self.set.name, self.addresses).await?;
        Ok(Done {})
    }
}

impl Handle for api::SetDelete {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = find(cx, &self.set).await?;
        let _in = pool.enter()?;
        address_set::delete(&cx.daemon, &pool, self.set.name).await?;
        Ok(Done {})
    }
}

impl Handle for api::SetList {
    async fn handle(self, cx: &mut Context) -> Result<api::AddressSets> {
        let pools = match &self.pool {
            Some(pool) => vec![cx.daemon.pool(pool)?],
            None => cx.daemon.all_pools(),
        };
        blocking(move || {
            Ok(api::AddressSets {
                sets: pools.iter().flat_map(|p| address_set::list(p)).collect(),
            })
        })
        .await
    }
}

impl Handle for api::SetShow {
    async fn handle(self, cx: &mut Context) -> Result<api::AddressSet> {
        let pool = find(cx, &self.set).await?;
        address_set::show(&pool, self.set.name).await
    }
}

impl Handle for api::SetAdd {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = find(cx, &self.set).await?;
        let _in = pool.enter()?;
        let more = self.addresses;
        address_set::change(&cx.daemon, &pool, self.set.name, |all| {
            all.extend(more);
            Ok(())
        })
        .await?;
        Ok(Done {})
    }
}

impl Handle for api::SetRemove {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = find(cx, &self.set).await?;
        let _in = pool.enter()?;
        let less = self.addresses;
        address_set::change(&cx.daemon, &pool, self.set.name, move |all| {
            if let Some(missing) = less.iter().find(|a| !all.contains(a)) {
                return Err(Error::not_found(format!("{missing} is not in the set")));
            }
            all.retain(|a| !less.contains(a));
            Ok(())
        })
        .await?;
        Ok(Done {})
    }
}
