//! Methods of containers.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use osctl_api::container as api;
use osctl_api::daemon::{Assets, Done};
use osctl_api::names::Ref;
use osctl_api::pool as pool_api;

use super::{Context, Handle};
use crate::blocking::blocking;
use crate::container::config::{Config, checked};
use crate::container::plan::{self, Mode};
use crate::container::{self, Container};
use crate::error::{Error, Result};

impl Context {
    pub(super) fn container(&self, id: &Ref) -> Result<Arc<Container>> {
        self.daemon.container(id)
    }

    /// Three standard streams from the call, `first` being the index of stdin.
    fn streams(&mut self, first: usize) -> Result<Vec<OwnedFd>> {
        (first..first + 3).map(|i| self.take_fd(i)).collect()
    }

    fn session(&mut self, session: OwnedFd) -> Result<api::Session> {
        Ok(api::Session {
            session_fd: self.reply_fd(session)?,
        })
    }
}

/// A method that does one thing to one container and has nothing to tell.
macro_rules! simple {
    ($($params:ty: |$me:ident, $ct:ident| $call:expr;)*) => {
        $(impl Handle for $params {
            async fn handle(self, cx: &mut Context) -> Result<Done> {
                let $ct = cx.container(&self.id)?;
                let $me = self;
                $call.await?;
                Ok(Done {})
            }
        })*
    };
}

simple! {
    api::Chown: |me, ct| ct.chown(&me.user);
    api::Chgrp: |me, ct| ct.chgrp(&me.group);
    api::Freeze: |_me, ct| ct.freeze();
    api::Unfreeze: |_me, ct| ct.unfreeze();
    api::Passwd: |me, ct| ct.passwd(&me.user, &me.password);
    api::Set: |me, ct| ct.set(me);
    api::Unset: |me, ct| ct.unset(me);
    api::CgparamsApply: |_me, ct| ct.reapply();
    api::PrlimitsSet: |me, ct| ct.change_prlimits(|c| c.set_prlimit(me.limit));
    api::DevicesReplace: |me, ct| ct.change_devices(|c| c.replace_devices(me.devices));
    api::RecoverState: |_me, ct| ct.recover_state();
    api::RecoverCleanup: |_me, ct| ct.recover_cleanup();
}

impl Handle for api::Delete {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container.delete(self.force, &cx.progress_sender()).await?;
        Ok(Done {})
    }
}

impl Handle for api::New {
    async fn handle(self, cx: &mut Context) -> Result<api::Container> {
        let pool = cx.daemon.pool_for(self.id.pool.as_ref())?;
        let (progress, cancel) = (cx.progress_sender(), cx.cancel());
        let made = container::create(&cx.daemon, &pool, self, progress, cancel).await?;
        Ok(made.info(&cx.daemon, &pool, None))
    }
}

impl Handle for api::List {
    async fn handle(self, cx: &mut Context) -> Result<api::Containers> {
        for id in &self.ids {
            cx.container(&id.clone().on(self.pool.as_ref()))?;
        }
        let daemon = Arc::clone(&cx.daemon);
        blocking(move || {
            Ok(api::Containers {
                containers: container::list(&daemon, &self),
            })
        })
        .await
    }
}

impl Handle for api::Show {
    async fn handle(self, cx: &mut Context) -> Result<api::Container> {
        let container = cx.container(&self.id)?;
        let pool = cx.daemon.pool(&container.pool)?;
        let daemon = Arc::clone(&cx.daemon);
        blocking(move || Ok(container::show(&daemon, &pool, &container))).await
    }
}

impl Handle for api::Move {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        let pool = self.new_id.pool.as_ref().unwrap_or(&container.pool);
        if *pool != container.pool {
            let (target, audience) = (cx.daemon.pool(pool)?, cx.paced(self.limit)?);
            container.relocate(&target, &self, audience).await?;
        } else if self.user.is_some() || self.group.is_some() {
            return Err(Error::invalid("within a pool, user and group stay")
                .hint("`osctl ct chown` and `osctl ct chgrp` change them"));
        } else {
            container.rename(&self.new_id.name).await?;
        }
        Ok(Done {})
    }
}

impl Handle for api::Start {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        if let Some(priority) = self.queue {
            let pool = cx.daemon.pool(&container.pool)?;
            pool.autostart
                .queue(&cx.daemon, &pool, &container.id, priority);
            return Ok(Done {});
        }
        let label = container.label();
        let start = async move { container.start(Mode::Boot).await };
        start_within(self.wait, label, start).await
    }
}

/// Starts a container, and waits for it no longer than `limit` seconds.
async fn start_within(
    limit: Option<u64>,
    label: String,
    start: impl Future<Output = Result<()>> + Send + 'static,
) -> Result<Done> {
    let running = tokio::spawn(start);
    let ended = match limit {
        None => running.await,
        Some(0) => return Ok(Done {}),
        Some(limit) => match tokio::time::timeout(Duration::from_secs(limit), running).await {
            Ok(ended) => ended,
            Err(_) => {
                let late = format!("container {label} does not run yet after {limit} s");
                return Err(Error::timeout(late)
                    .hint("its start goes on; `osctl ct wait` tells when it runs"));
            }
        },
    };
    ended.map_err(|e| Error::internal(format!("a task of the daemon failed: {e}")))??;
    Ok(Done {})
}

impl Handle for api::Stop {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        cx.daemon
            .pool(&container.pool)?
            .autostart
            .remove(&container.id);
        let limit = Duration::from_secs(self.timeout);
        container
            .stop(self.mode, limit, self.message.as_deref())
            .await?;
        Ok(Done {})
    }
}

impl Handle for api::Restart {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        if self.reboot {
            container.reboot().await?;
            return Ok(Done {});
        }
        let limit = Duration::from_secs(self.timeout);
        let stopped = container
            .stop_to_restart(self.mode, limit, self.message.as_deref())
            .await?;
        start_within(self.wait, container.label(), stopped.start()).await
    }
}

impl Handle for api::Exec {
    async fn handle(self, cx: &mut Context) -> Result<api::Session> {
        let container = cx.container(&self.id)?;
        let streams = if self.tty { Vec::new() } else { cx.streams(0)? };
        let session = container.exec(&self, &streams).await?;
        cx.session(session)
    }
}

impl Handle for api::RunScript {
    async fn handle(self, cx: &mut Context) -> Result<api::Session> {
        let container = cx.container(&self.id)?;
        let script = cx.take_fd(0)?;
        let streams = cx.streams(1)?;
        let session = container.run_script(&self, script, &streams).await?;
        cx.session(session)
    }
}

impl Handle for api::Console {
    async fn handle(self, cx: &mut Context) -> Result<api::Session> {
        let container = cx.container(&self.id)?;
        let cancel = cx.cancel();
        let session = tokio::select! {
            session = container.console(self.wait) => session?,
            () = cancel.cancelled() => return Err(Error::cancelled("the client is gone")),
        };
        cx.session(session)
    }
}

impl Handle for api::Cat {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let out = cx.take_fd(0)?;
        cx.container(&self.id)?.cat(&self.path, out).await?;
        Ok(Done {})
    }
}

impl Handle for api::LogPath {
    async fn handle(self, cx: &mut Context) -> Result<api::Path> {
        let container = cx.container(&self.id)?;
        let pool = cx.daemon.pool(&container.pool)?;
        Ok(api::Path {
            path: pool.container_log(&container.id).display().to_string(),
        })
    }
}

impl Handle for api::LogCat {
    async fn handle(self, cx: &mut Context) -> Result<api::Session> {
        let container = cx.container(&self.id)?;
        let log = cx
            .daemon
            .pool(&container.pool)?
            .container_log(&container.id);
        let file = blocking(move || match std::fs::File::open(&log) {
            Ok(file) => Ok(OwnedFd::from(file)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::not_found("the container has no log yet"))
            }
            Err(e) => Err(Error::backend(format!("cannot open {}", log.display()), e)),
        });
        let file = file.await?;
        cx.session(file)
    }
}

impl Handle for api::LogDenials {
    async fn handle(self, cx: &mut Context) -> Result<api::Denials> {
        let container = cx.container(&self.id)?;
        let denials = container.denials(&cx.daemon);
        Ok(api::Denials { denials })
    }
}

impl Handle for api::Processes {
    async fn handle(self, cx: &mut Context) -> Result<api::ProcessList> {
        let containers = container::chosen(&cx.daemon, &self.ids, self.pool.as_ref())?;
        let daemon = Arc::clone(&cx.daemon);
        let processes = blocking(move || container::processes(&daemon, &containers)).await?;
        Ok(api::ProcessList { processes })
    }
}

impl Handle for api::PidLookup {
    async fn handle(self, cx: &mut Context) -> Result<api::PidRows> {
        let daemon = Arc::clone(&cx.daemon);
        let rows = blocking(move || Ok(container::lookup_pids(&daemon, &self.pids))).await?;
        Ok(api::PidRows { rows })
    }
}

impl Handle for api::Assets {
    async fn handle(self, cx: &mut Context) -> Result<Assets> {
        let container = cx.container(&self.id)?;
        let pool = cx.daemon.pool(&container.pool)?;
        let daemon = Arc::clone(&cx.daemon);
        blocking(move || {
            Ok(Assets {
                assets: container.assets(&daemon, &pool),
            })
        })
        .await
    }
}

impl Handle for api::CgparamsList {
    async fn handle(self, cx: &mut Context) -> Result<api::Cgparams> {
        Ok(api::Cgparams {
            parameters: cx.container(&self.id)?.config().cgparams.clone(),
        })
    }
}

impl Handle for api::CgparamsSet {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let (subsystem, version) =
            container::controller(&cx.daemon, &self.parameter, self.version)?;
        let container = cx.container(&self.id)?;
        let change = |params: &mut Vec<api::Cgparam>| {
            let same =
                |p: &&mut api::Cgparam| p.version == version && p.parameter == self.parameter;
            match params.iter_mut().find(same) {
                Some(p) if self.append => p.value.extend(self.value.clone()),
                Some(p) => p.value = self.value.clone(),
                None => params.push(api::Cgparam {
                    version,
                    subsystem,
                    parameter: self.parameter.clone(),
                    value: self.value.clone(),
                }),
            }
            Ok(())
        };
        container.change_cgparams(change).await?;
        Ok(Done {})
    }
}

impl Handle for api::CgparamsUnset {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let (_, version) = container::controller(&cx.daemon, &self.parameter, self.version)?;
        let change = |params: &mut Vec<api::Cgparam>| {
            let before = params.len();
            params.retain(|p| p.version != version || p.parameter != self.parameter);
            if params.len() == before {
                return Err(Error::not_found(format!(
                    "cgroup parameter {:?} is not set",
                    self.parameter
                )));
            }
            Ok(())
        };
        cx.container(&self.id)?.change_cgparams(change).await?;
        Ok(Done {})
    }
}

impl Handle for api::CgparamsReplace {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let change = |params: &mut Vec<api::Cgparam>| {
            *params = self.parameters;
            Ok(())
        };
        cx.container(&self.id)?.change_cgparams(change).await?;
        Ok(Done {})
    }
}

impl Handle for api::PrlimitsList {
    async fn handle(self, cx: &mut Context) -> Result<api::Prlimits> {
        let config = cx.container(&self.id)?.config();
        let wanted = |l: &&api::Prlimit| self.limits.is_empty() || self.limits.contains(&l.name);
        Ok(api::Prlimits {
            limits: config.prlimits.values().filter(wanted).cloned().collect(),
        })
    }
}

impl Handle for api::PrlimitsUnset {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let change = |c: &mut Config| match c.prlimits.remove(&self.limit) {
            Some(_) => Ok(()),
            None => Err(Error::not_found(format!(
                "resource limit {:?} is not set",
                self.limit
            ))),
        };
        cx.container(&self.id)?.change_prlimits(change).await?;
        Ok(Done {})
    }
}

impl Handle for api::DevicesList {
    async fn handle(self, cx: &mut Context) -> Result<api::Devices> {
        Ok(api::Devices {
            devices: plan::devices(&cx.container(&self.id)?.config()),
        })
    }
}

impl Handle for api::DevicesAdd {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let device = api::Device {
            kind: self.kind,
            major: self.major,
            minor: self.minor,
            mode: self.mode,
            name: self.name,
            inherited: false,
        };
        cx.container(&self.id)?
            .change_devices(|c| c.add_device(device))
            .await?;
        Ok(Done {})
    }
}

fn no_device(kind: api::DeviceKind, major: &str, minor: &str) -> Error {
    Error::not_found(format!(
        "the container has no {kind:?} device {major}:{minor} of its own"
    ))
}

impl Handle for api::DevicesDelete {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let change = |c: &mut Config| {
            c.remove_device(self.kind, &self.major, &self.minor)
                .map(drop)
                .ok_or_else(|| no_device(self.kind, &self.major, &self.minor))
        };
        cx.container(&self.id)?.change_devices(change).await?;
        Ok(Done {})
    }
}

impl Handle for api::DevicesChmod {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let change = |c: &mut Config| {
            let mode = checked::mode(&self.mode)?;
            let device = c
                .device(self.kind, &self.major, &self.minor)
                .ok_or_else(|| no_device(self.kind, &self.major, &self.minor))?;
            device.mode = mode;
            Ok(())
        };
        cx.container(&self.id)?.change_devices(change).await?;
        Ok(Done {})
    }
}

impl Handle for pool_api::AutostartQueue {
    async fn handle(self, cx: &mut Context) -> Result<pool_api::AutostartQueued> {
        Ok(pool_api::AutostartQueued {
            containers: cx.daemon.pool(&self.pool)?.autostart.waiting(),
        })
    }
}

impl Handle for pool_api::AutostartTrigger {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let pool = cx.daemon.pool(&self.pool)?;
        pool.autostart.trigger(&cx.daemon, &pool);
        Ok(Done {})
    }
}

impl Handle for pool_api::AutostartCancel {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        cx.daemon.pool(&self.pool)?.autostart.cancel();
        Ok(Done {})
    }
}
