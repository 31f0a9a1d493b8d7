//! Raw parameters of cgroups: checking, applying to and resetting in the running system.
//!
//! Which parameters a group or container has is the caller's configuration.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Error, Node, Result, Tree, cpuset, file};

/// Values of one parameter, and bytes of one value: what the kernel takes at once.
const MAX_VALUES: usize = 256;
const MAX_VALUE_LEN: usize = 4095;

/// A version of cgroups; serialised as the number 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

impl Version {
    /// 1 or 2.
    pub fn number(self) -> u8 {
        match self {
            Version::V1 => 1,
            Version::V2 => 2,
        }
    }
}

impl From<Version> for u8 {
    fn from(version: Version) -> u8 {
        version.number()
    }
}

impl TryFrom<u8> for Version {
    type Error = String;
    fn try_from(number: u8) -> Result<Version, String> {
        match number {
            1 => Ok(Version::V1),
            2 => Ok(Version::V2),
            _ => Err(format!("cgroup version {number} does not exist")),
        }
    }
}

/// A parameter with the values to write one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// The version of cgroups that it is for.
    pub version: Version,
    /// The controller: the name up to its first dot.
    pub subsystem: String,
    /// File name, such as `memory.max`.
    pub name: String,
    /// At least one value, each a single line.
    pub value: Vec<String>,
}

/// Something that was asked for and that this host cannot do, without being an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The parameter.
    pub parameter: String,
    /// What happens instead.
    pub message: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.parameter, self.message)
    }
}

impl Param {
    /// A parameter, checked; the controller is inferred from its name.
    pub fn new(version: Version, name: &str, value: Vec<String>) -> Result<Param> {
        let param = Param {
            version,
            subsystem: subsystem_of(name)?.to_owned(),
            name: name.to_owned(),
            value,
        };
        param.check()?;
        Ok(param)
    }

    /// Checks a parameter that came from outside, for example deserialised.
    pub fn check(&self) -> Result<()> {
        let inferred = subsystem_of(&self.name)?;
        if inferred != self.subsystem {
            return Err(bad_name(&self.name, "of another subsystem"));
        }
        let invalid = |value: &str, reason| Error::Value {
            name: self.name.clone(),
            value: value.chars().take(80).collect(),
            reason,
        };
        if self.value.is_empty() || self.value.len() > MAX_VALUES {
            return Err(invalid("", "it takes 1 to 256 values"));
        }
        for value in &self.value {
            if value.is_empty() || value.len() > MAX_VALUE_LEN {
                return Err(invalid(value, "it is empty or too long"));
            }
            if value.contains(['\n', '\0']) {
                return Err(invalid(value, "it is not a single line"));
            }
        }
        Ok(())
    }

    /// Whether the values of a parameter are amounts of memory, to be shown as such.
    pub fn is_bytes(name: &str) -> bool {
        let v2 = [
            "memory.current",
            "memory.min",
            "memory.low",
            "memory.high",
            "memory.max",
            "memory.peak",
            "memory.swap.current",
            "memory.swap.high",
            "memory.swap.max",
            "memory.swap.peak",
            "memory.zswap.current",
            "memory.zswap.max",
        ];
        let huge = name.starts_with("hugetlb.")
            && [".current", ".max", ".rsvd.current", ".rsvd.max"]
                .iter()
                .any(|e| name.ends_with(e));
        v2.contains(&name) || name.ends_with("_in_bytes") || huge
    }

    /// A parameter that this module writes itself.
    pub(super) fn known(version: Version, name: &str, value: String) -> Param {
        Param {
            version,
            subsystem: name.split('.').next().unwrap_or_default().to_owned(),
            name: name.to_owned(),
            value: vec![value],
        }
    }
}

/// The controller of a parameter, after checking that an administrator may set it.
pub(super) fn subsystem_of(name: &str) -> Result<&str> {
    let Some((subsystem, rest)) = name.split_once('.') else {
        return Err(bad_name(name, "it has no subsystem"));
    };
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let any = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    let well_formed = !subsystem.is_empty()
        && subsystem.bytes().all(lower)
        && !rest.is_empty()
        && rest.bytes().all(any)
        && name.len() <= 128;
    if !well_formed {
        return Err(bad_name(name, "only letters, digits, `_` and `.`"));
    }
    match subsystem {
        "devices" => Err(bad_name(name, "devices have commands of their own")),
        "freezer" => Err(bad_name(name, "freezing has commands of its own")),
        // Processes, delegation and life of the cgroup are the daemon's business.
        "cgroup" if !matches!(rest, "max.depth" | "max.descendants" | "pressure") => {
            Err(bad_name(name, "the daemon manages it"))
        }
        _ => Ok(subsystem),
    }
}

fn bad_name(name: &str, reason: &'static str) -> Error {
    let name = name.chars().take(80).collect();
    Error::ParamName { name, reason }
}

impl Tree {
    /// The version under which a controller runs here, if at all.
    pub fn version_of(&self, subsystem: &str) -> Option<Version> {
        if self.layout().v1_with(subsystem).is_some() {
            return Some(Version::V1);
        }
        let v2 = subsystem == "cgroup" && self.layout().v2().is_some()
            || self
                .layout()
                .v2_controllers()
                .iter()
                .any(|c| c == subsystem);
        v2.then_some(Version::V2)
    }

    /// Writes parameters to a cgroup that exists. Those for the version that is not running here
    /// are skipped. What fails is tried once more after the others, since some depend on each
    /// other (v1: memory must not exceed memory and swap).
    pub fn apply(&self, node: &Node, params: &[Param]) -> Result<Vec<Warning>> {
        params.iter().try_for_each(Param::check)?;
        let mut writes = Vec::new();
        for param in params {
            if let Some(dir) = self.directory(node, param) {
                writes.extend(param.value.iter().map(|v| Write::new(&dir, param, v)));
            }
        }
        run(writes)
    }

    /// Returns parameters to what they are in a new cgroup. A warning names those that keep
    /// their value until the cgroup is made anew.
    pub fn reset(&self, node: &Node, params: &[Param]) -> Result<Vec<Warning>> {
        params.iter().try_for_each(Param::check)?;
        let mut warnings = Vec::new();
        let mut writes = Vec::new();
        for param in params {
            let Some(dir) = self.directory(node, param) else {
                continue;
            };
            let values = self.initial(node, param)?;
            if values.is_empty() {
                warnings.push(Warning {
                    parameter: param.name.clone(),
                    message: "keeps its value until the container is restarted",
                });
            }
            writes.extend(values.iter().map(|v| Write::new(&dir, param, v)));
        }
        warnings.extend(run(writes)?);
        Ok(warnings)
    }

    /// The running value of a parameter; `None` if the controller or the file is not there.
    pub fn read(&self, node: &Node, name: &str) -> Result<Option<String>> {
        let subsystem = subsystem_of(name)?;
        let dir = match self.version_of(subsystem) {
            Some(Version::V1) => self.v1_path(subsystem, node),
            Some(Version::V2) => self.v2_path(node),
            None => None,
        };
        let text = dir
            .map(|d| file::read_optional(&d.join(name)))
            .transpose()?;
        Ok(text.flatten().map(|t| t.trim_end().to_owned()))
    }

    /// Where a parameter is written, unless it is for the other version.
    fn directory(&self, node: &Node, param: &Param) -> Option<PathBuf> {
        if self.version_of(&param.subsystem) != Some(param.version) {
            return None;
        }
        match param.version {
            Version::V1 => self.v1_path(&param.subsystem, node),
            Version::V2 => self.v2_path(node),
        }
    }

    /// What a parameter is in a new cgroup; nothing if unknown.
    fn initial(&self, node: &Node, param: &Param) -> Result<Vec<String>> {
        if param.version == Version::V1 && param.subsystem == "cpuset" {
            return match self
                .v1_path("cpuset", node)
                .and_then(|d| Some(d.parent()?.join(&param.name)))
            {
                Some(path) => Ok(vec![file::read(&path)?.trim().to_owned()]),
                None => Ok(Vec::new()),
            };
        }
        Ok(initial(param))
    }
}

fn initial(param: &Param) -> Vec<String> {
    let per_device = |idle: &str| {
        let devices = param
            .value
            .iter()
            .filter_map(|v| v.split_whitespace().next());
        devices.map(|d| format!("{d} {idle}")).collect()
    };
    let one = match (param.version, param.name.as_str()) {
        (Version::V1, "cpu.cfs_quota_us" | "memory.limit_in_bytes") => "-1",
        (Version::V1, "memory.memsw.limit_in_bytes" | "memory.soft_limit_in_bytes") => "-1",
        (Version::V1, "cpu.cfs_period_us") => "100000",
        (Version::V1, "cpu.shares") => "1024",
        (Version::V1, "blkio.bfq.weight") => "100",
        (Version::V1, name) if name.starts_with("blkio.throttle.") => return per_device("0"),
        (Version::V2, "cpu.max") => "max 100000",
        (Version::V2, "cpu.weight") => "100",
        (Version::V2, "cpu.max.burst" | "cpu.idle" | "memory.oom.group") => "0",
        (Version::V2, "memory.min" | "memory.low") => "0",
        (Version::V2, "memory.high" | "memory.max" | "memory.zswap.max") => "max",
        (Version::V2, "memory.swap.max" | "memory.swap.high") => "max",
        (Version::V2, "io.weight" | "io.bfq.weight") => "default 100",
        (Version::V2, "io.max") => return per_device("rbps=max wbps=max riops=max wiops=max"),
        // An empty write would not reach the kernel.
        (Version::V2, "cpuset.cpus" | "cpuset.mems") => "\n",
        (Version::V2, n) if n.starts_with("hugetlb.") && n.ends_with(".max") => "max",
        (_, "pids.max") => "max",
        _ => return Vec::new(),
    };
    vec![one.to_owned()]
}

/// One value for one file.
struct Write {
    path: PathBuf,
    version: Version,
    name: String,
    value: String,
}

impl Write {
    fn new(dir: &Path, param: &Param, value: &str) -> Write {
        Write {
            path: dir.join(&param.name),
            version: param.version,
            name: param.name.clone(),
            value: value.to_owned(),
        }
    }

    fn run(&self) -> Result<Option<Warning>> {
        let cpuset = self.name == "cpuset.cpus" || self.name == "cpuset.mems";
        if cpuset && self.version == Version::V1 {
            return cpuset::set(&self.path, &self.value).map(|()| None);
        }
        match file::write(&self.path, &self.value) {
            Err(e) if file::is_missing(&e) => self.instead(e).map(Some),
            other => other.map(|()| None),
        }
    }

    /// What to do when the file is missing: depending on its configuration, the kernel counts
    /// swap or not, and weighs disk time under this name or another.
    fn instead(&self, missing: Error) -> Result<Warning> {
        let message = match self.name.as_str() {
            "memory.memsw.limit_in_bytes" | "memory.swap.max" => "this kernel does not limit swap",
            "io.weight" | "io.bfq.weight" | "blkio.weight" | "blkio.bfq.weight" => {
                "this kernel does not weigh disk time"
            }
            _ => return Err(missing),
        };
        Ok(Warning {
            parameter: self.name.clone(),
            message,
        })
    }
}

fn run(writes: Vec<Write>) -> Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    let mut again = Vec::new();
    for write in writes {
        match write.run() {
            Ok(warning) => warnings.extend(warning),
            Err(_) => again.push(write),
        }
    }
    for write in again {
        warnings.extend(write.run()?);
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "memory.max",
            "cpu.cfs_quota_us",
            "hugetlb.2MB.max",
            "cgroup.max.depth",
        ] {
            assert!(subsystem_of(good).is_ok(), "{good}");
        }
        for bad in [
            "tasks",
            "memory.",
            ".max",
            "memory/x.max",
            "memory.../x",
            "Memory.max",
            "a b.c",
            "cgroup.procs",
            "cgroup.kill",
            "cgroup.subtree_control",
            "cgroup.event_control",
            "devices.allow",
            "freezer.state",
            "memory.ma\nx",
            "memory.\0",
            "",
        ] {
            assert!(subsystem_of(bad).is_err(), "{bad:?}");
        }
        assert_eq!(subsystem_of("hugetlb.2MB.max").unwrap(), "hugetlb");
    }

    #[test]
    fn values() {
        let new = |v: &[&str]| {
            let values = v.iter().map(|s| (*s).to_owned()).collect();
            Param::new(Version::V2, "memory.max", values)
        };
        assert!(new(&["1"]).is_ok());
        for bad in [&[][..], &[""], &["1\n2"], &["1\0"]] {
            assert!(new(bad).is_err(), "{bad:?}");
        }
        assert!(new(&["x".repeat(5000).as_str()]).is_err());
        let json = r#"{"version":2,"subsystem":"cpu","name":"memory.max","value":["1"]}"#;
        let param: Param = serde_json::from_str(json).unwrap();
        assert!(param.check().is_err());
        assert!(serde_json::from_str::<Param>(&json.replace("2", "3")).is_err());
    }

    #[test]
    fn bytes() {
        assert!(Param::is_bytes("memory.max"));
        assert!(Param::is_bytes("memory.limit_in_bytes"));
        assert!(Param::is_bytes("hugetlb.2MB.max"));
        assert!(!Param::is_bytes("memory.swappiness"));
        assert!(!Param::is_bytes("pids.max"));
    }

    #[test]
    fn initial_values() {
        let param = |version, name: &str, value: &str| Param::known(version, name, value.into());
        let throttle = "blkio.throttle.read_bps_device";
        assert_eq!(
            initial(&param(Version::V1, throttle, "8:0 1000")),
            ["8:0 0"]
        );
        assert_eq!(
            initial(&param(Version::V2, "io.max", "8:0 rbps=1")),
            ["8:0 rbps=max wbps=max riops=max wiops=max"]
        );
        assert!(initial(&param(Version::V2, "cpu.pressure", "some")).is_empty());
    }
}
