//! Capabilities that no process of a guest can have, not even its root.
//!
//! A guest's root has its capabilities only in its own user namespace, so most of these would be
//! powerless anyway. Taking them from the bounding set tells the guest's programs: systemd skips
//! units with `ConditionCapability=` that could only fail, and a kernel bug that checks a
//! capability in the wrong namespace finds nothing.

/// Names for the runtime's spec, each with the reason why it is dropped.
pub const DROPPED: &[(&str, &str)] = &[
    ("cap_sys_module", "kernel modules are the host's"),
    (
        "cap_sys_rawio",
        "ports, raw memory and device commands reach the hardware",
    ),
    (
        "cap_sys_time",
        "the clock is shared; time daemons see that and do not start",
    ),
    (
        "cap_mac_admin",
        "the policy of security modules is the host's",
    ),
    ("cap_mac_override", "and so is being exempt from it"),
    (
        "cap_syslog",
        "the kernel's log and addresses concern all tenants",
    ),
    ("cap_audit_read", "the audit log concerns all tenants"),
    (
        "cap_wake_alarm",
        "waking the host from sleep is not a guest's decision",
    ),
    ("cap_block_suspend", "nor is keeping it awake"),
    ("cap_perfmon", "performance counters measure neighbours"),
    (
        "cap_bpf",
        "programs in the kernel need a trust that tenants do not have",
    ),
    (
        "cap_sys_pacct",
        "process accounting writes from the kernel to a file of the guest's choice",
    ),
];

// Kept, because a full operating system uses them within its own namespaces: chown, dac_override,
// dac_read_search, fowner, fsetid, kill, setgid, setuid, setpcap, linux_immutable,
// net_bind_service, net_broadcast, net_admin, net_raw, ipc_lock, ipc_owner, sys_chroot,
// sys_ptrace, sys_admin (mounts, namespaces), sys_boot (reboot of the pid namespace), sys_nice,
// sys_resource, sys_tty_config, mknod (overlay whiteouts; devices are refused by the kernel),
// lease, audit_write and audit_control (login programs fail without), setfcap (package managers),
// checkpoint_restore.

/// The names alone.
pub fn dropped() -> Vec<String> {
    DROPPED.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_to_the_kernel_and_unique() {
        let mut names = dropped();
        for name in &names {
            assert!(name.starts_with("cap_"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), DROPPED.len());
    }
}
