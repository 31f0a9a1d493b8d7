//! What goes wrong with pools of ZFS: datasets that vanish or are held, pools that are full or lose
//! their disks, guests that take what they can get. Others must not notice.

use osctl_tests::vm::Machine;

use super::zfs::{self, dies_at, says, wait_for_trash};

/// Where its disk is.
const DISK: &str = "/run/frail";
const NEW: &str = "osctl ct new --from-archive /tmp/minimal.tar";

/// Runs a script that may not hang: its status and what it said.
fn bounded(host: &mut Machine, script: &str) -> (i32, String) {
    let script = format!("exec 2>&1\n{script}");
    let output = host.run(&["timeout", "50", "bash", "-c", &script]);
    let text = output.text();
    assert_ne!(output.status, 124, "{script} hangs: {text}");
    (output.status, text)
}

/// Runs a script that may not hang and has to fail; what it said.
#[track_caller]
fn fails(host: &mut Machine, script: &str) -> String {
    let (status, text) = bounded(host, script);
    assert_ne!(status, 0, "{script}: {text}");
    text
}

/// Runs a script that may not hang; what it said.
#[track_caller]
fn quickly(host: &mut Machine, script: &str) -> String {
    let (status, text) = bounded(host, script);
    assert_eq!(status, 0, "{script}: {text}");
    text
}

/// Has the trash of a pool emptied, and waits until nothing of what was deleted is left.
fn destroyed(host: &mut Machine, pool: &str) {
    quickly(host, &format!("osctl trash-bin prune {pool}"));
    let left =
        format!("zfs list -Hro name {pool}/trash {pool}/ct | grep -e trash/ -e 'ct/gone[.]'");
    quickly(host, &format!("while {left}; do sleep 0.2; done"));
}

/// A host with the pool `tank`, and `frail` in a file of this many MiB in memory.
fn host(memory: u32) -> Option<Machine> {
    let mut host = zfs::host()?;
    says(
        &mut host,
        &format!(
            "mkdir {DISK} && mount -t tmpfs -o size={memory}m frail {DISK}
            truncate -s 512m {DISK}/disk && zpool create -O compression=off frail {DISK}/disk
            osctl pool install frail"
        ),
    );
    Some(host)
}

#[test]
fn a_dataset_that_is_gone_or_held() {
    let Some(mut host) = zfs::host() else {
        return;
    };
    let host = &mut host;
    // Gone behind the daemon's back: told, deleted, and the name is free again.
    for id in ["gone", "lost"] {
        says(
            host,
            &format!("{NEW} tank:{id} && zfs destroy -r tank/ct/{id}"),
        );
    }
    let said = fails(host, "osctl ct start tank:gone");
    assert!(said.contains("has no data"), "{said}");
    quickly(host, "sv -w 40 restart osctld");
    let state = "osctl ct show -H -o state,error tank:lost";
    let said = quickly(host, state);
    assert!(
        said.contains("error") && said.contains("data of container tank:lost are missing"),
        "{said}"
    );
    quickly(
        host,
        "osctl ct del --force tank:gone && osctl ct del --force tank:lost",
    );
    quickly(
        host,
        &format!("{NEW} tank:gone && osctl ct start tank:gone"),
    );

    // Held: gone at once, destroyed when it is let go of.
    says(
        host,
        &format!("{NEW} tank:held && zfs snapshot tank/ct/held@x && zfs hold keep tank/ct/held@x"),
    );
    quickly(host, "osctl ct del tank:held");
    let reason =
        "until osctl trash-bin ls -H -o reason | grep -i 'destroy\\|busy'; do sleep 0.2; done";
    let said = quickly(host, reason);
    assert!(said.contains("tank/trash/held."), "{said}");
    quickly(host, &format!("{NEW} tank:held"));
    quickly(
        host,
        "zfs release keep $(zfs list -Hrt snapshot -o name tank/trash)",
    );
    destroyed(host, "tank");

    // Without room in the trash, which an overfull pool is: the same.
    says(
        host,
        &format!(
            "{NEW} tank:large && osctl ct start tank:large && osctl ct exec tank:large \
            /bin/busybox dd if=/dev/urandom of=/large bs=1M count=4 && zpool sync tank
            zfs snapshot tank/ct/large@x && zfs hold keep tank/ct/large@x
            zfs set reservation=none quota=1M tank/trash"
        ),
    );
    quickly(host, "osctl ct del --force tank:large");
    assert!(says(host, "zfs list -Hro name tank/ct").contains("/gone.large."));
    assert!(says(host, "osctl trash-bin ls -H -o name").contains("large."));
    quickly(host, &format!("{NEW} tank:large"));
    quickly(
        host,
        "zfs release keep $(zfs list -Hrt snapshot -o name tank/ct)",
    );
    destroyed(host, "tank");
    // What is reserved is reserved again when the pool is imported.
    says(host, "zfs set quota=none tank/trash");
    quickly(
        host,
        "osctl pool export --force tank && osctl pool import tank",
    );
    let reserved = "zfs get -Hpo value reservation tank/conf tank/trash | xargs";
    assert_eq!(says(host, reserved), "134217728 16777216");
}

/// Fills the pool `frail` from inside a container until nothing more goes in.
fn fill(host: &mut Machine, id: &str) {
    let dd = |size: &str, n: u32| {
        format!("osctl ct exec frail:{id} /bin/busybox dd if=/dev/zero of=/fill{n} bs={size}")
    };
    let said = fails(
        host,
        &format!(
            "{}; osctl ct exec frail:{id} /bin/busybox sync; false",
            dd("1M", 0)
        ),
    );
    assert!(said.contains("No space left"), "{said}");
    // What is left of the last transaction group.
    for n in 1..6 {
        bounded(host, &format!("{}; sync -f /frail/ct/{id}", dd("4k", n)));
    }
}

#[test]
fn a_pool_that_is_full() {
    let Some(mut host) = host(700) else {
        return;
    };
    let host = &mut host;
    for id in ["big", "small", "idle"] {
        says(
            host,
            &format!("{NEW} frail:{id} && osctl ct start frail:{id}"),
        );
    }
    says(
        host,
        "zfs snapshot frail/ct/small@x && zfs hold keep frail/ct/small@x",
    );
    fill(host, "big");

    // New ones are refused, and nothing is left of them.
    let said = fails(host, &format!("{NEW} frail:new"));
    assert!(said.contains("No space left"), "{said}");
    assert!(!says(host, "zfs list -Hro name frail/ct").contains("new"));
    let ids = "osctl ct ls -H -o id --pool frail | xargs";
    assert_eq!(says(host, ids), "big idle small");
    // What is there can be used, changed and stopped.
    quickly(host, "osctl ct exec frail:small /bin/busybox true");
    quickly(host, "osctl ct set hostname frail:small still.example.org");
    quickly(
        host,
        "osctl ct stop frail:idle && osctl ct start frail:idle",
    );
    // And deleted, several at once: their space comes back.
    quickly(
        host,
        "osctl ct del --force frail:small & osctl ct del --force frail:idle; status=$?
        wait $! && exit $status",
    );
    assert_eq!(says(host, ids), "big");
    assert!(says(host, "zfs list -Hro name frail/trash").contains("/small."));
    quickly(host, "osctl ct stop frail:big && osctl ct del frail:big");
    assert_eq!(says(host, ids), "");
    says(
        host,
        "zfs release keep $(zfs list -Hrt snapshot -o name frail/trash frail/ct)",
    );
    destroyed(host, "frail");
    quickly(
        host,
        &format!("{NEW} frail:new && osctl ct start frail:new"),
    );
    let free = says(host, "zfs get -Hpo value available frail");
    assert!(free.parse::<u64>().unwrap() > 64 << 20);
}

#[test]
fn a_pool_that_loses_its_disks() {
    let Some(mut host) = host(300) else {
        return;
    };
    let host = &mut host;
    for id in ["frail:a", "frail:b", "tank:other"] {
        says(host, &format!("{NEW} {id}"));
    }
    // What it counts is kept when the daemon ends.
    says(
        host,
        "osctl ct netif new routed frail:a eth0 && osctl ct netif ip add frail:a eth0 198.51.100.7/32",
    );
    says(host, "osctl ct start frail:a && osctl ct start tank:other");
    // ZFS' writes fail, and those who want them wait for ever.
    host.sh(&format!(
        "dd if=/dev/zero of={DISK}/filler bs=1M 2> /dev/null"
    ));
    let write = "dd if=/dev/zero of=/x bs=1M count=64; sync";
    host.sh(&format!(
        "(osctl ct exec frail:a /bin/busybox sh -c '{write}' &) > /dev/null 2>&1"
    ));
    let suspended = "until grep -q SUSPENDED /proc/spl/kstat/zfs/frail/state; do sleep 0.2; done";
    quickly(host, suspended);

    // Told, with the cause, of the pool and of its containers.
    let problems = quickly(host, "osctl pool show -H -o problems frail");
    assert!(problems.contains("suspended"), "{problems}");
    let listed = quickly(host, "osctl ct ls -H -o id,state,disk_used");
    let rows: Vec<Vec<&str>> = listed
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    let states: Vec<(&str, &str)> = rows.iter().map(|r| (r[0], r[1])).collect();
    assert_eq!(
        states,
        [("a", "error"), ("b", "error"), ("other", "running")]
    );
    assert!(quickly(host, "osctl ct ls -H -o id --state error").contains('a'));
    let shown = quickly(host, "osctl ct show -H -o state,error frail:b");
    assert!(
        shown.contains("error") && shown.contains("zpool clear frail"),
        "{shown}"
    );
    for verb in [
        "ct new --from-archive /tmp/minimal.tar frail:x",
        "ct start frail:b",
        "ct set quota frail:b 1g",
        "ct set hostname frail:b b.example.org",
        "ct dataset ls frail:b",
        "ct dataset new frail:b data",
        "ct snapshot new frail:b",
        "ct del frail:b",
        "trash-bin prune frail",
    ] {
        let said = fails(host, &format!("osctl {verb}"));
        assert!(said.contains("suspended"), "{verb}: {said}");
        assert!(said.contains("zpool clear frail"), "{verb}: {said}");
    }

    // Nobody else waits, not even a daemon that starts anew.
    quickly(
        host,
        &format!("{NEW} tank:more && osctl ct start tank:more"),
    );
    quickly(host, "osctl ct exec tank:other /bin/busybox true");
    quickly(host, "osctl ct del --force tank:more");
    wait_for_trash(host, "tank");
    host.sh("ping -c 2 -W 1 198.51.100.7 || true");
    // A shutdown waits long for those that can't end; the others are stopped meanwhile.
    host.sh("(osctl shutdown --force &) > /tmp/shutdown 2>&1");
    quickly(
        host,
        "while osctl pool ls -H -o name | grep -qx tank; do sleep 0.2; done",
    );
    quickly(
        host,
        "sv -w 40 restart osctld && osctl shutdown --abort
        osctl ct start tank:other && osctl ct exec tank:other /bin/busybox true",
    );

    // Its disks are back: it is what it was, and can be deleted.
    quickly(host, &format!("rm {DISK}/filler && zpool clear frail"));
    quickly(
        host,
        "until ! grep -q SUSPENDED /proc/spl/kstat/zfs/frail/state; do sleep 0.2; done",
    );
    quickly(
        host,
        "osctl pool ls -H -o name | grep -qx frail || osctl pool import frail",
    );
    // The shutdown has reached it, or not.
    let state = quickly(host, "osctl ct show -H -o state frail:a");
    assert!(matches!(state.as_str(), "running" | "stopped"), "{state}");
    quickly(host, "osctl ct del --force frail:a && osctl ct del frail:b");
    wait_for_trash(host, "frail");
}

/// Takes the room for the data of the pool `frail` away while its container writes: from then on it
/// is suspended.
fn lose_disks(host: &mut Machine, id: &str) {
    host.sh(&format!(
        "dd if=/dev/zero of={DISK}/filler bs=1M 2> /dev/null"
    ));
    let write = "dd if=/dev/zero of=/x bs=1M count=64; sync";
    host.sh(&format!(
        "(osctl ct exec {id} /bin/busybox sh -c '{write}' &) > /dev/null 2>&1"
    ));
    let suspended = "until grep -q SUSPENDED /proc/spl/kstat/zfs/frail/state; do sleep 0.2; done";
    quickly(host, suspended);
}

/// Gives it back.
fn find_disks(host: &mut Machine) {
    quickly(host, &format!("rm {DISK}/filler && zpool clear frail"));
    quickly(
        host,
        "until ! grep -q SUSPENDED /proc/spl/kstat/zfs/frail/state; do sleep 0.2; done",
    );
}

/// Waits until nothing is left of the containers of the pool `frail` and of what is noted of them.
fn all_gone(host: &mut Machine) {
    let left = "zfs list -Hro name frail/ct | grep -v -x frail/ct; \
                ls /run/osctl/pools/frail/deleted; \
                find /sys/fs/cgroup/osctl/pool.frail -name 'ct.*'";
    quickly(
        host,
        &format!("while [ -n \"$({left} 2> /dev/null)\" ]; do sleep 0.2; done"),
    );
    wait_for_trash(host, "frail");
}

#[test]
fn containers_of_a_pool_that_lost_its_disks_can_be_deleted() {
    let Some(mut host) = host(300) else {
        return;
    };
    let host = &mut host;
    for id in ["frail:a", "frail:b", "tank:other"] {
        says(host, &format!("{NEW} {id}"));
    }
    let interface = |id: &str| {
        format!("osctl ct netif new routed {id} eth0 && osctl ct netif ip add {id} eth0 192.0.2.7")
    };
    says(host, &interface("frail:a"));
    says(host, "osctl ct start frail:a && osctl ct start tank:other");
    lose_disks(host, "frail:a");

    // Gone at once, and whoever asked for it is told what happens to its data.
    let said = quickly(host, "osctl ct del --force frail:a");
    for word in [
        "zpool clear frail",
        "could not be killed",
        "data are deleted",
        "booted",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    quickly(host, "osctl ct del --force frail:b");
    assert_eq!(quickly(host, "osctl ct ls -H -o id"), "other");
    let said = fails(host, "osctl ct show frail:a");
    assert!(said.contains("does not exist"), "{said}");
    // Its address is free, its interface is gone.
    quickly(host, &interface("tank:other"));
    assert!(says(host, "ip route show 192.0.2.7").lines().count() <= 1);
    quickly(host, &format!("{NEW} tank:a && osctl ct del tank:a"));
    let said = fails(host, &format!("{NEW} frail:a"));
    assert!(said.contains("suspended"), "{said}");
    // The rest is done when the pool answers.
    find_disks(host);
    all_gone(host);
    quickly(host, &format!("{NEW} frail:a && osctl ct start frail:a"));

    // By the next daemon, too, when this one dies as soon as it is noted.
    quickly(host, &format!("{NEW} frail:kept"));
    dies_at(host, "condemn.noted");
    lose_disks(host, "frail:a");
    bounded(host, "osctl ct del --force frail:a");
    quickly(
        host,
        "sv -w 40 start osctld && osctl ct exec tank:other /bin/busybox true",
    );
    find_disks(host);
    let import = "osctl pool ls -H -o name | grep -qx frail || osctl pool import frail";
    quickly(host, import);
    assert_eq!(quickly(host, "osctl ct ls -H -o id --pool frail"), "kept");
    let known = "osctl pool show -H -o problems frail";
    assert_eq!(quickly(host, known), "-");

    // And when it dies at the end: another container of the same name is not concerned.
    quickly(host, "osctl ct start frail:kept");
    dies_at(host, "condemn.carried");
    lose_disks(host, "frail:kept");
    quickly(host, "osctl ct del --force frail:kept");
    find_disks(host);
    quickly(
        host,
        "while osctl ping > /dev/null 2>&1; do sleep 0.2; done",
    );
    quickly(host, "sv -w 40 start osctld");
    quickly(host, import);
    all_gone(host);
    quickly(host, &format!("{NEW} frail:kept"));
    quickly(host, "sv -w 40 restart osctld");
    assert_eq!(quickly(host, "osctl ct ls -H -o id --pool frail"), "kept");
}

#[test]
fn a_guest_that_takes_all_it_can_get() {
    let Some(mut host) = zfs::host() else {
        return;
    };
    let host = &mut host;
    says(host, &format!("{NEW} greedy && osctl ct start greedy"));
    says(host, &format!("{NEW} calm && osctl ct start calm"));
    let greedy = |script: &str| format!("osctl ct exec greedy /bin/busybox sh -c '{script}'");

    // Many files, and data until there is no room for more.
    let files = "mkdir /d && cd /d && i=0; while [ $i -lt 20000 ]; do : > f$i; i=$((i+1)); done";
    quickly(host, &greedy(files));
    quickly(host, "osctl ct set quota greedy 48m");
    let said = fails(
        host,
        &greedy("dd if=/dev/urandom of=/fill bs=1M count=80; sync; exit 1"),
    );
    assert!(said.contains("quota"), "{said}");
    quickly(
        host,
        "osctl ct exec calm /bin/busybox dd if=/dev/zero of=/f bs=1M count=64",
    );

    // Files that it has deleted and holds open are in a snapshot, too; that can be destroyed.
    quickly(host, &greedy("rm /fill; tail -f /d/f1 > /dev/null 2>&1 &"));
    says(host, "osctl ct snapshot new greedy held");
    let place = says(host, "osctl ct snapshot mount greedy held");
    says(
        host,
        &format!(
            "(cd {place} && exec tail -f bin/busybox > /dev/null 2>&1) & echo $! > /tmp/tail; disown"
        ),
    );
    says(host, "osctl ct snapshot umount greedy held");
    let said = fails(host, "osctl ct snapshot del greedy held");
    assert!(said.contains("held or open"), "{said}");
    says(host, "kill $(cat /tmp/tail)");
    quickly(
        host,
        "until osctl ct snapshot del greedy held; do sleep 0.2; done",
    );

    // One that is full of files can be deleted, at once.
    quickly(host, "osctl ct del --force greedy");
    quickly(host, "osctl ct exec calm /bin/busybox true");
    wait_for_trash(host, "tank");
    quickly(host, "osctl ct exec calm /bin/busybox rm /f");
    assert_eq!(
        says(host, "osctl ct ls -H -o id,state | xargs"),
        "calm running"
    );
}
