//! Stopping everything for the host to go down.
//!
//! It owns the marker file `shutdown` in the run directory: while it is there, nothing is started.
//! Its mode tells how far the shutdown is: 0000 asked for, 0100 done.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Daemon;
use crate::config::Config;
use crate::container::StopAll;
use crate::error::{Code, Error, Result};
use crate::handlers::{Cancel, ProgressSender};
use crate::pool::{self, Export};

/// How far a shutdown is.
#[derive(Debug)]
pub(super) enum Stage {
    /// There is none.
    None,
    /// It is being carried out; the sender aborts it.
    Running(watch::Sender<bool>),
    /// It was carried out, or was interrupted.
    Marked,
}

impl Stage {
    /// The stage that an earlier daemon left.
    pub(super) fn at_start(config: &Config) -> Stage {
        match marker(config).symlink_metadata() {
            Ok(_) => {
                tracing::warn!("the host is marked as going down: nothing is started");
                Stage::Marked
            }
            Err(_) => Stage::None,
        }
    }

    pub(super) fn forbids_starts(&self) -> bool {
        !matches!(self, Stage::None)
    }
}

fn marker(config: &Config) -> PathBuf {
    config.run_dir.join("shutdown")
}

/// Stops all containers and exports all pools.
///
/// # Errors
/// `Busy` when a shutdown is in progress; `Cancelled` when it was aborted; the first of the errors
/// of pools that could not be exported, after all others were.
pub async fn shutdown(
    daemon: &Arc<Daemon>,
    message: Option<String>,
    progress: ProgressSender,
) -> Result<()> {
    let (sender, cancel) = Cancel::new();
    {
        let mut stage = daemon.shutdown.lock();
        if matches!(*stage, Stage::Running(_)) {
            return Err(Error::busy("a shutdown is in progress"));
        }
        mark(daemon)?;
        *stage = Stage::Running(sender);
    }
    let result = export_all(daemon, message, progress, &cancel).await;
    let mut stage = daemon.shutdown.lock();
    if cancel.is_cancelled() {
        *stage = Stage::None;
        unmark(daemon)?;
        return Err(Error::cancelled("the shutdown was aborted"));
    }
    *stage = Stage::Marked;
    result?;
    let done = Permissions::from_mode(0o100);
    fs::set_permissions(marker(&daemon.config), done)
        .map_err(|e| Error::backend("cannot mark the shutdown as done", e))
}

async fn export_all(
    daemon: &Arc<Daemon>,
    message: Option<String>,
    progress: ProgressSender,
    cancel: &Cancel,
) -> Result<()> {
    let mut exports = JoinSet::new();
    for pool in daemon.all_pools() {
        let how = Export {
            force: true,
            stop: Some(StopAll {
                message: message.clone(),
                progress: progress.clone(),
                cancel: cancel.clone(),
            }),
        };
        let (daemon, progress) = (daemon.clone(), progress.clone());
        exports.spawn(async move {
            progress.say(format!("exporting pool {}", pool.name));
            let exported = pool::export(&daemon, &pool.name, how).await;
            match &exported {
                Ok(()) => progress.say(format!("pool {} is exported", pool.name)),
                Err(e) => progress.say(format!("pool {}: {}", pool.name, e.chain())),
            }
            exported.map_err(|e| e.context(format!("cannot export pool {}", pool.name)))
        });
    }
    let mut result = Ok(());
    while let Some(joined) = exports.join_next().await {
        let exported = joined.unwrap_or_else(|e| {
            Err(Error::with(
                Code::Internal,
                "an export ended unexpectedly",
                e,
            ))
        });
        if result.is_ok() {
            result = exported;
        }
    }
    result
}

/// Stops a shutdown that is in progress, or lets containers be started again after one.
///
/// # Errors
/// `InvalidState` when there is none; `Backend`.
pub fn abort_shutdown(daemon: &Daemon) -> Result<()> {
    let mut stage = daemon.shutdown.lock();
    match &*stage {
        Stage::None => Err(Error::state("no shutdown is in progress")),
        Stage::Running(abort) => {
            abort.send_replace(true);
            Ok(())
        }
        Stage::Marked => {
            unmark(daemon)?;
            *stage = Stage::None;
            Ok(())
        }
    }
}

fn mark(daemon: &Daemon) -> Result<()> {
    let path = marker(&daemon.config);
    let failed = |e| Error::backend(format!("cannot make {}", path.display()), e);
    let mut new = OpenOptions::new();
    match new.write(true).create_new(true).mode(0o000).open(&path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(&path, Permissions::from_mode(0o000)).map_err(failed)
        }
        Err(e) => Err(failed(e)),
    }
}

fn unmark(daemon: &Daemon) -> Result<()> {
    let path = marker(&daemon.config);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::backend(
            format!("cannot remove {}", path.display()),
            e,
        )),
        _ => Ok(()),
    }
}
