//! What a container is wanted to be: the document `conf/ct/<id>.json`.
//!
//! It owns the shape, the defaults and the checks of values; writing it is the store's work.

pub mod checked;

use std::collections::BTreeMap;
use std::net::IpAddr;

use osctl_api::container::{
    Autostart, Cgparam, CpuLimit, Device, DeviceKind, MemoryLimit, Prlimit, Set, Setting, Unset,
};
use osctl_api::io_limit::IoLimit;
use osctl_api::mounts::Mountpoint;
use osctl_api::names::{GroupPath, Hostname, Name};
use osctl_api::net::IfName;
use osctl_api::snapshot::Keep;
use serde::{Deserialize, Serialize};

use super::firewall;
use super::mount::{self, Mount};
use super::netif::{self, Netif};
use crate::error::Error;
use crate::security::rlimit::{self, Limit};
use crate::security::seccomp::Profile;

/// Program that is started unless the container has another.
pub const DEFAULT_INIT: &str = "/sbin/init";

/// Desired configuration of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// User whose id map it has.
    pub user: Name,
    /// Group.
    pub group: GroupPath,
    /// Distribution, such as `debian`.
    pub distribution: String,
    /// Version of the distribution. (`version` is that of the document.)
    #[serde(rename = "distribution_version")]
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Host name, when the host sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// DNS resolvers, when the host sets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_resolvers: Vec<IpAddr>,
    /// Start by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<Autostart>,
    /// Delete it when it stops.
    #[serde(default)]
    pub ephemeral: bool,
    /// Containers can be run inside.
    #[serde(default)]
    pub nesting: bool,
    /// Seccomp profile; the default one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<String>,
    /// Init and its arguments; /sbin/init when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_cmd: Vec<String>,
    /// Limit of processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<CpuLimit>,
    /// Limit of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<MemoryLimit>,
    /// Limit of what it reads from and writes to its pool's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_limit: Option<IoLimit>,
    /// Raw cgroup parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgparams: Vec<Cgparam>,
    /// Devices beyond those that every container has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Network interfaces, in the order in which the container gets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub netifs: Vec<Netif>,
    /// What is mounted in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Firewall.
    #[serde(default, skip_serializing_if = "firewall::Config::is_open")]
    pub firewall: firewall::Config,
    /// Resource limits, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prlimits: BTreeMap<String, Prlimit>,
    /// Snapshots that are made by schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Keep>,
    /// Each run begins with the same files, and what it changes goes when it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub impermanence: bool,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
    /// Its new id, while it is being renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<Name>,
    /// What takes the place of its data, while it is being reinstalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
    /// Where it goes, while it is being moved to another pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub going_to: Option<Elsewhere>,
    /// Where it may still be found, while it is being moved from another pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_from: Option<Elsewhere>,
    /// What it runs from rather than its own data, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted: Option<Booted>,
}

/// Data that a container runs from for one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// By which name the pool's storage knows them.
    pub data: String,
    /// Where the container's own data are mounted in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_at: Option<Mountpoint>,
    /// What runs in them when they are of an image, not a copy of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Distribution>,
}

/// Data that take the place of a container's, and what runs in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// By which name the pool's storage knows them.
    pub data: String,
    /// What runs in them.
    #[serde(flatten)]
    pub system: Distribution,
}

impl Replacement {
    /// Notes that they are in place.
    pub fn apply(&self, config: &mut Config) {
        self.system.apply(config);
        config.replacement = None;
    }
}

/// A container of another pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The pool.
    pub pool: Name,
    /// The container.
    pub id: Name,
}

impl std::fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.pool, self.id)
    }
}

impl Config {
    /// The configuration of a new container.
    pub fn new(user: Name, group: GroupPath, distribution: Distribution) -> Config {
        Config {
            user,
            group,
            distribution: distribution.name,
            version: distribution.version,
            arch: distribution.arch,
            hostname: None,
            dns_resolvers: Vec::new(),
            autostart: None,
            ephemeral: false,
            impermanence: false,
            booted: None,
            nesting: false,
            seccomp: None,
            init_cmd: Vec::new(),
            cpu_limit: None,
            memory_limit: None,
            io_limit: None,
            cgparams: Vec::new(),
            devices: Vec::new(),
            netifs: Vec::new(),
            mounts: Vec::new(),
            firewall: firewall::Config::default(),
            prlimits: BTreeMap::new(),
            snapshots: None,
            attrs: BTreeMap::new(),
            moving_to: None,
            replacement: None,
            going_to: None,
            came_from: None,
        }
    }

    /// Forgets what is being done to the container: that is no matter of another one which is made
    /// after it.
    pub fn forget_operations(&mut self) {
        self.moving_to = None;
        self.replacement = None;
        self.going_to = None;
        self.came_from = None;
        self.booted = None;
    }

    /// Init and its arguments.
    pub fn init(&self) -> Vec<String> {
        if self.init_cmd.is_empty() {
            vec![DEFAULT_INIT.to_owned()]
        } else {
            self.init_cmd.clone()
        }
    }

    /// Its seccomp profile.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no such profile.
    pub fn seccomp_profile(&self) -> Result<Profile, Error> {
        let name = self.seccomp.as_deref().unwrap_or("default");
        name.parse()
            .map_err(|e| Error::invalid_with("the seccomp profile can't be used", e))
    }

    /// Takes over what `set` names.
    ///
    /// # Errors
    /// `InvalidArgument`; then the configuration is to be thrown away.
    pub fn set(&mut self, set: Set) -> Result<(), Error> {
        if let Some(v) = set.autostart {
            self.autostart = Some(v);
        }
        if let Some(v) = set.impermanence {
            self.impermanence = v;
        }
        if let Some(v) = set.ephemeral {
            self.ephemeral = v;
        }
        if let Some(v) = set.hostname {
            self.hostname = Some(v);
        }
        if let Some(v) = set.dns_resolvers {
            checked::bounded("DNS resolvers", v.len())?;
            self.dns_resolvers = v;
        }
        if let Some(v) = set.init_cmd {
            self.init_cmd = checked::init(v)?;
        }
        if let Some(v) = set.nesting {
            self.nesting = v;
        }
        if let Some(v) = set.seccomp {
            self.seccomp = checked::seccomp(v)?;
        }
        if let Some(v) = set.distribution {
            self.distribution = checked::word("distribution", v.name)?;
            self.version = checked::word("version", v.version)?;
            if let Some(arch) = v.arch {
                self.arch = checked::word("architecture", arch)?;
            }
        }
        if let Some(v) = set.cpu_limit {
            self.cpu_limit = Some(checked::cpu(v)?);
        }
        if let Some(v) = set.memory_limit {
            self.memory_limit = Some(checked::memory(v)?);
        }
        if let Some(v) = set.io_limit {
            self.io_limit = Some(checked::io(v)?);
        }
        for (name, value) in set.attrs {
            if value.len() > checked::MAX_VALUE || value.chars().any(char::is_control) {
                return Err(Error::invalid(format!(
                    "value of attribute {name} is longer than {} bytes or has control characters",
                    checked::MAX_VALUE
                )));
            }
            self.attrs.insert(name.into(), value);
        }
        Ok(())
    }

    /// Returns what `unset` names to its default.
    pub fn unset(&mut self, unset: &Unset) {
        for setting in &unset.settings {
            match setting {
                Setting::Autostart => self.autostart = None,
                Setting::Ephemeral => self.ephemeral = false,
                Setting::Impermanence => self.impermanence = false,
                Setting::Hostname => self.hostname = None,
                Setting::DnsResolvers => self.dns_resolvers.clear(),
                Setting::InitCmd => self.init_cmd.clear(),
                Setting::Nesting => self.nesting = false,
                Setting::Seccomp => self.seccomp = None,
                Setting::CpuLimit => self.cpu_limit = None,
                Setting::MemoryLimit => self.memory_limit = None,
                Setting::IoLimit => self.io_limit = None,
                // The pool keeps it.
                Setting::Quota => {}
            }
        }
        for name in &unset.attrs {
            self.attrs.remove(name.as_str());
        }
    }

    /// Sets a resource limit.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no such limit or its values can't be.
    pub fn set_prlimit(&mut self, limit: Prlimit) -> Result<(), Error> {
        parse_limit(&limit)?;
        self.prlimits.insert(limit.name.clone(), limit);
        Ok(())
    }

    /// Adds a device, or replaces the one with the same numbers.
    ///
    /// # Errors
    /// `InvalidArgument` when numbers, mode or name can't be.
    pub fn add_device(&mut self, device: Device) -> Result<(), Error> {
        let device = checked::device(device)?;
        self.devices
            .retain(|d| !same_device(d, device.kind, &device.major, &device.minor));
        checked::bounded("devices", self.devices.len() + 1)?;
        self.devices.push(device);
        Ok(())
    }

    /// Replaces all devices.
    ///
    /// # Errors
    /// As [`Config::add_device`].
    pub fn replace_devices(&mut self, devices: Vec<Device>) -> Result<(), Error> {
        self.devices.clear();
        devices.into_iter().try_for_each(|d| self.add_device(d))
    }

    /// The device with these numbers.
    pub fn device(&mut self, kind: DeviceKind, major: &str, minor: &str) -> Option<&mut Device> {
        self.devices
            .iter_mut()
            .find(|d| same_device(d, kind, major, minor))
    }

    /// Removes the device with these numbers; returns it.
    pub fn remove_device(&mut self, kind: DeviceKind, major: &str, minor: &str) -> Option<Device> {
        let at = self
            .devices
            .iter()
            .position(|d| same_device(d, kind, major, minor))?;
        Some(self.devices.remove(at))
    }

    /// Checks a configuration that was read from disk or from an archive by the same rules that
    /// hold for commands.
    ///
    /// # Errors
    /// `InvalidArgument` naming the first value that can't be.
    pub fn check(&self) -> Result<(), Error> {
        checked::word("distribution", self.distribution.clone())?;
        checked::word("version", self.version.clone())?;
        checked::word("architecture", self.arch.clone())?;
        checked::init(self.init_cmd.clone())?;
        if let Some(v) = self.cpu_limit {
            checked::cpu(v)?;
        }
        if let Some(v) = self.memory_limit {
            checked::memory(v)?;
        }
        if let Some(v) = self.io_limit {
            checked::io(v)?;
        }
        if let Some(v) = &self.seccomp {
            checked::seccomp(v.clone())?;
        }
        checked::bounded("DNS resolvers", self.dns_resolvers.len())?;
        checked::bounded("cgroup parameters", self.cgparams.len())?;
        checked::bounded("devices", self.devices.len())?;
        for device in &self.devices {
            let mut device = device.clone();
            if device.mode.is_empty() {
                // As it is kept; commands say it so that it can't be forgotten.
                device.mode.push('-');
            }
            checked::device(device)?;
        }
        for limit in self.prlimits.values() {
            parse_limit(limit)?;
        }
        self.firewall.check()?;
        mount::check_all(self.mounts.iter())?;
        netif::check_all(&self.netifs)
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn netif(&mut self, name: &IfName) -> Result<&mut Netif, Error> {
        let found = self.netifs.iter_mut().find(|n| n.name == *name);
        found.ok_or_else(|| Error::not_found(format!("the container has no interface {name}")))
    }
}

/// What runs in a container, complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// Name, such as `debian`.
    #[serde(rename = "distribution")]
    pub name: String,
    /// Version, such as `trixie`.
    pub version: String,
    /// Architecture, such as `x86_64`.
    pub arch: String,
}

impl Distribution {
    /// Checks all three words.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn checked(name: String, version: String, arch: String) -> Result<Distribution, Error> {
        Ok(Distribution {
            name: checked::word("distribution", name)?,
            version: checked::word("version", version)?,
            arch: checked::word("architecture", arch)?,
        })
    }

    /// Notes that it is what runs in a container.
    pub fn apply(&self, config: &mut Config) {
        config.distribution.clone_from(&self.name);
        config.version.clone_from(&self.version);
        config.arch.clone_from(&self.arch);
    }
}

/// A resource limit from its words.
///
/// # Errors
/// `InvalidArgument` when there is no such limit or its values can't be.
pub fn parse_limit(limit: &Prlimit) -> Result<Limit, Error> {
    let parse = || -> Result<Limit, rlimit::Error> {
        Limit::new(
            limit.name.parse()?,
            limit.soft.parse()?,
            limit.hard.parse()?,
        )
    };
    parse().map_err(|e| Error::invalid_with("the resource limit can't be set", e))
}

fn same_device(d: &Device, kind: DeviceKind, major: &str, minor: &str) -> bool {
    d.kind == kind && d.major == major && d.minor == minor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let d = Distribution::checked("debian".into(), "trixie".into(), "x86_64".into()).unwrap();
        Config::new("u".parse().unwrap(), GroupPath::default_group(), d)
    }

    fn device(major: &str, minor: &str, mode: &str, name: Option<&str>) -> Device {
        Device {
            kind: DeviceKind::Char,
            major: major.into(),
            minor: minor.into(),
            mode: mode.into(),
            name: name.map(str::to_owned),
            inherited: false,
        }
    }

    #[test]
    fn devices_are_checked_and_replaced() {
        let mut c = config();
        c.add_device(device("10", "229", "wr", Some("/dev/fuse")))
            .unwrap();
        assert_eq!(c.devices[0].mode, "rw");
        c.add_device(device("10", "229", "r", None)).unwrap();
        assert_eq!(c.devices.len(), 1);
        c.add_device(device("1", "3", "-", None)).unwrap();
        c.check().unwrap();
        for (major, minor, mode, name) in [
            ("x", "1", "r", None),
            ("1", "1048576", "r", None),
            ("+1", "1", "r", None),
            ("01", "1", "r", None),
            ("1", "1", "x", None),
            ("1", "1", "", None),
            ("1", "1", "r", Some("/etc/passwd")),
            ("1", "1", "r", Some("/dev/../etc/x")),
            ("1", "1", "r", Some("/dev/")),
            ("1", "1", "r", Some("/dev/a//b")),
            ("*", "1", "r", Some("/dev/a")),
        ] {
            let d = device(major, minor, mode, name);
            assert!(c.add_device(d.clone()).is_err(), "{d:?} was accepted");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        let id: osctl_api::names::Ref = "a".parse().unwrap();
        type Change = Box<dyn Fn(&mut Set)>;
        let bad: Vec<Change> = vec![
            Box::new(|s| s.init_cmd = Some(vec!["sbin/init".into()])),
            Box::new(|s| s.init_cmd = Some(vec!["/a\0".into()])),
            Box::new(|s| s.seccomp = Some("relative".into())),
            Box::new(|s| {
                s.cpu_limit = Some(CpuLimit {
                    percent: 0,
                    period_us: None,
                })
            }),
            Box::new(|s| {
                s.cpu_limit = Some(CpuLimit {
                    percent: 1,
                    period_us: Some(1),
                })
            }),
            Box::new(|s| {
                s.memory_limit = Some(MemoryLimit {
                    memory: 1,
                    swap: None,
                })
            }),
            Box::new(|s| {
                s.attrs.insert("a:b".parse().unwrap(), "x\ny".into());
            }),
        ];
        for change in bad {
            let mut set = Set::none(id.clone());
            change(&mut set);
            assert!(config().set(set.clone()).is_err(), "{set:?} was accepted");
        }
    }

    #[test]
    fn set_and_unset_are_inverse() {
        let before = config();
        let mut after = before.clone();
        let mut set = Set::none("a".parse().unwrap());
        set.hostname = Some("web".parse().unwrap());
        set.nesting = Some(true);
        set.autostart = Some(Autostart {
            priority: 1,
            delay: 0,
        });
        set.attrs.insert("a:b".parse().unwrap(), "c".into());
        after.set(set).unwrap();
        assert_ne!(before, after);
        after.unset(&Unset {
            id: "a".parse().unwrap(),
            settings: vec![Setting::Hostname, Setting::Nesting, Setting::Autostart],
            attrs: vec!["a:b".parse().unwrap()],
        });
        assert_eq!(before, after);
    }
}
