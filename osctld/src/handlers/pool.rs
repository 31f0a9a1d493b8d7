//! Methods of pools.

use std::fs::File;
use std::io::Read;

use osctl_api::daemon::{Assets, Done};
use osctl_api::pool as api;

use super::{Cancel, Context, Handle};
use crate::blocking::blocking;
use crate::container::{Autostart, StopAll};
use crate::error::{Code, Error, Result};
use crate::pool::{self, Export, Place};

impl Handle for api::Install {
    async fn handle(self, cx: &mut Context) -> Result<api::Pool> {
        let place = match (self.dir, self.dataset) {
            (Some(dir), None) => Place::Directory(dir),
            (None, Some(dataset)) => Place::Dataset(dataset),
            (None, None) => Place::Dataset(self.pool.to_string()),
            (Some(_), Some(_)) => {
                return Err(Error::invalid("name a directory or a dataset, not both"));
            }
        };
        let key = key(cx).await?;
        let pool = pool::install(&cx.daemon, &self.pool, place, key).await?;
        Ok(pool.info())
    }
}

/// Most bytes of a key: the longest pass phrase, with the end of its line.
const MAX_KEY: u64 = 513;

/// The key that came with a call.
async fn key(cx: &mut Context) -> Result<Option<pool::Key>> {
    if cx.fd_count() == 0 {
        return Ok(None);
    }
    let file = File::from(cx.take_fd(0)?);
    blocking(move || {
        // A pipe could keep us waiting for ever.
        let meta = file.metadata();
        if !meta.is_ok_and(|meta| meta.is_file()) {
            return Err(Error::invalid("a key is read from a regular file"));
        }
        let mut bytes = Vec::new();
        let read = (&file).take(MAX_KEY + 1).read_to_end(&mut bytes);
        read.map_err(|e| Error::backend("cannot read the key", e))?;
        match bytes.len() as u64 {
            1..=MAX_KEY => Ok(Some(pool::Key(bytes))),
            _ => Err(Error::invalid("a key has 1 to 512 bytes")),
        }
    })
    .await
}

impl Handle for api::Uninstall {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        pool::uninstall(&cx.daemon, &self.pool).await?;
        Ok(Done {})
    }
}

impl Handle for api::Import {
    async fn handle(self, cx: &mut Context) -> Result<api::Pools> {
        let autostart = match self.no_autostart {
            true => Autostart::No,
            false => Autostart::Yes,
        };
        let pools = match (self.pool, self.all) {
            (Some(name), false) => {
                let key = key(cx).await?;
                vec![pool::import(&cx.daemon, &name, autostart, key).await?]
            }
            (None, true) => {
                pool::import_all(&cx.daemon, autostart).await?;
                cx.daemon.all_pools()
            }
            _ => return Err(Error::invalid("name one pool, or ask for all")),
        };
        Ok(api::Pools {
            pools: pools.iter().map(|p| p.info()).collect(),
        })
    }
}

impl Handle for api::Export {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        if self.no_stop_containers && !self.force {
            return Err(Error::invalid("no_stop_containers goes with force only"));
        }
        let stop = (!self.no_stop_containers).then(|| StopAll {
            message: None,
            progress: cx.progress_sender(),
            // It goes on when the client is gone.
            cancel: Cancel::never(),
        });
        let how = Export {
            force: self.force,
            stop,
        };
        match pool::export(&cx.daemon, &self.pool, how).await {
            Err(e) if e.code() == Code::NotFound && self.if_imported => Ok(Done {}),
            other => other.map(|()| Done {}),
        }
    }
}

impl Handle for api::List {
    async fn handle(self, cx: &mut Context) -> Result<api::Pools> {
        let wanted = |p: &pool::Pool| self.pools.is_empty() || self.pools.contains(&p.name);
        let pools = cx.daemon.all_pools();
        Ok(api::Pools {
            pools: pools
                .iter()
                .filter(|p| wanted(p))
                .map(|p| p.info())
                .collect(),
        })
    }
}

impl Handle for api::Show {
    async fn handle(self, cx: &mut Context) -> Result<api::Pool> {
        Ok(cx.daemon.pool(&self.pool)?.info())
    }
}

impl Handle for api::Set {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = cx.daemon.pool(&self.pool)?;
        let _in = pool.enter()?;
        pool.change_settings(|s| {
            s.parallel_start = self.parallel_start.or(s.parallel_start);
            s.parallel_stop = self.parallel_stop.or(s.parallel_stop);
            crate::attrs::change(&mut s.attrs, self.attrs, &[])
        })
        .await?;
        Ok(Done {})
    }
}

impl Handle for api::Unset {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = cx.daemon.pool(&self.pool)?;
        let _in = pool.enter()?;
        pool.change_settings(|s| {
            s.parallel_start = s.parallel_start.filter(|_| !self.parallel_start);
            s.parallel_stop = s.parallel_stop.filter(|_| !self.parallel_stop);
            crate::attrs::change(&mut s.attrs, Default::default(), &self.attrs)
        })
        .await?;
        Ok(Done {})
    }
}

impl Handle for api::Assets {
    async fn handle(self, cx: &mut Context) -> Result<Assets> {
        let (daemon, pool) = (cx.daemon.clone(), cx.daemon.pool(&self.pool)?);
        let assets = blocking(move || Ok(pool.assets(&daemon))).await?;
        Ok(Assets { assets })
    }
}
