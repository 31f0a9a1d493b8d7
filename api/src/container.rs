//! Containers: making, running, entering and removing them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::io_limit::IoLimit;
use crate::names::{AttrName, GroupPath, Hostname, Name, Ref};
use crate::user::Mapping;

/// State of a container.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being made or received; it can't be started yet.
    Staged,
    /// Not running.
    Stopped,
    /// On its way up.
    Starting,
    /// Its init runs.
    Running,
    /// On its way down.
    Stopping,
    /// Its processes are frozen.
    Frozen,
    /// Something failed that needs a look; see the cause.
    Error,
}

impl State {
    /// The state as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Staged => "staged",
            State::Stopped => "stopped",
            State::Starting => "starting",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Frozen => "frozen",
            State::Error => "error",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Make a container
///
/// The root file system comes from an image archive, a tarball or a directory. Without --user, the
/// container gets an id map of its own, which no other container shares.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct New {
    /// Id of the new container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Image archive, plain or compressed root tarball, or directory on the host, as an absolute path
    #[arg(long, value_name = "PATH", required_unless_present = "skip_image")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_archive: Option<String>,
    /// Start from an empty root file system
    #[arg(long, conflicts_with = "from_archive", requires_all = ["distribution", "version"])]
    #[serde(default)]
    pub skip_image: bool,
    /// User whose id map is used
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    /// Group
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupPath>,
    /// Distribution, when the image does not tell or tells wrong
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// Version of the distribution
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Architecture, as `uname -m` says
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Most bytes that its files may take, with suffix k, m, g or t for multiples of 1024; on pools
    /// of ZFS
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
}

/// Delete a container and its data
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Delete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Kill it first if it is running, and delete it whatever state it is in
    #[arg(short, long)]
    #[serde(default)]
    pub force: bool,
}

/// List containers
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct List {
    /// Only these containers
    #[arg(value_name = "CTID")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Ref>,
    /// Only containers of this pool
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Only containers of these users
    #[arg(short, long, value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<Name>,
    /// Only containers of these groups
    #[arg(short, long, value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<GroupPath>,
    /// Only these distributions
    #[arg(short, long, value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distribution: Vec<String>,
    /// Only these versions of distributions
    #[arg(short, long, value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub version: Vec<String>,
    /// Only containers in these states
    #[arg(short = 'S', long, value_delimiter = ',', value_enum)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<State>,
    /// Only ephemeral containers
    #[arg(short, long, conflicts_with = "persistent")]
    #[serde(default)]
    pub ephemeral: bool,
    /// Only persistent containers
    #[arg(short, long)]
    #[serde(default)]
    pub persistent: bool,
    /// Read usage of memory, processor and processes of running containers
    #[arg(skip)]
    #[serde(default)]
    pub stats: bool,
    /// Read the space that data take on the disk, and its bound, as far as the pool knows
    #[arg(skip)]
    #[serde(default)]
    pub space: bool,
}

/// Show one container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Show {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// Rename a container, or move it to another pool
///
/// Renaming needs a stopped container. One that runs can be moved to another pool: it is stopped
/// for the last part of that and started there; between pools of ZFS, most of its data are copied
/// while it runs. Data, settings, hardware addresses, addresses and snapshots go along; it gets an
/// id map of its own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Move {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// New id, with the pool where it goes unless that is the container's own
    #[arg(value_name = "[POOL:]NEW-ID")]
    pub new_id: Ref,
    /// User whose id map it has on another pool
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    /// Group on another pool
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupPath>,
    /// Copy no more than this many bytes a second to another pool, with suffix k, m or g for
    /// multiples of 1024; what is copied last, while a container that ran is stopped, is not slowed
    /// down between pools of ZFS
    #[arg(long, value_name = "RATE", value_parser = crate::size::parse_rate)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Give a container to another user: another id map, at once, whatever its size
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Chown {
    /// Id of the container, which must be stopped
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// User
    pub user: Name,
}

/// Move a container to another group
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Chgrp {
    /// Id of the container, which must be stopped
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Group
    pub group: GroupPath,
}

/// Start a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Start {
    /// Id of the container
    pub id: Ref,
    /// Seconds to wait until it runs; 0 to return at once; absent to wait as long as it takes
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// Join the autostart queue with this priority, rather than start at once
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
}

/// How a container is stopped.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Ask it to shut down; kill it when the timeout has passed.
    #[default]
    ShutdownOrKill,
    /// Ask it to shut down; fail when the timeout has passed.
    Shutdown,
    /// Kill it now.
    Kill,
}

/// Seconds a container has to shut down, unless told otherwise.
pub const STOP_TIMEOUT: u64 = 300;

fn stop_timeout() -> u64 {
    STOP_TIMEOUT
}

/// Stop a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// Id of the container
    pub id: Ref,
    /// How
    #[serde(default)]
    pub mode: StopMode,
    /// Seconds that it has to shut down
    #[serde(default = "stop_timeout")]
    pub timeout: u64,
    /// Message to the users who are logged in
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Restart a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Restart {
    /// Id of the container
    pub id: Ref,
    /// How it is stopped
    #[serde(default)]
    pub mode: StopMode,
    /// Seconds that it has to shut down
    #[serde(default = "stop_timeout")]
    pub timeout: u64,
    /// Only ask its init to reboot
    #[serde(default)]
    pub reboot: bool,
    /// Seconds to wait until it runs; absent to wait as long as it takes
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// Message to the users who are logged in
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Freeze all processes of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Freeze {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// Let the processes of a frozen container go on
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Unfreeze {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// Run a program in a container; its standard streams are file descriptors of the call
///
/// The reply carries one file descriptor, the session: see `org.osctl` session messages.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Exec {
    /// Id of the container
    pub id: Ref,
    /// Program and its arguments; empty for a login shell of root
    #[serde(default)]
    pub command: Vec<String>,
    /// Whether to allocate a terminal; then no standard streams are passed, and its master comes
    /// with the first message of the session
    #[serde(default)]
    pub tty: bool,
    /// Rows of the terminal
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u16>,
    /// Columns of the terminal
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cols: Option<u16>,
    /// Start a stopped container for this command only, with a minimal init
    #[serde(default)]
    pub run: bool,
    /// User in the container: a name of its /etc/passwd, or a number; root when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Working directory in the container; / when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Environment variables to add, as NAME=VALUE
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// With an empty command: use the shell that the container's /etc/passwd has for root
    #[serde(default)]
    pub user_shell: bool,
}

/// Run a script in a container; the call carries the script's file descriptor first, then the
/// standard streams
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunScript {
    /// Id of the container
    pub id: Ref,
    /// Arguments of the script
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Start a stopped container for this script only, with a minimal init
    #[serde(default)]
    pub run: bool,
}

/// Attach to the console of a container; the reply carries one file descriptor, the session
///
/// With `more`, a stopped container is waited for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Console {
    /// Id of the container
    pub id: Ref,
    /// Wait until the container runs
    #[serde(default)]
    pub wait: bool,
}

/// Reply of methods that hand out a session: index of its file descriptor in the reply.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Index of the session's file descriptor.
    pub session_fd: u32,
}

/// Set the password of a user in a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Passwd {
    /// Id of the container
    pub id: Ref,
    /// User in the container
    pub user: String,
    /// New password
    pub password: String,
}

/// Read a file of a container; its bytes go to the file descriptor of the call
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cat {
    /// Id of the container
    pub id: Ref,
    /// Absolute path in the container
    pub path: String,
}

/// Tell where the log of a container is
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct LogPath {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// Reply of `ContainerLogPath`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Path {
    /// Absolute path on the host.
    pub path: String,
}

/// Read the log of a container; the reply carries its file descriptor, opened for reading
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct LogCat {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// List what a container was refused by its AppArmor profile since the host was booted, the latest last
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct LogDenials {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// Reply of `ContainerLogDenials`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Denials {
    /// A row for each; of the same denial that was repeated, the last one.
    pub denials: Vec<Denial>,
}

/// Something that the AppArmor profile of a container refused.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Denial {
    /// When, seconds since 1970-01-01 00:00 UTC.
    pub time: i64,
    /// How often.
    pub count: u64,
    /// Process id on the host.
    pub pid: u32,
    /// Name of the process.
    pub program: String,
    /// What it tried: `open`, `mount`, `signal`, …
    pub operation: String,
    /// What with.
    pub object: String,
    /// The access that was refused, as AppArmor abbreviates it.
    pub access: String,
    /// The rule that refused it.
    pub rule: String,
}

/// List the host process ids that belong to a container
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Processes {
    /// Only these containers; all when empty
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Ref>,
    /// Only containers of this pool
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
}

/// Reply of `ContainerProcesses`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProcessList {
    /// A row for each process.
    pub processes: Vec<Process>,
}

/// A process of a container.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Pool of the container.
    pub pool: Name,
    /// Container.
    pub ctid: Name,
    /// Process id on the host.
    pub pid: u32,
    /// Process id in the container.
    pub ctpid: u32,
    /// Real user id on the host.
    pub ruid: u32,
    /// Real group id on the host.
    pub rgid: u32,
    /// Effective user id on the host.
    pub euid: u32,
    /// Effective group id on the host.
    pub egid: u32,
    /// Real user id in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctruid: Option<u32>,
    /// Real group id in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctrgid: Option<u32>,
    /// Effective user id in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cteuid: Option<u32>,
    /// Effective group id in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctegid: Option<u32>,
    /// Virtual memory, bytes.
    pub vmsize: u64,
    /// Resident memory, bytes.
    pub rss: u64,
    /// State letter, see proc_pid_stat(5).
    pub state: String,
    /// Start, seconds since 1970-01-01 00:00 UTC.
    pub start: i64,
    /// Processor time used, microseconds.
    pub time: u64,
    /// Command line.
    pub command: String,
    /// Name of the program.
    pub name: String,
}

/// Find the containers of host process ids
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PidLookup {
    /// Process ids on the host
    pub pids: Vec<u32>,
}

/// Reply of `ContainerPidLookup`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PidRows {
    /// A row for each process id that exists.
    pub rows: Vec<PidRow>,
}

/// A host process and its container.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PidRow {
    /// Process id on the host.
    pub pid: u32,
    /// `pool:id` of the container; absent for a process of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Process id in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctpid: Option<u32>,
    /// Name of the program.
    pub name: String,
}

/// List what belongs to a container on the host and whether it is as it should be
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct Assets {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// Start by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Autostart {
    /// Smaller starts earlier.
    pub priority: u32,
    /// Seconds to wait after its start before the next one, when the host is loaded.
    pub delay: u64,
}

/// Limit of processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuLimit {
    /// Percent of one core, at least 1.
    pub percent: u64,
    /// Period over which it is enforced, microseconds; 100000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_us: Option<u64>,
}

/// Limit of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryLimit {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of swap; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<u64>,
}

/// Change settings of a container; what is absent stays as it is
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Set {
    /// Id of the container
    pub id: Ref,
    /// Start by itself
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<Autostart>,
    /// Delete the container when it stops
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<bool>,
    /// Forget at the end of each run what it has changed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impermanence: Option<bool>,
    /// Host name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// Addresses of DNS resolvers
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_resolvers: Option<Vec<std::net::IpAddr>>,
    /// Program that is started as init, and its arguments
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_cmd: Option<Vec<String>>,
    /// Whether containers can be run inside; takes effect at the next start
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nesting: Option<bool>,
    /// Path of a seccomp profile on the host, or `unconfined`; takes effect at the next start
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<String>,
    /// Distribution, version and architecture
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// Limit of processor time
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<CpuLimit>,
    /// Limit of memory
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<MemoryLimit>,
    /// Limit of what it reads and writes; on pools in directories
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_limit: Option<IoLimit>,
    /// Most bytes that its files may take; on pools of ZFS
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// User attributes to set
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub attrs: BTreeMap<AttrName, String>,
}

impl Set {
    /// A change of nothing.
    pub fn none(id: Ref) -> Set {
        Set {
            id,
            autostart: None,
            ephemeral: None,
            impermanence: None,
            hostname: None,
            dns_resolvers: None,
            init_cmd: None,
            nesting: None,
            seccomp: None,
            distribution: None,
            cpu_limit: None,
            memory_limit: None,
            io_limit: None,
            quota: None,
            attrs: BTreeMap::new(),
        }
    }
}

/// What runs in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Name, such as `debian`.
    pub name: String,
    /// Version, such as `trixie`.
    pub version: String,
    /// Architecture; unchanged when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
}

/// Settings that can be returned to their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Do not start by itself.
    Autostart,
    /// Keep the container when it stops.
    Ephemeral,
    /// Keep what its runs change.
    Impermanence,
    /// Leave the host name to the container.
    Hostname,
    /// Leave resolv.conf to the container.
    DnsResolvers,
    /// Start /sbin/init.
    InitCmd,
    /// Do not allow containers inside.
    Nesting,
    /// Use the default seccomp profile.
    Seccomp,
    /// Remove the limit of processor time.
    CpuLimit,
    /// Remove the limit of memory.
    MemoryLimit,
    /// No limit of what it reads and writes.
    IoLimit,
    /// Remove the bound of what its files may take.
    Quota,
}

/// Return settings of a container to their defaults
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Unset {
    /// Id of the container
    pub id: Ref,
    /// Which settings
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// User attributes to remove
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attrs: Vec<AttrName>,
}

/// A cgroup parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cgparam {
    /// Version of cgroups it is for: 1 or 2.
    pub version: u8,
    /// Controller, such as `memory`.
    pub subsystem: String,
    /// Name of the file, such as `memory.high`.
    pub parameter: String,
    /// Values, written one after the other.
    pub value: Vec<String>,
}

/// List the cgroup parameters of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CgparamsList {
    /// Id of the container
    pub id: Ref,
}

/// Reply of `ContainerCgparamsList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cgparams {
    /// The parameters.
    pub parameters: Vec<Cgparam>,
}

/// Set a cgroup parameter of a container, now and at every start
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CgparamsSet {
    /// Id of the container
    pub id: Ref,
    /// Name of the file, such as `memory.high`
    pub parameter: String,
    /// Values, written one after the other
    pub value: Vec<String>,
    /// Version of cgroups it is for; the host's when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u8>,
    /// Add to the values that are set, rather than replace them
    #[serde(default)]
    pub append: bool,
}

/// Forget a cgroup parameter of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CgparamsUnset {
    /// Id of the container
    pub id: Ref,
    /// Name of the file
    pub parameter: String,
    /// Version of cgroups it is for; the host's when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u8>,
}

/// Write all cgroup parameters of a container again
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct CgparamsApply {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// Replace all cgroup parameters of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CgparamsReplace {
    /// Id of the container
    pub id: Ref,
    /// The new parameters
    pub parameters: Vec<Cgparam>,
}

/// A resource limit of a container's processes, see getrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Prlimit {
    /// Name, such as `nofile`.
    pub name: String,
    /// Soft limit: a number or `unlimited`.
    pub soft: String,
    /// Hard limit: a number or `unlimited`.
    pub hard: String,
}

/// List the resource limits of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PrlimitsList {
    /// Id of the container
    pub id: Ref,
    /// Only these limits
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
}

/// Reply of `ContainerPrlimitsList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Prlimits {
    /// The limits.
    pub limits: Vec<Prlimit>,
}

/// Set a resource limit of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PrlimitsSet {
    /// Id of the container
    pub id: Ref,
    /// The limit
    pub limit: Prlimit,
}

/// Forget a resource limit of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PrlimitsUnset {
    /// Id of the container
    pub id: Ref,
    /// Name of the limit
    pub limit: String,
}

/// Kind of a device.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Block device.
    Block,
    /// Character device.
    Char,
}

/// A device that a container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Kind.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// Major number, or `*`.
    pub major: String,
    /// Minor number, or `*`.
    pub minor: String,
    /// What may be done: letters of `rwm`.
    pub mode: String,
    /// Path of the node that is made in the container's /dev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether every container has it, rather than this one.
    #[serde(default)]
    pub inherited: bool,
}

/// List the devices of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DevicesList {
    /// Id of the container
    pub id: Ref,
}

/// Reply of `ContainerDevicesList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Devices {
    /// The devices.
    pub devices: Vec<Device>,
}

/// Allow a container to use a device
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct DevicesAdd {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Kind of the device
    #[arg(value_enum)]
    pub kind: DeviceKind,
    /// Major number, or `*`
    pub major: String,
    /// Minor number, or `*`
    pub minor: String,
    /// What may be done: letters of `rwm`
    pub mode: String,
    /// Path of the node to make in the container's /dev, such as `/dev/fuse`
    #[arg(value_name = "DEVICE")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Take a device from a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct DevicesDelete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Kind of the device
    #[arg(value_enum)]
    pub kind: DeviceKind,
    /// Major number, or `*`
    pub major: String,
    /// Minor number, or `*`
    pub minor: String,
}

/// Change what a container may do with a device
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct DevicesChmod {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Kind of the device
    #[arg(value_enum)]
    pub kind: DeviceKind,
    /// Major number, or `*`
    pub major: String,
    /// Minor number, or `*`
    pub minor: String,
    /// What may be done: letters of `rwm`, or `-` for nothing
    pub mode: String,
}

/// Replace all devices that were added to a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DevicesReplace {
    /// Id of the container
    pub id: Ref,
    /// The new devices
    pub devices: Vec<Device>,
}

/// Find out anew what state a container is in
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct RecoverState {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// Remove what is left of a container that does not run: cgroups, sockets, mounts
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
pub struct RecoverCleanup {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// A container.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// Pool.
    pub pool: Name,
    /// Id.
    pub id: Name,
    /// User whose id map it has.
    pub user: Name,
    /// Group.
    pub group: GroupPath,
    /// Map of user ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uid_map: Vec<Mapping>,
    /// Map of group ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gid_map: Vec<Mapping>,
    /// Data set, or directory of the container.
    pub dataset: String,
    /// Root file system on the host.
    pub rootfs: String,
    /// Path in the cgroup tree.
    pub group_path: String,
    /// Distribution.
    pub distribution: String,
    /// Version of the distribution.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// State.
    pub state: State,
    /// Why it is in state `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What could not be applied at the last start, and limits that are not in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How it stopped the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Process id of its init on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_pid: Option<u32>,
    /// When it was started, seconds since 1970-01-01 00:00 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// Whether it starts by itself.
    pub autostart: bool,
    /// Smaller starts earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart_priority: Option<u32>,
    /// Seconds to wait after its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart_delay: Option<u64>,
    /// Whether it is deleted when it stops.
    pub ephemeral: bool,
    /// Whether what it changes is forgotten when it stops.
    #[serde(default)]
    pub impermanence: bool,
    /// Path of what holds the data that it runs from, when they are not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_dataset: Option<String>,
    /// Host name that was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// DNS resolvers that were set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_resolvers: Vec<std::net::IpAddr>,
    /// Whether containers can be run inside.
    pub nesting: bool,
    /// Seccomp profile: `default`, `unconfined` or a path.
    pub seccomp_profile: String,
    /// AppArmor label of its processes while it runs; none on a host without AppArmor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparmor_label: Option<String>,
    /// Program that is started as init, and its arguments.
    pub init_cmd: Vec<String>,
    /// Limit of processor time, percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<u64>,
    /// Limit of memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Limit of swap, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_limit: Option<u64>,
    /// Limit of what it reads from and writes to its pool's disk, per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_limit: Option<String>,
    /// Most bytes that its files may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_quota: Option<u64>,
    /// Bytes on the disk that deleting it would free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_used: Option<u64>,
    /// Bytes that its files take on the disk, shared ones too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_referenced: Option<u64>,
    /// Memory in use, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Memory in use, percent of the limit or of the host's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pct: Option<f64>,
    /// Processor time used since its start, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// Processor time used in user mode, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_user_us: Option<u64>,
    /// Processor time used in the kernel, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_system_us: Option<u64>,
    /// Number of processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nproc: Option<u64>,
    /// How many processes were killed for want of memory since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

/// Reply of `ContainerList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Containers {
    /// The containers, by pool and id.
    pub containers: Vec<Container>,
}
