//! Making, freezing, killing and removing cgroups.

use std::{fs, os::unix::fs::MetadataExt};

use super::*;

#[test]
fn creates_and_removes() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let Scratch { tree, ct, paths } = &scratch;
    for path in scratch.all_paths() {
        assert!(path.is_dir(), "{}", path.display());
    }
    if let Some(payload) = &paths.v2_payload {
        for name in [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
        ] {
            let meta = fs::metadata(payload.join(name)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (OWNER.uid, OWNER.gid), "{name}");
        }
        let ct = payload.parent().unwrap();
        assert_eq!(fs::metadata(ct).unwrap().uid(), 0);
        assert_eq!(
            fs::metadata(payload.join("cgroup.freeze")).unwrap().uid(),
            0
        );
        let available = read(&ct.parent().unwrap().join("cgroup.controllers"));
        assert_eq!(read(&payload.join("cgroup.controllers")), available);
    }
    if let Some(cpuset) = tree.v1_path("cpuset", ct) {
        assert!(!read(&cpuset.join("cpuset.cpus")).is_empty());
        assert!(!read(&cpuset.join("cpuset.mems")).is_empty());
    }
    assert_eq!(tree.containers("tank").unwrap(), std::slice::from_ref(ct));
    assert_eq!(tree.pools(), ["tank"]);
    assert!(tree.containers("other").unwrap().is_empty());
    assert!(!tree.populated(ct).unwrap());

    let group = ct.parent().unwrap();
    assert!(matches!(tree.remove_group(&group), Err(Error::NotEmpty(_))));
    assert!(matches!(tree.remove_pool("tank"), Err(Error::NotEmpty(_))));
    assert!(tree.remove_container(&group, LIMIT).is_err());
    tree.remove_container(ct, LIMIT).unwrap();
    tree.remove_container(ct, LIMIT).unwrap();
    assert!(!tree.exists(ct));
    tree.remove_group(&group).unwrap();
    tree.remove_group(&group).unwrap();
    assert!(!tree.exists(&group));
}

#[test]
fn what_is_removed_meanwhile_is_killed() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let Scratch { tree, ct, .. } = &scratch;
    for _ in 0..50 {
        tree.ensure_container(ct, OWNER).unwrap();
        std::thread::scope(|scope| {
            let removal = scope.spawn(|| tree.remove_container(ct, LIMIT));
            while tree.exists(ct) {
                tree.kill(ct, LIMIT).unwrap();
            }
            removal.join().unwrap().unwrap();
        });
    }
}

#[test]
fn removes_what_the_guest_made() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let Scratch { tree, ct, paths } = &scratch;
    let mut guest = match &paths.v2_payload {
        Some(payload) => {
            // Deep and with names that make the path longer than the kernel takes.
            let name = "x".repeat(250);
            let mut script = format!("cd '{}'; ", payload.display());
            for _ in 0..20 {
                script += &format!("mkdir -- {name} '-rf *'; cd -P {name}; ");
            }
            scratch.run(&format!(
                "{script} echo 0 > cgroup.procs; echo made; exec sleep 600"
            ))
        }
        None => scratch.run("echo made; exec sleep 600"),
    };
    assert_eq!(guest.line(), "made");
    if paths.v2_payload.is_some() {
        let path = fs::read_to_string(format!("/proc/{}/cgroup", guest.child.id())).unwrap();
        assert!(path.lines().any(|l| l.len() > 4096), "{path}");
    }
    assert_eq!(tree.procs(ct).unwrap(), [guest.child.id()]);
    assert!(tree.populated(ct).unwrap());
    let again = tree.ensure_container(ct, OWNER);
    assert!(matches!(again, Err(Error::Populated(_))), "{again:?}");
    tree.remove_container(ct, LIMIT).unwrap();
    assert!(!tree.exists(ct));
    assert!(guest.ended());
}

#[test]
fn ensure_starts_fresh() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let Scratch { tree, ct, paths } = &scratch;
    tree.apply(ct, &Param::pids_max(7)).unwrap();
    if let Some(payload) = &paths.v2_payload {
        fs::create_dir(payload.join("left")).unwrap();
    }
    assert_eq!(&tree.ensure_container(ct, OWNER).unwrap(), paths);
    assert_ne!(tree.read(ct, "pids.max").unwrap().as_deref(), Some("7"));
    if let Some(payload) = &paths.v2_payload {
        assert!(!payload.join("left").exists());
    }
}

#[test]
fn bounds_nesting() {
    let Some(scratch) = Scratch::v2_only() else {
        return;
    };
    let mut dir = scratch.paths.v2_payload.clone().unwrap();
    let refused = (0..100).find(|_| {
        dir.push("d");
        fs::create_dir(&dir).is_err()
    });
    assert_eq!(refused, Some(63));
}

fn freezes(scratch: &Scratch) {
    let Scratch { tree, ct, .. } = scratch;
    let mut guest = scratch.run("while read line; do echo $line; done");
    guest.send("one");
    assert_eq!(guest.line(), "one");
    tree.freeze(ct, LIMIT).unwrap();
    assert!(tree.is_frozen(ct).unwrap());
    guest.send("two");
    assert!(!guest.speaks_within(Duration::from_millis(100)));
    tree.thaw(ct, LIMIT).unwrap();
    assert!(!tree.is_frozen(ct).unwrap());
    assert_eq!(guest.line(), "two");
    tree.freeze(ct, LIMIT).unwrap();
    tree.kill(ct, LIMIT).unwrap();
    assert!(guest.ended());
}

#[test]
fn freezes_and_kills() {
    if let Some(scratch) = Scratch::here() {
        freezes(&scratch);
    }
}

#[test]
fn freezes_and_kills_v1() {
    if let Some(scratch) = Scratch::v1_only(&["freezer", "pids"]) {
        freezes(&scratch);
    }
}

#[test]
fn kills_many_v1() {
    let Some(scratch) = Scratch::v1_only(&["pids"]) else {
        return;
    };
    let Scratch { tree, ct, .. } = &scratch;
    let mut guest = scratch.run("for i in 1 2 3 4 5 6 7 8; do sleep 600 & done; echo up; wait");
    assert_eq!(guest.line(), "up");
    assert_eq!(tree.procs(ct).unwrap().len(), 9);
    tree.kill(ct, LIMIT).unwrap();
    assert!(tree.procs(ct).unwrap().is_empty());
    assert!(guest.ended());
}

#[test]
fn lets_a_supervisor_finish() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    if scratch.paths.v1.is_empty() {
        println!("skipped: no cgroup v1");
        return;
    }
    // In the v1 cgroups only, as a supervisor is; it ends by itself a moment after removal began.
    let mut guest = Guest::start(&scratch.paths.v1, "sleep 0.2; exit 7");
    scratch.tree.remove_container(&scratch.ct, LIMIT).unwrap();
    assert_eq!(guest.child.wait().unwrap().code(), Some(7));
    assert!(!scratch.tree.exists(&scratch.ct));
}

#[test]
fn gives_up_in_time() {
    let Some(scratch) = Scratch::v2_only() else {
        return;
    };
    let Scratch { tree, ct, .. } = &scratch;
    let _guest = scratch.run("exec sleep 600");
    let none = tree.thaw(ct, Duration::ZERO);
    assert!(none.is_ok(), "{none:?}");
    let dir = tree.v2_path(ct).unwrap();
    let limit = Duration::from_millis(50);
    let start = std::time::Instant::now();
    let deadline = crate::cgroup::events::Deadline::after(limit);
    assert!(!crate::cgroup::events::wait(&dir, "populated", "0", deadline).unwrap());
    assert!(start.elapsed() >= limit && start.elapsed() < LIMIT);
}
