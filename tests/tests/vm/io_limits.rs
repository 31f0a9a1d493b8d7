//! Limits of what containers read and write, and of what the daemon copies, on a disk and on ZFS.

use std::time::{Duration, Instant};

use osctl_tests::vm::{Machine, Settings};

use super::zfs::{fails, push_image, says};

/// ZFS on one disk, ext4 on a partition of another one.
const POOLS: &str = "export ZFS_VDEV_DEVID_OPT_OUT=YES
    for disk in b c; do sfdisk -q /dev/vd$disk <<< 'label: gpt
,'; done
    zpool create -O compression=off tank /dev/vdb1 && osctl pool install tank &&
    mkfs.ext4 -q /dev/vdc1 && mkdir /plain && mount /dev/vdc1 /plain &&
    osctl pool install plain --dir /plain";
const NEW: &str = "osctl ct new --from-archive /tmp/minimal.tar";

fn host() -> Option<Machine> {
    let mut host = Machine::ready(Settings {
        disks: vec![2048, 2048],
        prepare: POOLS.to_owned(),
        ..Settings::default()
    })?;
    push_image(&mut host);
    Some(host)
}

/// How long a script takes.
#[track_caller]
fn takes(host: &mut Machine, script: &str) -> Duration {
    let begun = Instant::now();
    says(host, script);
    begun.elapsed()
}

/// Writes so much to a file in a container, and to the disk.
fn write(id: &str, mebibytes: u32) -> String {
    format!(
        "osctl ct exec {id} /bin/busybox sh -c \
         'dd if=/dev/zero of=/data bs=1M count={mebibytes} && sync /data' 2> /dev/null"
    )
}

#[test]
fn limits_hold_on_a_disk_and_are_refused_on_zfs() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    for id in ["plain:disk", "tank:zfs"] {
        says(host, &format!("{NEW} {id} && osctl ct start {id}"));
    }
    let free = takes(host, &write("plain:disk", 6));

    // The whole disk is limited: the kernel does not limit partitions.
    says(
        host,
        "osctl ct set io-limit plain:disk --write 1m --read-ops 500",
    );
    let group = says(host, "osctl ct show -H -o group_path plain:disk");
    let limits = says(host, &format!("cat /sys/fs/cgroup/{group}/io.max"));
    let disk = says(host, "cat /sys/block/vdc/dev");
    assert_eq!(
        limits,
        format!("{disk} rbps=max wbps=1048576 riops=500 wiops=max")
    );
    let limited = takes(host, &write("plain:disk", 6));
    println!("6 MiB to ext4: {free:?}, limited to 1 MiB/s: {limited:?}");
    assert!(limited > Duration::from_secs(4), "{limited:?}");
    says(host, "osctl ct unset io-limit plain:disk");
    assert_eq!(
        says(host, &format!("cat /sys/fs/cgroup/{group}/io.max")),
        ""
    );

    // On ZFS it would not hold, and that is said.
    let said = fails(host, "osctl ct set io-limit tank:zfs --write 1m");
    assert!(said.contains("threads of its own"), "{said}");
    assert_eq!(says(host, "osctl ct show -H -o io_limit tank:zfs"), "-");
    says(
        host,
        "osctl ct set io-limit plain:disk --write 1m && osctl ct mv plain:disk tank:disk",
    );
    let shown = says(host, "osctl ct show -H -o io_limit,warnings tank:disk");
    assert!(
        shown.contains("wbps=1048576") && shown.contains("io_limit is not in force"),
        "{shown}"
    );
    // What the kernel is told all the same does nothing: that is why.
    let group = says(host, "osctl ct show -H -o group_path tank:zfs");
    let disk = says(host, "cat /sys/block/vdb/dev");
    let unlimited = takes(host, &write("tank:zfs", 24));
    says(
        host,
        &format!("echo '{disk} wbps=1048576' > /sys/fs/cgroup/{group}/io.max"),
    );
    let told = takes(host, &write("tank:zfs", 24));
    let stat = says(host, &format!("cat /sys/fs/cgroup/{group}/io.stat; true"));
    println!("24 MiB to ZFS: {unlimited:?}, with io.max of 1 MiB/s: {told:?}; io.stat {stat:?}");
}

#[test]
fn copies_keep_to_a_rate() {
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    says(host, &format!("{NEW} tank:web && osctl ct start tank:web"));
    let random = "osctl ct exec tank:web /bin/busybox dd if=/dev/urandom of=/data bs=1M count=6";
    says(
        host,
        &format!("{random} 2> /dev/null && osctl ct stop tank:web"),
    );
    let rated = |host: &mut Machine, what: &str, command: &str, undo: &str| {
        let free = takes(host, &format!("osctl ct {command}"));
        says(host, undo);
        let slow = takes(host, &format!("osctl ct {command} --limit 1m"));
        says(host, undo);
        println!("{what} of 6 MiB and an image of 2 MiB: {free:?}, at 1 MiB/s: {slow:?}");
        assert!(slow > Duration::from_secs(6), "{what}: {slow:?}");
    };
    rated(
        host,
        "a stream of ZFS",
        "cp tank:web tank:copy",
        "osctl ct del tank:copy",
    );
    rated(
        host,
        "a copy of files",
        "cp tank:web plain:copy",
        "osctl ct del plain:copy",
    );
    rated(
        host,
        "an archive of streams",
        "export --force tank:web /tmp/web.tar",
        "true",
    );
    let import = "import /tmp/web.tar --as-id tank:copy";
    rated(
        host,
        "an import of streams",
        import,
        "osctl ct del tank:copy",
    );
    says(
        host,
        "osctl ct export --force --format tar tank:web /tmp/web.tar",
    );
    let import = "import /tmp/web.tar --as-id plain:copy";
    rated(
        host,
        "an import of files",
        import,
        "osctl ct del plain:copy",
    );
}

/// What `io.weight` does, in figures: what one of two containers that write at the same time gets.
#[test]
fn weights_in_figures() {
    if !osctl_tests::is_thorough() {
        println!("skipped: figures are measured with OSCTL_TEST_THOROUGH=1");
        return;
    }
    let Some(mut host) = host() else {
        return;
    };
    let host = &mut host;
    says(host, "modprobe bfq; true");
    for pool in ["tank", "plain"] {
        for (id, weight) in [("low", 100), ("high", 1000)] {
            says(
                host,
                &format!(
                    "{NEW} {pool}:{id} && osctl ct start {pool}:{id} &&
                     osctl ct cgparams set {pool}:{id} io.weight {weight}"
                ),
            );
        }
    }
    let script = "n=0; end=$(($(date +%s) + 20)); while [ $(date +%s) -lt $end ]; do \
                  dd if=/dev/zero of=/f bs=1M count=4 conv=notrunc 2> /dev/null; \
                  sync /f; n=$((n + 4)); done; echo $n";
    for scheduler in ["none", "bfq", "iocost"] {
        let set = match scheduler {
            "iocost" => "for d in b c; do echo none > /sys/block/vd$d/queue/scheduler
                echo \"$(cat /sys/block/vd$d/dev) enable=1 ctrl=user rpct=0 wpct=0 min=100 max=100\" > /sys/fs/cgroup/io.cost.qos
                echo \"$(cat /sys/block/vd$d/dev) ctrl=user model=linear rbps=8388608 rseqiops=2000 rrandiops=2000 wbps=8388608 wseqiops=2000 wrandiops=2000\" > /sys/fs/cgroup/io.cost.model; done"
                .to_owned(),
            name => format!("for d in b c; do echo {name} > /sys/block/vd$d/queue/scheduler; done"),
        };
        let output = host.sh(&set);
        println!("{scheduler}: {}", output.error());
        for pool in ["tank", "plain"] {
            let one = |id: &str| {
                format!("osctl ct exec {pool}:{id} /bin/busybox sh -c '{script}' > /tmp/{id} &")
            };
            let both = format!(
                "{} {} wait; echo $(cat /tmp/low /tmp/high)",
                one("low"),
                one("high")
            );
            let written = says(host, &both);
            println!("{scheduler}: {pool}: MiB in 20 s at weights 100 and 1000: {written}");
        }
    }
}
