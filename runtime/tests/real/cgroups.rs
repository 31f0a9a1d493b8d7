//! Where a container's processes are accounted.

use std::fs;
use std::path::Path;

use osctl_runtime::control::SessionMessage;

use crate::harness::{Place, SLEEP, able};

fn members(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
    text.lines().map(|l| l.parse().unwrap()).collect()
}

#[test]
fn init_is_in_the_payload_and_sees_it_as_the_root() {
    if !able() {
        return;
    }
    let mut place = Place::new();
    let mut spec = place.spec(SLEEP);
    let Some(ct_dir) = place.v2(&mut spec) else {
        println!("skipped: no cgroup2");
        return;
    };
    let mut ct = place.start(&spec);
    assert_eq!(members(&ct_dir.join("payload")), [ct.pid]);
    let own = ct.say("cat /proc/1/cgroup");
    assert!(own.lines().any(|l| l == "0::/"), "{own}");
    let own = ct.say("cat /proc/self/cgroup");
    assert!(own.lines().any(|l| l == "0::/.osctl"), "{own}");
    // Delegated: the guest makes and moves as it likes.
    ct.say("mkdir /sys/fs/cgroup/mine && echo 1 > /sys/fs/cgroup/mine/cgroup.procs");
    assert_eq!(members(&ct_dir.join("payload/mine")), [ct.pid]);
    // The entries' cgroup may go; it comes back.
    ct.say("rmdir /sys/fs/cgroup/.osctl 2>/dev/null; true");
    assert_eq!(ct.say("echo fine"), "fine");
    assert_ne!(ct.sh("echo 1 > /sys/fs/cgroup/cgroup.freeze").status(), 0);
}

#[test]
fn entries_survive_a_cgroup_that_refuses_them() {
    if !able() {
        return;
    }
    let mut place = Place::new();
    let mut spec = place.spec(SLEEP);
    if place.v2(&mut spec).is_none() {
        println!("skipped: no cgroup2");
        return;
    }
    let mut ct = place.start(&spec);
    ct.say("true");
    // A threaded cgroup takes no processes from outside its domain.
    ct.say("echo threaded > /sys/fs/cgroup/.osctl/cgroup.type; true");
    let output = ct.sh("echo in; cat /proc/self/cgroup");
    match output.end {
        SessionMessage::Exited(0) => assert!(output.out.contains("0::/"), "{output:?}"),
        SessionMessage::Failed { code: 125, .. } => {}
        other => panic!("{other:?}"),
    }
    ct.status();
}

#[test]
fn v1_hierarchies() {
    if !able() {
        return;
    }
    let mut place = Place::new();
    let mut spec = place.spec(SLEEP);
    let dirs = ["memory", "cpu"].map(|name| place.v1(&mut spec, name));
    let [Some(memory), Some(cpu)] = dirs else {
        println!("skipped: no cgroup v1");
        return;
    };
    let mut ct = place.start(&spec);
    for dir in [&memory, &cpu] {
        assert!(members(dir).contains(&ct.pid));
    }
    let own = ct.say("cat /proc/self/cgroup");
    assert!(own.lines().any(|l| l.ends_with(":memory:/")), "{own}");
}

/// With every process of its limit in use, a container can still be entered as far as its limit
/// allows, and says so when it does not.
#[test]
fn a_full_container_fails_entries_cleanly() {
    if !able() {
        return;
    }
    let mut place = Place::new();
    let mut spec = place.spec(SLEEP);
    let Some(pids) = place.v1(&mut spec, "pids") else {
        println!("skipped: no v1 pids");
        return;
    };
    let mut ct = place.start(&spec);
    // Init and the supervisor.
    fs::write(pids.join("pids.max"), "2").unwrap();
    let output = ct.sh("echo entered; (true) || echo cannot fork");
    assert!(output.out.starts_with("entered\n"), "{output:?}");
    assert!(
        members(&pids).contains(&(ct.child.id() as i32)),
        "the supervisor is back"
    );
    fs::write(pids.join("pids.max"), "max").unwrap();
    assert_eq!(ct.say("(echo fork)"), "fork");
}
