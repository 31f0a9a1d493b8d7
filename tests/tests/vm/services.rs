//! Services of the host that `os/hosts/vm.nix` does not have, on one that was
//! switched to `vm-next.nix`.

use osctl_tests::vm::Machine;

use crate::switch::{Switched, pid, switched};

/// Runs a script until it succeeds: what it looks at is another program's doing.
#[track_caller]
pub fn soon(host: &mut Machine, script: &str) {
    let tries = format!("for try in {{1..300}}; do {script} && exit; sleep 0.1; done; exit 1");
    host.sh(&tries).ok();
}

/// What runit does with each kind of service.
#[test]
fn services_are_what_they_say() {
    let Some(Switched { mut host, .. }) = switched() else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    let group = |service: &str| {
        format!("xargs -r ps -o args= -p < /sys/fs/cgroup/system/{service}/cgroup.procs | sort")
    };
    assert_eq!(says(&group("leaves")), "sleep 4000\nsleep 4001");
    says("sv -w 60 stop leaves keeps && grep -q finished /run/leaves");
    assert_eq!(says("cat /sys/fs/cgroup/system/leaves/cgroup.procs"), "");
    assert_eq!(says(&group("keeps")), "sleep 4003");
    // Done once, and anew when it is asked for; tried again when it fails.
    let done = "grep -c done /run/once";
    says(&format!(
        "[ $({done}) = 1 ] && sv -w 60 restart once && [ $({done}) = 2 ]"
    ));
    says("sv -w 60 stop once && ! [ -e /run/runit/done/once ]");
    says("touch /run/once.fails && ! sv -w 4 start once && ! [ -e /run/runit/done/once ]");
    says(&format!(
        "rm /run/once.fails && sv -w 60 start once && [ $({done}) = 3 ]"
    ));
    says("[ $(grep -c begun /run/once) -gt 4 ]");
    let log = says("cat /var/log/logs/current");
    for line in ["prefixed out", "prefixed err"] {
        assert!(log.contains(line), "{log}");
    }
    says("grep -qx s5000 /var/log/logs/config");
    assert_eq!(says("cat /run/signalled.log"), "out");
    says("curl -sf http://127.0.0.1:9100/metrics | grep -q node_load1");
    let user = "ps -o user= -p $(cat /run/runit/service/prometheus-node-exporter/supervise/pid)";
    assert_eq!(says(user), "node-exporter");
}

/// Logs are kept up to a number, to an age, and while there is room for them.
#[test]
fn logs_are_kept_as_declared() {
    let Some(Switched { mut host, .. }) = switched() else {
        return;
    };
    let last = "grep -q ' line 2000 of a log$' /var/log/talks/current";
    soon(&mut host, last);
    let kept = "ls -d /var/log/talks/@* | wc -l";
    assert_eq!(host.sh(kept).ok().text(), "5");
    soon(&mut host, "ls /var/log/ages/@*.s");
    host.sh("grep -q ' once$' /var/log/ages/@*.s").ok();
    // Room for three files of a page: the log, and two that were closed.
    host.sh("set -e
        sv -w 60 stop talks talks/log
        mount -t tmpfs -o size=12k small /var/log/talks
        sv -w 60 start talks/log talks")
        .ok();
    soon(&mut host, last);
    assert_eq!(host.sh(kept).ok().text(), "2");
}

/// Who is declared logs in, with the key that is declared.
#[test]
fn users_log_in_by_key() {
    let Some(Switched { mut host, .. }) = switched() else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    assert_eq!(
        says("id ann"),
        "uid=1000(ann) gid=1000(ann) groups=1000(ann),1001(crew)"
    );
    says("grep -q 'ssh-ed25519 .* ann@example' /etc/ssh/authorized_keys.d/ann");
    says("ssh-keygen -q -t ed25519 -N '' -f key && cat key.pub >> /etc/ssh/authorized_keys.d/ann");
    says("mkdir -p .ssh && cp key.pub .ssh/authorized_keys");
    let ssh = "ssh -p 2222 -i key -o StrictHostKeyChecking=no -o BatchMode=yes";
    assert_eq!(
        says(&format!(
            "{ssh} ann@127.0.0.1 'id -un; sysctl -n vm.swappiness'"
        )),
        "ann\n7"
    );
    assert_eq!(
        says(&format!("{ssh} 127.0.0.1 osctl ct ls -H -o id web1")),
        "web1"
    );
    let other = host.sh(&format!(
        "ssh-keygen -q -t ed25519 -N '' -f key2 && {} ann@127.0.0.1 true",
        ssh.replace("key", "key2")
    ));
    assert_eq!(other.status, 255);
    assert!(
        other.error().contains("Permission denied (publickey)"),
        "{}",
        other.error()
    );
}

/// Addresses, a bridge, routes, names and filters that the configuration declares.
#[test]
fn networks_are_as_declared() {
    let Some(Switched { mut host, .. }) = switched() else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    assert!(says("ip link show eth1").contains("master br1"));
    let addresses = says("ip addr show br1");
    for address in ["192.0.2.1/24", "2001:db8::1/64"] {
        assert!(addresses.contains(address), "{addresses}");
    }
    let routes = says("ip route");
    for route in [
        "default via 192.0.2.254 dev br1",
        "blackhole 203.0.113.0/24",
    ] {
        assert!(routes.contains(route), "{routes}");
    }
    assert_eq!(says("cat /etc/resolv.conf"), "nameserver 192.0.2.1");
    for (name, address) in [("seven", "192.0.2.77"), ("b.test", "192.0.2.9")] {
        let found = host.sh(&format!("ping -c 1 -W 1 {name}")).text();
        assert!(
            found.contains(&format!("PING {name} ({address})")),
            "{found}"
        );
    }
    // Who asks on the bridge gets an address.
    host.sh(
        "ip netns add guest && ip link add toguest type veth peer name eth0 netns guest
        ip link set toguest master br1 up && ip -n guest link set eth0 up",
    )
    .ok();
    host.push(
        "/tmp/leased",
        0o755,
        b"#!/bin/sh\n[ $1 = bound ] && echo $ip/$mask $router $dns $domain\n",
    );
    let mut says = |script: &str| host.sh(script).ok().text();
    let busybox = "$(readlink -f /proc/$(cat /run/runit/service/dhcp-eth0/supervise/pid)/exe)";
    let leased = says(&format!(
        "ip netns exec guest {busybox} udhcpc -i eth0 -n -q -t 20 -s /tmp/leased 2> /dev/null"
    ));
    let address = leased.strip_prefix("192.0.2.10").unwrap();
    assert_eq!(
        &address[1..],
        "/24 192.0.2.1 192.0.2.1 lab.test",
        "{leased}"
    );
    let counted = "nft list table inet host | grep -o 'packets [0-9]*'";
    assert_eq!(says(counted), "packets 0");
    says("! timeout 2 bash -c '> /dev/tcp/192.0.2.1/9'");
    assert_ne!(says(counted), "packets 0");
    // Loaded anew in one step, without what others have.
    says("nft add table inet other && sv reload nftables");
    soon(&mut host, &format!("{counted} | grep -qx 'packets 0'"));
    host.sh("nft list table inet other").ok();
    // An address that is static stays when DHCP begins anew.
    let mut says = |script: &str| host.sh(script).ok().text();
    says("sv -w 60 restart dhcp-eth0");
    let addresses = says("ip addr show eth0");
    for address in ["2001:db8:1::5/64", "10.0.2.15/24"] {
        assert_eq!(addresses.matches(address).count(), 1, "{addresses}");
    }
}

/// The clock follows a server, which is another chronyd in a network of its own.
#[test]
fn the_clock_follows_a_server() {
    let Some(Switched { mut host, .. }) = switched() else {
        return;
    };
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
    let followed = host.sh("chronyc -n tracking").ok().text();
    assert!(followed.contains("198.51.100.2"), "{followed}");
}

/// What is said goes to files, and to another host, also what was said while
/// that was away.
#[test]
fn what_is_said_is_kept_and_forwarded() {
    let Some(Switched { mut host, .. }) = switched() else {
        return;
    };
    host.sh("ln -s $(readlink -f /proc/$(cat /run/runit/service/dhcp-eth0/supervise/pid)/exe) /tmp/busybox
        /tmp/busybox logger -t tried early")
        .ok();
    soon(&mut host, "grep -q 'tried: early' /var/log/messages");
    host.push(
        "/tmp/collect.conf",
        0o644,
        b"module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"6514\")\nmodule(load=\"imudp\")\ninput(type=\"imudp\" port=\"5514\")\n*.* /tmp/collected\n",
    );
    host.sh(
        "rsyslogd=$(readlink -f /proc/$(cat /run/runit/service/rsyslog/supervise/pid)/exe)
        $rsyslogd -i /run/collect.pid -M ${rsyslogd%/bin/*}/lib/rsyslog -f /tmp/collect.conf
        /tmp/busybox logger -t tried late",
    )
    .ok();
    for said in ["tried.*early", "tried.*late", "INFO PoolInstall tank"] {
        soon(&mut host, &format!("grep -q '{said}' /tmp/collected"));
    }
    host.sh("! grep 'INFO PoolInstall tank' /var/log/messages")
        .ok();
    // It takes no more room than it may.
    host.sh("for n in {1..3000}; do echo a message of some words, number $n; done | /tmp/busybox logger -t many")
        .ok();
    soon(&mut host, "grep -q 'number 3000' /var/log/messages");
    host.sh(
        "[ $(du -bc /var/log/messages* | tail -n 1 | cut -f 1) -lt 250000 ] &&
        [ $(stat -c %a /var/log/messages) = 640 ]",
    )
    .ok();
    // A service's own log, by UDP, which one has nowhere else.
    host.sh("sv -w 60 restart logs tells").ok();
    soon(&mut host, "grep -q 'prefixed out' /tmp/collected");
    soon(&mut host, "grep -q 'only there' /tmp/collected");
    host.sh("! grep -r 'only there' /var/log/tells").ok();
}

/// What the configuration mounts, from this host and from a server of NFS, and
/// what is mounted in containers.
#[test]
fn file_systems_are_mounted() {
    let Some(Switched { mut host, .. }) = switched() else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    says("sv -w 60 restart lxcfs && grep -q MemTotal /var/lib/lxcfs/proc/meminfo");
    says("sv -w 60 stop lxcfs && ! mountpoint -q /var/lib/lxcfs && sv -w 60 start lxcfs");
    says("grep -q MemTotal /var/lib/lxcfs/proc/meminfo");
    assert_eq!(
        says("findmnt -no FSTYPE,SIZE /mnt/scratch | tr -d ' '"),
        "tmpfs1M"
    );
    // A server on the same host: without the time that clients have to come back.
    says("modprobe nfsd && mount -t nfsd nfsd /proc/fs/nfsd &&
        echo 10 > /proc/fs/nfsd/nfsv4gracetime && mkdir -p /srv/shared && touch /etc/exports /var/lib/nfs/etab && echo far > /srv/shared/f &&
        exportfs -o rw,fsid=0,no_root_squash,insecure 127.0.0.1:/srv/shared &&
        rpc.nfsd --no-nfs-version 3 1 && rpc.mountd --no-nfs-version 3");
    says(
        "mount /mnt/nfs && grep -q far /mnt/nfs/f && echo near > /mnt/nfs/g && sync -f /mnt/nfs/g",
    );
    assert_eq!(says("findmnt -no FSTYPE /mnt/nfs"), "nfs4");
    says("grep -q near /srv/shared/g && umount /mnt/nfs && rpc.nfsd 0");
}

/// Nix knows what the host has booted with, and builds for everybody as others,
/// who see nothing of the host.
#[test]
fn nix_builds_on_the_host() {
    let Some(Switched {
        mut host, before, ..
    }) = switched()
    else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    says(&format!("nix-store --check-validity {before}"));
    says("nix --extra-experimental-features nix-command config show connect-timeout | grep -qx 7");
    let roots = says("nix-store --gc --print-roots");
    let booted = format!("/run/booted-system -> {before}");
    assert!(roots.contains(&booted), "{roots}");
    assert_eq!(says("nix-instantiate --find-file here"), "/tmp");
    let build = "setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp/nobody nix-build --no-out-link -E '
        derivation {
          name = \"it\";
          system = \"x86_64-linux\";
          builder = \"/bin/sh\";
          args = [ \"-c\" \"ls -A / > $out; stat -c %U $NIX_BUILD_TOP >> $out\" ];
        }'";
    let built = says(build);
    let seen = says(&format!("cat {built}"));
    assert!(seen.contains("proc") && !seen.contains("srv"), "{seen}");
    assert!(seen.contains("nixbld"), "{seen}");
    says(&format!("nix-store --delete {built} && [ ! -e {built} ]"));
}

/// Containers that the configuration declares are made, started once, and set
/// as it says; all else that is done to them stays.
#[test]
fn containers_are_as_declared() {
    let Some(Switched { mut host, .. }) = switched() else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    let listed =
        "osctl ct ls -H -o id,user,group,state,hostname,dns_resolvers declared:web8 declared:web9";
    let words = |text: String| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(says(listed)),
        "web8 shared /small running web8.example.com 192.0.2.53 web9 web9 /default stopped - -"
            .split(' ')
            .collect::<Vec<_>>()
    );
    let address = says("osctl ct exec declared:web8 /bin/busybox ip -4 addr show eth0");
    assert!(address.contains("198.51.100.200/32"), "{address}");
    assert_eq!(
        words(says(
            "osctl ct netif ls -H -o name,type,link,hwaddr,dhcp declared:web9"
        )),
        ["eth0", "bridge", "br1", "02:00:00:00:00:09", "false"]
    );
    assert_eq!(
        words(says(
            "osctl ct netif ip ls -H -o addr declared:web9 eth0 && osctl ct show -H -o nesting declared:web9"
        )),
        ["2001:db8::9/64", "true"]
    );
    assert_eq!(
        says("cat /sys/fs/cgroup/osctl/pool.declared/group.small/memory.max"),
        (256 << 20).to_string()
    );
    says("osctl ct exec declared:web8 /bin/busybox sh -c 'echo kept > /f'");
    says("osctl ct set memory-limit declared:web8 32m && osctl ct set cpu-limit declared:web9 70");
    says("osctl ct stop declared:web8");
    says("sv -w 240 restart ct-declared-web8 ct-declared-web9");
    assert_eq!(
        words(says("osctl ct show -H -o state,memory_limit declared:web8")),
        ["stopped", "64.0M"]
    );
    assert_eq!(says("osctl ct show -H -o cpu_limit declared:web9"), "70");
    says("osctl ct start declared:web8 && osctl ct exec declared:web8 /bin/busybox grep kept /f");
    assert!(!pid(&mut host, "ct-declared-web8").is_empty());
}
