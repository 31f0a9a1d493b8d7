//! Methods of snapshots of containers.

use std::sync::Arc;

use osctl_api::container::{Container, Path};
use osctl_api::daemon::Done;
use osctl_api::snapshot as api;

use super::{Context, Handle};
use crate::blocking::blocking;
use crate::container::{self, Newer};
use crate::error::Result;

impl Handle for api::New {
    async fn handle(self, cx: &mut Context) -> Result<api::Snapshot> {
        let container = cx.container(&self.id)?;
        container.make_snapshot(self.snapshot).await
    }
}

impl Handle for api::List {
    async fn handle(self, cx: &mut Context) -> Result<api::Snapshots> {
        let daemon = Arc::clone(&cx.daemon);
        let snapshots = blocking(move || container::list_snapshots(&daemon, &self)).await?;
        Ok(api::Snapshots { snapshots })
    }
}

impl Handle for api::Delete {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container.destroy_snapshot(&self.snapshot).await?;
        Ok(Done {})
    }
}

impl Handle for api::Rollback {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        let newer = match self.destroy_newer {
            true => Newer::Lose,
            false => Newer::Keep,
        };
        container
            .roll_back(&self.snapshot, newer, self.restart)
            .await?;
        Ok(Done {})
    }
}

impl Handle for api::Clone {
    async fn handle(self, cx: &mut Context) -> Result<Container> {
        let container = cx.container(&self.id)?;
        let clone = container.clone_snapshot(self).await?;
        let (daemon, pool) = (Arc::clone(&cx.daemon), cx.daemon.pool(&clone.pool)?);
        blocking(move || Ok(container::show(&daemon, &pool, &clone))).await
    }
}

impl Handle for api::Mount {
    async fn handle(self, cx: &mut Context) -> Result<Path> {
        let container = cx.container(&self.id)?;
        let path = container.mount_snapshot(&self.snapshot).await?;
        Ok(Path { path })
    }
}

impl Handle for api::Unmount {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container.unmount_snapshot(&self.snapshot).await?;
        Ok(Done {})
    }
}

impl Handle for api::Schedule {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container.schedule_snapshots(Some(self.keep)).await?;
        Ok(Done {})
    }
}

impl Handle for api::Unschedule {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container.schedule_snapshots(None).await?;
        Ok(Done {})
    }
}
