//! A running host is switched to another system, whose services are tried.

use std::fs;
use std::path::PathBuf;

use osctl_tests::Rootfs;
use osctl_tests::vm::{Machine, Settings, Wire};

/// A test goes through all of it with one host, as each step begins where the
/// one before it ended.
#[test]
fn a_running_host_is_switched_to_another_system() {
    let Some(mut host) = Machine::ready(Settings {
        wire: Some(Wire::new()),
        ..Settings::default()
    }) else {
        return;
    };
    let next = PathBuf::from(std::env::var_os("OSCTL_VM_NEXT").unwrap());
    let next = fs::canonicalize(next).unwrap();
    host.copy_closure(&next);
    let next = next.to_str().unwrap().to_owned();
    let before = host.sh("readlink -f /run/current-system").ok().text();

    let container = start_container(&mut host);
    host.sh("sv -w 120 start sshd").ok();
    let kept = ["osctld", "dhcp-eth0", "test-agent"].map(|it| (it, pid(&mut host, it)));
    let sshd = pid(&mut host, "sshd");

    only_told(&mut host, &next);
    assert_eq!(pid(&mut host, "sshd"), sshd);

    let switched = host.run(&[&format!("{next}/bin/switch-to-configuration"), "test"]);
    let told = switched.text();
    assert_eq!(switched.status, 0, "{told}");
    assert_eq!(host.sh("readlink -f /run/current-system").ok().text(), next);
    for (name, pid_before) in &kept {
        assert_eq!(&pid(&mut host, name), pid_before, "{name}: {told}");
    }
    assert_ne!(pid(&mut host, "sshd"), sshd);
    host.sh("ss -ltn | grep -q :2222 && ! ss -ltn | grep -q ':22 '")
        .ok();
    host.sh("! [ -e /run/runit/service/getty-ttyS0 ] && ! [ -e /etc/runit/services/getty-ttyS0 ]")
        .ok();
    host.sh("! [ -e /run/runit/service/single ]").ok();
    assert_eq!(start_of(&mut host, "web1"), container);

    services(&mut host);
    networks(&mut host);
    clock(&mut host);
    logs(&mut host);
    lxcfs(&mut host);
    mounts(&mut host);
    nix(&mut host, &before);
    assert_eq!(start_of(&mut host, "web1"), container);
    for (name, pid_before) in &kept {
        assert_eq!(&pid(&mut host, name), pid_before, "{name}");
    }
}

fn pid(host: &mut Machine, service: &str) -> String {
    let pid = format!("cat /run/runit/service/{service}/supervise/pid");
    let pid = host.sh(&pid).ok().text();
    assert!(!pid.is_empty(), "{service} is down");
    pid
}

fn start_container(host: &mut Machine) -> String {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("minimal.tar");
    Rootfs::minimal().write(&image);
    host.push("/tmp/minimal.tar", 0o644, &fs::read(&image).unwrap());
    host.sh("osctl pool install tank --dir /var/lib/tank &&
        osctl ct new --from-archive /tmp/minimal.tar web1 && osctl ct start web1")
        .ok();
    start_of(host, "web1")
}

fn start_of(host: &mut Machine, id: &str) -> String {
    let pid = format!("osctl --json ct show {id} | grep -o '\"init_pid\": *[0-9]*'");
    host.sh(&pid).ok().text()
}

fn only_told(host: &mut Machine, next: &str) {
    let told = host.sh(&format!("{next}/bin/switch-to-configuration dry-activate"));
    let told = told.ok().text();
    for part in ["force-stop /run/runit/service/sshd", "/activate", "lxcfs"] {
        assert!(told.contains(part), "{told}");
    }
    for part in ["osctld", "dhcp-eth0", "test-agent"] {
        assert!(!told.contains(part), "{told}");
    }
    host.sh("! [ -e /run/runit/service/lxcfs ] && ! [ -e /nix/var/nix/profiles/system ]")
        .ok();
    assert_eq!(
        host.sh(&format!("{next}/bin/switch-to-configuration it"))
            .status,
        2
    );
}

/// What runit does with each kind of service.
fn services(host: &mut Machine) {
    let group = |service: &str| {
        format!("xargs -r ps -o args= -p < /sys/fs/cgroup/system/{service}/cgroup.procs | sort")
    };
    assert_eq!(
        host.sh(&group("leaves")).ok().text(),
        "sleep 4000\nsleep 4001"
    );
    host.sh("sv -w 60 stop leaves keeps").ok();
    assert_eq!(host.sh(&group("leaves")).text(), "");
    assert_eq!(host.sh(&group("keeps")).ok().text(), "sleep 4003");
    host.sh("grep -q finished /run/leaves").ok();
    // Done once, and anew when it is asked for; tried again when it fails.
    let done = "grep -c done /run/once";
    host.sh(&format!(
        "[ $({done}) = 1 ] && sv -w 60 restart once && [ $({done}) = 2 ]"
    ))
    .ok();
    host.sh("sv -w 60 stop once && ! [ -e /run/runit/done/once ]")
        .ok();
    host.sh("touch /run/once.fails && ! sv -w 4 start once && ! [ -e /run/runit/done/once ]")
        .ok();
    host.sh(&format!(
        "rm /run/once.fails && sv -w 60 start once && [ $({done}) = 3 ]"
    ))
    .ok();
    host.sh("[ $(grep -c begun /run/once) -gt 4 ]").ok();
    let log = host.sh("cat /var/log/logs/current").ok().text();
    for line in ["prefixed out", "prefixed err"] {
        assert!(log.contains(line), "{log}");
    }
    host.sh("grep -qx s5000 /var/log/logs/config").ok();
    host.sh("curl -sf http://127.0.0.1:9100/metrics | grep -q node_load1")
        .ok();
    host.sh("ps -o user= -p $(cat /run/runit/service/prometheus-node-exporter/supervise/pid) | grep -q node")
        .ok();
    host.sh("[ $(sysctl -n vm.swappiness) = 7 ] && grep -q ^dummy /proc/modules")
        .ok();
}

/// Addresses, a bridge, names and filters that the configuration declares.
fn networks(host: &mut Machine) {
    host.sh("ip link show eth1 | grep -q 'master br1'").ok();
    host.sh("ip addr show br1 | grep -q 192.0.2.1/24 && ip addr show br1 | grep -q 2001:db8::1/64")
        .ok();
    host.sh("grep -qx '192.0.2.77 seven' /etc/hosts").ok();
    let resolved =
        "busybox=$(readlink -f /proc/$(cat /run/runit/service/dhcp-eth0/supervise/pid)/exe)
        $busybox nslookup b.test 192.0.2.1";
    let resolved = host.sh(resolved).ok().text();
    assert!(resolved.contains("192.0.2.9"), "{resolved}");
    let counted = "nft list table inet host | grep -o 'packets [0-9]*'";
    assert_eq!(host.sh(counted).ok().text(), "packets 0");
    host.sh("! timeout 2 bash -c '> /dev/tcp/192.0.2.1/9'").ok();
    assert_ne!(host.sh(counted).ok().text(), "packets 0");
    // Loaded anew in one step, without what others have.
    host.sh("nft add table inet other && sv reload nftables")
        .ok();
    host.sh("for try in {1..100}; do nft list table inet host | grep -q 'packets 0' && exit; sleep 0.1; done; exit 1")
        .ok();
    host.sh("nft list table inet other").ok();
}

/// The clock follows a server, which is another chronyd in a network of its own.
fn clock(host: &mut Machine) {
    host.push(
        "/tmp/server.conf",
        0o644,
        b"local stratum 3\nallow\ncmdport 0\npidfile /run/server.pid\nbindacqaddress 198.51.100.2\nuser root\n",
    );
    host.sh("ip netns add world
        ip link add toworld type veth peer name fromworld netns world
        ip addr add 198.51.100.1/24 dev toworld && ip link set toworld up
        ip -n world addr add 198.51.100.2/24 dev fromworld && ip -n world link set fromworld up
        ip netns exec world chronyd -x -f /tmp/server.conf
        chronyc -n online && chronyc -n burst 4/8 && chronyc -n waitsync 60 0 0 1")
        .ok();
    host.sh("chronyc -n tracking | grep -q 198.51.100.2").ok();
}

/// What is said goes to files, and to another host, also what was said while
/// that was away.
fn logs(host: &mut Machine) {
    host.sh("ln -s $(readlink -f /proc/$(cat /run/runit/service/dhcp-eth0/supervise/pid)/exe) /tmp/busybox")
        .ok();
    host.sh("/tmp/busybox logger -t tried early && for try in {1..100}; do grep -q 'tried: early' /var/log/messages && exit; sleep 0.1; done; exit 1")
        .ok();
    host.push(
        "/tmp/collect.conf",
        0o644,
        b"module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"6514\")\n*.* /tmp/collected\n",
    );
    host.sh(
        "rsyslogd=$(readlink -f /proc/$(cat /run/runit/service/rsyslog/supervise/pid)/exe)
        $rsyslogd -i /run/collect.pid -M ${rsyslogd%/bin/*}/lib/rsyslog -f /tmp/collect.conf
        /tmp/busybox logger -t tried late
        for try in {1..300}; do
            grep -q 'tried.*early' /tmp/collected && grep -q 'tried.*late' /tmp/collected && grep -q 'INFO PoolInstall tank' /tmp/collected && exit
            sleep 0.1
        done
        cat /tmp/collected >&2; exit 1",
    )
    .ok();
    host.sh("! grep 'INFO PoolInstall tank' /var/log/messages")
        .ok();
}

fn lxcfs(host: &mut Machine) {
    host.sh("sv -w 60 start lxcfs && grep -q MemTotal /var/lib/lxcfs/proc/meminfo")
        .ok();
    host.sh("sv -w 60 restart lxcfs && grep -q MemTotal /var/lib/lxcfs/proc/meminfo")
        .ok();
    host.sh("sv -w 60 stop lxcfs && ! mountpoint -q /var/lib/lxcfs && sv -w 60 start lxcfs")
        .ok();
}

/// What the configuration mounts, from this host and from a server of NFS.
fn mounts(host: &mut Machine) {
    host.sh("sv -w 60 start filesystems && [ $(findmnt -no FSTYPE,SIZE /mnt/scratch | tr -d ' ') = tmpfs1M ]")
        .ok();
    // A server on the same host: without the time that clients have to come back.
    host.sh("modprobe nfsd && mount -t nfsd nfsd /proc/fs/nfsd &&
        echo 10 > /proc/fs/nfsd/nfsv4gracetime && mkdir -p /srv/shared && touch /etc/exports /var/lib/nfs/etab && echo far > /srv/shared/f &&
        exportfs -o rw,fsid=0,no_root_squash,insecure 127.0.0.1:/srv/shared &&
        rpc.nfsd --no-nfs-version 3 1 && rpc.mountd --no-nfs-version 3")
        .ok();
    host.sh(
        "mount /mnt/nfs && grep -q far /mnt/nfs/f && echo near > /mnt/nfs/g && sync -f /mnt/nfs/g",
    )
    .ok();
    assert_eq!(host.sh("findmnt -no FSTYPE /mnt/nfs").ok().text(), "nfs4");
    host.sh("grep -q near /srv/shared/g && umount /mnt/nfs && rpc.nfsd 0")
        .ok();
}

/// Nix runs, and knows what the host has booted with.
fn nix(host: &mut Machine, before: &str) {
    host.sh("sv -w 120 start nix-daemon").ok();
    host.sh(&format!("nix-store --check-validity {before}"))
        .ok();
}
