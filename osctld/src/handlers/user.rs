//! Methods of users.

use osctl_api::daemon::Done;
use osctl_api::user as api;

use super::{Context, Handle, matches};
use crate::error::{Error, Result};
use crate::user;

impl Handle for api::New {
    async fn handle(self, cx: &mut Context) -> Result<api::User> {
        let both = self.map_uid.is_empty() == self.map_gid.is_empty();
        if !both || (!self.map.is_empty() && !self.map_uid.is_empty()) {
            return Err(Error::invalid(
                "give one map for both, or a map of user ids and a map of group ids",
            ));
        }
        let pool = cx.daemon.pool_for(self.user.pool.as_ref())?;
        let _in = pool.enter()?;
        let user = user::create(&cx.daemon, &pool, self.into()).await?;
        Ok(user.info(&pool))
    }
}

impl Handle for api::Delete {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let (pool, user) = cx.daemon.user(&self.user)?;
        let _in = pool.enter()?;
        user::delete(&cx.daemon, &pool, &user).await?;
        Ok(Done {})
    }
}

impl Handle for api::List {
    async fn handle(self, cx: &mut Context) -> Result<api::Users> {
        let mut users = Vec::new();
        for pool in cx.daemon.all_pools() {
            if self.pool.as_ref().is_some_and(|p| *p != pool.name) {
                continue;
            }
            let all: Vec<_> = pool.users.read().values().cloned().collect();
            users.extend(
                all.iter()
                    .filter(|u| matches(&self.users, &u.pool, &u.name))
                    .map(|u| u.info(&pool)),
            );
        }
        Ok(api::Users { users })
    }
}

impl Handle for api::Show {
    async fn handle(self, cx: &mut Context) -> Result<api::User> {
        let (pool, user) = cx.daemon.user(&self.user)?;
        Ok(user.info(&pool))
    }
}

impl Handle for api::Map {
    async fn handle(self, cx: &mut Context) -> Result<api::MapRows> {
        let (_, user) = cx.daemon.user(&self.user)?;
        let mut rows = Vec::new();
        for (kind, map) in [
            (api::IdKind::Uid, user.uid_map()),
            (api::IdKind::Gid, user.gid_map()),
        ] {
            let wanted = match self.filter {
                api::MapFilter::Both => true,
                api::MapFilter::Uid => kind == api::IdKind::Uid,
                api::MapFilter::Gid => kind == api::IdKind::Gid,
            };
            rows.extend(map.iter().filter(|_| wanted).map(|m| api::MapRow {
                kind,
                ns_id: m.ns_id,
                host_id: m.host_id,
                count: m.count,
            }));
        }
        Ok(api::MapRows { rows })
    }
}

impl Handle for api::Set {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let (pool, user) = cx.daemon.user(&self.user)?;
        let _in = pool.enter()?;
        user.change(&pool, self.standalone, self.attrs, Vec::new())
            .await?;
        Ok(Done {})
    }
}

impl Handle for api::Unset {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let (pool, user) = cx.daemon.user(&self.user)?;
        let _in = pool.enter()?;
        user.change(&pool, None, Default::default(), self.attrs)
            .await?;
        Ok(Done {})
    }
}
