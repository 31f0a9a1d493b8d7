//! The complete description of one container for its runtime: facts only, all decisions are made.
//!
//! JSON on the wire; unknown fields are refused. All host paths are absolute.
//! What is in here is trusted as much as the daemon is; what the rootfs contains is not.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version of [`Spec`] that this build reads and writes.
pub const VERSION: u32 = 1;

/// Name of the JSON document in [`Spec::run_dir`] that the daemon may leave there for itself.
pub const SPEC_FILE: &str = "spec.json";
/// Name of the supervisor's listening SEQPACKET socket in [`Spec::run_dir`].
pub const SOCKET_FILE: &str = "supervisor.sock";
/// Name of the [`crate::control::ExitRecord`] in [`Spec::run_dir`].
pub const EXIT_FILE: &str = "exit.json";

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// [`VERSION`]; any other value is refused.
    pub version: u32,
    /// Name for messages, e.g. `tank:web1`.
    pub id: String,
    /// What runs as process 1.
    pub init: Init,
    /// Environment of init, added to `container=lxc`, `TERM` and `PATH` (which may be overridden).
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// UTS node name.
    pub hostname: String,
    /// UTS (NIS) domain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Directory that becomes `/`; ids on disk unshifted.
    pub rootfs: PathBuf,
    /// Make the root file system read-only.
    #[serde(default)]
    pub rootfs_readonly: bool,
    /// Existing directory, mode 0700, of this container's runtime state.
    pub run_dir: PathBuf,
    /// Where console output is kept.
    #[serde(default)]
    pub console: ConsoleLog,
    /// Existing cgroups to place the container in.
    #[serde(default)]
    pub cgroup: Cgroups,
    /// User ids: at least the container's root.
    pub uid_map: Vec<IdMapping>,
    /// Group ids: at least the container's root.
    pub gid_map: Vec<IdMapping>,
    /// Extra mounts, in order, after the standard ones.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Nodes in `/dev` besides the standard links and directories; `null zero full random urandom
    /// tty` are expected here too, the runtime adds nothing of its own.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Resource limits of init and of everything that enters.
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
    /// Capabilities taken from the bounding set, as `cap_sys_module` or `CAP_SYS_MODULE`.
    #[serde(default)]
    pub drop_capabilities: Vec<String>,
    /// Seccomp programs, installed in order; each a list of [`instruction`]s.
    #[serde(default)]
    pub seccomp: Vec<Vec<u64>>,
    /// AppArmor profile (or `profile//&:ns:profile` stack) set at exec; an error if it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// Provide an unmasked proc and sysfs at `/dev/.osctl/{proc,sys}`, so that containers within
    /// this one may mount their own.
    #[serde(default)]
    pub nesting: bool,
    /// Paths in the guest hidden behind `/dev/null` or an empty read-only directory; those that do
    /// not exist are skipped.
    #[serde(default = "default_masked")]
    pub masked_paths: Vec<PathBuf>,
    /// Paths in the guest made read-only; those that do not exist are skipped.
    #[serde(default = "default_readonly")]
    pub readonly_paths: Vec<PathBuf>,
    /// Paths below a read-only one that stay writable; those that do not exist are skipped.
    #[serde(default = "default_writable")]
    pub writable_paths: Vec<PathBuf>,
    /// Guest files to write before init runs. A file that cannot be written is a warning.
    #[serde(default)]
    pub files: Vec<FileOp>,
    /// Best effort: a warning when it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Give the container its own boot time and monotonic clock, starting at 0.
    #[serde(default)]
    pub time_namespace: bool,
    /// After the namespaces exist report [`crate::control::Event::Created`] and do not run init
    /// before [`crate::control::Request::Proceed`]: the time to move network links in.
    #[serde(default)]
    pub hold: bool,
}

/// What runs as process 1 of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Init {
    /// A program of the guest; `argv[0]` is a path in the guest.
    Exec {
        /// Program and arguments, at least one.
        argv: Vec<String>,
    },
    /// A process of the runtime that only reaps: for entering a container that is not running.
    Pause,
}

/// A range of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdMapping {
    /// First id in the container.
    pub ns_id: u32,
    /// First id on the host.
    pub host_id: u32,
    /// How many.
    pub count: u32,
}

/// Console output on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleLog {
    /// Log file; None keeps nothing but the ring buffer in memory.
    #[serde(default)]
    pub log: Option<PathBuf>,
    /// The file never exceeds this; its older half goes. 0 means the file is not written.
    #[serde(default)]
    pub max_bytes: u64,
}

/// Cgroup directories, all existing. The runtime creates none but `.osctl` below the payload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cgroups {
    /// Cgroup v2 directory delegated to the guest: root of its cgroup namespace.
    #[serde(default)]
    pub v2_payload: Option<PathBuf>,
    /// The container's directory in each cgroup v1 hierarchy.
    #[serde(default)]
    pub v1: Vec<PathBuf>,
}

/// One extra mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// Where in the guest; symlinks in it are refused.
    pub target: PathBuf,
    /// What to do when the target does not exist.
    #[serde(default)]
    pub create: CreateTarget,
    /// Attributes of the mount.
    #[serde(default)]
    pub attributes: MountAttributes,
    /// A failure is a warning instead of the end of the start.
    #[serde(default)]
    pub optional: bool,
    /// Refuse a target that something is mounted on already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
}

/// One file or directory of the host, whatever its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileId {
    /// Device of its file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MountSource {
    /// A directory or file of the host.
    Bind {
        /// Host path.
        path: PathBuf,
        /// Include the mounts below it.
        #[serde(default)]
        recursive: bool,
        /// Map ids with the container's user namespace, so that root on disk is root inside.
        #[serde(default)]
        idmap: bool,
        /// What the path has to lead to, without any symlink: another guest may be able to change
        /// what is there. None trusts the path.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<FileId>,
    },
    /// A file system made inside the container's user namespace (tmpfs, proc, …).
    New {
        /// Type, e.g. `tmpfs`.
        fstype: String,
        /// Source shown in mountinfo.
        #[serde(default)]
        source: Option<String>,
        /// File system options, e.g. `size=64m` as `("size", Some("64m"))`.
        #[serde(default)]
        options: Vec<(String, Option<String>)>,
    },
}

/// Whether and how to create the target of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateTarget {
    /// A missing target is an error.
    #[default]
    No,
    /// A directory, parents included.
    Dir,
    /// An empty file, parent directories included.
    File,
}

/// Attributes of a mount, as in mount(8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountAttributes {
    /// `ro`
    #[serde(default)]
    pub read_only: bool,
    /// `nosuid`
    #[serde(default)]
    pub nosuid: bool,
    /// `nodev`
    #[serde(default)]
    pub nodev: bool,
    /// `noexec`
    #[serde(default)]
    pub noexec: bool,
    /// `noatime`
    #[serde(default)]
    pub noatime: bool,
}

/// A device node below `/dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Guest path, below `/dev/`, e.g. `/dev/net/tun`.
    pub path: PathBuf,
    /// Character or block.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits, e.g. 0o666.
    pub mode: u32,
    /// Owner in the container.
    #[serde(default)]
    pub uid: u32,
    /// Group in the container.
    #[serde(default)]
    pub gid: u32,
}

/// Kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Character device.
    Char,
    /// Block device.
    Block,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// As in limits.conf or getrlimit, without prefix, any case: `nofile`.
    pub name: String,
    /// Soft limit; None is unlimited.
    pub soft: Option<u64>,
    /// Hard limit; None is unlimited.
    pub hard: Option<u64>,
}

/// One change to a file of the guest. Done as the container's root, inside of it.
///
/// An existing file whose owner-write bit is missing is left alone: that is how a guest keeps us out.
/// Nothing but regular files is opened; a file of more than [`MAX_GUEST_FILE`] bytes is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileOp {
    /// Guest path.
    pub path: PathBuf,
    /// The change.
    pub action: FileAction,
    /// Permission bits of a file that is created; an existing one keeps its own.
    #[serde(default = "default_file_mode")]
    pub mode: u32,
    /// Owner of a file that is created.
    #[serde(default)]
    pub uid: u32,
    /// Group of a file that is created.
    #[serde(default)]
    pub gid: u32,
    /// Create missing parent directories (0755, root); else a missing parent skips the change.
    #[serde(default)]
    pub parents: bool,
    /// What to do when the last component is a symlink.
    #[serde(default)]
    pub symlink: SymlinkPolicy,
}

/// What a [`FileOp`] does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FileAction {
    /// The file's whole content.
    Write {
        /// New content.
        content: String,
    },
    /// The file's whole content, only when the file exists already.
    Update {
        /// New content.
        content: String,
    },
    /// The lines from `begin` to `end`, both included; appended when there is no such block.
    Block {
        /// First line of the block, without newline.
        begin: String,
        /// Last line of the block, without newline.
        end: String,
        /// Lines between; none at all removes the block.
        content: String,
    },
    /// No such file; a directory is left alone.
    Remove,
    /// A symlink; replaces a file or symlink, not a directory.
    Symlink {
        /// Its content.
        target: String,
    },
}

/// What a [`FileOp`] does about a symlink as the last component of its path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SymlinkPolicy {
    /// Leave it and report it.
    #[default]
    Refuse,
    /// Write where it leads within the guest.
    Follow,
    /// Put a regular file in its place.
    Replace,
}

/// The largest guest file that is read for a change, in bytes.
pub const MAX_GUEST_FILE: u64 = 1024 * 1024;

/// One instruction of a seccomp program (`struct sock_filter`) as a number.
pub fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> u64 {
    u64::from(code) << 48 | u64::from(jt) << 40 | u64::from(jf) << 32 | u64::from(k)
}

fn default_file_mode() -> u32 {
    0o644
}

fn paths(list: &[&str]) -> Vec<PathBuf> {
    list.iter().map(PathBuf::from).collect()
}

/// The usual [`Spec::masked_paths`].
pub fn default_masked() -> Vec<PathBuf> {
    paths(&[
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/key-users",
        "/proc/kallsyms",
        "/proc/kmsg",
        "/proc/kpagecgroup",
        "/proc/kpagecount",
        "/proc/kpageflags",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/slabinfo",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/vmallocinfo",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
        "/sys/fs/bpf",
        "/sys/fs/fuse",
        "/sys/fs/pstore",
        "/sys/kernel/debug",
        "/sys/kernel/security",
        "/sys/kernel/tracing",
        "/sys/kernel/vmcoreinfo",
    ])
}

/// The usual [`Spec::readonly_paths`].
pub fn default_readonly() -> Vec<PathBuf> {
    paths(&[
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
        "/sys",
    ])
}

/// The usual [`Spec::writable_paths`].
pub fn default_writable() -> Vec<PathBuf> {
    paths(&["/proc/sys/net", "/sys/devices/virtual/net"])
}
