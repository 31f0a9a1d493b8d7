//! Device rules, under both controllers, on processes that run.

use super::*;

/// Tells for each path it is sent whether opening it for reading works.
const OPENER: &str = r#"while read path; do (: < "$path") 2>&- && echo yes || echo no; done"#;

/// The kernel's log, which is not among the defaults (c 1:11), and the harmless ones.
fn live_changes(scratch: &Scratch) {
    let Scratch { tree, ct, .. } = scratch;
    let mut rules = default_rules();
    tree.set_devices(ct, &rules).unwrap();
    let mut guest = scratch.run(OPENER);
    let mut opens = |path: &str| {
        guest.send(path);
        guest.line() == "yes"
    };
    assert!(opens("/dev/null") && opens("/dev/zero"));
    assert!(!opens("/dev/kmsg"));

    rules.push("c 1:11 r".parse().unwrap());
    tree.set_devices(ct, &rules).unwrap();
    assert!(opens("/dev/null") && opens("/dev/kmsg"));

    rules.retain(|r| !(r.major == Some(1) && matches!(r.minor, Some(5 | 11))));
    tree.set_devices(ct, &rules).unwrap();
    assert!(opens("/dev/null"));
    assert!(!opens("/dev/zero") && !opens("/dev/kmsg"));

    tree.set_devices(ct, &["a *:* rwm".parse().unwrap()])
        .unwrap();
    assert!(opens("/dev/kmsg") && opens("/dev/zero"));

    tree.set_devices(ct, &[]).unwrap();
    assert!(!opens("/dev/zero") && !opens("/dev/kmsg"));
    tree.set_devices(ct, &default_rules()).unwrap();
    assert!(opens("/dev/zero") && !opens("/dev/kmsg"));
}

/// What was allowed before and after stays so in between.
fn no_window(scratch: &Scratch) {
    let Scratch { tree, ct, .. } = scratch;
    tree.set_devices(ct, &default_rules()).unwrap();
    let script = r#"read go; while [ ! -e "$go" ]; do (: < /dev/null) || echo no; (: < /dev/kmsg) && echo leak; done 2>&-; echo end"#;
    let mut guest = scratch.run(script);
    let dir = tempfile::tempdir().unwrap();
    let stop = dir.path().join("stop");
    guest.send(stop.to_str().unwrap());
    let mut other = default_rules();
    other.retain(|r| r.minor != Some(5));
    other.push("c 10:229 rw".parse().unwrap());
    for _ in 0..100 {
        tree.set_devices(ct, &other).unwrap();
        tree.set_devices(ct, &default_rules()).unwrap();
    }
    std::fs::write(&stop, "").unwrap();
    assert_eq!(guest.line(), "end");
}

#[test]
fn here() {
    if let Some(scratch) = Scratch::here() {
        live_changes(&scratch);
        no_window(&scratch);
    }
}

#[test]
fn v1() {
    if let Some(scratch) = Scratch::v1_only(&["devices"]) {
        live_changes(&scratch);
    }
}

#[test]
fn bpf() {
    if !osctl_linux::bpf::is_permitted() {
        println!("skipped: bpf(2) is not permitted");
        return;
    }
    let Some(scratch) = Scratch::v2_only() else {
        return;
    };
    live_changes(&scratch);
    no_window(&scratch);
    let cgroup = std::fs::File::open(scratch.tree.v2_path(&scratch.ct).unwrap()).unwrap();
    let attached = osctl_linux::bpf::query_cgroup_device(std::os::fd::AsFd::as_fd(&cgroup));
    assert_eq!(attached.unwrap().len(), 1, "replaced, not added");
}

/// The errno that the guest's program sees.
#[test]
fn refusal_is_eperm() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    scratch
        .tree
        .set_devices(&scratch.ct, &default_rules())
        .unwrap();
    let mut guest = scratch.run("cat /dev/kmsg 2>&1 >/dev/null | head -n 1");
    let line = guest.line();
    assert!(line.contains("not permitted"), "{line}");
}

#[test]
fn groups_have_no_list() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let group = scratch.ct.parent().unwrap();
    assert!(scratch.tree.set_devices(&group, &default_rules()).is_err());
    let many: Vec<_> = (0..600)
        .map(|n| DeviceRule::char(Some(n), None, Access::READ))
        .collect();
    assert!(scratch.tree.set_devices(&scratch.ct, &many).is_err());
}
