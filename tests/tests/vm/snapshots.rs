//! Snapshots of containers on ZFS: by hand, by schedule, with clones, and when the daemon dies.

use osctl_tests::is_thorough;
use osctl_tests::vm::Machine;

use super::zfs::{self, fails, says, wait_for_trash};

/// A host with a pool of ours and the container `web1`.
fn host() -> Option<Machine> {
    let mut host = zfs::host()?;
    says(
        &mut host,
        "osctl ct new --from-archive /tmp/minimal.tar web1",
    );
    Some(host)
}

fn names(host: &mut Machine, id: &str) -> Vec<String> {
    let listed = says(host, &format!("osctl ct snapshot ls -H -o name {id}"));
    listed.split_whitespace().map(str::to_owned).collect()
}

const WEB1: &str = "/tank/ct/web1/private";

#[test]
fn snapshots_are_made_read_and_returned_to() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    // A dataset in the container's goes along.
    says(
        host,
        "osctl ct start web1 && zfs create -o canmount=noauto tank/ct/web1/data",
    );
    let write =
        |text: &str| format!("osctl ct exec web1 /bin/busybox sh -c 'echo {text} > /state; sync'");
    says(host, &write("first"));
    assert_eq!(says(host, "osctl ct snapshot new web1 one"), "one");
    assert_eq!(
        says(host, "zfs list -Hrt snapshot -o name tank/ct/web1 | sort"),
        "tank/ct/web1/data@one\ntank/ct/web1@one"
    );
    let txg =
        "zfs get -Hpo value createtxg tank/ct/web1@one tank/ct/web1/data@one | sort -u | wc -l";
    assert_eq!(says(host, txg), "1", "both are of one moment");
    says(host, &write("second"));
    let named = says(host, "osctl ct snapshot new web1");
    assert!(named.starts_with("20") && named.ends_with('Z'), "{named}");
    says(host, &write("third"));
    assert_eq!(names(host, "web1"), ["one", &named]);
    for (command, why) in [
        ("new web1 one", "already"),
        ("new web1 osctl-mine", "daemon's own"),
        ("new web1 a/b", "not valid"),
        ("del web1 none", "no snapshot none"),
        ("rollback web1 one", "running"),
        ("new web9 one", "does not exist"),
        ("umount web1 one", "not mounted"),
    ] {
        let said = fails(host, &format!("osctl ct snapshot {command}"));
        assert!(said.contains(why), "{command}: {said}");
    }

    // Read on the host: without devices, setuid and writing; it outlives the daemon.
    let place = says(host, "osctl ct snapshot mount web1 one");
    assert_eq!(says(host, &format!("cat {place}/state")), "first");
    fails(host, &format!("touch {place}/state"));
    let options = says(host, "grep web1@one /proc/mounts");
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.contains(option), "{options}");
    }
    says(host, "sv -w 60 restart osctld");
    assert_eq!(
        says(host, "osctl ct snapshot ls -H -o mounted web1 | head -1"),
        place
    );
    let used = fails(host, "osctl ct snapshot del web1 one");
    assert!(used.contains("mounted"), "{used}");
    says(host, "osctl ct snapshot umount web1 one");
    assert_eq!(says(host, "grep -c web1@ /proc/mounts; true"), "0");

    // Returned to only when nothing newer is lost, or that is told; it runs again after that.
    let newer = fails(host, "osctl ct snapshot rollback --restart web1 one");
    assert!(
        newer.contains(&named) && newer.contains("--destroy-newer"),
        "{newer}"
    );
    assert_eq!(says(host, "osctl ct cat web1 /state"), "third");
    says(host, &format!("osctl ct snapshot rollback -r web1 {named}"));
    assert_eq!(says(host, "osctl ct cat web1 /state"), "second");
    says(host, "osctl ct stop web1");
    says(host, "osctl ct snapshot rollback --destroy-newer web1 one");
    assert_eq!(says(host, &format!("cat {WEB1}/state")), "first");
    assert_eq!(names(host, "web1"), ["one"]);
    says(host, "osctl ct start web1");
    assert_eq!(says(host, "osctl ct cat web1 /state"), "first");

    // A clone is another container; what it is made of stays as long as it does.
    says(
        host,
        "osctl ct snapshot clone web1 one web2 && osctl ct start web2",
    );
    assert_eq!(says(host, "osctl ct cat web2 /state"), "first");
    says(
        host,
        "osctl ct exec web2 /bin/busybox sh -c 'echo of web2 > /state; sync'",
    );
    assert_eq!(says(host, "osctl ct cat web1 /state"), "first");
    let maps = says(host, "osctl ct ls -H -o uid_map | sort -u | wc -l");
    assert_eq!(maps, "2", "each has ids of its own");
    assert_eq!(
        says(host, "zfs get -Hpo value origin tank/ct/web2/data"),
        "tank/ct/web1/data@one"
    );
    for command in [
        "del web1 one",
        "clone web1 one web2",
        "clone web1 none web3",
    ] {
        fails(host, &format!("osctl ct snapshot {command}"));
    }
    assert!(fails(host, "osctl ct snapshot del web1 one").contains("clone web2"));
    assert_eq!(says(host, "osctl ct snapshot ls -H -o clones web1"), "web2");

    // With the container they go, and with the pool the mounts.
    says(
        host,
        "osctl ct snapshot mount web1 one && osctl ct stop web1 && osctl ct stop web2",
    );
    says(host, "osctl pool export tank");
    assert_eq!(
        says(host, "grep ' zfs ' /proc/mounts | cut -d' ' -f2"),
        "/tank"
    );
    says(
        host,
        "osctl pool import tank && osctl ct snapshot mount web1 one",
    );
    says(host, "osctl ct del web1 && osctl ct start web2");
    assert_eq!(says(host, "osctl ct cat web2 /state"), "of web2");
    says(host, "osctl ct del --force web2");
    wait_for_trash(host, "tank");
    assert_eq!(
        says(host, "zfs list -Hrt snapshot -o name tank/ct tank/trash"),
        ""
    );
}

#[test]
fn a_rollback_is_refused_before_anything_is_lost() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    says(host, "osctl ct dataset new web1 var && osctl ct start web1");
    let write = |text: &str| {
        format!(
            "osctl ct exec web1 /bin/busybox sh -c 'echo {text} > /state; echo {text} > /var/state; sync'"
        )
    };
    let both = "osctl ct cat web1 /state /var/state | tr '\\n' ' '";
    let large =
        "osctl ct exec web1 /bin/busybox sh -c 'head -c 20000000 /dev/urandom > /var/large; sync'";
    says(host, &format!("{large}; {}", write("first")));
    says(host, "osctl ct snapshot new web1 one");
    let shrink = "osctl ct exec web1 /bin/busybox sh -c 'rm /var/large; sync'";
    let smaller = format!("{shrink}; zpool sync tank; osctl ct dataset set quota web1 var 10m");
    says(host, &format!("{smaller}; {}", write("second")));
    says(host, "osctl ct snapshot new web1 two");
    says(host, &write("third"));
    let pid = says(host, "osctl ct show -H -o init_pid web1");
    let rollback = "osctl ct snapshot rollback --restart --destroy-newer web1 one";
    let told = fails(host, rollback);
    assert!(
        told.contains("dataset var") && told.contains("quota"),
        "{told}"
    );
    assert_eq!(names(host, "web1"), ["one", "two"]);
    assert_eq!(says(host, both), "third third");
    assert_eq!(
        says(host, "osctl ct show -H -o init_pid web1"),
        pid,
        "it ran on"
    );

    // Bookmarks of ZFS stand in the way like snapshots, and go like them.
    says(host, "osctl ct dataset set quota web1 var 100m");
    says(
        host,
        "osctl ct snapshot del web1 two && zfs snapshot tank/ct/web1/var@x",
    );
    says(
        host,
        "zfs bookmark tank/ct/web1/var@x tank/ct/web1/var#mine && zfs destroy tank/ct/web1/var@x",
    );
    let told = fails(host, "osctl ct snapshot rollback --restart web1 one");
    assert!(told.contains("#mine"), "{told}");
    assert_eq!(says(host, both), "third third");
    says(host, rollback);
    assert_eq!(says(host, both), "first first");
    assert_eq!(says(host, "zfs list -Hrt bookmark -o name tank"), "");

    // In part returned, and what is left can't be: not to be used until it is.
    says(
        host,
        &format!("{}; {shrink}; zpool sync tank", write("fourth")),
    );
    says(host, "osctl ct stop web1");
    zfs::dies_at(host, "rollback.dataset");
    fails(host, "osctl ct snapshot rollback web1 one");
    says(
        host,
        "zfs set refquota=10m tank/ct/web1/var && sv -w 60 start osctld",
    );
    let shown = says(host, "osctl ct show -H -o state,error web1");
    assert!(
        shown.contains("error") && shown.contains("at snapshot one already"),
        "{shown}"
    );
    for command in ["start web1", "recover cleanup web1", "recover state web1"] {
        fails(host, &format!("osctl ct {command}"));
    }
    says(
        host,
        "zfs set refquota=none tank/ct/web1/var && osctl ct recover state web1",
    );
    says(host, "osctl ct start web1");
    assert_eq!(says(host, both), "first first");
    assert_eq!(says(host, "ls -A /tank/ct/.rollback"), "");
}

#[test]
fn schedules_make_and_destroy_their_own() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    says(host, "date -u -s '2031-05-05 10:20:00'");
    says(host, "osctl ct snapshot new web1 mine");
    let odd = fails(host, "osctl ct set snapshots --keep yearly=1 web1");
    assert!(odd.contains("hourly"), "{odd}");
    // The first ones are made at once.
    let made = "for i in $(seq 100); do osctl ct snapshot ls -H -o schedule web1 | grep -q hourly && exit; sleep 0.2; done; exit 1";
    says(host, "osctl ct set snapshots --keep hourly=2,daily=1 web1");
    says(host, made);
    let rows = "osctl --parsable ct snapshot ls -H -o name,expires web1 | tr -s ' \\t' ' '";
    let first = says(host, rows);
    assert!(first.contains("mine -"), "{first}");
    assert!(first.contains("daily-2031-05-05T10:20"), "{first}");
    // 12:00 of that day: the second full hour from here.
    assert!(
        first
            .lines()
            .any(|l| l.starts_with("hourly-") && l.ends_with("1935748800")),
        "{first}"
    );

    // Whoever sets the clock wakes the timer; what was missed meanwhile is made up for once.
    let until = |host: &mut Machine, pattern: &str| {
        host.sh(&format!(
            "for i in $(seq 100); do osctl ct snapshot ls -H -o name web1 | grep -q {pattern} && exit; sleep 0.2; done; osctl ct snapshot ls web1; exit 1"
        ))
        .ok();
    };
    says(host, "date -u -s '2031-05-05 10:59:58'");
    until(host, "hourly-2031-05-05T11:00");
    // Also while the daemon is busy with what was due before, when no timer waits.
    says(
        host,
        "for i in $(seq 0 59); do date -u -s \"2031-05-05 13:$i:00\"; done; date -u -s '2031-05-05 15:30:00'",
    );
    until(host, "hourly-2031-05-05T15:30");
    let one_daily = "for i in $(seq 100); do [ $(osctl ct snapshot ls -H -o schedule web1 | grep -c daily) = 1 ] && exit; sleep 0.2; done; exit 1";
    let gone = "for i in $(seq 100); do [ $(osctl ct snapshot ls -H -o schedule web1 | grep -c hourly) = 2 ] && exit; sleep 0.2; done; exit 1";
    says(host, gone);
    says(host, one_daily);

    // Also what was missed while no daemon ran.
    says(
        host,
        "sv -w 60 stop osctld && date -u -s '2031-05-07 09:00:00' && sv -w 60 start osctld",
    );
    until(host, "daily-2031-05-07T09");
    says(host, gone);
    says(host, one_daily);
    assert!(names(host, "web1").contains(&"mine".to_owned()));

    // Those that there are stay when there is no schedule any more.
    says(
        host,
        "osctl ct unset snapshots web1 && date -u -s '2031-05-09 09:00:00'",
    );
    says(host, "osctl ping");
    assert_eq!(names(host, "web1").len(), 4);
}

#[test]
fn what_the_daemon_died_in_is_finished_or_undone() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    says(host, "zfs create -o canmount=noauto tank/ct/web1/data");
    let rollback = "rollback --destroy-newer web1 one";
    let (one, two, three) = (vec!["one"], vec!["one", "two"], vec!["one", "two", "three"]);
    for (point, command, state, left) in [
        ("snapshot.made", "new web1 three", "second", three),
        ("snapshot.cloned", "clone web1 one web2", "second", two),
        ("rollback.marked", rollback, "first", one.clone()),
        ("rollback.destroyed", rollback, "first", one.clone()),
        ("rollback.dataset", rollback, "first", one),
    ] {
        // At the others the power fails (`power.rs`).
        if !is_thorough() && !["rollback.marked", "rollback.destroyed"].contains(&point) {
            continue;
        }
        println!("dies at {point}");
        says(host, "osctl ct start web1");
        says(
            host,
            "osctl ct exec web1 /bin/busybox sh -c 'echo first > /state; sync'",
        );
        says(host, "osctl ct stop web1 && osctl ct snapshot new web1 one");
        says(host, "zfs snapshot tank/ct/web1@osctl-left");
        says(host, "osctl ct start web1");
        says(
            host,
            "osctl ct exec web1 /bin/busybox sh -c 'echo second > /state; sync'",
        );
        says(host, "osctl ct stop web1 && osctl ct snapshot new web1 two");
        zfs::dies_at(host, point);
        fails(host, &format!("osctl ct snapshot {command}"));
        says(host, "sv -w 60 start osctld && osctl ct start web1");
        assert_eq!(says(host, "osctl ct cat web1 /state"), state, "{point}");
        assert_eq!(names(host, "web1"), left, "{point}");
        assert_eq!(says(host, "osctl ct ls -H -o id"), "web1", "{point}");
        wait_for_trash(host, "tank");
        says(host, "osctl ct stop web1");
        // Somebody else's, whatever it is named.
        let all = says(
            host,
            "osctl ct snapshot ls -H -o name web1 | xargs -n 1 osctl ct snapshot del web1; zfs list -Hrt snapshot -o name tank/ct/web1",
        );
        assert!(all.is_empty() || all == "tank/ct/web1@osctl-left", "{all}");
        says(
            host,
            "zfs destroy tank/ct/web1@osctl-left 2>/dev/null; true",
        );
        assert_eq!(
            says(
                host,
                "[ ! -e /tank/ct/.rollback ] || ls -A /tank/ct/.rollback"
            ),
            ""
        );
    }
}
