//! The places at which tests let the daemon die (`osctld/src/failpoint.rs`), by the operation that
//! reaches them.

/// Of the creation of a container from an archive that was not seen before.
pub const CREATE: &[&str] = &[
    "create.user",
    "create.data",
    "create.config",
    "user.reserved",
    "user.written",
    "id-range.allocated",
    "image.unpacked",
    "storage.populated",
    "storage.created",
    "store.write",
    "store.rename",
    "store.sync-dir",
];
/// Of a start.
pub const START: &[&str] = &[
    "start.prepared",
    "start.run_dir",
    "start.cgroup",
    "start.apparmor",
    "start.spawned",
    "start.running",
];
/// Of a start with a network.
pub const ATTACH: &[&str] = &["netif.filtered", "netif.linked", "netif.attached"];
/// Of the end of a container with a network.
pub const DETACH: &[&str] = &["netif.unlinked", "netif.detached"];
/// Of a change of a running container's network.
pub const NETIF: &[&str] = &["netif.changed"];
/// Of the end of a container.
pub const STOP: &[&str] = &["stop.ended", "stop.cleaned"];
/// Of a deletion.
pub const DELETE: &[&str] = &[
    "delete.marked",
    "delete.cgroup",
    "delete.data",
    "delete.config",
    "storage.trashed",
    "store.marked",
    "user.marked",
    "user.freed",
    "store.write",
    "store.rename",
    "store.sync-dir",
];
/// Of a change of the user.
pub const CHOWN: &[&str] = &[
    "chown.config",
    "store.write",
    "store.rename",
    "store.sync-dir",
    "user.marked",
    "user.freed",
];
/// Of a change of a container's mounts.
pub const MOUNTS: &[&str] = &[
    "mounts.kept",
    "mounts.unmounted",
    "store.write",
    "store.rename",
    "store.sync-dir",
];
/// Of another name in the same pool.
pub const RENAME: &[&str] = &[
    "rename.marked",
    "rename.data",
    "rename.config",
    "store.write",
    "store.rename",
    "store.sync-dir",
    "store.marked",
];
/// Of a copy.
pub const COPY: &[&str] = &[
    "copy.user",
    "copy.stopped",
    "copy.data",
    "copy.config",
    "user.reserved",
    "user.written",
    "id-range.allocated",
    "storage.populated",
    "storage.created",
    "store.write",
    "store.rename",
    "store.sync-dir",
];
/// Of a move to another pool.
pub const MOVE: &[&str] = &[
    "move.user",
    "move.stopped",
    "move.data",
    "move.leaving",
    "move.arrived",
    "move.left",
    "storage.populated",
    "storage.created",
    "storage.trashed",
    "delete.marked",
    "delete.cgroup",
    "delete.data",
    "delete.config",
    "store.write",
    "store.rename",
    "store.sync-dir",
    "store.marked",
];
/// Of another root file system in a container's place.
pub const REINSTALL: &[&str] = &[
    "reinstall.made",
    "reinstall.marked",
    "reinstall.replaced",
    "storage.replacing",
    "storage.populated",
    "storage.created",
    "storage.trashed",
    "store.write",
    "store.rename",
    "store.sync-dir",
];
/// Of one that keeps the old files as a snapshot, on a pool of ZFS: `tests/tests/vm/power.rs` walks
/// through them.
pub const SUCCESSION: &[&str] = &["storage.promoted"];
/// Of moves between pools of ZFS, which are tested on a host that has it.
pub const STREAMS: &[&str] = &["move.base"];
/// Of a pool that is made.
pub const INSTALL: &[&str] = &[
    "storage.layout",
    "store.write",
    "store.rename",
    "store.sync-dir",
];

/// Of snapshots, which are on ZFS only: `tests/tests/vm/snapshots.rs` walks through them.
pub const SNAPSHOTS: &[&str] = &[
    "snapshot.made",
    "snapshot.cloned",
    "rollback.marked",
    "rollback.destroyed",
    "rollback.dataset",
];

/// Of datasets, which are on ZFS only: `tests/tests/vm/datasets.rs` walks through them.
pub const DATASETS: &[&str] = &["dataset.made", "dataset.unmounted"];

/// Of the deletion of a container whose pool does not answer: `tests/tests/vm/zfs_faults.rs`.
pub const CONDEMN: &[&str] = &["condemn.noted", "condemn.carried"];

/// Of an export of a running container.
pub const EXPORT: &[&str] = &["export.stopped", "export.still", "export.packed"];
/// Of an import with hooks and a new group.
pub const IMPORT: &[&str] = &[
    "import.user",
    "import.data",
    "import.config",
    "import.group",
    "user.written",
    "storage.populated",
    "storage.created",
    "store.write",
    "store.rename",
    "store.sync-dir",
];
/// Of archives of streams, which are on ZFS only: `tests/tests/vm/archives.rs` walks through them.
pub const ARCHIVES: &[&str] = &["import.stream"];
/// Of a run from other files than its own, and its end.
pub const BOOT: &[&str] = &["boot.made", "boot.noted", "boot.ended"];
