//! Methods of mounts and datasets of containers.

use osctl_api::daemon::Done;
use osctl_api::mounts as api;

use super::{Context, Handle};
use crate::blocking::blocking;
use crate::container::mount::{Mount, Source};
use crate::error::Result;

impl Handle for api::List {
    async fn handle(self, cx: &mut Context) -> Result<api::Mounts> {
        let mounts = cx.container(&self.id)?.mount_infos();
        Ok(api::Mounts { mounts })
    }
}

impl Handle for api::New {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        let mount = Mount::new(
            Some(&self.fs),
            self.kind,
            self.mountpoint,
            self.opts,
            self.automount,
        )?;
        container.add_mount(mount).await?;
        Ok(Done {})
    }
}

impl Handle for api::Register {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        let fs = self.fs.as_deref();
        let mount = Mount::new(fs, self.kind, self.mountpoint, self.opts, false)?;
        container.register_mount(mount, self.on_ct_start).await?;
        Ok(Done {})
    }
}

impl Handle for api::Activate {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container.activate_mount(&self.mountpoint).await?;
        Ok(Done {})
    }
}

impl Handle for api::Deactivate {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container.deactivate_mount(&self.mountpoint).await?;
        Ok(Done {})
    }
}

impl Handle for api::Delete {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container.delete_mount(&self.mountpoint).await?;
        Ok(Done {})
    }
}

impl Handle for api::Clear {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        cx.container(&self.id)?.clear_mounts().await?;
        Ok(Done {})
    }
}

impl Handle for api::MountDataset {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        let mount = Mount {
            source: Source::Dataset(self.dataset),
            mountpoint: self.mountpoint,
            opts: api::MountOptions::of_dataset(self.read_only),
            automount: self.automount,
        };
        container.add_mount(mount).await?;
        Ok(Done {})
    }
}

impl Handle for api::DatasetList {
    async fn handle(self, cx: &mut Context) -> Result<api::Datasets> {
        let container = cx.container(&self.id)?;
        let pool = cx.daemon.pool(&container.pool)?;
        let infos = blocking(move || {
            let _gate = pool.enter()?;
            container.dataset_infos(&pool)
        });
        let datasets = infos.await?;
        Ok(api::Datasets { datasets })
    }
}

impl Handle for api::DatasetNew {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container
            .new_dataset(&self.dataset, self.mountpoint, self.mount)
            .await?;
        Ok(Done {})
    }
}

impl Handle for api::DatasetQuota {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container
            .set_dataset_quota(&self.dataset, self.quota)
            .await?;
        Ok(Done {})
    }
}

impl Handle for api::DatasetDelete {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container
            .delete_dataset(&self.dataset, self.recursive, self.unmount)
            .await?;
        Ok(Done {})
    }
}
