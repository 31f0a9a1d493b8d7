//! Containers on hosts of the image, driven by the command line as people do.

use std::fs;

use osctl_tests::Rootfs;
use osctl_tests::vm::{Machine, Settings, Wire};

/// A host with a pool and, at /tmp/image.tar, an image.
struct Host(Machine);

impl Host {
    fn new(settings: Settings, image: &[u8]) -> Option<Host> {
        let mut machine = Machine::ready(settings)?;
        machine.push("/tmp/image.tar", 0o644, image);
        let mut host = Host(machine);
        host.says("osctl pool install tank --dir /var/lib/tank");
        Some(host)
    }

    /// What a script prints that succeeds.
    #[track_caller]
    fn says(&mut self, script: &str) -> String {
        self.0.sh(script).ok().text()
    }
}

#[test]
fn a_container_runs_under_cgroup_v2_alone() {
    let Some(mut host) = Host::new(Settings::default(), &Rootfs::minimal().archive()) else {
        return;
    };
    host.says("osctl ct new --from-archive /tmp/image.tar web1");
    host.says("osctl ct set memory-limit web1 128m && osctl ct start web1");
    assert_eq!(host.says("osctl ct exec web1 /bin/busybox id -u"), "0");
    let groups = host.says("osctl ct exec web1 /bin/busybox cat /proc/self/cgroup");
    assert_eq!(groups.lines().count(), 1, "{groups}");
    assert_eq!(
        host.says("cat /sys/fs/cgroup/osctl/pool.tank/group.*/ct.web1/memory.max"),
        (128 << 20).to_string()
    );
    // Containers outlive the daemon, and its service.
    let pid = "osctl --json ct show web1 | grep -o '\"init_pid\": *[0-9]*'";
    let before = host.says(pid);
    host.says("sv -w 60 restart osctld");
    assert_eq!(host.says(pid), before);
    host.0.power_off();
}

/// A mount or a socket of a guest has the kernel load none but few modules.
#[test]
fn guests_have_no_modules_loaded() {
    let Some(mut host) = Host::new(Settings::default(), &Rootfs::minimal().archive()) else {
        return;
    };
    host.says("osctl ct new --from-archive /tmp/image.tar web1 && osctl ct start web1");
    let kinds = host.says("sed -n 's/^alias fs-\\([^ ]*\\) .*/\\1/p' /lib/modules/*/modules.alias");
    assert!(
        kinds.contains("bcachefs") && kinds.contains("overlay"),
        "{kinds}"
    );
    let mount = "for kind in $0; do /bin/busybox mount -t $kind none /mnt; done 2> /dev/null; true";
    host.says(&format!(
        "osctl ct exec web1 /bin/busybox sh -c '{mount}' '{}'",
        kinds.replace('\n', " ")
    ));
    let loaded = host.says("cut -d' ' -f1 /proc/modules");
    for name in ["bcachefs", "erofs", "romfs", "sysv", "zonefs", "ntfs3"] {
        assert!(!loaded.lines().any(|it| it == name), "{name}: {loaded}");
    }
    // They were tried.
    assert!(loaded.lines().any(|it| it == "xfs"), "{loaded}");
    // As the kernel asks for a protocol; by name, the host has all.
    host.says("modprobe -q -- net-pf-2-proto-132; ! grep -q ^sctp /proc/modules && modprobe erofs");
}

#[test]
fn systemd_boots_and_divides_what_its_container_has() {
    let Some(image) = osctl_tests::host::image("debian-trixie-x86_64-default-systemd.tar") else {
        osctl_tests::skip!("needs the image debian/trixie: cargo xtask template debian/trixie");
    };
    let Some(mut host) = Host::new(Settings::default(), &fs::read(image).unwrap()) else {
        return;
    };
    host.says("osctl ct new --from-archive /tmp/image.tar web1");
    host.says("osctl ct set memory-limit web1 1g && osctl ct set cpu-limit web1 150");
    host.says("osctl ct start web1");
    let mut inside = |script: &str| host.says(&format!("osctl ct exec web1 sh -ec '{script}'"));
    let state = "until [ -S /run/systemd/private ]; do sleep 0.2; done
        systemctl is-system-running --wait || systemctl --failed";
    assert_eq!(inside(state), "running");
    // The controllers of the host arrive, and a service gets a share of them.
    inside("systemd-run --unit=small -p MemoryMax=32M -p TasksMax=9 -p CPUQuota=20% sleep 1000");
    let limits = "cd /sys/fs/cgroup/system.slice/small.service && cat memory.max pids.max cpu.max";
    assert_eq!(inside(limits), "33554432\n9\n20000 100000");
    // What it may not have ends it, and its container goes on.
    let greedy = "systemd-run --wait -p MemoryMax=32M -p MemorySwapMax=0 tail /dev/zero";
    let ended = inside(&format!("{greedy} 2>&1 || true"));
    assert!(ended.contains("oom-kill"), "{ended}");
    assert_eq!(inside("systemctl is-active small"), "active");
    // Its own limits are out of its reach.
    assert_eq!(
        host.says("cd /sys/fs/cgroup/osctl/pool.tank/group.*/ct.web1 && cat memory.max cpu.max"),
        "1073741824\n150000 100000"
    );
    host.says("osctl ct stop web1");
}

/// Containers have routed addresses, and hosts routes to each other.
#[test]
fn containers_on_two_hosts_reach_each_other() {
    let wire = Wire::new();
    let image = Rootfs::minimal().archive();
    let mut hosts = Vec::new();
    for (mine, other) in [(1, 2), (2, 1)] {
        let settings = Settings {
            name: format!("host{mine}"),
            wire: Some(wire.clone()),
            ..Settings::default()
        };
        let Some(mut host) = Host::new(settings, &image) else {
            return;
        };
        host.says(&format!(
            "ip link set eth1 up
            ip addr add 192.0.2.{mine}/24 dev eth1
            ip route add 198.51.100.{other}/32 via 192.0.2.{other}
            osctl ct new --from-archive /tmp/image.tar web{mine}
            osctl ct netif new routed web{mine} eth0
            osctl ct netif ip add web{mine} eth0 198.51.100.{mine}/32
            osctl ct start web{mine}"
        ));
        hosts.push(host);
    }
    // The minimal image sets up nothing itself.
    let ping = "osctl ct exec web1 /bin/busybox ping -c 3 -w 60 198.51.100.2";
    let answers = hosts[0].says(ping);
    assert!(answers.contains("bytes from 198.51.100.2"), "{answers}");
    // Neither host translates: the packets come from the container.
    let echo = "osctl ct exec web2 /bin/busybox ping -c 1 -w 60 198.51.100.1";
    hosts[1].says(echo);
    // A host whose power is cut takes its containers along.
    hosts[1].0.cut();
    let ping = "osctl ct exec web1 /bin/busybox ping -c 2 -w 4 198.51.100.2";
    assert_ne!(hosts[0].0.sh(ping).status, 0);
}
