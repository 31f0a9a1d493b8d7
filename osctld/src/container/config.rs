//! What a container is wanted to be: the document `conf/ct/<id>.json`.
//!
//! It owns the shape, the defaults and the checks of values; writing it is the store's work.

use std::collections::BTreeMap;
use std::net::IpAddr;

use osctl_api::container::{
    Autostart, Cgparam, CpuLimit, Device, DeviceKind, MemoryLimit, Prlimit, Set, Setting, Unset,
};
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
/// Most DNS resolvers, cgroup parameters, devices or words of an init command.
const MAX_ITEMS: usize = 128;
/// Longest value of an attribute or word of an init command, bytes.
const MAX_VALUE: usize = 4096;

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

/// Data that a container runs from for one run, and what runs in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// By which name the pool's storage knows them.
    pub data: String,
    /// Distribution.
    pub distribution: String,
    /// Version of the distribution.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Where the container's own data are mounted in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_at: Option<Mountpoint>,
    /// Of an image, not a copy of its own.
    pub image: bool,
}

impl Booted {
    /// Whether they are of an image.
    pub fn is_image(&self) -> bool {
        self.image
    }
}

/// Data that take the place of a container's, and what runs in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// By which name the pool's storage knows them.
    pub data: String,
    /// Distribution.
    pub distribution: String,
    /// Version of the distribution.
    pub version: String,
    /// Architecture.
    pub arch: String,
}

impl Replacement {
    /// Notes that they are in place.
    pub fn apply(&self, config: &mut Config) {
        config.distribution.clone_from(&self.distribution);
        config.version.clone_from(&self.version);
        config.arch.clone_from(&self.arch);
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
            bounded("DNS resolvers", v.len())?;
            self.dns_resolvers = v;
        }
        if let Some(v) = set.init_cmd {
            self.init_cmd = checked_init(v)?;
        }
        if let Some(v) = set.nesting {
            self.nesting = v;
        }
        if let Some(v) = set.seccomp {
            self.seccomp = checked_seccomp(v)?;
        }
        if let Some(v) = set.distribution {
            self.distribution = word("distribution", v.name)?;
            self.version = word("version", v.version)?;
            if let Some(arch) = v.arch {
                self.arch = word("architecture", arch)?;
            }
        }
        if let Some(v) = set.cpu_limit {
            self.cpu_limit = Some(checked_cpu(v)?);
        }
        if let Some(v) = set.memory_limit {
            self.memory_limit = Some(checked_memory(v)?);
        }
        for (name, value) in set.attrs {
            if value.len() > MAX_VALUE || value.chars().any(char::is_control) {
                return Err(Error::invalid(format!(
                    "value of attribute {name} is longer than {MAX_VALUE} bytes or has control characters"
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
        let device = checked_device(device)?;
        self.devices
            .retain(|d| !same_device(d, device.kind, &device.major, &device.minor));
        bounded("devices", self.devices.len() + 1)?;
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
        word("distribution", self.distribution.clone())?;
        word("version", self.version.clone())?;
        word("architecture", self.arch.clone())?;
        checked_init(self.init_cmd.clone())?;
        if let Some(v) = self.cpu_limit {
            checked_cpu(v)?;
        }
        if let Some(v) = self.memory_limit {
            checked_memory(v)?;
        }
        if let Some(v) = &self.seccomp {
            checked_seccomp(v.clone())?;
        }
        bounded("DNS resolvers", self.dns_resolvers.len())?;
        bounded("cgroup parameters", self.cgparams.len())?;
        bounded("devices", self.devices.len())?;
        for device in &self.devices {
            let mut device = device.clone();
            if device.mode.is_empty() {
                // As it is kept; commands say it so that it can't be forgotten.
                device.mode.push('-');
            }
            checked_device(device)?;
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Name, such as `debian`.
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
            name: word("distribution", name)?,
            version: word("version", version)?,
            arch: word("architecture", arch)?,
        })
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

fn bounded(what: &str, n: usize) -> Result<(), Error> {
    if n > MAX_ITEMS {
        return Err(Error::invalid(format!(
            "{n} {what} are too many: at most {MAX_ITEMS}"
        )));
    }
    Ok(())
}

fn word(what: &str, s: String) -> Result<String, Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if s.is_empty() || s.len() > 64 || !s.chars().all(good) || s.starts_with('-') {
        let shown: String = s.chars().take(64).collect();
        return Err(Error::invalid(format!(
            "{what} {shown:?} is not valid: use letters, digits, '.', '_', '+' and '-'"
        )));
    }
    Ok(s)
}

fn checked_init(command: Vec<String>) -> Result<Vec<String>, Error> {
    bounded("words of an init command", command.len())?;
    if command
        .iter()
        .any(|w| w.contains('\0') || w.len() > MAX_VALUE)
    {
        return Err(Error::invalid(
            "init command has a NUL byte or a word that is too long",
        ));
    }
    if command.first().is_some_and(|first| !first.starts_with('/')) {
        return Err(Error::invalid(
            "init command must start with an absolute path",
        ));
    }
    Ok(command)
}

fn checked_seccomp(profile: String) -> Result<Option<String>, Error> {
    let known: Profile = profile
        .parse()
        .map_err(|e| Error::invalid_with("the seccomp profile can't be set", e))?;
    Ok((known != Profile::Default).then_some(profile))
}

fn checked_cpu(limit: CpuLimit) -> Result<CpuLimit, Error> {
    let period = limit.period_us.unwrap_or(100_000);
    if limit.percent == 0 || limit.percent > 1_000_000 {
        return Err(Error::invalid(
            "cpu limit must be 1 to 1000000 percent of one core",
        ));
    }
    if !(1_000..=1_000_000).contains(&period) {
        return Err(Error::invalid(
            "period of the cpu limit must be 1 ms to 1000 ms",
        ));
    }
    Ok(limit)
}

fn checked_memory(limit: MemoryLimit) -> Result<MemoryLimit, Error> {
    const LEAST: u64 = 1024 * 1024;
    const MOST: u64 = 1 << 60;
    if !(LEAST..=MOST).contains(&limit.memory) || limit.swap.is_some_and(|s| s > MOST) {
        return Err(Error::invalid(
            "memory limit must be at least 1M, and at most 1 EiB",
        ));
    }
    Ok(limit)
}

fn checked_device(mut device: Device) -> Result<Device, Error> {
    let number = |s: &str, most: u32| {
        s == "*"
            || s.parse::<u32>()
                .is_ok_and(|n| n <= most && n.to_string() == s)
    };
    if !number(&device.major, 0xfff) || !number(&device.minor, 0xfffff) {
        return Err(Error::invalid(format!(
            "device numbers {}:{} are not valid: use 0 to 4095 and 0 to 1048575, or `*`",
            device.major.escape_debug(),
            device.minor.escape_debug()
        )));
    }
    let mode = std::mem::take(&mut device.mode);
    device.mode = checked_mode(&mode)?;
    if let Some(name) = &device.name {
        let relative = name.strip_prefix("/dev/").filter(|r| !r.is_empty());
        let good = |c: &str| {
            !c.is_empty()
                && c.len() <= 64
                && !c.starts_with('.')
                && c.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._:+-".contains(c))
        };
        if !relative.is_some_and(|r| r.split('/').count() <= 4 && r.split('/').all(good)) {
            return Err(Error::invalid(format!(
                "device node {:?} is not valid: use a path below /dev such as /dev/fuse",
                name.chars().take(64).collect::<String>()
            )));
        }
        if device.major == "*" || device.minor == "*" {
            return Err(Error::invalid(
                "a device with a node needs both its numbers",
            ));
        }
    }
    device.inherited = false;
    Ok(device)
}

/// Letters of `rwm` in their usual order; empty for `-`.
///
/// # Errors
/// `InvalidArgument` for anything else.
pub fn checked_mode(mode: &str) -> Result<String, Error> {
    if mode == "-" {
        return Ok(String::new());
    }
    let known = !mode.is_empty() && mode.len() <= 3 && mode.chars().all(|c| "rwm".contains(c));
    if !known {
        return Err(Error::invalid(format!(
            "device mode {:?} is not valid: use letters of rwm, or `-` for no access",
            mode.chars().take(16).collect::<String>()
        )));
    }
    Ok("rwm".chars().filter(|c| mode.contains(*c)).collect())
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
