//! The files of an archive, key by key. Unknown keys are not looked at; those whose values mean
//! nothing here are read only to tell that they were there.

use std::collections::BTreeMap;

use osctl_api::container::{Autostart, CpuLimit, MemoryLimit};
use osctl_api::io_limit::IoLimit;
use osctl_api::net::IfName;
use osctl_api::snapshot::Keep;
use serde::{Deserialize, Serialize};
use serde_norway::Value;

use crate::container::firewall;

/// Version of what is kept under our key.
pub(super) const VERSION: u32 = 1;

/// `config/container.yml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) distribution: Option<String>,
    pub(super) version: Option<String>,
    pub(super) arch: Option<String>,
    pub(super) net_interfaces: Option<Vec<Netif>>,
    pub(super) cgparams: Option<Vec<Cgparam>>,
    pub(super) devices: Option<Vec<Device>>,
    pub(super) prlimits: Option<Prlimits>,
    pub(super) mounts: Option<Vec<Mount>>,
    pub(super) autostart: Option<Autostart>,
    pub(super) ephemeral: Option<bool>,
    pub(super) hostname: Option<String>,
    pub(super) dns_resolvers: Option<Vec<String>>,
    pub(super) nesting: Option<bool>,
    pub(super) seccomp_profile: Option<String>,
    pub(super) init_cmd: Option<Vec<String>>,
    #[serde(skip_serializing)]
    pub(super) impermanence: Option<Value>,
    #[serde(skip_serializing)]
    pub(super) raw: Option<Raw>,
    pub(super) attrs: Option<BTreeMap<String, String>>,
    #[serde(rename = "org.osctl", skip_serializing_if = "Option::is_none")]
    pub(super) ours: Option<Ours>,
}

/// Raw configuration of other programs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) lxc: Option<String>,
}

/// What vpsAdminOS has no word for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ours {
    pub(super) version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seccomp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cpu_limit: Option<CpuLimit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memory_limit: Option<MemoryLimit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) io_limit: Option<IoLimit>,
    /// Bytes that its files may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) quota: Option<u64>,
    /// The same of its datasets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) dataset_quotas: BTreeMap<String, u64>,
    /// Names of snapshots in the streams, by the part of a schedule that made them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) scheduled: BTreeMap<String, Vec<String>>,
    /// Snapshots that are made by schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshots: Option<Keep>,
    /// Whether what its runs change is forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) impermanence: bool,
    #[serde(default, skip_serializing_if = "firewall::Config::is_open")]
    pub(super) firewall: firewall::Config,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) netifs: BTreeMap<IfName, OurNetif>,
}

/// What vpsAdminOS has no word for, of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OurNetif {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u32>,
    pub(super) anti_spoof: bool,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Netif {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) hwaddr: Option<String>,
    pub(super) max_tx: u64,
    pub(super) max_rx: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tx_queues: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rx_queues: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip_addresses: Option<Versions<Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dhcp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateways: Option<Versions<Option<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) routes: Option<Versions<Vec<Route>>>,
}

/// Something for each version of IP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Versions<T: Default> {
    pub(super) v4: T,
    pub(super) v6: T,
}

/// What is routed to an interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Route {
    Direct(String),
    Via {
        address: String,
        via: Option<String>,
    },
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Mount {
    #[serde(default)]
    pub(super) fs: Option<String>,
    pub(super) mountpoint: String,
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) opts: Option<String>,
    #[serde(default = "yes")]
    pub(super) automount: bool,
    /// A dataset of the container, relative to its own.
    #[serde(default)]
    pub(super) dataset: Option<String>,
    #[serde(default)]
    pub(super) temporary: bool,
}

/// A cgroup parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cgparam {
    #[serde(default = "one")]
    pub(super) version: u8,
    pub(super) subsystem: String,
    pub(super) name: String,
    pub(super) value: Vec<String>,
    #[serde(default = "yes")]
    pub(super) persistent: bool,
}

fn one() -> u8 {
    1
}

fn yes() -> bool {
    true
}

/// A device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Device {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) major: String,
    pub(super) minor: String,
    pub(super) mode: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default = "yes")]
    pub(super) inherit: bool,
    #[serde(default)]
    pub(super) inherited: bool,
}

/// Resource limits: by name, or, of old, as a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Prlimits {
    Named(BTreeMap<String, Prlimit>),
    Listed(Vec<NamedPrlimit>),
}

/// A resource limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Prlimit {
    pub(super) soft: Number,
    pub(super) hard: Number,
}

/// A resource limit with its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NamedPrlimit {
    pub(super) name: String,
    pub(super) soft: Number,
    pub(super) hard: Number,
}

/// A number, or a word that stands for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Number(u64),
    Word(String),
}

impl Number {
    pub(super) fn parse(text: &str) -> Number {
        match text.parse() {
            Ok(number) => Number::Number(number),
            Err(_) => Number::Word(text.to_owned()),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Number::Number(number) => number.to_string(),
            Number::Word(word) => word.clone(),
        }
    }
}

/// `config/user.yml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct User {
    pub(super) uid_map: Vec<String>,
    pub(super) gid_map: Vec<String>,
    pub(super) standalone: Option<bool>,
    pub(super) attrs: Option<BTreeMap<String, String>>,
}

/// `config/group.yml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Group {
    pub(super) cgparams: Vec<Cgparam>,
    pub(super) devices: Vec<Device>,
    pub(super) attrs: BTreeMap<String, String>,
}
