//! Tests of the host image: each boots machines of its own. They run under
//! `cargo xtask vm test`, which builds the image.

#![allow(clippy::unwrap_used)]

use osctl_tests::vm::{Machine, Root, Settings};

mod apparmor;
mod archives;
mod bench;
mod boot;
mod containers;
mod copies;
mod daemon;
mod datasets;
mod io_limits;
mod lab;
mod pools;
mod power;
mod runner;
mod services;
mod snapshots;
mod switch;
mod zfs;
mod zfs_faults;
mod zfs_many;

#[test]
fn boots() {
    let Some(mut host) = Machine::boot(Settings::default()) else {
        return;
    };
    // Waits for the daemon's check.
    host.sh("sv -w 120 start osctld").ok();
    host.run(&["osctl", "ping"]).ok();
    assert_eq!(host.sh("cat /run/runit/level").ok().text(), "default");
    assert_eq!(host.state(), "running");
    host.power_off();
}

#[test]
fn the_agent_moves_bytes() {
    let Some(mut host) = Machine::ready(Settings::default()) else {
        return;
    };
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    host.push("/tmp/bytes", 0o640, &bytes);
    assert_eq!(
        host.run(&["stat", "-c", "%a", "/tmp/bytes"]).ok().text(),
        "640"
    );
    assert_eq!(host.pull("/tmp/bytes"), bytes);
    assert_eq!(host.run_with(&["cat"], &bytes).ok().stdout, bytes);
    let output = host.sh("echo out; echo err >&2; exit 7");
    assert_eq!((output.status, output.text().as_str()), (7, "out"));
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(host.sh("kill -9 $$").status, -9);
    // What stays behind keeps nobody waiting.
    host.sh("sleep 1000 & disown").ok();
}

#[test]
fn the_host_is_set_up() {
    let Some(mut host) = Machine::ready(Settings::default()) else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    assert_eq!(says("cat /proc/sys/kernel/hostname"), "lab");
    assert_eq!(says("cat /proc/sys/kernel/pty/max"), "16384");
    assert_eq!(says("sysctl -n fs.inotify.max_user_watches"), "2147483647");
    assert_eq!(says("stat -fc %T /sys/fs/cgroup"), "cgroup2fs");
    assert_eq!(
        says("id -un && stat -c '%a %U:%G' /etc/shadow"),
        "root\n600 root:root"
    );
    let arc = says("cat /sys/module/zfs/parameters/zfs_arc_max");
    assert_eq!(arc, (512 << 20).to_string());
    says("sv -w 120 start osctld sshd dhcp-eth0");
    // As the daemon's settings have it.
    let lists = |group| format!("setpriv --reuid=65534 --regid={group} --clear-groups osctl ct ls");
    says(&lists(500));
    says(&format!("! {} 2> /dev/null", lists(65534)));
    for service in ["osctld", "sshd", "dhcp-eth0"] {
        let members = format!("cat /sys/fs/cgroup/system/{service}/cgroup.procs");
        assert!(!says(&members).is_empty(), "{service}");
    }
    assert!(says("ip -4 addr show eth0").contains("10.0.2.15"));
    assert!(says("ip route").contains("default via 10.0.2.2"));
    // What the daemon's default bridge needs.
    says("dnsmasq --test --conf-file=/dev/null && id -u dnsmasq");
    // Stopped, and with it what it left running.
    says("sv -w 60 stop dhcp-eth0");
    assert_eq!(says("cat /sys/fs/cgroup/system/dhcp-eth0/cgroup.procs"), "");
    says("nft add table inet t && nft list tables | grep -q 'inet t'");
    says("sshd=$(</var/log/sshd/current); grep -q 'listening on' <<< \"$sshd\"");
}

#[test]
fn boots_from_the_network() {
    let settings = Settings {
        root: Root::Network,
        append: "runlevel=rescue".to_owned(),
        ..Settings::default()
    };
    let Some(mut host) = Machine::boot(settings) else {
        return;
    };
    assert_eq!(host.sh("cat /run/runit/level").ok().text(), "rescue");
    assert_ne!(host.run(&["osctl", "ping"]).status, 0);
    host.sh("sv -w 120 start sshd").ok();
    assert!(!host.sh("ls /sys/class/block").ok().text().contains("vd"));
}
