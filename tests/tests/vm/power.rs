//! Power that fails at every step of what is done to containers on ZFS: whoever imports the pools
//! afterwards finds an operation done or not begun, and nothing lost or left over.
//!
//! The pools are in files. Once the daemon has died at a step nothing writes to them, so that a
//! copy of the files is what disks have when the power fails: ZFS writes nothing by itself but what
//! somebody waits for, as its clock is set to an hour.

use osctl_tests::is_thorough;
use osctl_tests::vm::{Machine, Settings};

use super::zfs::says;

/// Shell functions. The daemon is their own: the service would start it again.
const LIB: &str = r#"
export ZFS_VDEV_DEVID_OPT_OUT=YES
cd /power
# daemon [POINT]: one that answers, or has died at the fail point.
daemon() {
    OSCTLD_FAILPOINT=$1 setsid osctld > log 2>&1 < /dev/null & echo $! > pid
    for i in $(seq 600); do
        osctl --json ping 2> /dev/null | grep -q '"initialized": *true' && return
        kill -0 $(cat pid) 2> /dev/null || return 1
        sleep 0.4
    done
    return 1
}
gone() { tail -s 0.1 --pid=$(cat pid) -f /dev/null; }
# What runs dies, and the pools go with all that is mounted of them.
away() {
    ! pkill -9 osctl-runtime || until ! pgrep osctl-runtime > /dev/null; do sleep 0.1; done
    rm -rf /run/osctl
    for i in $(seq 100); do
        awk '$3 == "zfs" { print $2 }' /proc/mounts | sort -r | xargs -r -n 1 umount
        zpool export -a && return
        sleep 0.1
    done
    return 1
}
back() { zpool import -N -a -d live -o cachefile=none; }
begin() { rm -f out.tar; cp --sparse=always base/* live && back; }
reached() { sed -n 's/.*fail point \([^ ]*\) is reached.*/\1/p' log; }
# steps COMMAND: which it is made of, after those of a start.
steps() {
    begin && daemon log && reached | wc -l
    bash -c "$1" > out 2>&1 || { cat out; exit 1; }
    reached
}
# cut POINT COMMAND: prints whether it was done before the power failed.
cut() {
    begin || exit
    daemon "$1" || { cat log; exit 1; }
    bash -c "$2" > out 2>&1 && { echo done; kill -9 $(cat pid); } || echo failed
    gone
    cp --sparse=always live/* cut
    away && mv cut/* live && back && daemon || { cat log; zfs list -rt all; exit 1; }
}
end() { kill $(cat pid) && gone && away; }
"#;

/// Makes the pools `tank` and `other` in files, kept in `/power/base`: in `tank` there are
/// `bystander` and `web1`, which has a snapshot and a dataset.
const POOLS: &str = r#"
cp /usr/share/osctl/images/minimal.tar /tmp
sv -w 60 stop osctld > /dev/null
echo 3600 > /sys/module/zfs/parameters/zfs_txg_timeout
. /power/lib; mkdir live cut base
for pool in tank other; do
    truncate -s 320M live/$pool && zpool create -O compression=off $pool $PWD/live/$pool || exit
done
new='osctl ct new --from-archive /tmp/minimal.tar'
inside() { osctl ct exec web1 /bin/busybox sh -c "$1"; }
daemon && osctl pool install tank && osctl pool install other &&
$new tank:bystander && $new tank:web1 && osctl ct start web1 &&
inside 'echo first > /mine; mkdir /data; echo below > /data/file' &&
osctl ct export --no-consistent web1 /power/web1.tar &&
osctl ct dataset new web1 data && inside 'echo below > /data/file' &&
osctl ct snapshot new web1 kept && inside 'echo second > /mine' &&
osctl ct stop --kill web1 && end && cp --sparse=always live/* base
"#;

/// What is done while the power fails.
struct Operation {
    command: &'static str,
    /// The fail point at which it does unless all are asked for.
    at: &'static str,
    /// The containers when it is done, beside `bystander`; there is only `web1` when it is not.
    after: &'static str,
    /// Says `done` when it is, and fails when it is half done: of what the containers do not tell.
    done: &'static str,
    /// What `/mine` may be of those that are not new.
    mine: &'static [&'static str],
    /// What holds at any time.
    always: &'static str,
}

/// One that leaves `web1` as it is.
const QUIET: Operation = Operation {
    command: "",
    at: "",
    after: "tank:web1",
    done: "",
    mine: &["second"],
    always: "true",
};

/// A host with the pools, which are made once for all tests.
fn host() -> Option<Machine> {
    let lib = format!(
        "mkdir /power && mount -t tmpfs power /power && cat > /power/lib <<'END'{LIB}END\n"
    );
    Machine::ready(Settings {
        memory: 3072,
        prepare: lib + POOLS,
        ..Settings::default()
    })
}

fn lib(script: &str) -> String {
    format!(". /power/lib\n{script}")
}

fn containers(host: &mut Machine) -> String {
    let listed = says(host, "osctl ct ls -H -o pool,id | sed 's/[ \t][ \t]*/:/'");
    let mut all: Vec<&str> = listed.lines().filter(|l| *l != "tank:bystander").collect();
    assert!(listed.contains("tank:bystander"), "{listed}");
    all.sort_unstable();
    all.join(" ")
}

/// What a pool must not have once an operation is over.
const LEFT: &str = "zfs list -Hrt all -o name tank other | grep -vE '^(tank|other)/trash/' |
        grep -E '@osctl-|/ct/new\\.|/ct/web1-'
    ls /tank/ct/.new /other/ct/.new | grep -v :
    osctl pool ls -H -o problems | grep -v '^-$'; true";

/// Lets the power fail at steps of an operation, and after it.
fn power_fails(host: &mut Machine, operation: &Operation) {
    if !is_thorough() {
        power_fails_at(host, operation, operation.at, false);
        return;
    }
    let Operation { command, after, .. } = operation;
    let steps = says(host, &lib(&format!("steps '{command}'")));
    assert_eq!(containers(host), *after, "{command}");
    says(host, &lib("end"));
    let (before, steps) = steps.split_once('\n').unwrap();
    let before: usize = before.parse().unwrap();
    let steps: Vec<&str> = steps.lines().skip(before).collect();
    println!("{command}: {}", steps.join(" "));
    assert!(steps.contains(&operation.at), "{command}");
    for step in 0..steps.len() {
        power_fails_at(host, operation, &format!("*:{}", before + step + 1), false);
    }
    power_fails_at(host, operation, "", true);
}

/// Lets it fail at a fail point, or at the end.
fn power_fails_at(host: &mut Machine, operation: &Operation, point: &str, at_end: bool) {
    let Operation { command, after, .. } = operation;
    let at = format!("{command} at {point}");
    let went = says(host, &lib(&format!("cut '{point}' '{command}'")));
    let found = containers(host);
    let done = says(host, &lib(operation.done));
    println!("{at}: {went}, {found} {done}");
    assert_eq!(went, if at_end { "done" } else { "failed" }, "{at}");
    let is_done = found == *after && (done == "done" || operation.done.is_empty());
    assert!(
        is_done || (!at_end && (found == "tank:web1" || found == *after)),
        "{at}"
    );
    assert_whole(host, &found, operation, &at);
    says(host, operation.always);
    assert_eq!(says(host, LEFT), "", "{at}");
    // What was undone can be done.
    if !is_done {
        says(host, &lib(command));
        assert_eq!(containers(host), *after, "{at}");
        let done = says(host, &lib(operation.done));
        assert!(operation.done.is_empty() || done == "done", "{at}: {done}");
    }
    says(host, &lib("end"));
}

/// Asserts that containers have what was in `web1`, and run.
fn assert_whole(host: &mut Machine, found: &str, operation: &Operation, at: &str) {
    for id in found
        .split(' ')
        .filter(|id| !id.ends_with(":new") && !id.is_empty())
    {
        let look = "cat /mine 2>/dev/null || echo none; cat /data/file";
        let look = format!("osctl ct exec {id} /bin/busybox sh -c '{look}'");
        let text = says(host, &format!("osctl ct start {id} && {look}"));
        let (mine, below) = text.split_once('\n').unwrap_or((&text, ""));
        assert!(operation.mine.contains(&mine), "{at}: {id} has {text}");
        assert_eq!(below, "below", "{at}: {id}");
        says(host, &format!("osctl ct stop --kill {id}"));
    }
}

/// Lets the power fail in each of them, and once after what is done.
fn all(operations: &[Operation]) {
    let Some(mut host) = host() else {
        return;
    };
    for operation in operations {
        power_fails(&mut host, operation);
    }
    if let (Some(last), false) = (operations.last(), is_thorough()) {
        power_fails_at(&mut host, last, "", true);
    }
}

#[test]
fn what_is_made_is_there_or_not() {
    all(&[
        Operation {
            command: "osctl ct new --from-archive /tmp/minimal.tar tank:new",
            at: "create.data",
            after: "tank:new tank:web1",
            ..QUIET
        },
        Operation {
            command: "osctl --pool tank ct import --as-id web2 /power/web1.tar",
            at: "import.data",
            after: "tank:web1 tank:web2",
            mine: &["first", "second"],
            ..QUIET
        },
        Operation {
            command: "osctl ct snapshot clone web1 kept web2",
            at: "snapshot.cloned",
            after: "tank:web1 tank:web2",
            mine: &["first", "second"],
            ..QUIET
        },
    ]);
}

#[test]
fn what_is_copied_or_moved_is_where_it_was_or_where_it_goes() {
    all(&[
        Operation {
            command: "osctl ct cp web1 web2",
            at: "copy.data",
            after: "tank:web1 tank:web2",
            ..QUIET
        },
        Operation {
            command: "osctl ct mv web1 web2",
            at: "rename.data",
            after: "tank:web2",
            ..QUIET
        },
        Operation {
            command: "osctl ct mv web1 other:web1",
            at: "move.leaving",
            after: "other:web1",
            ..QUIET
        },
    ]);
}

#[test]
fn what_is_deleted_or_replaced_is_whole_or_gone() {
    all(&[
        Operation {
            command: "osctl ct snapshot rollback web1 kept",
            at: "rollback.dataset",
            mine: &["first", "second"],
            ..QUIET
        },
        Operation {
            command: "osctl ct reinstall -r --from-archive /tmp/minimal.tar web1",
            at: "storage.replacing",
            mine: &["second", "none"],
            ..QUIET
        },
        Operation {
            command: "osctl ct reinstall --snapshot --snapshot-name old \
                      --from-archive /tmp/minimal.tar web1",
            at: "storage.promoted",
            mine: &["second", "none"],
            // The new files are there only with the old ones beside them.
            always: "osctl ct snapshot mount web1 kept && cat /tank/ct/.snapshots/web1@kept/private/mine &&
                     osctl ct snapshot umount web1 kept && zfs list tank/ct/web1@kept &&
                     { osctl ct exec -r web1 /bin/busybox test -e /mine || zfs list tank/ct/web1@old; }",
            ..QUIET
        },
        Operation {
            command: "osctl ct del web1",
            at: "delete.data",
            after: "",
            ..QUIET
        },
    ]);
}

#[test]
fn what_is_done_to_its_data_is_done_or_not() {
    all(&[
        Operation {
            command: "osctl ct export web1 /power/out.tar",
            at: "export.packed",
            // What there is of it is all of it.
            done: "[ ! -e out.tar ] || { osctl -q --pool tank ct import --as-id out out.tar &&
                osctl ct del out && echo done; }",
            ..QUIET
        },
        Operation {
            command: "osctl ct boot --from-archive /tmp/minimal.tar web1",
            at: "boot.noted",
            ..QUIET
        },
        Operation {
            command: "osctl ct dataset new web1 more",
            at: "dataset.made",
            done: "osctl ct dataset ls -H -o name web1 | grep -qx more && echo done; true",
            ..QUIET
        },
        Operation {
            command: "osctl ct dataset del -u web1 data",
            at: "dataset.unmounted",
            done: "osctl ct dataset ls -H -o name web1 | grep -qx data || echo done",
            ..QUIET
        },
        // Of both datasets.
        Operation {
            command: "osctl ct snapshot new web1 more",
            at: "snapshot.made",
            done: "case $(zfs list -Hrt snapshot -o name tank/ct/web1 | grep -c @more) in
                0) ;; 2) echo done ;; *) exit 1 ;; esac",
            ..QUIET
        },
    ]);
}
