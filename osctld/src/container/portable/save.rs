//! From our configuration to the files of an archive.

use std::collections::BTreeMap;

use osctl_api::container::{self as api, DeviceKind};
use osctl_api::names::{GroupPath, Name};

use super::yml::{self, Number, Ours, Versions};
use crate::cgroup::{CpuLimit, MemoryLimit, Param};
use crate::container::config::Config;
use crate::container::mount::{Mount, Source};
use crate::container::netif::{Link, Netif};
use crate::error::Error;
use crate::image;
use crate::user::Maps;

fn text(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    let text = image::yaml_text(value);
    let text = text.map_err(|e| Error::backend("cannot write the configuration as YAML", e))?;
    Ok(text.into_bytes())
}

/// `config/user.yml`.
///
/// # Errors
/// None that happen.
pub fn user_yml(
    maps: &Maps,
    standalone: bool,
    attrs: &BTreeMap<String, String>,
) -> Result<Vec<u8>, Error> {
    let rows = |map: &[osctl_api::user::Mapping]| map.iter().map(ToString::to_string).collect();
    text(&yml::User {
        uid_map: rows(&maps.uid),
        gid_map: rows(&maps.gid),
        standalone: Some(standalone),
        attrs: Some(attrs.clone()),
    })
}

/// `config/group.yml`: limits and devices are not for others than this host, nor does vpsAdminOS
/// take them.
///
/// # Errors
/// None that happen.
pub fn group_yml(attrs: &BTreeMap<String, String>) -> Result<Vec<u8>, Error> {
    text(&yml::Group {
        attrs: attrs.clone(),
        ..yml::Group::default()
    })
}

/// What an archive says of a container's data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataFacts {
    /// Most bytes that its files may take.
    pub quota: Option<u64>,
    /// The same of datasets below its own, by name.
    pub dataset_quotas: BTreeMap<String, u64>,
    /// Names of snapshots, by the part of a schedule that made them.
    pub scheduled: BTreeMap<String, Vec<String>>,
}

/// `config/container.yml`.
///
/// # Errors
/// `InvalidArgument` for limits that can't be.
pub fn container_yml(config: &Config, data: &DataFacts) -> Result<Vec<u8>, Error> {
    text(&container(config, data)?)
}

/// Every setting is named here, so that a new one can't be forgotten.
pub(super) fn container(config: &Config, data: &DataFacts) -> Result<yml::Container, Error> {
    let Config {
        user,
        group,
        distribution,
        version,
        arch,
        hostname,
        dns_resolvers,
        autostart,
        ephemeral,
        nesting,
        seccomp,
        init_cmd,
        cpu_limit,
        memory_limit,
        io_limit,
        cgparams,
        devices,
        netifs,
        mounts,
        firewall,
        prlimits,
        snapshots,
        attrs,
        // Never while it is exported.
        moving_to: _,
        replacement: _,
        going_to: _,
        came_from: _,
        booted: _,
        impermanence,
    } = config;
    let named: (&Name, &GroupPath) = (user, group);
    let ours = Ours {
        version: yml::VERSION,
        seccomp: seccomp.clone(),
        cpu_limit: *cpu_limit,
        memory_limit: *memory_limit,
        io_limit: *io_limit,
        quota: data.quota,
        dataset_quotas: data.dataset_quotas.clone(),
        scheduled: data.scheduled.clone(),
        snapshots: snapshots.clone(),
        firewall: firewall.clone(),
        impermanence: *impermanence,
        netifs: netifs.iter().map(our_netif).collect(),
    };
    let limits = limit_params(*cpu_limit, *memory_limit)?
        .into_iter()
        .map(|p| yml::Cgparam {
            version: p.version.number(),
            subsystem: p.subsystem,
            name: p.name,
            value: p.value,
            persistent: true,
        });
    let raw = cgparams.iter().map(|p| yml::Cgparam {
        version: p.version,
        subsystem: p.subsystem.clone(),
        name: p.parameter.clone(),
        value: p.value.clone(),
        persistent: true,
    });
    Ok(yml::Container {
        user: Some(named.0.to_string()),
        group: Some(named.1.to_string()),
        distribution: Some(distribution.clone()),
        version: Some(version.clone()),
        arch: Some(arch.clone()),
        net_interfaces: Some(netifs.iter().map(netif).collect()),
        cgparams: Some(limits.chain(raw).collect()),
        devices: Some(devices.iter().map(device).collect()),
        prlimits: Some(yml::Prlimits::Named(
            prlimits.values().map(prlimit).collect(),
        )),
        mounts: Some(mounts.iter().map(mount).collect()),
        autostart: *autostart,
        ephemeral: Some(*ephemeral),
        hostname: hostname.as_ref().map(ToString::to_string),
        dns_resolvers: (!dns_resolvers.is_empty())
            .then(|| dns_resolvers.iter().map(ToString::to_string).collect()),
        nesting: Some(*nesting),
        seccomp_profile: None,
        init_cmd: (!init_cmd.is_empty()).then(|| init_cmd.clone()),
        impermanence: None,
        raw: None,
        attrs: Some(attrs.clone()),
        ours: Some(ours),
    })
}

/// Limits as cgroup parameters, which is all that vpsAdminOS has for them.
pub(super) fn limit_params(
    cpu: Option<api::CpuLimit>,
    memory: Option<api::MemoryLimit>,
) -> Result<Vec<Param>, Error> {
    let bad = |e| Error::invalid_with("a limit can't be", e);
    let mut params = Vec::new();
    if let Some(limit) = cpu {
        let percent = u32::try_from(limit.percent).unwrap_or(u32::MAX);
        let period = limit.period_us.unwrap_or(CpuLimit::DEFAULT_PERIOD_US);
        params.extend(CpuLimit::new(percent, period).map_err(bad)?.params());
    }
    if let Some(limit) = memory {
        let limit = MemoryLimit::new(limit.memory, limit.swap).map_err(bad)?;
        params.extend(limit.params());
    }
    Ok(params)
}

fn our_netif(netif: &Netif) -> (osctl_api::net::IfName, yml::OurNetif) {
    let ours = yml::OurNetif {
        mtu: netif.mtu,
        anti_spoof: netif.anti_spoof,
    };
    (netif.name.clone(), ours)
}

fn netif(netif: &Netif) -> yml::Netif {
    let of = |v4: bool| {
        let addresses = netif.addresses.iter().filter(|a| a.ip().is_ipv4() == v4);
        addresses.map(|a| a.net().to_string()).collect()
    };
    let mut out = yml::Netif {
        name: netif.name.to_string(),
        hwaddr: Some(netif.hwaddr.to_string()),
        max_tx: netif.max_tx.bits().unwrap_or(0),
        max_rx: netif.max_rx.bits().unwrap_or(0),
        tx_queues: Some(netif.tx_queues),
        rx_queues: Some(netif.rx_queues),
        ip_addresses: Some(Versions {
            v4: of(true),
            v6: of(false),
        }),
        ..yml::Netif::default()
    };
    match &netif.link {
        Link::Bridge(bridged) => {
            out.kind = "bridge".to_owned();
            out.link = Some(bridged.link.to_string());
            out.dhcp = Some(bridged.dhcp);
            out.gateways = Some(Versions {
                v4: Some(bridged.gateway_v4.to_string()),
                v6: Some(bridged.gateway_v6.to_string()),
            });
        }
        Link::Routed { routes } => {
            let of = |v4: bool| {
                let these = routes
                    .iter()
                    .filter(|r| r.network.net().addr().is_ipv4() == v4);
                these.map(route).collect()
            };
            out.kind = "routed".to_owned();
            out.routes = Some(Versions {
                v4: of(true),
                v6: of(false),
            });
        }
    }
    out
}

fn route(route: &osctl_api::netif::Route) -> yml::Route {
    let address = route.network.net().to_string();
    match route.via {
        None => yml::Route::Direct(address),
        Some(via) => yml::Route::Via {
            address,
            via: Some(via.to_string()),
        },
    }
}

fn device(device: &api::Device) -> yml::Device {
    yml::Device {
        kind: match device.kind {
            DeviceKind::Block => "block",
            DeviceKind::Char => "char",
        }
        .to_owned(),
        major: device.major.clone(),
        minor: device.minor.clone(),
        mode: device.mode.clone(),
        name: device.name.clone(),
        inherit: false,
        inherited: false,
    }
}

fn mount(mount: &Mount) -> yml::Mount {
    let (fs, kind, dataset) = match &mount.source {
        Source::Host(path) => (Some(path.to_string()), "bind", None),
        Source::Dataset(name) => (None, "zfs", Some(name.to_string())),
        Source::Tmpfs => (Some("tmpfs".to_owned()), "tmpfs", None),
        Source::Unknown => (None, "bind", None),
    };
    yml::Mount {
        fs,
        mountpoint: mount.mountpoint.to_string(),
        kind: Some(kind.to_owned()),
        opts: Some(mount.opts.to_string()),
        automount: mount.automount,
        dataset,
        temporary: false,
    }
}

fn prlimit(limit: &api::Prlimit) -> (String, yml::Prlimit) {
    let limits = yml::Prlimit {
        soft: Number::parse(&limit.soft),
        hard: Number::parse(&limit.hard),
    };
    (limit.name.clone(), limits)
}
