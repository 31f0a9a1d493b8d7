//! Containers.

use std::sync::Arc;

use osctl_api::names::Name;

use crate::daemon::Daemon;
use crate::error::Result;
use crate::handlers::ProgressSender;
use crate::pool::Pool;

/// A container.
#[derive(Debug)]
pub struct Container {
    /// Pool it is on.
    pub pool: Name,
    /// Id.
    pub id: Name,
}

impl Container {
    /// The user whose id map it has.
    pub fn user(&self) -> Name {
        self.id.clone()
    }

    /// The group it is in.
    pub fn group(&self) -> osctl_api::names::GroupPath {
        osctl_api::names::GroupPath::default_group()
    }

    /// Whether any process of it may run.
    pub fn is_active(&self) -> bool {
        false
    }
}

/// Whether containers are started by themselves once they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autostart {
    /// Those that are set to.
    Yes,
    /// None.
    No,
}

/// Loads the containers of a pool that is being imported and adopts those that run. What can't be
/// loaded goes to the pool's problems.
pub async fn load_all(_daemon: &Arc<Daemon>, _pool: &Arc<Pool>) {}

/// Called once the pool is active.
pub async fn loaded(_daemon: &Arc<Daemon>, _pool: &Arc<Pool>, _autostart: Autostart) {}

/// How containers are stopped when their pool is exported.
#[derive(Debug, Clone)]
pub struct StopAll {
    /// Message to the users who are logged in.
    pub message: Option<String>,
    /// Where progress goes.
    pub progress: ProgressSender,
    /// Ends it early.
    pub cancel: crate::handlers::Cancel,
}

/// Stops all containers of a pool that is being exported, `parallel_stop` at a time, those that
/// started last first.
///
/// # Errors
/// `Cancelled`; anything else when one can't be stopped, after all others were.
pub async fn stop_all(_daemon: &Arc<Daemon>, _pool: &Arc<Pool>, _how: &StopAll) -> Result<()> {
    Ok(())
}

/// Lets go of all containers of a pool without stopping them.
pub async fn release_all(_daemon: &Arc<Daemon>, _pool: &Arc<Pool>) {}
