//! Copies and moves with ZFS: streams between pools and within one, and files to and from a
//! directory.

use osctl_tests::is_thorough;
use osctl_tests::vm::{Machine, Settings};

use super::zfs::{push_image, says};

/// Two pools of ZFS and one in a directory.
const POOLS: &str = "export ZFS_VDEV_DEVID_OPT_OUT=YES
    for disk in b c; do sfdisk -q /dev/vd$disk <<< 'label: gpt
,'; done
    zpool create -O compression=off tank /dev/vdb1 && zpool create other /dev/vdc1 &&
    osctl pool install tank && osctl pool install other && osctl pool install plain --dir /plain";

fn host() -> Option<Machine> {
    let mut host = Machine::ready(Settings {
        disks: vec![3072, 2048],
        prepare: POOLS.to_owned(),
        ..Settings::default()
    })?;
    push_image(&mut host);
    Some(host)
}

#[track_caller]
fn state(host: &mut Machine, id: &str) -> String {
    says(host, &format!("osctl ct show -H -o state {id}"))
}

/// No operation has left a snapshot, a half of a container or a mount on the host.
#[track_caller]
fn nothing_is_left(host: &mut Machine) {
    let left = "zfs list -Hrt all -o name tank other | grep -vE '^(tank|other)/trash/' | grep -E '@osctl-|/ct/new\\.'; \
                ls /tank/ct/.new /other/ct/.new | grep -v :; true";
    assert_eq!(says(host, left), "");
    let problems = says(host, "osctl pool ls -H -o problems");
    assert!(problems.split_whitespace().all(|p| p == "-"), "{problems}");
}

#[test]
fn copies_and_moves_travel_as_streams() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    let new = "osctl ct new --from-archive /tmp/minimal.tar";
    says(
        host,
        &format!("{new} --quota 1g tank:web1 && osctl ct start web1"),
    );
    let write = "osctl ct exec web1 /bin/busybox sh -c 'echo mine > /mine; chown 7:8 /mine'";
    says(host, write);
    // A dataset below, as an administrator makes it, and a snapshot of both.
    says(
        host,
        "zfs create -o canmount=noauto tank/ct/web1/data &&
         mkdir -p /mnt && mount -t zfs -o zfsutil tank/ct/web1/data /mnt && mkdir /mnt/private &&
         echo below > /mnt/private/file && umount /mnt && zfs snapshot -r tank/ct/web1@kept &&
         zfs set org.osctl:schedule=daily tank/ct/web1@kept",
    );

    says(host, "osctl ct dataset set quota web1 data 64m");

    // A copy: stopped and started again; nothing of it is the original's.
    says(host, "osctl ct cp web1 web2");
    assert_eq!(
        (state(host, "web1"), state(host, "web2")),
        ("running".into(), "stopped".into())
    );
    assert_eq!(
        says(host, "zfs list -Hro origin tank/ct/web2 | sort -u"),
        "-"
    );
    assert_eq!(
        says(host, "zfs list -Hrt snapshot -o name tank/ct/web2"),
        ""
    );
    assert_eq!(
        says(host, "zfs get -Hpo value refquota tank/ct/web2"),
        (1u64 << 30).to_string()
    );
    assert_eq!(
        says(host, "zfs get -Hpo value refquota tank/ct/web2/data"),
        (64u64 << 20).to_string()
    );
    let canmount = "zfs get -Hro value,source canmount tank/ct/web2 | sort -u | tr '\\t' ' '";
    assert_eq!(says(host, canmount), "noauto local");
    says(host, "osctl ct start web2");
    let look = "osctl ct exec web2 /bin/busybox sh -c 'cat /mine; stat -c %u:%g /mine'";
    assert_eq!(says(host, look), "mine\n7:8");
    nothing_is_left(host);
    says(host, "osctl ct del --force web2");

    // To another pool while it runs, with what is below it and its snapshot.
    says(host, "osctl ct mv web1 other:web1");
    assert_eq!(state(host, "other:web1"), "running");
    assert_eq!(
        says(host, "osctl ct exec web1 /bin/busybox cat /mine"),
        "mine"
    );
    assert_eq!(
        says(host, "zfs list -Hrt all -o name other/ct/web1")
            .lines()
            .collect::<Vec<_>>(),
        [
            "other/ct/web1",
            "other/ct/web1@kept",
            "other/ct/web1/data",
            "other/ct/web1/data@kept"
        ]
    );
    assert_eq!(
        says(host, "osctl ct snapshot ls -H -o schedule web1"),
        "daily"
    );
    assert_eq!(says(host, "zfs list -Hro name tank/ct"), "tank/ct");
    assert_eq!(
        says(host, "zfs get -Hpo value refquota other/ct/web1"),
        (1u64 << 30).to_string()
    );
    nothing_is_left(host);

    // A directory has no datasets in containers; without, it goes there and back.
    let refused = host.sh("osctl ct mv other:web1 plain:web1 2>&1");
    assert!(
        refused.status != 0 && refused.text().contains("datasets"),
        "{}",
        refused.text()
    );
    assert_eq!(state(host, "other:web1"), "running");
    says(host, "zfs destroy -r other/ct/web1/data");
    says(host, "osctl ct cp other:web1 plain:web3");
    assert_eq!(state(host, "other:web1"), "running");
    assert_eq!(
        says(host, "stat -c %u:%g /plain/ct/web3/private/mine"),
        "7:8"
    );
    says(
        host,
        "osctl ct start web3 && osctl ct mv plain:web3 tank:web4",
    );
    assert_eq!(state(host, "tank:web4"), "running");
    assert_eq!(
        says(host, "osctl ct exec web4 /bin/busybox cat /mine"),
        "mine"
    );
    nothing_is_left(host);
}

#[test]
fn a_move_that_is_cut_off_is_undone_or_finished() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    let fill = "dd if=/dev/urandom of=/fill bs=1M count=150; echo kept > /mine; sync";
    says(
        host,
        &format!(
            "osctl ct new --from-archive /tmp/minimal.tar tank:web1 && osctl ct start web1 &&
             osctl ct exec web1 /bin/busybox sh -c '{fill}' 2>/dev/null"
        ),
    );
    // Cancelled: it runs on, and nothing is left of it.
    let begun = "for i in $(seq 600); do zfs list -H other/ct/web1 && break; sleep 0.1; done";
    says(
        host,
        &format!(
            "osctl ct mv web1 other:web1 > /tmp/mv 2>&1 & mv=$!; {begun}; kill -TERM $mv; wait $mv; true"
        ),
    );
    // What it copied goes first, its snapshots then.
    let gone = "for i in $(seq 600); do
            zfs list -Hrt all -o name tank/ct other/ct | grep -q -e @osctl- -e ^other/ct/ || exit 0; sleep 0.1; done; exit 1";
    says(host, gone);
    assert_eq!(state(host, "tank:web1"), "running");
    nothing_is_left(host);
    // The daemon dies, again and again, a little later each time.
    let moments = ["0.5", "4", "0", "2"];
    let count = if is_thorough() { 4 } else { 2 };
    for after in &moments[..count] {
        says(
            host,
            &format!(
                "osctl ct mv web1 other:web1 > /tmp/mv 2>&1 & {begun}; sleep {after};
                 kill -9 $(cat /run/runit/service/osctld/supervise/pid); wait; true"
            ),
        );
        let settled = "for i in $(seq 600); do
                osctl ping > /dev/null 2>&1 && osctl ct show -H -o state web1 2>/dev/null | grep -q running &&
                [ $(osctl ct ls -H -o id | wc -l) = 1 ] && exit; sleep 0.2; done;
            osctl ct ls; cat /tmp/mv; exit 1";
        says(host, settled);
        assert_eq!(
            says(host, "osctl ct exec web1 /bin/busybox cat /mine"),
            "kept"
        );
        nothing_is_left(host);
        let pool = says(host, "osctl ct ls -H -o pool");
        println!("killed after {after} s: it is on {}", pool.trim());
        if pool.trim() == "other" {
            says(host, "osctl ct mv other:web1 tank:web1");
        }
    }
}
