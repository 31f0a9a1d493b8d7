//! Paths of proc and sysfs that guests do not see, or cannot write.
//!
//! A guest's root owns nothing there that belongs to the host, so most writes fail already. What
//! is listed are the exceptions, and files that tell about the host or its other tenants.

/// Hidden: behind `/dev/null`, or an empty directory. Missing ones are skipped by the runtime.
pub const MASKED: &[&str] = &[
    // Memory, addresses and internals of the kernel: of use to exploits only.
    "/proc/kcore",
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/latency_stats",
    "/sys/kernel/boot_params",
    "/sys/kernel/notes",
    "/sys/kernel/slab",
    "/sys/kernel/vmcoreinfo",
    // Keys of other users of the host.
    "/proc/key-users",
    "/proc/keys",
    // Counters fine enough to watch neighbours work: interrupts, energy, thermal events.
    "/proc/interrupts",
    "/sys/devices/virtual/powercap",
    "/sys/devices/virtual/thermal",
    "/sys/kernel/irq",
    // The host's disks: names, sizes, traffic, and the files behind loop devices. The names of
    // ZFS datasets are the names of other tenants.
    "/proc/diskstats",
    "/proc/mdstat",
    "/proc/partitions",
    "/proc/scsi",
    "/proc/fs/ext4",
    "/proc/fs/jbd2",
    "/proc/fs/xfs",
    "/proc/spl",
    "/sys/block",
    "/sys/class/block",
    "/sys/dev/block",
    "/sys/devices/virtual/bdi",
    "/sys/devices/virtual/block",
    "/sys/fs/btrfs",
    "/sys/fs/ext4",
    "/sys/fs/xfs",
    // How the host was booted, which may include where from and with what secret.
    "/proc/bootconfig",
    "/proc/cmdline",
    // Firmware and hardware state.
    "/proc/acpi",
    "/proc/asound",
    "/sys/firmware",
    // Mount points of file systems that are the host's.
    "/sys/fs/bpf",
    "/sys/fs/pstore",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];

/// Cannot be written: each is a switch of the whole host for somebody.
pub const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/sys",
];

/// Below read-only ones, and still writable: what belongs to the guest's own network namespace.
pub const WRITABLE: &[&str] = &["/proc/sys/net", "/sys/devices/virtual/net"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed() {
        let all = || MASKED.iter().chain(READ_ONLY).chain(WRITABLE);
        for path in all() {
            assert!(
                path.starts_with("/proc/") || path.starts_with("/sys"),
                "{path}"
            );
            assert!(!path.ends_with('/') && !path.contains("//") && !path.contains(".."));
            assert_eq!(all().filter(|p| p == &path).count(), 1, "{path} twice");
        }
        for path in WRITABLE {
            assert!(READ_ONLY.iter().any(|r| path.starts_with(r)), "{path}");
            assert!(!MASKED.iter().any(|m| path.starts_with(m)), "{path}");
        }
    }
}
