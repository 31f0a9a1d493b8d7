//! Methods of groups.

use std::sync::Arc;

use osctl_api::daemon::Done;
use osctl_api::group as api;
use osctl_api::names::{GroupPath, GroupRef};

use super::{Context, Handle};
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::group::{self, Parents, Reader};
use crate::pool::Pool;

/// The pool that has the group that is meant.
fn find(cx: &Context, group: &GroupRef) -> Result<Arc<Pool>> {
    let get = |p: &Pool| p.has_group(&group.path).then_some(());
    let found = cx
        .daemon
        .find(group.pool.as_ref(), "group", &group.path, get);
    found.map(|(pool, ())| pool)
}

async fn info(cx: &Context, pool: Arc<Pool>, path: GroupPath) -> Result<api::Group> {
    let daemon = cx.daemon.clone();
    blocking(move || {
        let info = Reader::default().read(&daemon, &pool, &path);
        info.ok_or_else(|| Error::not_found(format!("group {}:{path} does not exist", pool.name)))
    })
    .await
}

impl Handle for api::New {
    async fn handle(self, cx: &mut Context) -> Result<api::Group> {
        let pool = cx.daemon.pool_for(self.group.pool.as_ref())?;
        let _in = pool.enter()?;
        let parents = match self.parents {
            true => Parents::Make,
            false => Parents::Require,
        };
        group::create(&cx.daemon, &pool, &self.group.path, parents).await?;
        info(cx, pool, self.group.path).await
    }
}

impl Handle for api::Delete {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = find(cx, &self.group)?;
        let _in = pool.enter()?;
        group::delete(&cx.daemon, &pool, &self.group.path).await?;
        Ok(Done {})
    }
}

impl Handle for api::List {
    async fn handle(self, cx: &mut Context) -> Result<api::Groups> {
        let daemon = cx.daemon.clone();
        let is_asked_for = move |pool: &Pool, path: &GroupPath| {
            let on_pool = self.pool.as_ref().is_none_or(|p| *p == pool.name);
            let meant =
                |r: &GroupRef| r.path == *path && r.pool.as_ref().is_none_or(|p| *p == pool.name);
            on_pool && (self.groups.is_empty() || self.groups.iter().any(meant))
        };
        blocking(move || {
            let mut reader = Reader::default();
            let mut groups = Vec::new();
            for pool in daemon.all_pools() {
                for path in pool.groups.paths() {
                    if is_asked_for(&pool, &path) {
                        groups.extend(reader.read(&daemon, &pool, &path));
                    }
                }
            }
            Ok(api::Groups { groups })
        })
        .await
    }
}

impl Handle for api::Show {
    async fn handle(self, cx: &mut Context) -> Result<api::Group> {
        let pool = find(cx, &self.group)?;
        info(cx, pool, self.group.path).await
    }
}

impl Handle for api::Set {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = find(cx, &self.group)?;
        let _in = pool.enter()?;
        group::change(&cx.daemon, &pool, &self.group.path, |config| {
            config.cpu_limit = self.cpu_limit.or(config.cpu_limit);
            config.memory_limit = self.memory_limit.or(config.memory_limit);
            crate::attrs::change(&mut config.attrs, self.attrs, &[])
        })
        .await?;
        Ok(Done {})
    }
}

impl Handle for api::Unset {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = find(cx, &self.group)?;
        let _in = pool.enter()?;
        group::change(&cx.daemon, &pool, &self.group.path, |config| {
            config.cpu_limit = config.cpu_limit.filter(|_| !self.cpu_limit);
            config.memory_limit = config.memory_limit.filter(|_| !self.memory_limit);
            crate::attrs::change(&mut config.attrs, Default::default(), &self.attrs)
        })
        .await?;
        Ok(Done {})
    }
}
