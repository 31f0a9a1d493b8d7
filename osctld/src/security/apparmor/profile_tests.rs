//! What the profiles say.

use super::*;

fn rules(nesting: Nesting) -> String {
    text("osctl.tank.web1", nesting)
}

fn refuses(nesting: Nesting, class: Class, what: &str) -> bool {
    denials(nesting).iter().any(|d| d.is_about(class, what))
}

#[test]
fn the_text_is_as_it_was_looked_at() {
    for (nesting, golden) in [
        (Nesting::No, include_str!("golden/profile")),
        (Nesting::Yes, include_str!("golden/nesting")),
    ] {
        assert_eq!(rules(nesting), golden, "{nesting:?}");
    }
}

#[test]
fn names_tell_containers_apart() {
    let name = name("osctl", "tank", "web1");
    assert_eq!(name, "osctl.tank.web1");
    assert!(name.starts_with(&prefix("osctl", "tank")));
    assert!(!name.starts_with(&prefix("osctl", "tan")));
    assert_eq!(label(&name, Nesting::No), name);
    assert_eq!(
        label(&name, Nesting::Yes),
        "osctl.tank.web1//&:osctl.tank.web1:unconfined"
    );
}

#[test]
fn what_is_the_hosts_cannot_be_written() {
    for nesting in [Nesting::No, Nesting::Yes] {
        for path in [
            "/proc/sysrq-trigger",
            "/proc/kcore",
            "/proc/irq/1/smp_affinity",
            "/proc/bus/pci/00/00.0",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/kernel/hotplug",
            "/proc/sys/vm/drop_caches",
            "/proc/sys/fs/binfmt_miscx",
            "/proc/sys/kernel/hostnames",
            "/sys/kernel/uevent_helper",
            "/sys/kernel/security/lockdown",
            "/sys/kernel/debug/x",
            "/sys/power/state",
            "/sys/firmware/efi/efivars/x",
            "/sys/devices/pci0000:00/0000:00:01.0/remove",
            "/sys/module/kernel/parameters/panic",
            "/sys/fs/cgroup/rdma/release_agent",
            "/mnt/release_agent",
            "/dev/mem",
        ] {
            assert!(refuses(nesting, Class::File, path), "{nesting:?} {path}");
        }
        for path in [
            "/proc/1/oom_score_adj",
            "/proc/1234/attr/apparmor/exec",
            "/proc/pressure/memory",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/kernel/hostname",
            "/proc/sys/kernel/shmmax",
            "/proc/sys/kernel/sem",
            "/proc/sys/user/max_user_namespaces",
            "/proc/sys/fs/binfmt_misc/register",
            "/proc/sys/fs/mqueue/msg_max",
            // Of a procfs that is mounted nowhere.
            "/sys/net/ipv4/ip_unprivileged_port_start",
            "/sys/kernel/shmmax",
            "/sys/fs/cgroup/cgroup.procs",
            "/sys/fs/cgroup/a/b/memory.max",
            "/sys/devices/virtual/net/eth0/mtu",
            "/etc/passwd",
            "/home/proc/kcore",
            "/dev/null",
        ] {
            assert!(!refuses(nesting, Class::File, path), "{nesting:?} {path}");
        }
    }
}

#[test]
fn policy_belongs_to_who_has_a_namespace_for_it() {
    let replace = "/sys/kernel/security/apparmor/.replace";
    assert!(refuses(Nesting::No, Class::File, replace));
    assert!(!refuses(Nesting::Yes, Class::File, replace));
    let mac_admin = "deny capability mac_admin,";
    assert!(rules(Nesting::No).contains(mac_admin));
    assert!(!rules(Nesting::Yes).contains(mac_admin));
    assert!(!rules(Nesting::No).contains("change_profile"));
}

#[test]
fn file_systems_of_the_host_cannot_be_mounted() {
    for fstype in [
        "proc",
        "sysfs",
        "ext4",
        "debugfs",
        "securityfs",
        "fus",
        "fusex",
        "nfs",
        "z",
    ] {
        assert!(refuses(Nesting::No, Class::FileSystem, fstype), "{fstype}");
        assert!(
            !refuses(Nesting::Yes, Class::FileSystem, fstype),
            "{fstype}"
        );
    }
    for fstype in OWN_FILE_SYSTEMS {
        let fstype = fstype.replace('*', "sshfs");
        assert!(
            !refuses(Nesting::No, Class::FileSystem, &fstype),
            "{fstype}"
        );
    }
}

#[test]
fn what_hides_and_what_does_not_hide_stays_where_it_is() {
    assert!(refuses(Nesting::No, Class::Umount, "/proc/kcore"));
    assert!(refuses(Nesting::No, Class::Umount, "/proc/kallsyms"));
    assert!(!refuses(Nesting::No, Class::Umount, "/mnt/"));
    // systemd does that when it builds a service's own view.
    assert!(!refuses(
        Nesting::No,
        Class::Umount,
        "/run/systemd/mount-rootfs/proc/kmsg"
    ));
    for class in [Class::Bind, Class::Umount] {
        assert!(refuses(Nesting::Yes, class, "/dev/.osctl/proc/"));
    }
    let inside = "/dev/.osctl/proc/sysrq-trigger";
    assert!(refuses(Nesting::Yes, Class::File, inside));
    let rule = format!("audit deny {UNMASKED}/*/** rwl,");
    assert!(rules(Nesting::Yes).contains(&rule));
}
