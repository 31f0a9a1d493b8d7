//! Archives of containers with ZFS: streams of all their datasets, tarballs of a snapshot, and
//! archives made to harm.

use osctl_tests::vm::Machine;

use super::zfs::{dies_at, fails, host, says};

/// No operation has left a snapshot, a half of a container or a mount on the host.
#[track_caller]
fn nothing_is_left(host: &mut Machine) {
    // What is deleted may still be in the trash.
    let left = "zfs list -Hrt all -o name tank | grep -v ^tank/trash/ \
                | grep -E '@osctl-|/ct/new\\.'; ls /tank/ct/.new; true";
    assert_eq!(says(host, left), "");
    let problems = says(host, "osctl pool ls -H -o problems");
    assert!(problems.split_whitespace().all(|p| p == "-"), "{problems}");
}

/// A container `web1` with a dataset of its own, which runs.
fn furnished() -> Option<Machine> {
    let mut host = host()?;
    says(
        &mut host,
        "osctl pool install plain --dir /plain &&
         osctl ct new --from-archive /tmp/minimal.tar --quota 1g tank:web1 &&
         osctl ct dataset new web1 data /srv/data && osctl ct dataset set quota web1 data 64m &&
         osctl ct start web1 &&
         osctl ct exec web1 /bin/busybox sh -c 'echo mine > /mine; chown 7:8 /mine
             echo below > /srv/data/file'",
    );
    Some(host)
}

#[track_caller]
fn state(host: &mut Machine, id: &str) -> String {
    says(host, &format!("osctl ct show -H -o state {id}"))
}

const LOOK: &str = "/bin/busybox sh -c 'cat /mine /srv/data/file; stat -c %u:%g /mine'";

#[test]
fn streams_go_out_and_come_back() {
    let Some(mut host) = furnished() else { return };
    let host = &mut host;
    let init = says(host, "osctl ct show -H -o init_pid web1");
    says(
        host,
        "osctl ct export --no-consistent -c off web1 /tmp/live.tar",
    );
    assert_eq!(says(host, "osctl ct show -H -o init_pid web1"), init);
    says(host, "osctl ct export -c gzip web1 /tmp/still.tar");
    assert_eq!(state(host, "web1"), "running");
    assert_ne!(says(host, "osctl ct show -H -o init_pid web1"), init);
    nothing_is_left(host);
    // As vpsAdminOS lays it out.
    let members = says(host, "tar -tf /tmp/still.tar | tail -5");
    assert_eq!(
        members.lines().collect::<Vec<_>>(),
        [
            "rootfs/",
            "rootfs/data/",
            "rootfs/base.dat.gz",
            "rootfs/data/base.dat.gz",
            "snapshots.yml"
        ]
    );
    let metadata = says(host, "tar -xOf /tmp/still.tar metadata.yml");
    assert!(
        metadata.contains("zfs") && metadata.contains("data"),
        "{metadata}"
    );

    for (id, archive) in [("web2", "live"), ("web3", "still")] {
        says(
            host,
            &format!("osctl ct import --as-id tank:{id} /tmp/{archive}.tar && osctl ct start {id}"),
        );
        assert_eq!(
            says(host, &format!("osctl ct exec {id} {LOOK}")),
            "mine\nbelow\n7:8"
        );
        let snapshots = format!("zfs list -Hrt snapshot -o name tank/ct/{id}");
        assert_eq!(says(host, &snapshots), "");
        let properties = format!(
            "zfs get -Hr -s local,received -o name,property,value all tank/ct/{id} | tr '\\t' ' '"
        );
        let wanted = format!(
            "tank/ct/{id} refquota 1073741824\ntank/ct/{id} canmount noauto\n\
             tank/ct/{id}/data refquota 67108864\ntank/ct/{id}/data canmount noauto"
        );
        let found = says(host, &properties.replace("-Hr", "-Hpr"));
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&found), sorted(&wanted));
        says(host, &format!("osctl ct del --force {id}"));
    }
    nothing_is_left(host);

    // A directory takes files only, and those of the container's own dataset.
    let refused = fails(host, "osctl ct import --as-id plain:web2 /tmp/still.tar");
    assert!(refused.contains("--format tar"), "{refused}");
    let refused = fails(host, "osctl ct export --format tar web1 /tmp/files.tar");
    assert!(refused.contains("--format zfs"), "{refused}");
    assert_eq!(state(host, "web1"), "running");
    says(host, "osctl ct dataset del -r -u web1 data");
    let init = says(host, "osctl ct show -H -o init_pid web1");
    says(
        host,
        "osctl ct export --no-consistent --format tar web1 /tmp/files.tar",
    );
    assert_eq!(says(host, "osctl ct show -H -o init_pid web1"), init);
    says(
        host,
        "osctl ct import --as-id plain:web2 /tmp/files.tar && osctl ct start web2",
    );
    assert_eq!(
        says(host, "osctl ct exec web2 /bin/busybox cat /mine"),
        "mine"
    );
    let refused = fails(host, "osctl ct export --format zfs web2 /tmp/no.tar");
    assert!(refused.contains("--format tar"), "{refused}");
    nothing_is_left(host);
}

/// Makes an archive of streams in `/tmp/evil`, which the test fills.
const EVIL: &str = "rm -rf /tmp/evil; mkdir -p /tmp/evil/config /tmp/evil/rootfs && cd /tmp/evil &&
    printf 'type: full\\nformat: zfs\\nuser: u\\ngroup: /default\\ncontainer: evil\\ndatasets: [a]\\n' > metadata.yml &&
    printf 'distribution: debian\\nversion: 12\\narch: x86_64\\n' > config/container.yml && mkdir rootfs/a";
const PACK: &str = "tar -cf /tmp/evil.tar metadata.yml config/container.yml rootfs";

#[test]
fn archives_made_to_harm_leave_nothing() {
    let Some(mut host) = furnished() else { return };
    let host = &mut host;
    // A dataset in which the place of another one leads to the host.
    says(
        host,
        "zfs create -o mountpoint=/mnt/evil -o compression=off tank/evil &&
         mkdir /mnt/evil/private /mnt/evil/.snapshots && echo evil > /mnt/evil/private/mine &&
         chmod 4777 /mnt/evil && ln -s /etc /mnt/evil/a &&
         dd if=/dev/urandom of=/mnt/evil/private/more bs=64k count=16 2>/dev/null &&
         zfs set sharenfs=on setuid=on exec=on tank/evil && zfs snapshot tank/evil@one &&
         rm -r /mnt/evil/private && ln -s /root /mnt/evil/private && zfs snapshot tank/evil@two",
    );
    let mounts = "grep ' zfs ' /proc/mounts | sort";
    let (before, mounted) = (says(host, "zfs list -Hro name tank/ct"), says(host, mounts));
    let refused = |host: &mut Machine, what: &str, make: &str| {
        says(host, &format!("{EVIL} && {make} && {PACK}"));
        let error = fails(host, "osctl ct import --as-id tank:evil /tmp/evil.tar");
        println!("{what}: {error}");
        assert_eq!(says(host, "zfs list -Hro name tank/ct"), before, "{what}");
        assert_eq!(says(host, mounts), mounted, "{what}");
        nothing_is_left(host);
    };
    let good = "zfs send tank/evil@one > rootfs/base.dat && cp rootfs/base.dat rootfs/a/base.dat";
    refused(
        host,
        "cut short",
        &format!("{good} && truncate -s 700000 rootfs/a/base.dat"),
    );
    refused(
        host,
        "damaged",
        &format!("{good} && printf x | dd of=rootfs/base.dat bs=1 seek=500000 conv=notrunc"),
    );
    refused(
        host,
        "trailing",
        &format!("{good} && cat rootfs/a/base.dat >> rootfs/base.dat"),
    );
    refused(
        host,
        "a tree of datasets",
        &format!(
            "{good} && zfs snapshot -r tank/ct/web1@r && zfs send -R tank/ct/web1@r > rootfs/base.dat; zfs destroy -r tank/ct/web1@r"
        ),
    );
    refused(
        host,
        "not the base",
        &format!("{good} && zfs send -i @one tank/evil@two > rootfs/base.dat"),
    );
    refused(
        host,
        "private leads elsewhere",
        &format!("{good} && zfs send -i @one tank/evil@two > rootfs/incremental.dat"),
    );
    refused(
        host,
        "no stream",
        &format!("{good} && rm rootfs/a/base.dat"),
    );

    // What comes with properties, and with links beside its files, becomes a container like any.
    says(
        host,
        &format!("{EVIL} && zfs send -p tank/evil@one > rootfs/base.dat && cp rootfs/base.dat rootfs/a/ && {PACK} &&
            osctl ct import --as-id tank:evil /tmp/evil.tar && osctl ct dataset ls evil"),
    );
    assert_eq!(says(host, mounts), mounted);
    let local = "zfs get -Hpr -s local,received -o property,value all tank/ct/evil | sort -u | tr '\\t' ' '";
    assert_eq!(says(host, local), "canmount noauto");
    says(
        host,
        "osctl ct mounts dataset evil a /a && osctl ct snapshot new evil s && osctl ct snapshot mount evil s",
    );
    // Its other dataset has a directory to be mounted on, which leads nowhere.
    let top = "cd /tank/ct/.snapshots/evil@s && stat -c '%n %F %a' . * .[a-z]* 2>/dev/null; true";
    assert_eq!(
        says(host, top),
        ". directory 700\na directory 700\nprivate directory 755"
    );
    assert_eq!(says(host, "ls -A /etc | grep -c '^private$'; true"), "0");
    assert_eq!(
        says(host, "cat /tank/ct/.snapshots/evil@s/private/mine"),
        "evil"
    );
    says(
        host,
        "osctl ct snapshot umount evil s && osctl ct del --force evil",
    );
    nothing_is_left(host);
}

#[test]
fn a_daemon_that_dies_leaves_a_container_or_nothing() {
    let Some(mut host) = furnished() else { return };
    let host = &mut host;
    says(host, "osctl ct export web1 /tmp/web1.tar");
    let again = "sv -w 120 start osctld && osctl ct ls > /dev/null";
    for point in ["import.stream:2", "import.config"] {
        dies_at(host, point);
        fails(host, "osctl ct import --as-id tank:web2 /tmp/web1.tar");
        says(host, again);
        nothing_is_left(host);
        let there = says(host, "osctl ct ls -H -o id").contains("web2");
        assert_eq!(there, point == "import.config", "{point}");
        if !there {
            says(host, "osctl ct import --as-id tank:web2 /tmp/web1.tar");
        }
        says(host, "osctl ct start web2");
        assert_eq!(
            says(host, &format!("osctl ct exec web2 {LOOK}")),
            "mine\nbelow\n7:8",
            "{point}"
        );
        says(host, "osctl ct del --force web2");
    }
    for point in ["snapshot.made", "export.still"] {
        dies_at(host, point);
        fails(host, "osctl ct export --force web1 /tmp/other.tar");
        says(host, again);
        let runs =
            "for i in $(seq 300); do [ \"$(osctl ct show -H -o state web1)\" = running ] && exit
            sleep 0.2; done; exit 1";
        says(host, runs);
        nothing_is_left(host);
        assert_eq!(
            says(host, "ls -A /tmp | grep -c other; true"),
            "0",
            "{point}"
        );
    }
}
