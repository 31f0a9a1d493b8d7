//! A container as clients see it.

use std::collections::BTreeMap;

use osctl_api::container as api;

use osctl_api::netif::{Gateway, Netif, Traffic};

use super::Container;
use super::netif::Bridged;
use crate::cgroup::Sampler;
use crate::daemon::Daemon;
use crate::error::chain;
use crate::network::host_name;
use crate::pool::Pool;
use crate::security::apparmor::Noted;

impl Container {
    /// Its network interfaces.
    pub fn netif_infos(&self, daemon: &Daemon) -> Vec<Netif> {
        let config = self.config();
        let owner = self.owner();
        // What can't be counted now is told as nothing.
        let traffic = self.traffic(daemon).unwrap_or_default();
        let info = |(index, netif): (usize, &super::netif::Netif)| {
            let bridged = netif.bridge();
            let facts = bridged.map(|b| daemon.bridge_facts(&b.link));
            let lease = netif.lease(&facts.unwrap_or_default());
            let gateway = |of: fn(&Bridged) -> Gateway| bridged.filter(|b| !b.dhcp).map(of);
            Netif {
                pool: self.pool.clone(),
                ctid: self.id.clone(),
                name: netif.name.clone(),
                index: u32::try_from(index).unwrap_or(u32::MAX),
                kind: netif.kind(),
                link: bridged.map(|b| b.link.clone()),
                dhcp: bridged.is_some_and(|b| b.dhcp),
                gateway_v4: gateway(|b| b.gateway_v4),
                gateway_v6: gateway(|b| b.gateway_v6),
                veth: host_name(&daemon.config.cgroup_root, &owner, &netif.name),
                hwaddr: netif.hwaddr,
                tx_queues: netif.tx_queues,
                rx_queues: netif.rx_queues,
                max_tx: netif.max_tx,
                max_rx: netif.max_rx,
                mtu: netif.mtu,
                anti_spoof: netif.anti_spoof,
                addresses: netif.addresses.clone(),
                leases: lease.map(|l| vec![l.v4, l.v6]).unwrap_or_default(),
                routes: netif.routes().to_vec(),
                traffic: traffic
                    .get(&netif.name)
                    .copied()
                    .map(Traffic::from)
                    .unwrap_or_default(),
            }
        };
        config.netifs.iter().enumerate().map(info).collect()
    }

    /// What its AppArmor profile refused, the latest last.
    pub fn denials(&self, daemon: &Daemon) -> Vec<api::Denial> {
        let profile = daemon.apparmor.name(self.pool.as_str(), self.id.as_str());
        let row = |noted: Noted| api::Denial {
            time: noted.denial.at,
            count: noted.count,
            pid: noted.denial.pid,
            program: noted.denial.program,
            operation: noted.denial.operation,
            object: noted.denial.object,
            access: noted.denial.access,
            rule: noted.denial.rule,
        };
        daemon
            .apparmor
            .log
            .of(&profile)
            .into_iter()
            .map(row)
            .collect()
    }

    /// Everything there is to tell; usage only with a `sampler`.
    pub fn info(
        &self,
        daemon: &Daemon,
        pool: &Pool,
        sampler: Option<&mut Sampler>,
    ) -> api::Container {
        let (config, run, error, last_exit) = {
            let seen = self.seen.lock();
            (
                seen.config.clone(),
                seen.run.clone(),
                seen.error.clone(),
                seen.last_exit.clone(),
            )
        };
        let user = pool.user(&config.user);
        let node = self.node().ok();
        let stats = match (&node, sampler, &run) {
            (Some(node), Some(sampler), Some(_)) => Some(sampler.stats(&daemon.cgroups, node)),
            _ => None,
        };
        let stats = stats.unwrap_or_default();
        let mut warnings = run.as_ref().map(|r| r.warnings.clone()).unwrap_or_default();
        warnings.extend(self.io_problem(&daemon.cgroups, pool));
        api::Container {
            pool: self.pool.clone(),
            id: self.id.clone(),
            user: config.user.clone(),
            group: config.group.clone(),
            uid_map: user.as_ref().map(|u| u.uid_map()).unwrap_or_default(),
            gid_map: user.as_ref().map(|u| u.gid_map()).unwrap_or_default(),
            dataset: self.dataset(pool).display().to_string(),
            rootfs: self.rootfs(pool).display().to_string(),
            group_path: node.map(|n| daemon.cgroups.name_of(&n)).unwrap_or_default(),
            distribution: config.distribution.clone(),
            version: config.version.clone(),
            arch: config.arch.clone(),
            state: self.state(),
            error,
            warnings,
            last_exit,
            init_pid: run.as_ref().map(|r| r.init_pid),
            started_at: run.as_ref().map(|r| r.started_at),
            autostart: config.autostart.is_some(),
            autostart_priority: config.autostart.map(|a| a.priority),
            autostart_delay: config.autostart.map(|a| a.delay),
            ephemeral: config.ephemeral,
            impermanence: config.impermanence,
            boot_dataset: config.booted.as_ref().and_then(|booted| {
                let path = pool.storage.dataset(&booted.data).ok()?;
                Some(path.display().to_string())
            }),
            hostname: config.hostname.clone(),
            dns_resolvers: config.dns_resolvers.clone(),
            nesting: config.nesting,
            seccomp_profile: config
                .seccomp
                .clone()
                .unwrap_or_else(|| "default".to_owned()),
            apparmor_label: run.as_ref().and_then(|r| r.apparmor.clone()),
            init_cmd: config.init(),
            cpu_limit: config.cpu_limit.map(|l| l.percent),
            memory_limit: config.memory_limit.map(|l| l.memory),
            swap_limit: config.memory_limit.and_then(|l| l.swap),
            io_limit: config.io_limit.map(|l| l.to_string()),
            disk_quota: None,
            disk_used: None,
            disk_referenced: None,
            memory: stats.memory,
            memory_pct: stats.memory_pct,
            cpu_us: stats.cpu_us,
            cpu_user_us: stats.cpu_user_us,
            cpu_system_us: stats.cpu_system_us,
            nproc: stats.pids,
            oom_kills: stats.oom_kills,
            attrs: config.attrs.clone(),
        }
    }
}

/// The containers that a listing asks for. Blocks.
pub fn list(daemon: &Daemon, wanted: &api::List) -> Vec<api::Container> {
    let mut sampler = wanted.stats.then(Sampler::new);
    let mut containers = Vec::new();
    for pool in daemon.all_pools() {
        let trouble = pool.storage.trouble();
        let mut of_pool = Vec::new();
        for container in pool.containers() {
            if matches(wanted, &container, trouble.as_deref()) {
                of_pool.push(container.info(daemon, &pool, sampler.as_mut()));
            }
        }
        match trouble {
            Some(trouble) => add_trouble(&trouble, &mut of_pool),
            None if wanted.space && !of_pool.is_empty() => add_space(&pool, &mut of_pool),
            None => {}
        }
        containers.append(&mut of_pool);
    }
    containers
}

/// Tells of containers whose pool does not answer why nothing can be done with them; what runs may
/// go on, and is what it was once the pool answers again.
fn add_trouble(trouble: &str, containers: &mut [api::Container]) {
    for info in containers {
        info.state = api::State::Error;
        info.error = Some(trouble.to_owned());
    }
}

/// Tells the space that containers of a pool take, as far as the pool knows: it is asked once.
fn add_space(pool: &Pool, containers: &mut [api::Container]) {
    let space = pool.storage.space().unwrap_or_else(|e| {
        tracing::warn!(pool = %pool.name, "does not tell its space: {}", chain(&e));
        BTreeMap::new()
    });
    for info in containers {
        if let Some(space) = space.get(info.id.as_str()) {
            info.disk_quota = space.quota;
            info.disk_used = Some(space.used);
            info.disk_referenced = Some(space.referenced);
        }
    }
}

/// One container, with its usage. Blocks.
pub fn show(daemon: &Daemon, pool: &Pool, container: &Container) -> api::Container {
    let mut info = container.info(daemon, pool, Some(&mut Sampler::new()));
    let one = std::slice::from_mut(&mut info);
    match pool.storage.trouble() {
        Some(trouble) => add_trouble(&trouble, one),
        None => add_space(pool, one),
    }
    info
}

/// Whether a container is one of those that a listing asks for.
fn matches(list: &api::List, container: &Container, trouble: Option<&str>) -> bool {
    let state = trouble.map_or_else(|| container.state(), |_| api::State::Error);
    let config = container.config();
    let any = |wanted: &[String], value: &String| wanted.is_empty() || wanted.contains(value);
    let wanted = |r: &osctl_api::names::Ref| {
        r.name == container.id && r.pool.as_ref().is_none_or(|p| *p == container.pool)
    };
    (list.ids.is_empty() || list.ids.iter().any(wanted))
        && list.pool.as_ref().is_none_or(|p| *p == container.pool)
        && (list.user.is_empty() || list.user.contains(&config.user))
        && (list.group.is_empty() || list.group.contains(&config.group))
        && any(&list.distribution, &config.distribution)
        && any(&list.version, &config.version)
        && (list.state.is_empty() || list.state.contains(&state))
        && (!list.ephemeral || config.ephemeral)
        && (!list.persistent || !config.ephemeral)
}
