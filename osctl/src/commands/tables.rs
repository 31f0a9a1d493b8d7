//! Which parameters objects have: all of them, and those that lists show unless told otherwise.

use crate::ui::table::{Kind, Table, field, list, number, text};

/// Pools.
pub static POOL: Table = Table {
    fields: &[
        text("name"),
        text("backend"),
        text("dataset"),
        text("path"),
        field("state", Kind::State),
        number("users"),
        number("groups"),
        number("containers"),
        number("parallel_start"),
        number("parallel_stop"),
        list("problems"),
    ],
    default: &["name", "path", "state", "users", "groups", "containers"],
    attributes: true,
};

/// Containers that wait to be started.
pub static QUEUE: Table = Table {
    fields: &[text("id"), number("priority")],
    default: &["id", "priority"],
    attributes: false,
};

/// What waits in the trash.
pub static TRASH: Table = Table {
    fields: &[
        text("pool"),
        text("name"),
        field("deleted_at", Kind::Time),
        field("used", Kind::Bytes),
        text("reason"),
    ],
    default: &["pool", "name", "deleted_at", "used", "reason"],
    attributes: false,
};

/// Id ranges.
pub static ID_RANGE: Table = Table {
    fields: &[
        text("pool"),
        text("name"),
        number("start_id"),
        number("last_id"),
        number("block_size"),
        number("block_count"),
        number("allocated"),
        number("free"),
    ],
    default: &[
        "pool",
        "name",
        "start_id",
        "last_id",
        "block_size",
        "block_count",
        "allocated",
        "free",
    ],
    attributes: true,
};

/// Rows of the allocation table of an id range.
pub static BLOCKS: Table = Table {
    fields: &[
        text("type"),
        number("block_index"),
        number("block_count"),
        text("owner"),
        number("first_id"),
        number("last_id"),
        number("id_count"),
    ],
    default: &[
        "type",
        "block_index",
        "block_count",
        "owner",
        "first_id",
        "last_id",
        "id_count",
    ],
    attributes: false,
};

/// Users.
pub static USER: Table = Table {
    fields: &[
        text("pool"),
        text("name"),
        text("standalone"),
        list("uid_map"),
        list("gid_map"),
        text("id_range"),
        number("containers"),
    ],
    default: &["pool", "name", "standalone", "uid_map", "containers"],
    attributes: true,
};

/// Rows of the id map of a user.
pub static MAP: Table = Table {
    fields: &[
        text("type"),
        number("ns_id"),
        number("host_id"),
        number("count"),
    ],
    default: &["type", "ns_id", "host_id", "count"],
    attributes: false,
};

/// Groups.
pub static GROUP: Table = Table {
    fields: &[
        text("pool"),
        text("name"),
        text("full_path"),
        number("containers"),
        number("cpu_limit"),
        field("memory_limit", Kind::Bytes),
        field("swap_limit", Kind::Bytes),
        field("memory", Kind::Bytes),
        field("cpu_us", Kind::Micros),
        number("nproc"),
    ],
    default: &["pool", "name", "memory", "cpu_us"],
    attributes: true,
};

/// Snapshots of containers.
pub static SNAPSHOT: Table = Table {
    fields: &[
        text("pool"),
        text("id"),
        text("name"),
        field("created", Kind::Time),
        field("used", Kind::Bytes),
        field("referenced", Kind::Bytes),
        text("schedule"),
        field("expires", Kind::Time),
        list("clones"),
        text("mounted"),
    ],
    default: &[
        "pool",
        "id",
        "name",
        "created",
        "used",
        "referenced",
        "expires",
    ],
    attributes: false,
};

/// Parameters of containers that are read only when they are shown.
pub const CONTAINER_STATS: &[&str] = &[
    "memory",
    "memory_pct",
    "cpu_us",
    "cpu_user_us",
    "cpu_system_us",
    "nproc",
    "oom_kills",
];

/// Those that take a question to the pools.
pub const CONTAINER_SPACE: &[&str] = &["disk_quota", "disk_used", "disk_referenced"];

/// Containers.
pub static CONTAINER: Table = Table {
    fields: &[
        text("pool"),
        text("id"),
        text("user"),
        text("group"),
        list("uid_map"),
        list("gid_map"),
        text("dataset"),
        text("rootfs"),
        text("group_path"),
        text("distribution"),
        text("version"),
        text("arch"),
        field("state", Kind::State),
        text("error"),
        list("warnings"),
        text("last_exit"),
        number("init_pid"),
        field("started_at", Kind::Time),
        text("autostart"),
        number("autostart_priority"),
        field("autostart_delay", Kind::Seconds),
        text("ephemeral"),
        text("impermanence"),
        text("boot_dataset"),
        text("hostname"),
        list("dns_resolvers"),
        text("nesting"),
        text("seccomp_profile"),
        text("apparmor_label"),
        list("init_cmd"),
        number("cpu_limit"),
        field("memory_limit", Kind::Bytes),
        field("swap_limit", Kind::Bytes),
        text("io_limit"),
        field("disk_quota", Kind::Bytes),
        field("disk_used", Kind::Bytes),
        field("disk_referenced", Kind::Bytes),
        field("memory", Kind::Bytes),
        field("memory_pct", Kind::Percent),
        field("cpu_us", Kind::Micros),
        field("cpu_user_us", Kind::Micros),
        field("cpu_system_us", Kind::Micros),
        number("nproc"),
        number("oom_kills"),
    ],
    default: &[
        "pool",
        "id",
        "user",
        "group",
        "distribution",
        "version",
        "state",
        "init_pid",
        "memory",
        "cpu_us",
    ],
    attributes: true,
};

/// Processes of containers.
pub static PROCESS: Table = Table {
    fields: &[
        text("pool"),
        text("ctid"),
        number("pid"),
        number("ctpid"),
        number("ruid"),
        number("rgid"),
        number("euid"),
        number("egid"),
        number("ctruid"),
        number("ctrgid"),
        number("cteuid"),
        number("ctegid"),
        field("vmsize", Kind::Bytes),
        field("rss", Kind::Bytes),
        text("state"),
        field("start", Kind::Time),
        field("time", Kind::Micros),
        text("command"),
        text("name"),
    ],
    default: &[
        "pool", "ctid", "pid", "ctpid", "cteuid", "vmsize", "rss", "state", "start", "time",
        "command",
    ],
    attributes: false,
};

/// What profiles refused.
pub static DENIAL: Table = Table {
    fields: &[
        field("time", Kind::Time),
        number("count"),
        number("pid"),
        text("program"),
        text("operation"),
        text("object"),
        text("access"),
        text("rule"),
    ],
    default: &[
        "time",
        "count",
        "program",
        "operation",
        "object",
        "access",
        "rule",
    ],
    attributes: false,
};

/// Containers of host processes.
pub static PID: Table = Table {
    fields: &[
        number("pid"),
        text("container"),
        number("ctpid"),
        text("name"),
    ],
    default: &["pid", "container", "ctpid", "name"],
    attributes: false,
};

/// Cgroup parameters.
pub static CGPARAM: Table = Table {
    fields: &[
        number("version"),
        text("subsystem"),
        text("parameter"),
        list("value"),
    ],
    default: &["version", "subsystem", "parameter", "value"],
    attributes: false,
};

/// Resource limits.
pub static PRLIMIT: Table = Table {
    fields: &[text("name"), text("soft"), text("hard")],
    default: &["name", "soft", "hard"],
    attributes: false,
};

/// Devices.
pub static DEVICE: Table = Table {
    fields: &[
        text("type"),
        text("major"),
        text("minor"),
        text("mode"),
        text("name"),
        text("inherited"),
    ],
    default: &["type", "major", "minor", "mode", "name", "inherited"],
    attributes: false,
};

/// Rules of firewalls.
pub static FIREWALL_RULE: Table = Table {
    fields: &[
        number("number"),
        text("rule"),
        number("packets"),
        field("bytes", Kind::Bytes),
    ],
    default: &["number", "rule", "packets", "bytes"],
    attributes: false,
};

/// Mounts of containers.
pub static MOUNT: Table = Table {
    fields: &[
        text("fs"),
        text("dataset"),
        text("mountpoint"),
        text("type"),
        text("opts"),
        text("automount"),
        text("temporary"),
    ],
    default: &[
        "fs",
        "dataset",
        "mountpoint",
        "type",
        "opts",
        "automount",
        "temporary",
    ],
    attributes: false,
};

/// Datasets of containers.
pub static DATASET: Table = Table {
    fields: &[
        text("name"),
        text("dataset"),
        text("mountpoint"),
        field("used", Kind::Bytes),
        field("referenced", Kind::Bytes),
        field("quota", Kind::Bytes),
    ],
    default: &["name", "dataset", "mountpoint", "used"],
    attributes: false,
};

/// What belongs to an object on the host.
pub static ASSET: Table = Table {
    fields: &[text("type"), text("path"), text("state"), text("purpose")],
    default: &["type", "path", "state", "purpose"],
    attributes: false,
};

/// What was done.
pub static HISTORY: Table = Table {
    fields: &[field("time", Kind::Time), text("pool"), text("command")],
    default: &["time", "pool", "command"],
    attributes: false,
};

/// Network interfaces.
pub static NETIF: Table = Table {
    fields: &[
        text("pool"),
        text("ctid"),
        text("name"),
        number("index"),
        text("type"),
        text("link"),
        text("dhcp"),
        text("gateway_v4"),
        text("gateway_v6"),
        text("veth"),
        text("hwaddr"),
        number("tx_queues"),
        number("rx_queues"),
        field("max_tx", Kind::Rate),
        field("max_rx", Kind::Rate),
        number("mtu"),
        text("anti_spoof"),
        list("addresses"),
        list("leases"),
        field("rx_bytes", Kind::Bytes),
        number("rx_packets"),
        field("tx_bytes", Kind::Bytes),
        number("tx_packets"),
    ],
    default: &[
        "pool",
        "ctid",
        "name",
        "type",
        "link",
        "dhcp",
        "veth",
        "hwaddr",
        "addresses",
        "leases",
        "max_tx",
        "max_rx",
        "rx_bytes",
        "tx_bytes",
    ],
    attributes: false,
};

/// Addresses of network interfaces.
pub static NETIF_IP: Table = Table {
    fields: &[
        text("pool"),
        text("ctid"),
        text("netif"),
        text("addr"),
        text("version"),
    ],
    default: &["pool", "ctid", "netif", "addr"],
    attributes: false,
};

/// Networks that are routed to containers.
pub static NETIF_ROUTE: Table = Table {
    fields: &[
        text("pool"),
        text("ctid"),
        text("netif"),
        text("addr"),
        text("via"),
        text("version"),
    ],
    default: &["pool", "ctid", "netif", "addr", "via"],
    attributes: false,
};

/// Named sets of addresses.
pub static ADDRESS_SET: Table = Table {
    fields: &[
        text("pool"),
        text("name"),
        list("addresses"),
        list("used_by"),
    ],
    default: &["pool", "name", "addresses", "used_by"],
    attributes: false,
};
