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

#[test]
fn snapshots_go_along() {
    let Some(mut host) = furnished() else { return };
    let host = &mut host;
    let write = |text: &str| {
        format!(
            "osctl ct exec web1 /bin/busybox sh -c 'echo {text} > /mine; echo {text} > /srv/data/file'"
        )
    };
    says(
        host,
        &format!(
            "osctl ct snapshot new web1 first && {} && osctl ct dataset new web1 late /late &&
             osctl ct snapshot new web1 second && {} && osctl ct set snapshots --keep daily=3 web1",
            write("two"),
            write("three")
        ),
    );
    let scheduled =
        "for i in $(seq 300); do osctl ct snapshot ls -H -o name web1 | grep -q daily- && exit
        sleep 0.2; done; exit 1";
    says(host, scheduled);
    let names = |host: &mut Machine, id: &str| {
        let listed = says(
            host,
            &format!("osctl ct snapshot ls -H -o name,schedule {id}"),
        );
        let listed = listed
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "));
        listed.collect::<Vec<_>>()
    };
    let wanted = names(host, "web1");
    assert!(
        wanted[0].starts_with("first") && wanted[2].starts_with("daily"),
        "{wanted:?}"
    );
    says(host, "osctl ct export --snapshots web1 - > /tmp/all.tar");
    nothing_is_left(host);
    let members = says(host, "tar -tf /tmp/all.tar | grep '[.]dat'");
    assert_eq!(
        members.lines().collect::<Vec<_>>(),
        [
            "rootfs/base.dat.zst",
            "rootfs/incremental.dat.zst",
            "rootfs/data/base.dat.zst",
            "rootfs/data/incremental.dat.zst",
            "rootfs/late/base.dat.zst",
            "rootfs/late/incremental.dat.zst"
        ]
    );
    says(
        host,
        "osctl --pool tank ct import --as-id web2 - < /tmp/all.tar && osctl ct start web2",
    );
    assert_eq!(names(host, "web2"), wanted);
    assert_eq!(
        says(host, &format!("osctl ct exec web2 {LOOK}")),
        "three\nthree\n7:8"
    );
    nothing_is_left(host);
    for (snapshot, text) in [("second", "two\ntwo\n7:8"), ("first", "mine\nbelow\n7:8")] {
        says(
            host,
            &format!("osctl ct snapshot rollback --destroy-newer --restart web2 {snapshot}"),
        );
        assert_eq!(says(host, &format!("osctl ct exec web2 {LOOK}")), text);
    }
    says(host, "osctl ct del --force web2");
    // Without, and with streams as vpsAdminOS reads them: it receives the base, then the rest.
    says(
        host,
        "osctl --pool tank ct import --without-snapshots --as-id web2 /tmp/all.tar &&
         [ -z \"$(zfs list -Hrt snapshot -o name tank/ct/web2)\" ] && osctl ct del web2 &&
         osctl ct export --snapshots -c gzip web1 /tmp/old.tar && zfs create -o mountpoint=none tank/old &&
         for part in base incremental; do
             tar -xOf /tmp/old.tar rootfs/$part.dat.gz | gunzip | zfs recv -u -F tank/old/web1 || exit
         done
         for name in $(tar -xOf /tmp/old.tar snapshots.yml | grep -o 'osctl-[0-9a-z-]*'); do
             zfs destroy tank/old/web1@$name || exit
         done",
    );
    let old = says(
        host,
        "zfs list -Hrt snapshot -o name -s createtxg tank/old/web1 | sed 's/.*@//'",
    );
    let plain: Vec<&str> = wanted.iter().filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(old.lines().collect::<Vec<_>>(), plain);
    let refused = fails(
        host,
        "osctl ct export --snapshots --format tar web1 /tmp/no.tar",
    );
    assert!(refused.contains("no room"), "{refused}");
    assert_eq!(state(host, "web1"), "running");
}

#[test]
fn a_reinstalled_container_can_return_to_its_old_files() {
    let Some(mut host) = furnished() else { return };
    let host = &mut host;
    says(
        host,
        "osctl ct snapshot new web1 first && osctl ct exec web1 /bin/busybox sh -c 'echo two > /mine' &&
         osctl ct snapshot clone web1 first web2 && osctl ct snapshot mount web1 first",
    );
    let reinstall = |more: &str| {
        format!("osctl ct reinstall --force --from-archive /tmp/minimal.tar {more} web1")
    };
    let refused = fails(host, &reinstall(""));
    assert!(refused.contains("--snapshot"), "{refused}");
    let refused = fails(host, &reinstall("--snapshot"));
    assert!(refused.contains("is mounted"), "{refused}");
    says(host, "osctl ct snapshot umount web1 first");
    // An image that is of no use leaves no snapshot.
    let refused = fails(
        host,
        "head -c 100000 /dev/urandom > /tmp/bad.tar
         osctl ct reinstall --force --from-archive /tmp/bad.tar --snapshot web1",
    );
    assert!(refused.contains("cannot use image"), "{refused}");
    let names = "osctl ct snapshot ls -H -o name web1";
    assert_eq!(says(host, names), "first");
    let refused = fails(host, &reinstall("--snapshot --snapshot-name first"));
    assert!(refused.contains("already"), "{refused}");
    says(host, &reinstall("--snapshot --snapshot-name old"));
    assert_eq!(says(host, names), "first\nold");
    let look = "osctl ct exec web1 /bin/busybox sh -c 'cat /mine || echo none; cat /srv/data/file'";
    says(host, "osctl ct start web1");
    assert_eq!(says(host, &format!("{look} 2>/dev/null")), "none\nbelow");
    let quota = "zfs get -Hpo value refquota tank/ct/web1";
    assert_eq!(says(host, quota), (1u64 << 30).to_string());
    // All that can be done with snapshots can be done with these.
    says(
        host,
        "osctl ct snapshot mount web1 old && grep -q two /tank/ct/.snapshots/web1@old/private/mine &&
         osctl ct snapshot umount web1 old && osctl ct snapshot clone web1 old web3 &&
         osctl ct start web3 && osctl ct exec web3 /bin/busybox grep -q two /mine && osctl ct del --force web3",
    );
    super::zfs::wait_for_trash(host, "tank");
    nothing_is_left(host);
    says(host, "osctl ct snapshot rollback --restart web1 old");
    assert_eq!(says(host, look), "two\nbelow");
    says(
        host,
        "osctl ct snapshot rollback --destroy-newer --restart web1 first; true",
    );
    let refused = fails(host, "osctl ct snapshot del web1 first");
    assert!(refused.contains("web2"), "{refused}");
    says(
        host,
        "osctl ct start web2 && osctl ct exec web2 /bin/busybox grep -q mine /mine &&
         osctl ct del --force web2 && osctl ct del --force web1",
    );
    super::zfs::wait_for_trash(host, "tank");
    nothing_is_left(host);
}

#[test]
fn what_runs_from_a_clone_of_what_has_a_key_of_its_own_is_thrown_away() {
    let Some(mut host) = furnished() else { return };
    let host = &mut host;
    says(
        host,
        "osctl ct dataset del -r -u web1 data && osctl ct stop --kill web1 && osctl ct export web1 /tmp/web1.tar
         printf 'a long pass phrase' > /tmp/key
         umount /tank/ct/web1 2> /dev/null; zfs snapshot tank/ct/web1@m &&
         zfs send tank/ct/web1@m | zfs recv -u -o encryption=on -o keyformat=passphrase \
             -o pbkdf2iters=100000 -o keylocation=file:///tmp/key -o canmount=noauto tank/ct/locked &&
         zfs destroy -r tank/ct/web1 && zfs rename tank/ct/locked tank/ct/web1 &&
         zfs destroy tank/ct/web1@m && osctl ct set impermanence web1",
    );
    for _ in 0..2 {
        says(
            host,
            "osctl ct start web1 && osctl ct exec web1 /bin/busybox sh -c 'cat /mine && echo x > /lost' &&
             osctl ct stop --kill web1",
        );
        // It waits beside the container, whose key it has.
        let alone = "for i in $(seq 300); do
            [ \"$(zfs list -Hro name -t all tank/ct | grep web1)\" = tank/ct/web1 ] && exit
            sleep 0.2; done; zfs list -rt all tank; osctl trash-bin ls; exit 1";
        says(host, alone);
    }
    assert_eq!(
        says(host, "zfs get -Ho value encryptionroot tank/ct/web1"),
        "tank/ct/web1"
    );
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

    // A snapshot that a container could return to, with a link where a dataset is mounted.
    says(
        host,
        &format!(
            "{EVIL} && zfs send tank/evil@one > rootfs/base.dat && cp rootfs/base.dat rootfs/a/ && {PACK}"
        ),
    );
    let told = says(host, "osctl ct import --as-id tank:evil /tmp/evil.tar 2>&1");
    assert!(told.contains("left out snapshot one"), "{told}");
    says(
        host,
        "[ -z \"$(osctl ct snapshot ls -H evil)\" ] && osctl ct del --force evil",
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
