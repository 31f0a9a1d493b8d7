//! What goes wrong with pools of ZFS: datasets that vanish, pools that are full or lose their
//! disks, guests that take what they can get. Others must not notice.

use osctl_tests::vm::{Machine, Settings};

use super::zfs::{self, POOL, push_image, says, wait_for_trash};

/// A second pool, `frail`, on a disk of its own.
const FRAIL: &str = "sfdisk -q /dev/vdc <<< 'label: gpt
,' && zpool create -O compression=off frail /dev/vdc1";

const NEW: &str = "osctl ct new --from-archive /tmp/minimal.tar";

/// Runs a script that may not hang and has to fail; what it said.
fn fails(host: &mut Machine, script: &str) -> String {
    let output = host.sh(&format!("timeout 50 bash -c {script:?} 2>&1"));
    let text = output.text();
    assert!(![0, 124].contains(&output.status), "{script}: {text}");
    text
}

/// Runs a script that may not hang; what it said.
fn quickly(host: &mut Machine, script: &str) -> String {
    says(host, &format!("timeout 50 bash -c {script:?}"))
}

#[test]
fn a_dataset_that_is_gone_and_a_pool_that_is_full_or_lost() {
    let prepare =
        format!("{POOL} && {FRAIL} && osctl pool install tank && osctl pool install frail");
    let Some(mut host) = Machine::ready(Settings {
        disks: vec![2048, 512],
        prepare,
        ..Settings::default()
    }) else {
        return;
    };
    let host = &mut host;
    push_image(host);

    // Gone behind the daemon's back: told, deleted, and the name is free again.
    says(
        host,
        &format!("{NEW} tank:gone && zfs destroy -r tank/ct/gone"),
    );
    let said = fails(host, "osctl ct start tank:gone");
    assert!(said.contains("has no data"), "{said}");
    says(host, "osctl ct del --force tank:gone");
    says(
        host,
        &format!("{NEW} tank:gone && osctl ct start tank:gone"),
    );

    // Full: new ones are refused, nothing is left of them; what is there can be deleted.
    for id in ["big", "small"] {
        says(
            host,
            &format!("{NEW} frail:{id} && osctl ct start frail:{id}"),
        );
    }
    let fill = "osctl ct exec frail:big /bin/busybox dd if=/dev/zero of=/fill bs=1M";
    let said = fails(
        host,
        &format!("{fill}; osctl ct exec frail:big /bin/busybox sync; false"),
    );
    assert!(said.contains("No space left"), "{said}");
    fails(host, &format!("{NEW} frail:new"));
    assert!(!says(host, "zfs list -Hro name frail/ct").contains("new"));
    assert_eq!(
        says(host, "osctl ct ls -H -o id --pool frail | xargs"),
        "big small"
    );
    quickly(host, "osctl ct stop frail:big && osctl ct del frail:big");
    wait_for_trash(host, "frail");
    says(
        host,
        &format!("{NEW} frail:new && osctl ct start frail:new"),
    );

    // Its disk is gone: all of ZFS' writes to it wait for ever, and nothing of ours does.
    says(
        host,
        "echo 1 > $(readlink -f /sys/block/vdc/device)/../remove",
    );
    host.sh("(osctl ct exec frail:new /bin/busybox sh -c 'echo x > /x; sync' &) > /dev/null 2>&1");
    let suspended = "until grep -q SUSPENDED /proc/spl/kstat/zfs/frail/state; do sleep 0.2; done";
    quickly(host, suspended);
    let problems = quickly(host, "osctl pool show -H -o problems frail");
    assert!(problems.contains("suspended"), "{problems}");
    for verb in [
        "ct new --from-archive /tmp/minimal.tar frail:x",
        "ct start frail:small",
        "ct set quota frail:small 1g",
        "ct del --force frail:small",
    ] {
        let said = fails(host, &format!("osctl {verb}"));
        assert!(said.contains("suspended"), "{verb}: {said}");
        assert!(said.contains("zpool clear frail"), "{verb}: {said}");
    }
    assert!(quickly(host, "osctl ct ls -H -o id,disk_used").contains("gone"));
    quickly(
        host,
        &format!("{NEW} tank:other && osctl ct start tank:other"),
    );
    quickly(host, "osctl ct exec tank:gone /bin/busybox true");
    quickly(host, "osctl ct del --force tank:gone");
    wait_for_trash(host, "tank");
    // Neither does a daemon that starts anew wait for it.
    quickly(
        host,
        "sv -w 40 restart osctld && until osctl ct ls -H -o id | grep -q other; do sleep 0.2; done",
    );
    quickly(host, "osctl ct exec tank:other /bin/busybox true");
}

#[test]
fn a_guest_that_takes_all_it_can_get() {
    let Some(mut host) = zfs::host() else {
        return;
    };
    let host = &mut host;
    says(
        host,
        &format!("{NEW} --quota 48m greedy && osctl ct start greedy"),
    );
    says(host, &format!("{NEW} calm && osctl ct start calm"));
    let greedy = |script: &str| format!("osctl ct exec greedy /bin/busybox sh -c {script:?}");

    // Files until there is no room for one more.
    let said = host.sh(&greedy("cd /; i=0; while mkdir d$i && (cd d$i && seq -f %g 1 2000 | xargs touch); do i=$((i+1)); done 2>&1 | head -n 3"));
    assert!(said.text().contains("quota"), "{}", said.text());
    says(
        host,
        "timeout 50 osctl ct exec calm /bin/busybox dd if=/dev/zero of=/f bs=1M count=64",
    );

    // One that is full of them can be deleted, also while files are open.
    says(
        host,
        &greedy("rm -rf /d0; tail -f /bin/busybox > /dev/null & sleep 1"),
    );
    let begun = std::time::Instant::now();
    says(host, "timeout 100 osctl ct del --force greedy");
    println!("deleting it took {:?}", begun.elapsed());
    wait_for_trash(host, "tank");
    says(host, "osctl ct exec calm /bin/busybox rm /f");
}
