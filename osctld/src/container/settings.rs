//! Changing the configuration of a container: kept first, then applied to what runs.

use std::sync::Arc;

use osctl_api::container as api;
use osctl_api::names::Name;
use osctl_runtime::control::Request as Ask;

use super::config::{Config, parse_limit};
use super::launch::seccomp;
use super::verdict::Request;
use super::{Container, Run, blocking, logins, plan};
use crate::cgroup::{CpuLimit, MemoryLimit, Param, Tree, Version};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::guest;
use crate::pool::Pool;
use crate::storage;

fn bad_limit(e: crate::cgroup::Error) -> Error {
    Error::invalid_with("a limit can't be set", e)
}

/// The cgroup parameters that the limits of a configuration are made of.
///
/// # Errors
/// `InvalidArgument` for what can't be.
pub(super) fn limits(config: &Config) -> Result<Vec<Param>, Error> {
    let mut params = Vec::new();
    if let Some(l) = config.cpu_limit {
        let percent = u32::try_from(l.percent).unwrap_or(u32::MAX);
        let limit = CpuLimit::new(percent, l.period_us.unwrap_or(100_000)).map_err(bad_limit)?;
        params.extend(limit.params());
    }
    if let Some(l) = config.memory_limit {
        params.extend(
            MemoryLimit::new(l.memory, l.swap)
                .map_err(bad_limit)?
                .params(),
        );
    }
    for p in &config.cgparams {
        params.push(param(p)?);
    }
    Ok(params)
}

/// Bounds what a container's files may take, in bytes. Blocks.
///
/// # Errors
/// `Unsupported` on a pool without quotas; `Backend`.
pub(super) fn quota(pool: &Pool, id: &Name, bytes: Option<u64>) -> Result<(), Error> {
    let cannot = format!("cannot set the quota of container {}:{id}", pool.name);
    pool.storage
        .set_quota(id.as_str(), bytes)
        .map_err(|e| match e {
            storage::Error::Unsupported(why) => Error::unsupported(format!("{cannot}: {why}")),
            e => Error::backend(cannot, e),
        })
}

fn param(p: &api::Cgparam) -> Result<Param, Error> {
    let version = match p.version {
        1 => Version::V1,
        2 => Version::V2,
        other => {
            return Err(Error::invalid(format!(
                "there are no cgroups of version {other}"
            )));
        }
    };
    Param::new(version, &p.parameter, p.value.clone())
        .map_err(|e| Error::invalid_with("a cgroup parameter can't be set", e))
}

impl Container {
    /// The cgroup parameters of all of its limits; what was set raw comes last. Blocks.
    fn all_limits(&self, tree: &Tree, config: &Config) -> Result<Vec<Param>, Error> {
        let mut params = self.io_params(tree, config)?;
        params.extend(limits(config)?);
        Ok(params)
    }

    /// Writes all limits and device rules to its cgroup, which exists.
    pub(super) fn apply_limits(&self, tree: &Tree, config: &Config) -> Result<(), Error> {
        let node = self.node()?;
        let failed = |e| Error::backend(format!("cannot limit container {}", self.label()), e);
        let params = self.all_limits(tree, config)?;
        for warning in tree.apply(&node, &params).map_err(failed)? {
            tracing::warn!(container = %self.label(), %warning, "a limit is not in force");
        }
        tree.set_devices(&node, &plan::device_rules(config))
            .map_err(failed)
    }

    /// Changes the configuration by `change`, keeps it, and returns what it was before.
    pub(super) async fn reconfigure(
        &self,
        change: impl FnOnce(&mut Config) -> Result<(), Error>,
    ) -> Result<(Arc<Config>, Arc<Config>), Error> {
        let (_daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        self.save_changed(&pool, change).await
    }

    /// As [`Container::reconfigure`], whatever becomes of the pool.
    pub(super) async fn save_changed(
        &self,
        pool: &Arc<Pool>,
        change: impl FnOnce(&mut Config) -> Result<(), Error>,
    ) -> Result<(Arc<Config>, Arc<Config>), Error> {
        let _saving = self.saving.lock().await;
        let before = self.config();
        let mut config = (*before).clone();
        change(&mut config)?;
        limits(&config)?;
        if config == *before {
            return Ok((Arc::clone(&before), before));
        }
        let generation = self.seen.lock().generation + 1;
        let after = Arc::new(config);
        let (id, kept, pool) = (self.id.clone(), Arc::clone(&after), Arc::clone(pool));
        blocking(move || pool.save_container(&id, &kept, generation)).await?;
        let mut seen = self.seen.lock();
        seen.generation = generation;
        seen.config = Arc::clone(&after);
        Ok((before, after))
    }

    /// Takes over what `set` names, also while it runs.
    ///
    /// # Errors
    /// `InvalidArgument` before anything is changed; `Backend` when the host refuses it, and then
    /// nothing is changed, or when the guest's files can't be written, and then it is kept.
    pub async fn set(self: &Arc<Self>, set: api::Set) -> Result<(), Error> {
        self.judge(Request::Configure, "configure")?;
        let _hold = self.hold("ct set")?;
        let quota = set.quota;
        if set.io_limit.is_some() {
            let (this, (daemon, _pool)) = (Arc::clone(self), self.home()?);
            blocking(move || this.check_io_limit(&daemon.cgroups)).await?;
        }
        let change = |config: &mut Config| {
            config.set(set)?;
            seccomp(config).map(drop)
        };
        let (before, after) = self.reconfigure(change).await?;
        self.apply(&before, &after).await?;
        match quota {
            Some(bytes) => self.set_quota(Some(bytes)).await,
            None => Ok(()),
        }
    }

    /// Returns what `unset` names to its default, also while it runs.
    ///
    /// # Errors
    /// As [`Container::set`].
    pub async fn unset(self: &Arc<Self>, unset: api::Unset) -> Result<(), Error> {
        self.judge(Request::Configure, "configure")?;
        let _hold = self.hold("ct unset")?;
        let (before, after) = self
            .reconfigure(|c| {
                c.unset(&unset);
                Ok(())
            })
            .await?;
        self.apply(&before, &after).await?;
        match unset.settings.contains(&api::Setting::Quota) {
            true => self.set_quota(None).await,
            false => Ok(()),
        }
    }

    /// Bounds what its files may take, in bytes; the pool keeps that.
    async fn set_quota(self: &Arc<Self>, bytes: Option<u64>) -> Result<(), Error> {
        let (_daemon, pool) = self.home()?;
        let id = self.id.clone();
        blocking(move || quota(&pool, &id, bytes)).await
    }

    /// Replaces, adds or removes raw cgroup parameters.
    ///
    /// # Errors
    /// As [`Container::set`].
    pub async fn change_cgparams(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Vec<api::Cgparam>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.judge(Request::Configure, "configure")?;
        let _hold = self.hold("ct cgparams")?;
        let (before, after) = self.reconfigure(|c| change(&mut c.cgparams)).await?;
        self.apply(&before, &after).await
    }

    /// Writes all limits to a running container again.
    ///
    /// # Errors
    /// `Backend`.
    pub async fn reapply(self: &Arc<Self>) -> Result<(), Error> {
        let _hold = self.hold("ct cgparams apply")?;
        if self.run().is_none() {
            return Ok(());
        }
        let (daemon, _pool) = self.home()?;
        let this = Arc::clone(self);
        blocking(move || this.apply_limits(&daemon.cgroups, &this.config())).await
    }

    /// Changes resource limits; of what runs, init and what it starts from now on has them.
    ///
    /// # Errors
    /// As [`Container::set`].
    pub async fn change_prlimits(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Config) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.judge(Request::Configure, "configure")?;
        let _hold = self.hold("ct prlimits")?;
        let (_, after) = self.reconfigure(change).await?;
        if let Some(run) = self.run() {
            for limit in after.prlimits.values() {
                let limit = parse_limit(limit)?;
                if let Err(e) = limit.set_on(run.init_pid) {
                    return Err(Error::backend(
                        format!(
                            "limits of container {} hold from its next start",
                            self.label()
                        ),
                        e,
                    ));
                }
            }
        }
        Ok(())
    }

    /// Changes devices, also while it runs.
    ///
    /// # Errors
    /// As [`Container::set`].
    pub async fn change_devices(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Config) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.judge(Request::Configure, "configure")?;
        let _hold = self.hold("ct devices")?;
        let (before, after) = self.reconfigure(change).await?;
        self.apply(&before, &after).await
    }

    /// Applies the difference of two configurations to what runs. What the host refuses is not
    /// kept: it would be in the way of every start.
    async fn apply(self: &Arc<Self>, before: &Config, after: &Config) -> Result<(), Error> {
        let Some(run) = self.run() else { return Ok(()) };
        if let Err(error) = self.apply_on_host(&run, before, after).await {
            let old = before.clone();
            let kept = self.reconfigure(|config| {
                *config = old;
                Ok(())
            });
            if let Err(e) = kept.await {
                tracing::error!(container = %self.label(), error = %e.chain(), "keeps what can't be applied");
            } else if let Err(e) = self.apply_on_host(&run, after, before).await {
                tracing::warn!(container = %self.label(), error = %e.chain(), "has limits half applied");
            }
            return Err(error);
        }
        self.apply_guest(&run, before, after).await
    }

    async fn apply_on_host(
        self: &Arc<Self>,
        run: &Run,
        before: &Config,
        after: &Config,
    ) -> Result<(), Error> {
        let (daemon, _pool) = self.home()?;
        let limited = before.cpu_limit != after.cpu_limit
            || before.memory_limit != after.memory_limit
            || before.io_limit != after.io_limit
            || before.cgparams != after.cgparams;
        if limited || before.devices != after.devices {
            let this = Arc::clone(self);
            let (before, after) = (before.clone(), after.clone());
            blocking(move || {
                let node = this.node()?;
                let all = |config: &Config| this.all_limits(&daemon.cgroups, config);
                let stale = stale(&all(&before)?, &all(&after)?);
                let failed =
                    |e| Error::backend(format!("cannot reset limits of {}", this.label()), e);
                daemon.cgroups.reset(&node, &stale).map_err(failed)?;
                this.apply_limits(&daemon.cgroups, &after)
            })
            .await?;
        }
        self.apply_nodes(run, before, after).await?;
        if before.netifs != after.netifs {
            self.apply_netifs(run, after).await?;
        }
        Ok(())
    }

    async fn apply_nodes(&self, run: &Run, before: &Config, after: &Config) -> Result<(), Error> {
        let nodes = |c: &Config| c.devices.iter().filter_map(plan::node).collect::<Vec<_>>();
        let (old, new) = (nodes(before), nodes(after));
        for gone in old.iter().filter(|o| !new.iter().any(|n| n.path == o.path)) {
            run.link
                .request(
                    Ask::DeviceDel {
                        path: gone.path.clone(),
                    },
                    &[],
                )
                .await?;
        }
        for added in new.into_iter().filter(|n| !old.contains(n)) {
            run.link.request(Ask::DeviceAdd(added), &[]).await?;
        }
        Ok(())
    }

    async fn apply_guest(
        self: &Arc<Self>,
        run: &Run,
        before: &Config,
        after: &Config,
    ) -> Result<(), Error> {
        let mut files = Vec::new();
        match (&before.hostname, &after.hostname) {
            (old, Some(new)) if old.as_ref() != Some(new) => {
                files.extend(guest::set_hostname(&after.in_force().distribution, new));
            }
            (Some(_), None) => files.push(guest::unset_hosts()),
            _ => {}
        }
        if before.dns_resolvers != after.dns_resolvers && !after.dns_resolvers.is_empty() {
            files.extend(guest::set_resolvers(&after.dns_resolvers));
        }
        if !files.is_empty() {
            self.write_files(&run.link, files).await?;
        }
        if before.dns_resolvers != after.dns_resolvers && run.mode == plan::Mode::Boot {
            // Its DHCP clients are to leave that file alone, or not any more.
            self.write_network_files(run).await?;
        }
        if let (true, Some(new)) = (before.hostname != after.hostname, &after.hostname) {
            self.set_live_hostname(run, new.local()).await;
        }
        Ok(())
    }

    /// With the guest's own hostname(1); one that has none learns its name at the next start.
    async fn set_live_hostname(&self, run: &Run, name: &str) {
        match logins::run_quietly(&run.link, &["hostname", name], b"").await {
            Ok(0) => {}
            result => {
                tracing::warn!(container = %self.label(), ?result, "host name holds from the next start");
            }
        }
    }
}

/// What was set and is no more.
fn stale(before: &[Param], after: &[Param]) -> Vec<Param> {
    let gone = |p: &&Param| {
        !after
            .iter()
            .any(|a| a.version == p.version && a.name == p.name)
    };
    before.iter().filter(gone).cloned().collect()
}

/// The controller of a parameter, and the version of cgroups that has it on this host unless told.
///
/// # Errors
/// `InvalidArgument` for a version that there is not; `Unsupported` when the host lacks it.
pub fn controller(
    daemon: &Daemon,
    parameter: &str,
    version: Option<u8>,
) -> Result<(String, u8), Error> {
    let name = parameter.split('.').next().unwrap_or_default().to_owned();
    let version = match version {
        Some(version @ (1 | 2)) => version,
        Some(other) => {
            return Err(Error::invalid(format!(
                "there are no cgroups of version {other}"
            )));
        }
        None => daemon
            .cgroups
            .version_of(&name)
            .map(Version::number)
            .ok_or_else(|| {
                Error::unsupported(format!("this host has no cgroup controller {name:?}"))
            })?,
    };
    Ok((name, version))
}
