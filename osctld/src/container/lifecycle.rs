//! Stop, kill, restart, freeze and thaw, and what is removed after a run; starting is in `launch`.

use std::sync::Arc;
use std::time::Duration;

use osctl_api::Code;
use osctl_api::container::{STOP_TIMEOUT, State, StopMode};
use osctl_linux::beneath::{Mounts, Root, Symlinks};
use tokio::time::timeout;

use super::init_system::{InitSystem, Shutdown};
use super::verdict::{Request, Verdict};
use super::{Container, Hold, Run, blocking, logins};
use crate::cgroup::Tree;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::supervisor;

/// How long a killed container may take to be gone, and its cgroups to be removed.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(60);
/// How long processes may take to freeze.
const FREEZE_LIMIT: Duration = Duration::from_secs(30);
/// How long a guest's own program may take that reboots it.
const REBOOT_LIMIT: Duration = Duration::from_secs(60);
/// How long a message to logged-in users may take.
pub(super) const MESSAGE_LIMIT: Duration = Duration::from_secs(5);

impl Container {
    /// Kills what is left, and removes cgroups and runtime state.
    ///
    /// # Errors
    /// What could not be removed.
    pub(super) async fn clean_up(&self, daemon: &Arc<Daemon>) -> Result<(), Error> {
        let node = self.node()?;
        let label = self.label();
        let run_dir = daemon.container_run_dir(&self.pool, &self.id);
        let cgroups = daemon.cgroups.clone();
        let removed = blocking(move || {
            cgroups
                .remove_container(&node, KILL_LIMIT)
                .map_err(|e| Error::backend(format!("cannot remove the cgroups of {label}"), e))
        });
        // Both wait for the kernel most of the time.
        let (removed, down) = tokio::join!(removed, self.take_down_netifs(daemon));
        removed.and(down)?;
        let (daemon, pool, id) = (Arc::clone(daemon), self.pool.clone(), self.id.clone());
        blocking(move || {
            // Nothing of it runs any more that could find itself unconfined.
            daemon
                .apparmor
                .release(pool.as_str(), id.as_str())
                .map_err(|e| Error::backend("cannot remove its AppArmor profile", e))?;
            remove_run_dir(&run_dir)
        })
        .await?;
        self.seen.lock().registered.clear();
        Ok(())
    }

    /// Stops it; returns when it is stopped.
    ///
    /// # Errors
    /// `Timeout` when it had to shut down by itself and did not.
    pub async fn stop(
        self: &Arc<Self>,
        mode: StopMode,
        limit: Duration,
        message: Option<&str>,
    ) -> Result<(), Error> {
        if mode == StopMode::Kill
            || (mode == StopMode::ShutdownOrKill && self.state() == State::Frozen)
        {
            return self.kill().await;
        }
        self.settle().await;
        if self.judge(Request::Shutdown, "stop")? == Verdict::Nothing {
            return Ok(());
        }
        let hold = self.hold_power("ct stop")?;
        self.stop_held(mode, limit, message, &hold).await
    }

    /// Stops it, if it runs, for an operation that holds it until it is over: an ephemeral one is
    /// not deleted for that.
    pub(super) async fn stop_by_force(self: &Arc<Self>, hold: &Hold) -> Result<(), Error> {
        if !self.is_active() {
            return Ok(());
        }
        let limit = Duration::from_secs(STOP_TIMEOUT);
        self.stop_for_more(StopMode::ShutdownOrKill, limit, None, hold)
            .await
    }

    /// Stops it for an operation that goes on with it: an ephemeral one is not deleted for that.
    ///
    /// # Errors
    /// As [`Container::stop`].
    pub(super) async fn stop_for_more(
        self: &Arc<Self>,
        mode: StopMode,
        limit: Duration,
        message: Option<&str>,
        hold: &Hold,
    ) -> Result<(), Error> {
        let kill = mode == StopMode::Kill
            || (mode == StopMode::ShutdownOrKill && self.state() == State::Frozen);
        let request = match kill {
            true => Request::Kill,
            false => Request::Shutdown,
        };
        // By itself, or by somebody who kills it without holding it.
        let is_ending = self.state() == State::Stopping;
        if !is_ending && self.judge(request, "stop")? == Verdict::Nothing {
            return Ok(());
        }
        self.seen.lock().goes_on = true;
        let stopped = if kill {
            self.kill().await
        } else if is_ending {
            self.stopping.send_replace(true);
            self.wait_gone(KILL_LIMIT).await
        } else {
            self.stop_held(mode, limit, message, hold).await
        };
        if stopped.is_err() {
            self.seen.lock().goes_on = false;
        }
        stopped
    }

    /// Stops it under a lock that is held already.
    pub(super) async fn stop_held(
        self: &Arc<Self>,
        mode: StopMode,
        limit: Duration,
        message: Option<&str>,
        _hold: &Hold,
    ) -> Result<(), Error> {
        if self.state() == State::Stopping && self.run().is_none() {
            // It ended by itself, and is not to start again.
            self.stopping.send_replace(true);
            return self.wait_gone(KILL_LIMIT).await;
        }
        if self.judge(Request::Shutdown, "stop")? == Verdict::Nothing {
            return Ok(());
        }
        let Some(run) = self.run() else {
            return self.wait_gone(KILL_LIMIT).await;
        };
        self.stopping.send_replace(true);
        self.set_state(State::Stopping);
        let asked = timeout(limit, async {
            if let Some(message) = message {
                let _ = timeout(MESSAGE_LIMIT, logins::tell(&run.link, message)).await;
            }
            if let Err(error) = self.ask(&run, InitSystem::shutdown).await {
                tracing::warn!(container = %self.label(), error = %error.chain(), "can't be asked to shut down");
                if mode == StopMode::Shutdown {
                    return Err(error);
                }
                return Ok(false);
            }
            Ok(self.wait_gone(limit).await.is_ok())
        })
        .await;
        match (asked, mode) {
            (Ok(Ok(true)), _) => Ok(()),
            (Ok(Err(error)), _) => {
                self.resume();
                Err(error)
            }
            (_, StopMode::Shutdown) => {
                self.resume();
                Err(Error::timeout(format!(
                    "container {} did not shut down within {} s",
                    self.label(),
                    limit.as_secs()
                ))
                .hint("it may still do so; `osctl ct stop --kill` ends it at once"))
            }
            _ => self.kill().await,
        }
    }

    /// A stop was given up: it runs as before.
    fn resume(&self) {
        self.stopping.send_replace(false);
        if self.run().is_some() {
            self.set_state(State::Running);
        }
    }

    /// Kills it, whatever else holds it; returns when it is stopped.
    ///
    /// # Errors
    /// `Timeout` when its processes don't go away.
    pub async fn kill(self: &Arc<Self>) -> Result<(), Error> {
        if self.judge(Request::Kill, "kill")? == Verdict::Nothing {
            return Ok(());
        }
        let (daemon, _pool) = self.home()?;
        self.stopping.send_replace(true);
        if matches!(self.state(), State::Running | State::Frozen) {
            self.set_state(State::Stopping);
        }
        if let Some(run) = self.run() {
            // The cgroup is killed below all the same: this only tells the supervisor why.
            let _ = timeout(MESSAGE_LIMIT, run.link.kill()).await;
        }
        let node = self.node()?;
        let cgroups: Tree = daemon.cgroups.clone();
        let label = self.label();
        blocking(move || {
            cgroups
                .kill(&node, KILL_LIMIT)
                .map_err(|e| Error::backend(format!("cannot kill container {label}"), e))
        })
        .await?;
        self.wait_gone(KILL_LIMIT).await
    }

    /// Waits until nothing of it runs.
    async fn wait_gone(&self, limit: Duration) -> Result<(), Error> {
        let mut states = self.watch_state();
        let over = |s: &State| matches!(s, State::Stopped | State::Error);
        let gone = timeout(limit, states.wait_for(|s| over(s)))
            .await
            .map(|s| s.map(|s| *s));
        match gone {
            Ok(Ok(State::Error)) => {
                let cause = self.seen.lock().error.clone().unwrap_or_default();
                Err(Error::state(format!(
                    "container {} is in state error: {cause}",
                    self.label()
                )))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(Error::timeout(format!(
                "container {} is not gone after {} s",
                self.label(),
                limit.as_secs()
            ))),
        }
    }

    /// Waits for the end of a run that was for one command only, when that command has ended: who
    /// has seen its end, which the daemon is not told of, takes the container for a stopped one.
    pub(super) async fn settle(&self) {
        let (run, brief) = {
            let seen = self.seen.lock();
            (seen.run.clone(), seen.brief)
        };
        if !brief {
            return;
        }
        let ending = match &run {
            None => self.state() == State::Stopping,
            Some(run) => match timeout(MESSAGE_LIMIT, run.link.status()).await {
                Ok(Ok(status)) => status.ending,
                Ok(Err(error)) => error.code() == Code::Unavailable,
                Err(_) => false,
            },
        };
        drop(run);
        if ending && let Err(error) = self.wait_gone(KILL_LIMIT).await {
            // What comes next finds it in the state that it is in.
            tracing::debug!(container = %self.label(), error = %error.chain(), "does not end");
        }
    }

    /// Asks init for something, the way its kind wants to be asked.
    async fn ask(&self, run: &Run, way: fn(InitSystem) -> Shutdown) -> Result<(), Error> {
        let (_daemon, pool) = self.home()?;
        // Its files tell what kind its init is.
        pool.answers()?;
        let command = self
            .config()
            .in_force()
            .init()
            .into_iter()
            .next()
            .unwrap_or_default();
        let (data, rootfs) = (self.data(), self.rootfs(&pool));
        let system = blocking(move || {
            let mounted = pool.storage.ensure_mounted(&data);
            mounted.map_err(|e| Error::backend("cannot mount the root file system", e))?;
            let root = Root::open_tree(&rootfs, Symlinks::InRoot, Mounts::Refuse)
                .map_err(|e| Error::backend("cannot open the root file system", e))?;
            Ok(InitSystem::detect(&root, &command))
        })
        .await?;
        match way(system) {
            Shutdown::Signal(signal) => run.link.signal(signal).await,
            Shutdown::Commands(commands) => {
                let mut last = None;
                for argv in commands {
                    // It may take as long as the whole of the guest's shutdown.
                    let ended = match logins::start_quietly(&run.link, argv, b"").await {
                        Ok(session) => supervisor::finish(session).await,
                        Err(error) => Err(error),
                    };
                    match ended {
                        Ok(_) => return Ok(()),
                        // The container going away is what was asked for.
                        Err(e) if e.code() == Code::Unavailable => return Ok(()),
                        // Not there: another name for it may be.
                        Err(error) => last = Some(error),
                    }
                }
                // An init without such programs may still know a signal.
                tracing::debug!(container = %self.label(), ?last, "has no command to shut down");
                run.link.signal(nix::libc::SIGPWR).await
            }
        }
    }

    /// Stops it to be started again under the lock that it returns.
    ///
    /// # Errors
    /// As stop.
    pub async fn stop_to_restart(
        self: &Arc<Self>,
        mode: StopMode,
        limit: Duration,
        message: Option<&str>,
    ) -> Result<Restarting, Error> {
        self.settle().await;
        self.judge(Request::Kill, "restart")?;
        let hold = self.hold_power("ct restart")?;
        let (daemon, pool) = self.home()?;
        // Without its files it would not start again.
        pool.answers()?;
        if self.is_active() {
            self.stop_for_a_while(&daemon, (mode, limit, message), &hold)
                .await?;
        }
        Ok(Restarting { daemon, hold })
    }

    /// Asks its init to reboot; returns when it was asked.
    ///
    /// # Errors
    /// `InvalidState` when it doesn't run.
    pub async fn reboot(self: &Arc<Self>) -> Result<(), Error> {
        let run = self.entered("reboot")?;
        let _hold = self.hold_power("ct restart")?;
        match timeout(REBOOT_LIMIT, self.ask(&run, InitSystem::reboot)).await {
            Ok(asked) => asked,
            Err(_) => Err(Error::timeout(format!(
                "container {} did not reboot within {} s",
                self.label(),
                REBOOT_LIMIT.as_secs()
            ))),
        }
    }

    /// Freezes its processes.
    ///
    /// # Errors
    /// `InvalidState`; `Backend` when they don't freeze.
    pub async fn freeze(self: &Arc<Self>) -> Result<(), Error> {
        self.set_frozen(Request::Freeze, "freeze", State::Frozen)
            .await
    }

    /// Lets its processes go on.
    ///
    /// # Errors
    /// `InvalidState`; `Backend` when they don't.
    pub async fn unfreeze(self: &Arc<Self>) -> Result<(), Error> {
        self.set_frozen(Request::Unfreeze, "unfreeze", State::Running)
            .await
    }

    async fn set_frozen(
        self: &Arc<Self>,
        request: Request,
        what: &'static str,
        state: State,
    ) -> Result<(), Error> {
        let _hold = self.hold(what)?;
        if self.judge(request, what)? == Verdict::Nothing {
            return Ok(());
        }
        let (daemon, _pool) = self.home()?;
        let (node, cgroups) = (self.node()?, daemon.cgroups.clone());
        let label = self.label();
        blocking(move || {
            let done = match request {
                Request::Freeze => cgroups.freeze(&node, FREEZE_LIMIT),
                _ => cgroups.thaw(&node, FREEZE_LIMIT),
            };
            done.map_err(|e| Error::backend(format!("cannot {what} container {label}"), e))
        })
        .await?;
        if self.seen.lock().run.is_some() {
            self.set_state(state);
        }
        Ok(())
    }
}

/// A container that was stopped to be started again; nobody else gets it meanwhile.
#[derive(Debug)]
pub struct Restarting {
    daemon: Arc<Daemon>,
    hold: Hold,
}

impl Restarting {
    /// Starts it.
    ///
    /// # Errors
    /// As start.
    pub async fn start(self) -> Result<(), Error> {
        let container = &self.hold.container;
        container.start_again(&self.daemon, &self.hold).await
    }
}

/// Removes the supervisor's directory and what is in it.
pub(super) fn remove_run_dir(dir: &std::path::Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::backend(
            format!("cannot remove {}", dir.display()),
            e,
        )),
        _ => Ok(()),
    }
}
