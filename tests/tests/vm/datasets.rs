//! Datasets of containers on ZFS: made, seen in the container, carried along, deleted; and what a
//! daemon that dies in the middle leaves.

use osctl_tests::is_thorough;
use osctl_tests::vm::Machine;

use super::zfs::{self, says};

/// A host with a pool of ours and the container `web1`.
fn host() -> Option<Machine> {
    let mut host = zfs::host()?;
    says(
        &mut host,
        "osctl ct new --from-archive /tmp/minimal.tar web1",
    );
    Some(host)
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Runs a script in a container.
fn inside(id: &str, script: &str) -> String {
    format!("osctl ct exec {id} /bin/busybox sh -c '{script}'")
}

const LS: &str = "osctl ct dataset ls -H -o name,mountpoint";

#[test]
fn datasets_are_seen_in_the_container_and_go_where_it_goes() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    says(host, "osctl ct dataset new web1 var/lib");
    says(host, "osctl ct start web1");
    // A running one has a new one at once.
    says(host, "osctl ct dataset new web1 data /srv/data");
    says(host, "osctl ct dataset new --no-mount web1 data/spare");
    let listed = says(host, &format!("{LS} web1"));
    let all = [
        "/",
        "/",
        "data",
        "/srv/data",
        "data/spare",
        "-",
        "var",
        "/var",
        "var/lib",
        "/var/lib",
    ];
    assert_eq!(words(&listed), all);
    for place in ["/var", "/var/lib", "/srv/data"] {
        let script = format!("touch {place}/mine && stat -c %u:%g {place} {place}/mine");
        assert_eq!(
            words(&says(host, &inside("web1", &script))),
            ["0:0", "0:0"],
            "{place}"
        );
    }
    // On the disk they are root's, too, and beside what the container sees of its own.
    assert_eq!(
        says(host, "stat -c %u /tank/ct/web1/var/lib/private/mine"),
        "0"
    );
    assert_eq!(
        says(
            host,
            "ls -d /tank/ct/web1/private/var/mine /tank/ct/web1/private/var/lib/mine 2>/dev/null; true"
        ),
        ""
    );
    let options = inside("web1", "grep \" /srv/data \" /proc/mounts");
    let options = says(host, &options);
    assert!(
        options.contains("nodev") && !options.contains("nosuid"),
        "{options}"
    );
    assert_eq!(
        says(host, "zfs get -Ho value canmount tank/ct/web1/data"),
        "noauto"
    );

    // Refusals: nothing is made or lost.
    for (command, why) in [
        ("new web1 data", "already"),
        ("new web1 dev", "mountpoint"),
        ("new web1 a/../b", "dataset"),
        ("new web1 private", "private"),
        ("new web1 x@y", "dataset"),
        ("new web1 other /srv/data", "already"),
        ("del web1 var", "others in it"),
        ("del -r web1 var", "mounted"),
        ("del web1 none", "no dataset"),
    ] {
        let refused = host.sh(&format!("osctl ct dataset {command} 2>&1"));
        assert_ne!(refused.status, 0, "{command}");
        assert!(
            refused.text().contains(why),
            "{command}: {}",
            refused.text()
        );
    }
    assert_eq!(words(&says(host, &format!("{LS} web1"))), all);

    // Read only, elsewhere as well; away and there again.
    says(host, "osctl ct mounts dataset --ro web1 data/spare /spare");
    assert_ne!(host.sh(&inside("web1", "touch /spare/x")).status, 0);
    says(
        host,
        "osctl ct mounts deactivate web1 /spare && osctl ct mounts activate web1 /spare",
    );
    says(
        host,
        &inside("web1", "echo kept > /srv/data/f; echo deep > /var/lib/f"),
    );

    // A new start, a new name, out and in again: all is where it was.
    says(
        host,
        "osctl ct stop web1 && osctl ct mv web1 web2 && osctl ct start web2",
    );
    let read = inside("web2", "cat /srv/data/f /var/lib/f");
    assert_eq!(words(&says(host, &read)), ["kept", "deep"]);
    says(host, "osctl ct stop web2 && osctl pool export tank");
    assert_eq!(
        says(host, "grep ' zfs ' /proc/mounts | cut -d' ' -f2"),
        "/tank"
    );
    says(host, "osctl pool import tank && osctl ct start web2");
    assert_eq!(words(&says(host, &read)), ["kept", "deep"]);
    let before = says(host, "cat /proc/self/mountinfo | wc -l");
    says(
        host,
        "for i in 1 2 3; do osctl ct mounts deactivate web2 /spare; osctl ct mounts activate web2 /spare; done",
    );
    assert_eq!(says(host, "cat /proc/self/mountinfo | wc -l"), before);

    // What it takes counts for the container.
    says(
        host,
        &inside(
            "web2",
            "dd if=/dev/urandom of=/srv/data/fill bs=1M count=20 2>/dev/null; sync",
        ),
    );
    says(host, "zpool sync tank");
    let space = says(
        host,
        "osctl --parsable ct ls -H -o disk_used,disk_referenced",
    );
    for bytes in words(&space) {
        assert!(bytes.parse::<u64>().unwrap() > 20 << 20, "{space}");
    }

    // Gone, with those in it, from what runs too; what somebody has open does not hold it up.
    says(
        host,
        "cd /tank/ct/web2/var/lib/private && { tail -f /dev/null > /dev/null 2>&1 & echo $! > /tmp/tail; }",
    );
    says(host, "osctl ct dataset del -r -u web2 var");
    assert_eq!(words(&says(host, &format!("{LS} web2")))[..2], ["/", "/"]);
    assert_eq!(
        says(host, &inside("web2", "test -e /var/lib/f || echo gone")),
        "gone"
    );
    says(host, "kill $(cat /tmp/tail)");
    says(host, "osctl ct stop web2 && osctl ct start web2");
    assert_eq!(says(host, &inside("web2", "cat /srv/data/f")), "kept");
    says(host, "osctl ct del --force web2");
    let empty = "zfs list -Hro name tank/trash | wc -l";
    let wait = format!(
        "for i in $(seq 120); do [ $({empty}) = 1 ] && exit; sleep 0.5; done; zfs list -r tank; exit 1"
    );
    host.sh(&wait).ok();
    assert_eq!(says(host, "osctl pool ls -H -o problems"), "-");
}

#[test]
fn a_daemon_that_dies_leaves_a_dataset_or_none() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    says(host, "osctl ct start web1");
    let points = [
        "storage.populated",
        "dataset.made",
        "dataset.made:2",
        "mounts.kept",
        "mounts.kept:2",
    ];
    let stride = if is_thorough() { 1 } else { 2 };
    for point in points.into_iter().step_by(stride) {
        zfs::dies_at(host, point);
        assert_ne!(
            host.sh("osctl ct dataset new web1 a/b").status,
            0,
            "{point}"
        );
        says(host, "sv -w 120 start osctld && osctl ct ls > /dev/null");
        assert!(
            !says(host, "zfs list -Hro name tank/ct").contains("new."),
            "{point}"
        );
        // Whatever is there can be used and deleted.
        if says(host, &format!("{LS} web1")).contains('a') {
            says(host, "osctl ct dataset del -r -u web1 a");
        }
        says(host, "osctl ct dataset new web1 a/b");
        zfs::dies_at(host, "dataset.unmounted");
        assert_ne!(
            host.sh("osctl ct dataset del -r -u web1 a").status,
            0,
            "{point}"
        );
        says(
            host,
            "sv -w 120 start osctld && osctl ct dataset del -r -u web1 a",
        );
        assert_eq!(
            words(&says(host, &format!("{LS} web1"))),
            ["/", "/"],
            "{point}"
        );
    }
    says(host, "osctl ct del --force web1");
    assert_eq!(says(host, "osctl pool ls -H -o problems"), "-");
}
