//! Pools of ZFS on the real thing: the contract of storage, containers from image to trash.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use osctl_tests::vm::{Machine, Settings};
use osctl_tests::{Rootfs, is_thorough};

/// A pool of ZFS on a disk of its own. There is no udev: a partition appears at once, a whole disk
/// would be waited for.
const POOL: &str = "export ZFS_VDEV_DEVID_OPT_OUT=YES
    sfdisk -q /dev/vdb <<< 'label: gpt
,' && zpool create -O compression=off tank /dev/vdb1";
/// Imports it again after a boot.
const IMPORT: &str = "export ZFS_VDEV_DEVID_OPT_OUT=YES
    zpool import -N -d /dev -o cachefile=none tank";

fn settings(prepare: &str) -> Settings {
    Settings {
        disks: vec![3072],
        prepare: format!("{POOL} {prepare}"),
        ..Settings::default()
    }
}

/// A host with a pool of ours, and a minimal image in `/tmp/minimal.tar`.
pub(super) fn host() -> Option<Machine> {
    let mut host = Machine::ready(settings("&& osctl pool install tank"))?;
    push_image(&mut host);
    Some(host)
}

pub(super) fn push_image(host: &mut Machine) {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("minimal.tar");
    Rootfs::minimal().write(&image);
    host.push("/tmp/minimal.tar", 0o644, &fs::read(&image).unwrap());
}

#[track_caller]
pub(super) fn says(host: &mut Machine, script: &str) -> String {
    host.sh(script).ok().text()
}

/// What a script says that must fail.
#[track_caller]
pub(super) fn fails(host: &mut Machine, script: &str) -> String {
    let output = host.sh(&format!("{script} 2>&1"));
    assert_ne!(output.status, 0, "{script}: {}", output.text());
    output.text()
}

/// Gives the host a daemon that dies at a fail point. The service would start it again, without.
#[track_caller]
pub(super) fn dies_at(host: &mut Machine, point: &str) {
    let ready = "for i in $(seq 100); do osctl --json ping 2> /dev/null \
        | grep -q '\"initialized\": *true' && exit; sleep 0.5; done; cat /tmp/log; exit 1";
    let start = format!("OSCTLD_FAILPOINT={point} osctld > /tmp/log 2>&1 &");
    says(
        host,
        &format!("sv -w 60 stop osctld > /dev/null; {start} {ready}"),
    );
}

/// Waits until nothing is left in the trash.
#[track_caller]
pub(super) fn wait_for_trash(host: &mut Machine, pool: &str) {
    let script = format!(
        "for i in $(seq 120); do [ $(zfs list -Hro name {pool}/trash | wc -l) = 1 ] && exit
        sleep 0.5; done; zfs list -r {pool}; exit 1"
    );
    host.sh(&script).ok();
}

#[test]
fn storage_keeps_its_contract() {
    let Some(mut host) = Machine::ready(settings("")) else {
        return;
    };
    let tests = PathBuf::from(std::env::var_os("OSCTL_VM_TESTS").unwrap()).join("osctld");
    host.push("/tmp/tests", 0o755, &fs::read(tests).unwrap());
    let thorough = if is_thorough() {
        "OSCTL_TEST_THOROUGH=1"
    } else {
        ""
    };
    let output = host.sh(&format!(
        "{thorough} OSCTL_TEST_DATASET=tank /tmp/tests --nocapture --test-threads 2 storage::contract 2>&1"
    ));
    let text = output.text();
    println!("{text}");
    assert_eq!(output.status, 0);
    assert!(text.contains("on zfs") && !text.contains("skipped"));
    // Nothing is left of them.
    assert_eq!(says(&mut host, "zfs list -Hro name tank"), "tank");
    assert_eq!(says(&mut host, "grep -c ' zfs ' /proc/mounts"), "1");
}

#[test]
fn containers_are_clones_of_an_image() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    assert_eq!(
        says(host, "osctl pool ls -H -o name,backend,dataset,path")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["tank", "zfs", "tank", "/tank"]
    );
    let new = "osctl ct new --from-archive /tmp/minimal.tar";
    says(host, &format!("{new} web1"));
    let begun = Instant::now();
    says(host, &format!("{new} --quota 1g web2"));
    println!("a clone took {:?}", begun.elapsed());
    let origins = says(host, "zfs list -Hro origin tank/ct | sort | uniq -c");
    assert!(origins.contains("2 tank/repository/"), "{origins}");
    let space = "osctl --parsable ct ls -H -o id,disk_quota,disk_referenced";
    let space = says(host, space);
    let fields: Vec<&str> = space.split_whitespace().collect();
    assert_eq!(fields[..2], ["web1", "-"], "{space}");
    assert_eq!(fields[3..5], ["web2", "1073741824"], "{space}");
    assert_eq!(fields[2], fields[5], "both are the image: {space}");
    // Neither is mounted before it is needed.
    assert_eq!(says(host, "grep -c ' /tank/ct/' /proc/mounts; true"), "0");
    says(host, "osctl ct start web1 && osctl ct start web2");
    let id = "osctl ct exec web1 /bin/busybox stat -c %u:%g:%a /";
    assert_eq!(says(host, id), "0:0:755");
    assert_eq!(says(host, "stat -c %u /tank/ct/web1/private/bin"), "0");
    says(
        host,
        "osctl ct exec web1 /bin/busybox sh -c 'echo mine > /mine'",
    );
    assert_ne!(
        host.sh("osctl ct exec web2 /bin/busybox cat /mine").status,
        0
    );

    // A quota holds at once, for itself only, and is lifted again.
    says(host, "osctl ct set quota web1 16m");
    let fill = |id: &str| {
        format!("osctl ct exec {id} /bin/busybox dd if=/dev/urandom of=/fill bs=1M count=24 2>&1")
    };
    let full = host.sh(&format!(
        "{}; osctl ct exec web1 /bin/busybox sync",
        fill("web1")
    ));
    assert!(full.text().contains("quota"), "{}", full.text());
    says(host, &fill("web2"));
    assert_eq!(
        says(host, "osctl --parsable ct show -o disk_quota -H web1"),
        (16 << 20).to_string()
    );
    says(host, "osctl ct exec web1 /bin/busybox rm /fill");
    says(host, "osctl ct unset quota web1");
    says(host, &fill("web1"));

    // A new name takes its data along.
    says(
        host,
        "osctl ct stop web1 && osctl ct mv web1 web3 && osctl ct start web3",
    );
    assert_eq!(says(host, "osctl ct cat web3 /mine"), "mine");
    assert_eq!(
        says(host, "ls /tank/ct")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["web2", "web3"]
    );

    // One that is busy goes at once, and is destroyed when it is not.
    says(
        host,
        "cd /tank/ct/web2/private && { tail -f /dev/null > /dev/null 2>&1 & echo $! > /tmp/tail; }",
    );
    says(host, "osctl ct del --force web2");
    assert_eq!(says(host, "osctl ct ls -H -o id"), "web3");
    assert_eq!(says(host, "ls /tank/ct"), "web3");
    assert!(says(host, "zfs list -Hro name tank/trash").contains("tank/trash/web2."));
    says(host, "kill $(cat /tmp/tail)");
    wait_for_trash(host, "tank");

    // What is nobody's goes to the trash by hand, and nothing else does.
    says(
        host,
        "zfs create -o mountpoint=/mnt/lost tank/ct/lost && zfs snapshot tank/ct/lost@s",
    );
    // Nor what is of a container whose configuration is of no use.
    says(
        host,
        "zfs create tank/home && zfs create tank/ct/odd && echo odd > /tank/conf/ct/odd.json",
    );
    for needed in [
        "tank",
        "tank/ct",
        "tank/ct/web3",
        "tank/ct/odd",
        "tank/home",
        "tank/trash",
        "tank/none",
    ] {
        fails(host, &format!("osctl trash-bin dataset add {needed}"));
    }
    assert_eq!(says(host, "grep -c ' /tank/home ' /proc/mounts"), "1");
    says(
        host,
        "zfs destroy tank/home && zfs destroy tank/ct/odd && rm /tank/conf/ct/odd.json",
    );
    let refused = fails(host, "osctl trash-bin dataset add tank/ct/web3");
    assert!(
        refused.contains("belongs to container tank:web3"),
        "{refused}"
    );
    says(host, "osctl trash-bin dataset add tank/ct/lost");
    wait_for_trash(host, "tank");
    assert_eq!(says(host, "grep -c /mnt/lost /proc/mounts; true"), "0");

    // Out and in again, and everything is taken out of the file tree.
    says(host, "osctl ct stop web3 && osctl pool export tank");
    assert_eq!(
        says(host, "grep ' zfs ' /proc/mounts | cut -d' ' -f2"),
        "/tank"
    );
    says(host, "zpool export tank");
    says(host, IMPORT);
    says(host, "osctl pool import tank && osctl ct start web3");
    assert_eq!(says(host, "osctl ct cat web3 /mine"), "mine");
    says(host, "osctl ct del --force web3");
    wait_for_trash(host, "tank");
    assert_eq!(says(host, "osctl pool ls -H -o problems"), "-");
    says(host, "osctl pool export tank && osctl pool uninstall tank");
    encrypted(host);
}

#[test]
fn a_container_runs_from_clones_that_are_thrown_away() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    let inside = |host: &mut Machine, script: &str| {
        says(
            host,
            &format!("osctl ct exec web1 /bin/busybox sh -c '{script}'"),
        )
    };
    let own = "tank/ct\ntank/ct/web1\ntank/ct/web1/data";
    let data = "zfs list -Hro name tank/ct";
    says(
        host,
        "osctl ct new --from-archive /tmp/minimal.tar --quota 1g web1 &&
         osctl ct dataset new web1 data /srv/data && osctl ct start web1",
    );
    inside(host, "echo mine > /mine");
    says(
        host,
        "osctl ct set impermanence web1 && osctl ct restart web1",
    );
    inside(host, "echo lost > /lost; echo kept > /srv/data/file");
    // A clone, with the same quota, of a snapshot that goes with it.
    let clone = says(host, &format!("{data} | grep web1-"));
    let origin = says(host, &format!("zfs get -Ho value origin {clone}"));
    assert!(origin.starts_with("tank/ct/web1@osctl-run-"), "{origin}");
    assert_eq!(
        says(host, &format!("zfs get -Hpo value refquota {clone}")),
        (1u64 << 30).to_string()
    );
    assert_eq!(says(host, "osctl ct snapshot ls -H -o name web1"), "");
    says(
        host,
        "osctl ct snapshot new web1 kept && osctl ct restart web1",
    );
    assert_eq!(
        inside(host, "cat /mine /srv/data/file; ls /lost 2>/dev/null; true"),
        "mine\nkept"
    );
    // What it runs from is of a newer snapshot, which does not stand in the way.
    says(host, "osctl ct snapshot rollback --restart web1 kept");
    assert_eq!(inside(host, "cat /mine /srv/data/file"), "mine\nkept");
    says(host, "osctl ct stop web1");
    wait_for_trash(host, "tank");
    assert_eq!(says(host, data), own);
    assert_eq!(
        says(host, "zfs list -Hrt snapshot -o name tank/ct"),
        "tank/ct/web1@kept\ntank/ct/web1/data@kept"
    );
    says(
        host,
        "osctl ct snapshot rollback web1 kept && osctl ct unset impermanence web1",
    );

    // From an image, with its own files beside it; the daemon is another one meanwhile.
    says(
        host,
        "osctl ct boot --from-archive /tmp/minimal.tar --mount-root-dataset /own web1",
    );
    let look = "cat /own/mine /own/srv/data/file; ls /mine 2>/dev/null; echo repaired > /own/mine";
    assert_eq!(inside(host, look), "mine\nkept");
    let clone = says(host, &format!("{data} | grep web1-"));
    assert_eq!(
        says(host, &format!("zfs get -Hpo value refquota {clone}")),
        (1u64 << 30).to_string()
    );
    says(
        host,
        "sv -w 120 restart osctld && osctl garbage-collector prune",
    );
    assert_eq!(inside(host, "cat /own/mine"), "repaired");
    says(host, "osctl ct stop web1");
    wait_for_trash(host, "tank");
    assert_eq!(says(host, data), own);
    says(host, "osctl ct start web1");
    assert_eq!(inside(host, "cat /mine"), "repaired");

    // All of them die: what it ran from goes when the daemon comes back.
    says(
        host,
        "osctl ct boot --force --from-archive /tmp/minimal.tar web1",
    );
    says(
        host,
        "init=$(osctl ct show -H -o init_pid web1); sv -w 60 stop osctld;
         kill -9 $(ps -o ppid= -p $init); sv -w 120 start osctld && osctl ct ls > /dev/null",
    );
    let stopped =
        "for i in $(seq 100); do [ \"$(osctl ct show -H -o state web1)\" = stopped ] && exit
        sleep 0.2; done; osctl ct show web1; exit 1";
    says(host, stopped);
    wait_for_trash(host, "tank");
    assert_eq!(says(host, data), own);
    says(host, "osctl ct start web1");
    assert_eq!(inside(host, "cat /mine"), "repaired");
    assert_eq!(says(host, "osctl pool ls -H -o problems"), "-");
}

/// A pool in an encrypted dataset: with its key it is one like any other, without it is left alone.
fn encrypted(host: &mut Machine) {
    const LOCKED: &str = "-o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000";
    let mounted = "grep -c '^tank/vps' /proc/mounts; true";
    says(
        host,
        &format!(
            "echo a long pass phrase > /tmp/key && echo another phrase > /tmp/wrong &&
             zfs create {LOCKED} tank/vps < /tmp/key && zfs unmount tank/vps && zfs unload-key tank/vps"
        ),
    );
    let install = "osctl pool install tank --dataset tank/vps";
    let refused = fails(host, install);
    assert!(
        refused.contains("tank/vps is locked") && refused.contains("--ask-key"),
        "{refused}"
    );
    let refused = fails(host, &format!("{install} --key-file /tmp/wrong"));
    assert!(refused.contains("Incorrect key"), "{refused}");
    assert_eq!(says(host, mounted), "0");
    let refused = fails(
        host,
        "osctl pool install plain --dir /plain --key-file /tmp/key",
    );
    assert!(refused.contains("is a directory"), "{refused}");
    says(host, &format!("{install} --ask-key < /tmp/key"));
    says(
        host,
        "osctl ct new --from-archive /tmp/minimal.tar web1 && osctl ct start web1 &&
         osctl ct exec web1 /bin/busybox sh -c 'echo mine > /mine'",
    );
    // A dataset in it with a key of its own.
    says(
        host,
        &format!(
            "zfs create {LOCKED} -o canmount=noauto tank/vps/ct/web1/own < /tmp/wrong &&
             zfs unload-key tank/vps/ct/web1/own"
        ),
    );
    let refused = fails(host, "osctl ct mounts dataset web1 own /own");
    assert!(
        refused.contains("tank/vps/ct/web1/own is locked"),
        "{refused}"
    );
    assert_eq!(says(host, "osctl ct show -H -o state web1"), "running");
    says(
        host,
        "osctl ct stop web1 && osctl pool export tank && zfs unmount tank/vps; zfs unload-key tank/vps",
    );

    // The next daemon starts without it, and says why.
    says(host, "sv -w 120 restart osctld && osctl ping");
    assert_eq!(says(host, "osctl pool ls -H -o name"), "");
    let refused = fails(host, "osctl pool import tank");
    assert!(refused.contains("tank/vps is locked"), "{refused}");
    assert_eq!(says(host, mounted), "0");
    says(host, "osctl pool import --key-file /tmp/key tank");
    assert_eq!(says(host, "osctl ct cat web1 /mine"), "mine");
    // One whose key is in a file of the host comes by itself.
    says(
        host,
        "osctl pool export tank && zfs unmount tank/vps; zfs unload-key tank/vps &&
         zfs set keylocation=file:///tmp/key tank/vps && sv -w 120 restart osctld && osctl ct cat web1 /mine",
    );
}
