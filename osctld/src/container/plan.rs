//! From what is wanted and what the host has to the specification for the runtime: pure.

use std::path::PathBuf;

use osctl_api::container::{Device, DeviceKind};
use osctl_api::user::Mapping;
use osctl_runtime::spec::{self, Spec};

use super::config::{Config, parse_limit};
use crate::cgroup::DeviceRule;
use crate::error::Error;
use crate::security::apparmor::{Nesting, profile};
use crate::security::paths;
use crate::{cgroup, guest};

/// What the plan needs to know besides the configuration.
#[derive(Debug)]
pub struct Facts<'a> {
    /// `pool:id`.
    pub label: String,
    /// Id of the container.
    pub id: &'a str,
    /// Root file system on the host.
    pub rootfs: PathBuf,
    /// Directory of runtime state.
    pub run_dir: PathBuf,
    /// Console log.
    pub log: PathBuf,
    /// Most bytes of the console log.
    pub log_max: u64,
    /// Map of user ids.
    pub uid_map: &'a [Mapping],
    /// Map of group ids.
    pub gid_map: &'a [Mapping],
    /// Cgroups made for it.
    pub cgroups: cgroup::ContainerPaths,
    /// The most open files that the host allows a process.
    pub most_files: u64,
    /// AppArmor label, on a host that has AppArmor.
    pub apparmor: Option<String>,
    /// Compiled seccomp programs.
    pub seccomp: Vec<Vec<u64>>,
    /// What is written into the guest for its network.
    pub network_files: Vec<spec::FileOp>,
    /// What shows the container its own limits.
    pub lxcfs: Vec<spec::Mount>,
    /// Mounts of its configuration.
    pub mounts: Vec<spec::Mount>,
    /// Init waits until it is told to go on.
    pub hold: bool,
}

/// What is started in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its own init.
    Boot,
    /// A minimal init of ours, for one command.
    Run,
}

/// Soft and hard limit of open files unless the container has others.
pub const NOFILE: (u64, u64) = (1024, 1_048_576);

/// Where the interface of AppArmor is.
const POLICY_INTERFACE: &str = "/sys/kernel/security";

/// Device nodes that every container has: path, major, minor.
const NODES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The specification of a container.
///
/// # Errors
/// `InvalidArgument` when the configuration holds what can't be.
pub fn spec(config: &Config, facts: Facts<'_>, mode: Mode) -> Result<Spec, Error> {
    let hostname = config.hostname.as_ref().map_or(facts.id, |h| h.local());
    let init = match mode {
        Mode::Boot => spec::Init::Exec {
            argv: config.init(),
        },
        Mode::Run => spec::Init::Pause,
    };
    let mut files = guest::at_start(
        &config.distribution,
        config.hostname.as_ref(),
        &config.dns_resolvers,
    );
    let policy = own_policy(config, &facts);
    files.extend(facts.network_files);
    let mut mounts = policy_interface(policy);
    mounts.extend(facts.lxcfs);
    mounts.extend(facts.mounts);
    let is_masked = |path: &&&str| policy == Nesting::No || **path != POLICY_INTERFACE;
    Ok(Spec {
        version: spec::VERSION,
        id: facts.label,
        init,
        env: Vec::new(),
        hostname: hostname.chars().take(64).collect(),
        domainname: None,
        rootfs: facts.rootfs,
        rootfs_readonly: false,
        run_dir: facts.run_dir,
        console: spec::ConsoleLog {
            log: Some(facts.log),
            max_bytes: facts.log_max,
        },
        cgroup: spec::Cgroups {
            v2_payload: facts.cgroups.v2_payload,
            v1: facts.cgroups.v1,
        },
        uid_map: facts.uid_map.iter().map(mapping).collect(),
        gid_map: facts.gid_map.iter().map(mapping).collect(),
        mounts,
        devices: nodes(config),
        rlimits: rlimits(config, facts.most_files)?,
        drop_capabilities: profile::dropped(policy),
        seccomp: facts.seccomp,
        apparmor: facts.apparmor,
        nesting: config.nesting,
        masked_paths: paths::MASKED
            .iter()
            .filter(is_masked)
            .map(PathBuf::from)
            .collect(),
        readonly_paths: paths::READ_ONLY.iter().map(PathBuf::from).collect(),
        writable_paths: paths::WRITABLE.iter().map(PathBuf::from).collect(),
        files,
        oom_score_adj: Some(0),
        time_namespace: true,
        hold: facts.hold,
    })
}

/// Whether the container has an AppArmor namespace of its own.
fn own_policy(config: &Config, facts: &Facts<'_>) -> Nesting {
    match (&facts.apparmor, config.nesting) {
        (Some(_), true) => Nesting::Yes,
        _ => Nesting::No,
    }
}

/// The host's file system of security modules, where the kernel shows the container what is its own.
fn policy_interface(policy: Nesting) -> Vec<spec::Mount> {
    let mount = spec::Mount {
        source: spec::MountSource::Bind {
            path: POLICY_INTERFACE.into(),
            recursive: false,
            idmap: false,
            file: None,
        },
        target: POLICY_INTERFACE.into(),
        create: spec::CreateTarget::No,
        attributes: spec::MountAttributes {
            nosuid: true,
            nodev: true,
            noexec: true,
            ..spec::MountAttributes::default()
        },
        optional: false,
        exclusive: false,
    };
    match policy {
        Nesting::Yes => vec![mount],
        Nesting::No => Vec::new(),
    }
}

fn mapping(m: &Mapping) -> spec::IdMapping {
    spec::IdMapping {
        ns_id: m.ns_id,
        host_id: m.host_id,
        count: m.count,
    }
}

fn nodes(config: &Config) -> Vec<spec::Device> {
    let standard = NODES.iter().map(|(path, major, minor)| spec::Device {
        path: path.into(),
        kind: spec::DeviceKind::Char,
        major: *major,
        minor: *minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    });
    standard
        .chain(config.devices.iter().filter_map(node))
        .collect()
}

/// The node of a device, when it has one and may be used at all.
pub fn node(device: &Device) -> Option<spec::Device> {
    let path = device.name.as_ref()?;
    let kind = match device.kind {
        DeviceKind::Block => spec::DeviceKind::Block,
        DeviceKind::Char => spec::DeviceKind::Char,
    };
    let (major, minor) = (device.major.parse().ok()?, device.minor.parse().ok()?);
    Some(spec::Device {
        path: path.into(),
        kind,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    })
}

/// The device rules of a container: what every container may, then its own; of two rules for the
/// same device the container's own holds.
pub fn device_rules(config: &Config) -> Vec<DeviceRule> {
    let own: Vec<DeviceRule> = config.devices.iter().map(rule).collect();
    let same = |a: &DeviceRule, b: &DeviceRule| {
        a.kind == b.kind && a.major == b.major && a.minor == b.minor
    };
    let mut rules: Vec<DeviceRule> = cgroup::default_rules()
        .into_iter()
        .filter(|d| !own.iter().any(|o| same(o, d)))
        .collect();
    rules.extend(own.into_iter().filter(|r| !r.access.is_empty()));
    rules
}

/// All devices of a container as clients see them: those that every container has, then its own.
pub fn devices(config: &Config) -> Vec<Device> {
    let own = |d: &Device| {
        config
            .devices
            .iter()
            .any(|o| (o.kind, &o.major, &o.minor) == (d.kind, &d.major, &d.minor))
    };
    let standard = standard_devices().into_iter();
    standard
        .filter(|d| !own(d))
        .chain(config.devices.iter().cloned())
        .collect()
}

/// Whether a device gives no more access than another one does.
pub fn is_within(device: &Device, other: &Device) -> bool {
    let number = |number: &str, other: &str| other == "*" || number == other;
    device.kind == other.kind
        && number(&device.major, &other.major)
        && number(&device.minor, &other.minor)
        && device.mode.chars().all(|c| other.mode.contains(c))
}

/// The devices that every container has.
pub fn standard_devices() -> Vec<Device> {
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let device = |r: DeviceRule| {
        let kind = match r.kind {
            cgroup::DeviceKind::Block => DeviceKind::Block,
            cgroup::DeviceKind::Char => DeviceKind::Char,
            cgroup::DeviceKind::All => return None,
        };
        let (major, minor) = (number(r.major), number(r.minor));
        let node = NODES
            .iter()
            .find(|(_, a, b)| r.major == Some(*a) && r.minor == Some(*b));
        Some(Device {
            kind,
            major,
            minor,
            mode: r.access.to_string(),
            name: node
                .filter(|_| kind == DeviceKind::Char)
                .map(|(path, ..)| (*path).to_owned()),
            inherited: true,
        })
    };
    cgroup::default_rules()
        .into_iter()
        .filter_map(device)
        .collect()
}

fn rule(device: &Device) -> DeviceRule {
    DeviceRule {
        kind: match device.kind {
            DeviceKind::Block => cgroup::DeviceKind::Block,
            DeviceKind::Char => cgroup::DeviceKind::Char,
        },
        major: device.major.parse().ok(),
        minor: device.minor.parse().ok(),
        // Letters were checked when the device was set.
        access: device.mode.parse().unwrap_or_default(),
    }
}

fn rlimits(config: &Config, most_files: u64) -> Result<Vec<spec::Rlimit>, Error> {
    let mut limits = Vec::new();
    if !config.prlimits.contains_key("nofile") {
        limits.push(spec::Rlimit {
            name: "nofile".to_owned(),
            soft: Some(NOFILE.0),
            hard: Some(NOFILE.1.min(most_files)),
        });
    }
    for limit in config.prlimits.values() {
        let parsed = parse_limit(limit)?;
        limits.push(spec::Rlimit {
            name: limit.name.clone(),
            soft: parsed.soft().get(),
            hard: parsed.hard().get(),
        });
    }
    Ok(limits)
}
