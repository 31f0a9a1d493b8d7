//! Many containers of one image on ZFS: they come and go, and nothing of them is left.

use osctl_tests::vm::Machine;

use super::zfs::{self, says, wait_for_trash};

/// How many of them run.
const RUNNING: u32 = 5;
/// How many snapshots each of them gets.
const SNAPSHOTS: u32 = 4;

/// How many containers there are.
fn containers() -> u32 {
    match std::env::var_os("OSCTL_TEST_THOROUGH") {
        Some(_) => 200,
        None => 30,
    }
}

/// Counts the runs of `zfs` from here on: its place is taken by a program that notes them.
fn count_programs(host: &mut Machine) {
    host.push(
        "/tmp/zfs-counted",
        0o755,
        b"#!/run/current-system/sw/bin/bash\necho \"$*\" >> /tmp/zfs-runs\nexec /tmp/zfs-itself \"$@\"\n",
    );
    says(
        host,
        "place=$(readlink -f /run/current-system/sw/bin/zfs) && cp $place /tmp/zfs-itself &&
        mount --bind /tmp/zfs-counted $place && : > /tmp/zfs-runs",
    );
}

/// What `zfs` was run for since the last time that was asked.
fn programs(host: &mut Machine) -> Vec<String> {
    let runs = says(host, "cat /tmp/zfs-runs && : > /tmp/zfs-runs");
    runs.lines().map(str::to_owned).collect()
}

/// Bytes that the pool takes, once all that was freed is free.
fn used(host: &mut Machine) -> u64 {
    says(host, "sync && zpool wait -t free tank && zpool sync tank");
    says(host, "zfs get -Hpo value used tank").parse().unwrap()
}

#[test]
fn clones_of_an_image_come_and_go() {
    let Some(mut host) = zfs::host() else {
        return;
    };
    let (host, containers) = (&mut host, containers());
    let new = "osctl ct new --from-archive /tmp/minimal.tar";
    says(host, &format!("{new} first"));
    let before = used(host);
    let begun = std::time::Instant::now();
    let told = |what: &str| println!("{:?} {what}", begun.elapsed());

    says(
        host,
        &format!("for i in $(seq {containers}); do {new} ct$i || exit; done"),
    );
    told("made");
    let made = used(host) - before;
    println!("{containers} containers take {} KiB", made >> 10);
    assert!(
        made < u64::from(containers) * (256 << 10),
        "they are clones"
    );
    says(
        host,
        &format!("for i in $(seq {RUNNING}); do osctl ct start ct$i || exit; done"),
    );
    told("started");
    says(
        host,
        &format!("for i in $(seq {containers}); do osctl ct snapshot new ct$i one || exit; done"),
    );
    told("snapshotted");
    let listing = std::time::Instant::now();
    says(host, "osctl ct ls -H -o id,disk_used > /dev/null");
    println!(
        "listing {containers} with one snapshot each: {:?}",
        listing.elapsed()
    );
    says(
        host,
        &format!("for i in $(seq 2 {SNAPSHOTS}); do zfs snapshot -r tank/ct@$i || exit; done"),
    );
    told("more snapshots");
    let snapshots = says(host, "zfs list -Hrt snapshot -o name tank/ct | wc -l");
    assert!(
        snapshots.parse::<u32>().unwrap() >= containers * SNAPSHOTS,
        "{snapshots}"
    );

    let listing = std::time::Instant::now();
    says(host, "osctl ct ls -H -o id,disk_used > /dev/null");
    println!(
        "listing {containers} with {snapshots} snapshots: {:?}",
        listing.elapsed()
    );
    // One run tells of all containers, and it does not look at snapshots.
    count_programs(host);
    let listed = says(
        host,
        "osctl ct ls -H -o id,state,disk_used | grep -c -v -- ' -$'",
    );
    assert_eq!(listed, (containers + 1).to_string());
    let runs = programs(host);
    assert!(
        matches!(runs.as_slice(), [one] if one.contains("-t filesystem")),
        "{runs:?}"
    );
    assert_eq!(
        says(host, "osctl ct ls -H -o id | wc -l"),
        (containers + 1).to_string()
    );
    assert_eq!(programs(host), [""; 0], "nobody asked for space");
    let listed = says(host, "osctl ct snapshot ls -H -o name | wc -l");
    assert!(
        listed.parse::<u32>().unwrap() >= containers * SNAPSHOTS,
        "{listed}"
    );
    assert_eq!(programs(host).len(), 1);
    told("listed");

    says(
        host,
        &format!("for i in $(seq {containers}); do osctl ct del --force ct$i || exit; done"),
    );
    told("deleted");
    wait_for_trash(host, "tank");
    told("destroyed");
    let left = "zfs list -Hrt all -o name tank | grep -e ct[0-9] -e /trash/ -e gone; true";
    assert_eq!(says(host, left), "");
    assert_eq!(
        says(host, "zfs list -Hro origin tank | grep -c @"),
        "1",
        "the first one's"
    );
    assert_eq!(says(host, "grep -c /tank/ct/ct /proc/mounts; true"), "0");
    assert_eq!(
        says(
            host,
            "zfs list -Hrt snapshot -o userrefs tank | grep -v -x -e 0 -e -; true"
        ),
        ""
    );
    let after = used(host);
    println!("before {before}, after {after} bytes");
    assert!(after < before + (2 << 20), "{before} {after}");
    assert_eq!(says(host, "osctl ct ls -H -o id"), "first");
}
