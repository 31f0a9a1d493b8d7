//! The daemon's configuration: a TOML file that is read once and never written.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use osctl_api::names::Hostname;
use osctl_api::net::Address;

use crate::error::{Error, Result};
use crate::lxcfs;
use crate::network::managed_bridge::Settings;

/// Where the configuration is looked for when neither it nor a run directory is named.
pub const DEFAULT_FILE: &str = "/etc/osctl/osctld.toml";
/// Run directory unless told otherwise.
pub const DEFAULT_RUN_DIR: &str = "/run/osctl";
/// State directory that goes with the default run directory.
const DEFAULT_STATE_DIR: &str = "/var/lib/osctl";
/// Largest configuration file, bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// What members of the socket's group may do; root may do everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupAccess {
    /// Nothing.
    None,
    /// Look.
    Read,
    /// Look, and work with containers that exist.
    #[default]
    Operate,
    /// Everything, which makes them as powerful as root.
    Admin,
}

/// Whether containers have AppArmor profiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confinement {
    /// On hosts whose kernel has AppArmor.
    #[default]
    Auto,
    /// Nowhere.
    Off,
}

/// The file as it is written; everything is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    run_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    cgroup_root: Option<String>,
    socket_group: Option<String>,
    group_access: GroupAccess,
    apparmor: Confinement,
    log: Option<String>,
    runtime: Option<PathBuf>,
    image: Image,
    console: Console,
    network: Network,
    zfs: Zfs,
    lxcfs: lxcfs::Settings,
}

/// ZFS of the host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Zfs {
    /// Directory that has libzfs_core, when the linker does not find it.
    library_dir: Option<PathBuf>,
}

/// The default bridge.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Its name; empty for none.
    pub bridge: String,
    /// Its IPv4 address with the length of its prefix, or `auto`.
    pub bridge_ipv4: String,
    /// Its IPv6 address with the length of its prefix, or `auto`.
    pub bridge_ipv6: String,
    /// Whether what leaves it gets the host's addresses.
    pub nat: bool,
    /// Domain of the names of containers.
    pub domain: String,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            bridge: "osbr0".to_owned(),
            bridge_ipv4: "auto".to_owned(),
            bridge_ipv6: "auto".to_owned(),
            nat: true,
            domain: "osctl".to_owned(),
        }
    }
}

impl Network {
    fn settings(&self) -> Result<Settings> {
        let bad = |key: &str, e: String| Error::invalid(format!("[network] {key}: {e}"));
        let address = |key: &str, text: &str, length: std::ops::RangeInclusive<u8>| {
            if text == "auto" {
                return Ok(None);
            }
            let address: Address = text.parse().map_err(|e| bad(key, format!("{e}")))?;
            let is_v6 = key.ends_with('6');
            if address.ip().is_ipv6() != is_v6 || !length.contains(&address.net().prefix_len()) {
                return Err(bad(
                    key,
                    format!(
                        "{address} can't be: use a prefix of {} to {} bits",
                        length.start(),
                        length.end()
                    ),
                ));
            }
            Ok(Some(address))
        };
        let domain: Hostname = self
            .domain
            .parse()
            .map_err(|e| bad("domain", format!("{e}")))?;
        Ok(Settings {
            name: match self.bridge.as_str() {
                "" => None,
                name => Some(name.parse().map_err(|e| bad("bridge", format!("{e}")))?),
            },
            v4: address("bridge_ipv4", &self.bridge_ipv4, 8..=29)?,
            v6: address("bridge_ipv6", &self.bridge_ipv6, 64..=64)?,
            nat: self.nat,
            domain: domain.as_str().to_owned(),
        })
    }
}

/// Bounds on images that containers are made from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Image {
    /// Most bytes that an image may unpack to.
    pub max_bytes: u64,
    /// Most files, directories and links that an image may unpack to.
    pub max_entries: u64,
    /// How many unpacked images are kept to make further containers from.
    pub cached: u32,
}

impl Image {
    /// The bounds that an image is read with.
    pub fn limits(&self) -> crate::image::Limits {
        crate::image::Limits {
            max_bytes: self.max_bytes,
            max_entries: self.max_entries,
            ..crate::image::Limits::default()
        }
    }
}

impl Default for Image {
    fn default() -> Image {
        Image {
            max_bytes: 64 * 1024 * 1024 * 1024,
            max_entries: 4_000_000,
            cached: 4,
        }
    }
}

/// Bounds on what containers write to their consoles.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// Most bytes of a container's log; the newest half is kept when it is full.
    pub log_max_bytes: u64,
}

impl Default for Console {
    fn default() -> Console {
        Console {
            log_max_bytes: 1024 * 1024,
        }
    }
}

/// What the command line may say over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Run directory.
    pub run_dir: Option<PathBuf>,
    /// Configuration file.
    pub file: Option<PathBuf>,
    /// Log level or filter.
    pub log: Option<String>,
}

/// The configuration, complete.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of sockets and of what does not outlive a boot.
    pub run_dir: PathBuf,
    /// Directory of what the daemon remembers outside of pools.
    pub state_dir: PathBuf,
    /// Name of the daemon's cgroup.
    pub cgroup_root: String,
    /// Group that may open the socket.
    pub socket_group: String,
    /// What that group may do.
    pub group_access: GroupAccess,
    /// Whether containers have AppArmor profiles.
    pub apparmor: Confinement,
    /// Log level or filter.
    pub log: String,
    /// Path of the `osctl-runtime` program.
    pub runtime: PathBuf,
    /// Bounds on images.
    pub image: Image,
    /// Bounds on consoles.
    pub console: Console,
    /// The default bridge.
    pub bridge: Settings,
    /// Directory that has libzfs_core, when the linker does not find it.
    pub zfs_library_dir: Option<PathBuf>,
    /// Where lxcfs is.
    pub lxcfs: lxcfs::Settings,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// `InvalidArgument` when the file is missing though it was named, is too large, is no TOML,
    /// or has a key or value that can't be.
    pub fn load(over: &Overrides) -> Result<Config> {
        let file = match &over.file {
            Some(path) => read(path)?,
            // A daemon in a directory of its own is not the one that the host is configured for.
            None if over.run_dir.is_some() => File::default(),
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
            None => File::default(),
        };
        Config::complete(file, over)
    }

    fn complete(file: File, over: &Overrides) -> Result<Config> {
        let default = || PathBuf::from(DEFAULT_RUN_DIR);
        let run_dir = over.run_dir.clone().or(file.run_dir);
        let run_dir = absolute(run_dir.unwrap_or_else(default))?;
        let is_default = run_dir == Path::new(DEFAULT_RUN_DIR);
        let state_dir = file.state_dir.unwrap_or_else(|| match is_default {
            true => PathBuf::from(DEFAULT_STATE_DIR),
            false => run_dir.join("state"),
        });
        let cgroup_root = match file.cgroup_root {
            Some(root) => root,
            None if is_default => "osctl".to_owned(),
            None => format!("osctl-{}", short_hash(&run_dir)),
        };
        Ok(Config {
            state_dir: absolute(state_dir)?,
            cgroup_root,
            socket_group: file.socket_group.unwrap_or_else(|| "osctl".to_owned()),
            group_access: file.group_access,
            apparmor: file.apparmor,
            log: over.log.clone().or(file.log).unwrap_or("info".to_owned()),
            runtime: match file.runtime {
                Some(path) => absolute(path)?,
                None => beside_ourselves("osctl-runtime")?,
            },
            image: file.image,
            console: file.console,
            bridge: file.network.settings()?,
            zfs_library_dir: file.zfs.library_dir.map(absolute).transpose()?,
            lxcfs: file.lxcfs,
            run_dir,
        })
    }
}

fn read(path: &Path) -> Result<File> {
    let cannot = || format!("cannot read the configuration {}", path.display());
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|e| Error::invalid_with(cannot(), e))?;
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|e| Error::invalid_with(cannot(), e))?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::invalid_with(cannot(), "it is larger than 1 MiB"));
    }
    parse(&text).map_err(|e| e.context(cannot()))
}

fn parse(text: &str) -> Result<File> {
    // The error of the parser is a drawing of several lines; ours are one line each.
    toml::from_str(text).map_err(|e| {
        let line = e.span().map(|s| text[..s.start].matches('\n').count() + 1);
        Error::invalid(match line {
            Some(line) => format!("line {line}: {}", e.message()),
            None => e.message().to_owned(),
        })
    })
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path)
        .map_err(|e| Error::invalid_with(format!("cannot use the path {}", path.display()), e))
}

fn beside_ourselves(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()
        .map_err(|e| Error::backend("cannot find the program of this process", e))?;
    Ok(exe.with_file_name(name))
}

fn short_hash(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest[..4].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str, over: &Overrides) -> Config {
        Config::complete(parse(text).unwrap(), over).unwrap()
    }

    #[test]
    fn everything_is_optional() {
        let c = complete("", &Overrides::default());
        assert_eq!(c.run_dir, Path::new("/run/osctl"));
        assert_eq!(c.state_dir, Path::new("/var/lib/osctl"));
        assert_eq!(c.cgroup_root, "osctl");
        assert_eq!(c.group_access, GroupAccess::Operate);
        assert_eq!(c.apparmor, Confinement::Auto);
        assert!(c.runtime.is_absolute());
    }

    #[test]
    fn another_run_directory_brings_its_own_state_and_cgroup() {
        let over = Overrides {
            run_dir: Some("/tmp/x".into()),
            ..Overrides::default()
        };
        let c = complete("run_dir = '/run/y'\n[image]\ncached = 1", &over);
        assert_eq!(c.run_dir, Path::new("/tmp/x"));
        assert_eq!(c.state_dir, Path::new("/tmp/x/state"));
        assert!(c.cgroup_root.starts_with("osctl-") && c.cgroup_root.len() == 14);
        assert_eq!(c.image.cached, 1);
        assert_eq!(c.image.max_entries, Image::default().max_entries);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let e = parse("log = 'debug'\nrundir = '/x'").unwrap_err();
        assert!(e.to_string().starts_with("line 2: unknown field"), "{e}");
        assert!(parse("[image]\nmax_bytes = -1").is_err());
        assert!(parse("group_access = 'root'").is_err());
        assert!(parse("apparmor = 'on'").is_err());
        assert!(parse("\0").is_err());
    }
}
