//! From the files of an archive to our configuration. Every value goes the way that commands go.

use std::net::IpAddr;
use std::str::FromStr;

use osctl_api::container::{self as api, Cgparam, CpuLimit, Device, DeviceKind, MemoryLimit, Set};
use osctl_api::mounts::Mountpoint;
use osctl_api::names::{GroupPath, Name, Ref};
use osctl_api::net::{Address, IfName, Network, Rate};
use osctl_api::netif::{BridgeOptions, Kind, Options};
use osctl_api::snapshot::Period;

use super::save::{DataFacts, limit_params};
use super::yml::{self, Prlimits, Versions};
use crate::cgroup::{Param, Version};
use crate::container::config::{Config, Distribution};
use crate::container::mount::{Mount, Source};
use crate::container::netif::{Netif, Routed};
use crate::container::settings;
use crate::error::Error;
use crate::image;
use crate::user::Maps;

/// What counts rather than what an archive says.
#[derive(Debug, Clone)]
pub struct Given {
    /// User.
    pub user: Name,
    /// Group.
    pub group: GroupPath,
    /// Datasets of the container below its own, which can be mounted.
    pub datasets: Vec<String>,
    /// Whether directories of the host are mounted.
    pub host_mounts: bool,
}

/// The configuration of an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Checked as commands are.
    pub config: Config,
    /// What it says of the data.
    pub data: DataFacts,
    /// What was left out, or means something else here.
    pub warnings: Vec<String>,
}

fn parse<T: FromStr>(what: &str, text: &str) -> Result<T, Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let bad = |e| Error::invalid_with(format!("{what} of the archive can't be used"), e);
    text.parse().map_err(bad)
}

/// The maps of `config/user.yml`.
///
/// # Errors
/// `InvalidArgument`.
pub fn load_user(bytes: &[u8]) -> Result<Maps, Error> {
    let user: yml::User = image::parse_yaml(bytes)
        .map_err(|e| Error::invalid_with("config/user.yml of the archive can't be read", e))?;
    let rows = |map: &[String]| {
        let rows = map.iter().map(|row| parse("an id map", row));
        rows.collect::<Result<Vec<_>, Error>>()
    };
    let maps = Maps {
        uid: rows(&user.uid_map)?,
        gid: rows(&user.gid_map)?,
    };
    maps.check()?;
    Ok(maps)
}

/// The configuration in `config/container.yml`.
///
/// # Errors
/// `InvalidArgument` naming what a command would refuse as well.
pub fn load_container(bytes: &[u8], given: Given) -> Result<Loaded, Error> {
    let yml: yml::Container = image::parse_yaml(bytes)
        .map_err(|e| Error::invalid_with("config/container.yml of the archive can't be read", e))?;
    load(yml, given)
}

fn load(mut yml: yml::Container, given: Given) -> Result<Loaded, Error> {
    let ours = yml.ours.take().unwrap_or_default();
    if ours.version > yml::VERSION {
        return Err(Error::unsupported(
            "the archive was made by a newer osctl, which keeps more in it than this one knows",
        ));
    }
    let mut warnings = foreign(&yml);
    let word =
        |word: &Option<String>, default: &str| word.clone().unwrap_or_else(|| default.to_owned());
    let distribution = Distribution::checked(
        word(&yml.distribution, "other"),
        word(&yml.version, "unknown"),
        word(&yml.arch, std::env::consts::ARCH),
    )?;
    let mounts = load_mounts(yml.mounts.take(), &given, &mut warnings)?;
    let datasets = given.datasets;
    let mut config = Config::new(given.user, given.group, distribution);
    config.mounts = mounts;
    let limits = Limits::new(&ours, yml.cgparams.take().unwrap_or_default());
    config.set(set(&mut yml, &ours, &limits)?)?;
    config.cgparams = limits.others;
    let devices = yml.devices.unwrap_or_default().into_iter();
    for device in devices.filter(|d| !d.inherited) {
        config.add_device(load_device(device)?)?;
    }
    for limit in load_prlimits(yml.prlimits) {
        config.set_prlimit(limit)?;
    }
    for netif in yml.net_interfaces.unwrap_or_default() {
        config.netifs.push(load_netif(netif, &ours)?);
    }
    // Of others nothing is known.
    let known = |name: &String, _: &mut u64| datasets.contains(name);
    let mut dataset_quotas = ours.dataset_quotas;
    dataset_quotas.retain(known);
    config.firewall = ours.firewall;
    config.impermanence = ours.impermanence;
    config.snapshots = ours.snapshots;
    let known = |part: &String| Period::ALL.iter().any(|period| period.as_str() == part);
    if let Some(part) = ours.scheduled.keys().find(|part| !known(part)) {
        let odd = format!("the archive has snapshots of a schedule {part:?}, which there is not");
        return Err(Error::invalid(odd));
    }
    config.check()?;
    settings::limits(&config)?;
    if config.cgparams.iter().any(|p| p.version == 1) {
        warnings.push("cgroup parameters of version 1 hold on hosts with such cgroups".to_owned());
    }
    Ok(Loaded {
        config,
        data: DataFacts {
            quota: ours.quota,
            dataset_quotas,
            scheduled: ours.scheduled,
        },
        warnings,
    })
}

/// What vpsAdminOS has and means nothing here.
fn foreign(yml: &yml::Container) -> Vec<String> {
    let raw = yml.raw.as_ref().and_then(|raw| raw.lxc.as_deref());
    let has = |value: &Option<serde_norway::Value>| value.as_ref().is_some_and(|v| !v.is_null());
    [
        (yml.seccomp_profile.is_some(), "its seccomp profile"),
        (has(&yml.impermanence), "impermanence"),
        (
            raw.is_some_and(|text| !text.trim().is_empty()),
            "raw configuration of LXC",
        ),
    ]
    .into_iter()
    .filter(|(there, _)| *there)
    .map(|(_, what)| format!("{what} of the archive is left out"))
    .collect()
}

fn set(yml: &mut yml::Container, ours: &yml::Ours, limits: &Limits) -> Result<Set, Error> {
    let nobody = Ref {
        pool: None,
        name: parse("a name", "imported")?,
    };
    let mut set = Set::none(nobody);
    set.autostart = yml.autostart;
    set.ephemeral = yml.ephemeral;
    let hostname = yml.hostname.take();
    set.hostname = hostname.map(|h| parse("the host name", &h)).transpose()?;
    let resolvers = yml.dns_resolvers.take().unwrap_or_default();
    let resolvers = resolvers
        .iter()
        .map(|r| parse::<IpAddr>("a DNS resolver", r));
    set.dns_resolvers = Some(resolvers.collect::<Result<_, Error>>()?);
    set.init_cmd = Some(yml.init_cmd.take().unwrap_or_default());
    set.nesting = yml.nesting;
    set.seccomp.clone_from(&ours.seccomp);
    set.cpu_limit = limits.cpu;
    set.memory_limit = limits.memory;
    set.io_limit = ours.io_limit;
    for (name, value) in yml.attrs.take().unwrap_or_default() {
        set.attrs.insert(parse("an attribute", &name)?, value);
    }
    Ok(set)
}

/// Cgroup parameters, told apart into limits and others.
struct Limits {
    cpu: Option<CpuLimit>,
    memory: Option<MemoryLimit>,
    others: Vec<Cgparam>,
}

impl Limits {
    fn new(ours: &yml::Ours, params: Vec<yml::Cgparam>) -> Limits {
        let find = |version: u8, name: &str| {
            let it = |p: &&yml::Cgparam| p.version == version && p.name == name;
            let words = params.iter().find(it)?.value.last()?.split_whitespace();
            Some(words.map(str::to_owned).collect::<Vec<_>>())
        };
        let number = |version, name: &str| find(version, name)?.first()?.parse::<u64>().ok();
        let cpu = ours.cpu_limit.or_else(|| {
            let max = find(2, "cpu.max");
            let word = |at: usize| max.as_ref()?.get(at)?.parse::<u64>().ok();
            let quota = word(0).or_else(|| number(1, "cpu.cfs_quota_us"))?;
            let period = word(1).or_else(|| number(1, "cpu.cfs_period_us"));
            let period = period.filter(|p| *p > 0);
            let percent = quota.checked_mul(100)? / period.unwrap_or(100_000);
            Some(CpuLimit {
                percent,
                period_us: period.filter(|p| *p != 100_000),
            })
        });
        let memory = ours.memory_limit.or_else(|| {
            let memory = number(2, "memory.max").or_else(|| number(1, "memory.limit_in_bytes"))?;
            let sum = || number(1, "memory.memsw.limit_in_bytes")?.checked_sub(memory);
            let swap = number(2, "memory.swap.max").or_else(sum);
            Some(MemoryLimit {
                memory,
                swap: swap.filter(|bytes| *bytes > 0),
            })
        });
        // What the limits say is not to be said twice. Ours that can't be is refused later; one that
        // was guessed and can't be is none.
        let (cpu_params, memory_params) = (limit_params(cpu, None), limit_params(None, memory));
        let cpu = cpu.filter(|_| cpu_params.is_ok() || ours.cpu_limit.is_some());
        let memory = memory.filter(|_| memory_params.is_ok() || ours.memory_limit.is_some());
        let said: Vec<Param> = [cpu_params, memory_params]
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        let is_said = |p: &yml::Cgparam| {
            said.iter().any(|s| {
                (s.version == Version::V2) == (p.version == 2)
                    && s.name == p.name
                    && s.value == p.value
            })
        };
        let others = params.into_iter().filter(|p| p.persistent && !is_said(p));
        let others = others.map(|p| Cgparam {
            version: p.version,
            subsystem: p.subsystem,
            parameter: p.name,
            value: p.value,
        });
        Limits {
            cpu,
            memory,
            others: others.collect(),
        }
    }
}

fn load_device(device: yml::Device) -> Result<Device, Error> {
    let any = |number: String| match number.as_str() {
        "all" => "*".to_owned(),
        _ => number,
    };
    Ok(Device {
        kind: match device.kind.as_str() {
            "char" => DeviceKind::Char,
            "block" => DeviceKind::Block,
            other => {
                let shown: String = other.chars().take(32).collect();
                return Err(Error::invalid(format!(
                    "{shown:?} in the archive is no type of devices"
                )));
            }
        },
        major: any(device.major),
        minor: any(device.minor),
        mode: match device.mode.is_empty() {
            true => "-".to_owned(),
            false => device.mode,
        },
        name: device.name,
        inherited: false,
    })
}

fn load_prlimits(limits: Option<Prlimits>) -> Vec<api::Prlimit> {
    let one = |name: String, soft: yml::Number, hard: yml::Number| api::Prlimit {
        name,
        soft: soft.text(),
        hard: hard.text(),
    };
    match limits {
        None => Vec::new(),
        Some(Prlimits::Named(all)) => {
            let all = all.into_iter();
            all.map(|(name, l)| one(name, l.soft, l.hard)).collect()
        }
        Some(Prlimits::Listed(all)) => {
            let all = all.into_iter();
            all.map(|l| one(l.name, l.soft, l.hard)).collect()
        }
    }
}

/// Mounts; those that can't be had are left out.
fn load_mounts(
    mounts: Option<Vec<yml::Mount>>,
    given: &Given,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>, Error> {
    let mut loaded = Vec::new();
    for yml in mounts.unwrap_or_default() {
        let mountpoint: Mountpoint = parse("a mountpoint", &yml.mountpoint)?;
        let source = match (&yml.dataset, yml.kind.as_deref(), &yml.fs) {
            _ if yml.temporary => continue,
            (Some(dataset), ..) if given.datasets.contains(dataset) => {
                Source::Dataset(parse("a dataset", dataset)?)
            }
            (None, Some("tmpfs"), _) => Source::Tmpfs,
            (None, _, Some(path)) if given.host_mounts => {
                Source::Host(parse("what is mounted", path)?)
            }
            (dataset, ..) => {
                let hint = match dataset {
                    Some(_) => "its dataset is not in the archive",
                    None => "it shows the host: --with-host-mounts takes it",
                };
                warnings.push(format!("left out the mount on {mountpoint}: {hint}"));
                continue;
            }
        };
        let opts = yml.opts.unwrap_or_default();
        loaded.push(Mount {
            source,
            opts: parse(&format!("options of the mount on {mountpoint}"), &opts)?,
            mountpoint,
            automount: yml.automount,
        });
    }
    Ok(loaded)
}

fn load_netif(yml: yml::Netif, ours: &yml::Ours) -> Result<Netif, Error> {
    let name: IfName = parse("the name of an interface", &yml.name)?;
    let kind = match yml.kind.as_str() {
        "bridge" => Kind::Bridge,
        "routed" => Kind::Routed,
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(Error::invalid(format!(
                "interface {name} of the archive is of type {shown:?}, which there is not"
            )));
        }
    };
    let what = |of: &str| format!("{of} of interface {name}");
    let ours = ours.netifs.get(&name);
    let gateway = |text: Option<String>| {
        let text = text.map(|g| parse(&what("a gateway"), &g));
        text.transpose()
    };
    let gateways = yml.gateways.unwrap_or_default();
    let bridge = match kind {
        Kind::Routed => BridgeOptions::default(),
        Kind::Bridge => BridgeOptions {
            link: yml
                .link
                .map(|l| parse(&what("the bridge"), &l))
                .transpose()?,
            dhcp: yml.dhcp,
            gateway_v4: gateway(gateways.v4)?,
            gateway_v6: gateway(gateways.v6)?,
        },
    };
    let hwaddr = yml.hwaddr.map(|h| parse(&what("the hardware address"), &h));
    let options = Options {
        hwaddr: hwaddr.transpose()?,
        tx_queues: yml.tx_queues,
        rx_queues: yml.rx_queues,
        max_tx: Some(Rate::from_bits(yml.max_tx)),
        max_rx: Some(Rate::from_bits(yml.max_rx)),
        mtu: ours.and_then(|o| o.mtu),
        anti_spoof: ours.map(|o| o.anti_spoof),
    };
    let mut netif = Netif::new(name.clone(), kind, bridge, options)?;
    for address in both(yml.ip_addresses) {
        let address: Address = parse(&what("an address"), &address)?;
        netif.add_address(address, Routed::No)?;
    }
    for route in both(yml.routes) {
        let (address, via) = match route {
            yml::Route::Direct(address) => (address, None),
            yml::Route::Via { address, via } => (address, via),
        };
        let network: Network = parse(&what("a route"), &address)?;
        let via = via.map(|v| parse(&what("a route"), &v)).transpose()?;
        netif.add_route(osctl_api::netif::Route { network, via })?;
    }
    Ok(netif)
}

fn both<T>(versions: Option<Versions<Vec<T>>>) -> Vec<T> {
    let versions = versions.unwrap_or_default();
    versions.v4.into_iter().chain(versions.v6).collect()
}
