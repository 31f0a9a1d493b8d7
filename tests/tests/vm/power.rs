//! Power that fails at every step of what is done to containers on ZFS: whoever imports the pools
//! afterwards finds an operation done or not begun, and nothing lost or left over.
//!
//! The pools are in files. Once the daemon has died at a step nothing writes to them, so that a
//! copy of the files is what disks have when the power fails: ZFS writes nothing by itself but what
//! somebody waits for, as its clock is set to an hour.

use osctl_tests::vm::{Machine, Settings};

use super::zfs::{push_image, says};

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
        sleep 0.1
    done
    return 1
}
gone() { tail --pid=$(cat pid) -f /dev/null; }
# The pools go with all that is mounted of them.
away() {
    awk '$3 == "zfs" { print $2 }' /proc/mounts | sort -r | xargs -r -n 1 umount
    zpool export -a
}
back() { zpool import -N -a -d live -o cachefile=none; }
begin() { cp --sparse=always base/* live && back; }
reached() { sed -n 's/.*fail point \([^ ]*\) is reached.*/\1/p' log; }
# steps COMMAND: which it is made of, after those of a start.
steps() {
    begin && daemon log && reached | wc -l
    bash -c "$1" > out 2>&1 || { cat out; exit 1; }
    reached
}
# cut N COMMAND: prints whether it was done before the power failed.
cut() {
    begin || exit
    daemon "*:$1" || { cat log; exit 1; }
    bash -c "$2" > out 2>&1 && { echo done; kill -9 $(cat pid); } || echo failed
    gone
    cp --sparse=always live/* cut
    away && mv cut/* live && back && daemon || { cat log; zfs list -rt all; exit 1; }
}
end() { kill $(cat pid) && gone && away; }
"#;

/// What is done while the power fails.
struct Operation {
    command: &'static str,
    /// The containers when it is, beside `bystander`; there is only `web1` when it is not.
    after: &'static str,
    /// What `/mine` may be of those that are not new.
    mine: &'static [&'static str],
    /// What holds at any time.
    always: &'static str,
}

/// Where the power fails: at every step with `OSCTL_TEST_THOROUGH`, else at some.
fn stride() -> usize {
    match std::env::var_os("OSCTL_TEST_THOROUGH") {
        Some(_) => 1,
        None => 16,
    }
}

/// A host with the pools `tank` and `other` in files, kept in `/power/base`: in `tank` there are
/// `bystander` and `web1`, which has a snapshot and a dataset.
fn host() -> Option<Machine> {
    let mut host = Machine::ready(Settings {
        memory: 3072,
        ..Settings::default()
    })?;
    push_image(&mut host);
    says(&mut host, "mkdir /power && mount -t tmpfs power /power");
    host.push("/power/lib", 0o644, LIB.as_bytes());
    says(
        &mut host,
        "sv -w 60 stop osctld > /dev/null
         echo 3600 > /sys/module/zfs/parameters/zfs_txg_timeout
         . /power/lib; mkdir live cut base
         for pool in tank other; do
             truncate -s 320M live/$pool && zpool create -O compression=off $pool $PWD/live/$pool || exit
         done
         new='osctl ct new --from-archive /tmp/minimal.tar'
         daemon && osctl pool install tank && osctl pool install other &&
         $new tank:bystander && $new tank:web1 && osctl ct start web1 &&
         osctl ct exec web1 /bin/busybox sh -c 'echo first > /mine; mkdir /data; echo below > /data/file' &&
         osctl ct export --no-consistent web1 /power/web1.tar &&
         osctl ct dataset new web1 data && osctl ct exec web1 /bin/busybox sh -c '
             echo below > /data/file' &&
         osctl ct snapshot new web1 kept &&
         osctl ct exec web1 /bin/busybox sh -c 'echo second > /mine' && osctl ct stop --kill web1 &&
         end && cp --sparse=always live/* base",
    );
    Some(host)
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
const LEFT: &str = "zfs list -Hrt all -o name tank other | grep -vE '^(tank|other)/trash/' | grep -E '@osctl-|/ct/new\\.'
    ls /tank/ct/.new /other/ct/.new | grep -v :
    osctl pool ls -H -o problems | grep -v '^-$'; true";

/// Lets the power fail at the steps of an operation, and after it.
fn power_fails(host: &mut Machine, operation: &Operation) {
    let Operation { command, after, .. } = operation;
    let steps = says(host, &lib(&format!("steps '{command}'")));
    assert_eq!(containers(host), *after, "{command}");
    assert_eq!(says(host, LEFT), "", "{command}");
    says(host, &lib("end"));
    let (before, steps) = steps.split_once('\n').unwrap();
    let before: usize = before.parse().unwrap();
    let steps: Vec<&str> = steps.lines().skip(before).collect();
    println!("{command}: {}", steps.join(" "));
    assert!(!steps.is_empty(), "{command}");
    // The last is after all of them.
    let first = stride().min(steps.len()) / 2;
    for step in (first..steps.len()).step_by(stride()).chain([steps.len()]) {
        let name = steps.get(step).unwrap_or(&"the end");
        let at = format!("{command} at {name} ({step})");
        let hit = before + step + 1;
        let went = says(host, &lib(&format!("cut {hit} '{command}'")));
        let found = containers(host);
        println!("  {name}: {went}, {found}");
        match (step == steps.len(), went.as_str()) {
            (true, "done") => assert_eq!(found, *after, "{at}"),
            (false, "failed") => {
                assert!(found == "tank:web1" || found == *after, "{at}: {found}");
            }
            _ => panic!("{at}: {went}"),
        }
        assert_whole(host, &found, operation, &at);
        says(host, operation.always);
        assert_eq!(says(host, LEFT), "", "{at}");
        // What was undone can be done.
        if found != *after {
            says(host, command);
            assert_eq!(containers(host), *after, "{at}");
        }
        says(host, &lib("end"));
    }
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

fn all(operations: &[Operation]) {
    let Some(mut host) = host() else {
        return;
    };
    for operation in operations {
        power_fails(&mut host, operation);
    }
}

#[test]
fn what_is_made_is_there_or_not() {
    all(&[
        Operation {
            command: "osctl ct new --from-archive /tmp/minimal.tar tank:new",
            after: "tank:new tank:web1",
            mine: &["second"],
            always: "true",
        },
        Operation {
            command: "osctl --pool tank ct import --as-id web2 /power/web1.tar",
            after: "tank:web1 tank:web2",
            mine: &["first", "second"],
            always: "true",
        },
        Operation {
            command: "osctl ct snapshot clone web1 kept web2",
            after: "tank:web1 tank:web2",
            mine: &["first", "second"],
            always: "true",
        },
    ]);
}

#[test]
fn what_is_copied_or_moved_is_where_it_was_or_where_it_goes() {
    all(&[
        Operation {
            command: "osctl ct cp web1 web2",
            after: "tank:web1 tank:web2",
            mine: &["second"],
            always: "true",
        },
        Operation {
            command: "osctl ct mv web1 web2",
            after: "tank:web2",
            mine: &["second"],
            always: "true",
        },
        Operation {
            command: "osctl ct mv web1 other:web1",
            after: "other:web1",
            mine: &["second"],
            always: "true",
        },
    ]);
}

#[test]
fn what_is_deleted_or_replaced_is_whole_or_gone() {
    all(&[
        Operation {
            command: "osctl ct snapshot rollback web1 kept",
            after: "tank:web1",
            mine: &["first", "second"],
            always: "true",
        },
        Operation {
            command: "osctl ct reinstall -r --from-archive /tmp/minimal.tar web1",
            after: "tank:web1",
            mine: &["second", "none"],
            always: "true",
        },
        Operation {
            command: "osctl ct reinstall --snapshot --snapshot-name old \
                      --from-archive /tmp/minimal.tar web1",
            after: "tank:web1",
            mine: &["second", "none"],
            // The new files are there only with the old ones beside them.
            always: "osctl ct snapshot mount web1 kept && cat /tank/ct/.snapshots/web1@kept/private/mine &&
                     osctl ct snapshot umount web1 kept && zfs list tank/ct/web1@kept &&
                     osctl ct mount web1 && { [ -e /tank/ct/web1/private/mine ] || zfs list tank/ct/web1@old; }",
        },
        Operation {
            command: "osctl ct del web1",
            after: "",
            mine: &["second"],
            always: "true",
        },
    ]);
}
