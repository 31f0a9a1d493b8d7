//! Exporting a container: to an archive that this or another host makes it from again.
//!
//! A container that runs is stopped for its copy and started again after it, unless it is to be
//! copied live. That it is to be started again is noted first, so that the next daemon does it
//! when this one dies.

use std::fs::File;
use std::io::Seek;
use std::sync::Arc;

use osctl_api::archive as api;
use osctl_api::container::State;

use super::config::Config;
use super::portable::{container_yml, group_yml, user_yml};
use super::verdict::Request;
use super::{Container, blocking};
use crate::error::Error;
use crate::failpoint;
use crate::handlers::{Cancel, ProgressSender};
use crate::image::{self, Compression, Hook, Pack};
use crate::pool::Pool;
use crate::storage::Watch;

/// Levels that are fast and compress well.
const GZIP: u32 = 6;
const ZSTD: i32 = 3;

impl Container {
    /// Writes it to the archive `out`, an empty file.
    ///
    /// # Errors
    /// `InvalidState`, `Cancelled`; `Backend` when it can't be read or written, or does not start
    /// again.
    pub async fn export(
        self: &Arc<Self>,
        params: &api::Export,
        out: File,
        progress: ProgressSender,
        cancel: Cancel,
    ) -> Result<api::Exported, Error> {
        check_output(&out)?;
        self.settle().await;
        self.judge(Request::Export, "export")?;
        let hold = self.hold("ct export")?;
        self.judge(Request::Export, "export")?;
        let (daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        let stopped = self.state() == State::Running && !params.live;
        if self.state() == State::Frozen && !params.live {
            return Err(Error::state(format!(
                "cannot export container {}: it is frozen, and can't be stopped for that",
                self.label()
            ))
            .hint("unfreeze it, or copy it as it is with --no-consistent"));
        }
        if stopped {
            progress.say("stopping the container");
            self.stop_for_a_while(&daemon, &hold).await?;
            failpoint!("export.stopped");
        }
        let packed = self
            .pack(&pool, params, out, progress.clone(), cancel)
            .await;
        failpoint!("export.packed");
        if stopped {
            progress.say("starting the container again");
            let started = self.start_again(&daemon, &hold).await;
            let packed = packed?;
            started.map_err(|e| e.hint("its archive is complete"))?;
            return Ok(packed);
        }
        packed
    }

    async fn pack(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        params: &api::Export,
        out: File,
        progress: ProgressSender,
        cancel: Cancel,
    ) -> Result<api::Exported, Error> {
        let (this, pool, params) = (Arc::clone(self), Arc::clone(pool), params.clone());
        blocking(move || {
            this.pack_tar(&pool, &params, out, &progress, &cancel)
                .map_err(|e| e.context(format!("cannot export container {}", this.label())))
        })
        .await
    }

    fn pack_tar(
        &self,
        pool: &Pool,
        params: &api::Export,
        mut out: File,
        progress: &ProgressSender,
        cancel: &Cancel,
    ) -> Result<api::Exported, Error> {
        let config = self.config();
        let root = pool
            .storage
            .open_rootfs(self.id.as_str())
            .map_err(|e| Error::backend("cannot open its root file system", e))?;
        let datasets = pool.storage.datasets(self.id.as_str());
        let datasets = datasets.map_err(|e| Error::backend("cannot list its datasets", e))?;
        if datasets.len() > 1 {
            return Err(Error::unsupported(
                "an archive of format tar has no room for the container's datasets",
            ));
        }
        let hooks = match params.no_hooks {
            true => Vec::new(),
            false => pool.read_hooks(&self.id)?,
        };
        let described = Described::new(self, pool, &config)?;
        let (cancelled, tell) = (
            || cancel.is_cancelled(),
            progress.by_mebibytes("packing its files"),
        );
        let configs = described.files();
        let pack = described.pack(&config, self.id.as_str(), &configs, &hooks, params);
        let packed = image::pack(&root, &pack, &mut out, Watch::new(&cancelled, &tell));
        let packed = packed.map_err(|e| match e {
            image::Error::Cancelled => Error::cancelled("cancelled"),
            e => Error::backend("its archive can't be written", e),
        })?;
        let written = out.sync_all().and_then(|()| out.stream_position());
        let size = written.map_err(|e| Error::backend("its archive can't be written", e))?;
        Ok(api::Exported {
            size,
            warnings: packed.warnings,
        })
    }
}

/// What an archive says of a container beside its files.
struct Described {
    facts: image::Facts,
    user: Vec<u8>,
    group: Vec<u8>,
    container: Vec<u8>,
}

impl Described {
    fn new(container: &Container, pool: &Pool, config: &Config) -> Result<Described, Error> {
        let quota = pool.storage.space().map_err(|e| {
            let cannot = format!("cannot read the quota of container {}", container.label());
            Error::backend(cannot, e)
        })?;
        let quota = quota.get(container.id.as_str()).and_then(|s| s.quota);
        let user = pool.user(&config.user).ok_or_else(|| {
            Error::state(format!("user {}:{} is missing", pool.name, config.user))
        })?;
        Ok(Described {
            facts: image::Facts::default(),
            user: user_yml(user.maps(), user.is_standalone(), &user.info(pool).attrs)?,
            group: group_yml(&pool.group_attrs(&config.group))?,
            container: container_yml(config, quota)?,
        })
    }

    fn files(&self) -> [(&str, &[u8]); 3] {
        [
            ("user.yml", &self.user),
            ("group.yml", &self.group),
            ("container.yml", &self.container),
        ]
    }

    fn pack<'a>(
        &'a self,
        config: &'a Config,
        id: &'a str,
        configs: &'a [(&'a str, &'a [u8])],
        hooks: &'a [Hook],
        params: &api::Export,
    ) -> Pack<'a> {
        Pack {
            facts: &self.facts,
            container: Some(id),
            user: Some(config.user.as_str()),
            group: Some(config.group.as_str()),
            exported_at: jiff::Timestamp::now().as_second(),
            configs,
            hooks,
            compression: match params.compression {
                api::Compression::Off => Compression::None,
                api::Compression::Gzip => Compression::Gzip(GZIP),
                api::Compression::Auto | api::Compression::Zstd => Compression::Zstd(ZSTD),
            },
        }
    }
}

/// Nothing that is in a file is ever written over.
fn check_output(out: &File) -> Result<(), Error> {
    let meta = out
        .metadata()
        .map_err(|e| Error::backend("cannot look at the archive", e))?;
    if !meta.is_file() || meta.len() > 0 {
        return Err(Error::invalid(
            "an archive is written to an empty regular file",
        ));
    }
    Ok(())
}
