//! Pools that the host's configuration declares: made where there is nothing, imported again
//! whatever happened, and never made over anything.

use std::fs;

use osctl_tests::Rootfs;
use osctl_tests::vm::{Machine, Settings};

use crate::services::soon;
use crate::switch::{Switched, switched};

const DONE: &str = "sv -w 240 start zpool-tank > /dev/null";

fn with_pool() -> Settings {
    Settings {
        pool: Some(512),
        ..Settings::default()
    }
}

#[test]
fn a_declared_pool_is_made_and_imported_after_a_power_cut() {
    let Some(mut host) = Machine::boot(with_pool()) else {
        return;
    };
    host.sh(DONE).ok();
    let script = "zfs create -o mountpoint=/data tank/data && echo kept > /data/f &&
        zfs snapshot tank/data@one && zpool sync tank && echo lost-or-not > /data/g";
    host.sh(script).ok();
    let guid = host.sh("zpool get -Ho value guid tank").ok().text();
    host.cut();
    host.start();
    host.sh(DONE).ok();
    let mut says = |script: &str| host.sh(script).ok().text();
    assert_eq!(says("zpool get -Ho value guid tank"), guid);
    assert_eq!(says("zpool get -Ho value health tank"), "ONLINE");
    assert_eq!(says("cat /data/f"), "kept");
    assert_eq!(
        says("zfs list -Ho name -t snapshot tank/data"),
        "tank/data@one"
    );
    // It is read through from time to time; that it never was is long ago.
    says("sv -w 60 check scrub-tank; zpool wait -t scrub tank");
    assert!(says("zpool status tank").contains("scrub repaired 0B"));
    // What osctld loads is where it looks.
    says("test -e /usr/lib/x86_64-linux-gnu/libzfs_core.so.3");
    host.power_off();
}

#[test]
fn containers_of_a_declared_pool_are_back_after_a_power_cut() {
    let Some(mut host) = Machine::boot(with_pool()) else {
        return;
    };
    host.sh(DONE).ok();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("minimal.tar");
    Rootfs::minimal().write(&image);
    host.push("/tmp/minimal.tar", 0o644, &fs::read(&image).unwrap());
    let script = "osctl ct new --from-archive /tmp/minimal.tar web1 && osctl ct start web1 &&
        osctl ct exec web1 /bin/busybox sh -c 'echo kept > /f; sync' && zpool sync tank";
    host.sh(script).ok();
    host.cut();
    host.start();
    host.sh(DONE).ok();
    let mut says = |script: &str| host.sh(script).ok().text();
    says("osctl ct start web1");
    assert_eq!(says("osctl ct exec web1 /bin/busybox cat /f"), "kept");
    // The disk says whose pool it is: none but this host takes it as it is.
    let ours = says("cat /sys/module/spl/parameters/spl_hostid");
    assert_ne!(ours, "0");
    assert!(
        says("zdb -l /dev/nvme0n1p1").contains(&format!("hostid: {ours}")),
        "{ours}"
    );
    host.power_off();
}

#[test]
fn a_pool_is_not_made_on_a_disk_that_has_something() {
    let settings = Settings {
        append: "runlevel=rescue".to_owned(),
        ..with_pool()
    };
    let Some(mut host) = Machine::boot(settings) else {
        return;
    };
    host.sh("mkfs.ext4 -q /dev/nvme0n1 && mkdir /d && mount /dev/nvme0n1 /d")
        .ok();
    host.sh("echo precious > /d/f && umount /d && sync").ok();
    let refused = host.sh("do-create-pool-tank -b");
    assert_eq!(refused.status, 1);
    assert!(
        refused.text().contains("/dev/nvme0n1 has: ext4"),
        "{}",
        refused.text()
    );
    let declined = host.run_with(&["do-create-pool-tank"], b"yes\n");
    assert_eq!(declined.status, 1);
    assert!(
        declined.text().contains("nothing was changed"),
        "{}",
        declined.text()
    );
    host.sh("mount /dev/nvme0n1 /d && grep -q precious /d/f && umount /d")
        .ok();
    host.run_with(&["do-create-pool-tank"], b"YES\n").ok();
    assert_eq!(
        host.sh("zpool get -Ho value health tank").ok().text(),
        "ONLINE"
    );
}

/// All that a pool can consist of and have.
#[test]
fn a_pool_has_all_that_is_declared() {
    let Some(Switched { mut host, .. }) = switched() else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    let status = says("zpool status wide");
    let parts = [
        "mirror-0", "loop1p1", "loop2", "logs", "mirror-1", "loop3", "loop4", "cache", "loop1p2",
        "spares", "loop10",
    ];
    let mut shown = status.split_whitespace();
    for part in parts {
        assert!(shown.any(|it| it == part), "{part}: {status}");
    }
    assert_eq!(says("zpool get -Ho value ashift wide"), "12");
    let set = "zfs get -Ho value compression,atime,quota wide/kept/data";
    assert_eq!(says(set), "zstd\noff\n64M");
    assert_eq!(says("zfs get -Ho value volsize wide/volume"), "16M");
    // Imported again with what it has, and set again.
    says("echo kept > /wide/kept/data/f && zfs set quota=none wide/kept/data && zpool export wide");
    says("sv -w 120 restart zpool-wide");
    assert_eq!(says("cat /wide/kept/data/f"), "kept");
    assert_eq!(says(set), "zstd\noff\n64M");
    // Half of its mirror is on another disk now, its log is lost, and the disks that are
    // declared are blank: it can't be imported, and is not replaced.
    says("zpool export wide && cp --sparse=always /tmp/disk2 /tmp/moved && losetup /dev/loop20 /tmp/moved
        for n in 1 2 3 4 10; do
            losetup -d /dev/loop$n; size=$(stat -c %s /tmp/disk$n)
            truncate -s 0 /tmp/disk$n; truncate -s $size /tmp/disk$n; losetup -P /dev/loop$n /tmp/disk$n
        done
        sv -w 60 force-restart zpool-wide > /dev/null; sv -w 10 stop zpool-wide; sv once zpool-wide");
    soon(
        &mut host,
        "tail -n 1 /var/log/zpool-wide/current | grep -q \"pool wide can't be imported\"",
    );
    let mut says = |script: &str| host.sh(script).ok().text();
    says("! zpool list wide && [ -z \"$(wipefs /dev/loop1 /dev/loop2)\" ]");
    says("sv -w 10 stop zpool-wide; losetup -d /dev/loop20");
    // Nor is it made over what somebody has on any of the disks, or where that can't be seen.
    says("mkfs.ext4 -q /dev/loop10");
    let refused = host.sh("do-create-pool-wide -b");
    assert_eq!(refused.status, 1);
    let text = refused.text();
    assert!(text.contains("/dev/loop10 has: ext4"), "{text}");
    host.sh("wipefs -qa /dev/loop10 && mkdir /tmp/bin && cp $(type -P false) /tmp/bin/wipefs")
        .ok();
    let blind = host.sh("PATH=/tmp/bin:$PATH do-create-pool-wide -b");
    assert_eq!(blind.status, 1);
    let text = blind.text();
    assert!(text.contains("/dev/loop1 can't be read"), "{text}");
    host.sh("do-create-pool-wide -b && zpool list wide").ok();
}
