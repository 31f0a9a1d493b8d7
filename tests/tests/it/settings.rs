//! Settings of containers: what they do now, at the next start, and after a daemon is gone.

use std::fs;

use osctl_api::Code;
use osctl_api::container::{
    CgparamsApply, CgparamsList, CgparamsReplace, CgparamsSet, CgparamsUnset, Chown, DevicesAdd,
    DevicesChmod, DevicesDelete, DevicesList, Move, PrlimitsList, PrlimitsSet, PrlimitsUnset,
    State, Unset,
};
use osctl_api::{group, user};
use osctl_tests::{Ct, host, processes};
use serde_json::json;

fn memory_max(ct: &Ct<'_>) -> Option<String> {
    let files = ["memory.max", "memory.limit_in_bytes"];
    files.iter().find_map(|f| ct.cgroup_file(f))
}

#[test]
fn limits_are_applied_live_at_every_start_and_removed() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.set(json!({ "memory_limit": { "memory": 128 << 20 }, "cpu_limit": { "percent": 150 } }));
    ct.start();
    let quota = |ct: &Ct<'_>| {
        ct.cgroup_file("cpu.max")
            .or_else(|| ct.cgroup_file("cpu.cfs_quota_us"))
            .unwrap()
    };
    assert_eq!(memory_max(&ct).unwrap(), (128u64 << 20).to_string());
    assert!(quota(&ct).starts_with("150000"), "{}", quota(&ct));
    ct.set(json!({ "memory_limit": { "memory": 256 << 20 }, "cpu_limit": { "percent": 50 } }));
    assert_eq!(memory_max(&ct).unwrap(), (256u64 << 20).to_string());
    assert!(quota(&ct).starts_with("50000"), "{}", quota(&ct));
    host.kill_daemon();
    host.start_daemon();
    ct.json::<osctl_api::container::Restart>(json!({ "mode": "kill" }));
    assert_eq!(memory_max(&ct).unwrap(), (256u64 << 20).to_string());
    let shown = ct.show();
    assert_eq!(
        (shown.memory_limit, shown.cpu_limit),
        (Some(256 << 20), Some(50))
    );
    ct.json::<Unset>(json!({ "settings": ["memory_limit", "cpu_limit"] }));
    assert_ne!(memory_max(&ct).unwrap(), (256u64 << 20).to_string());
    assert!(!quota(&ct).starts_with("50000"), "{}", quota(&ct));
    assert_eq!(ct.show().memory_limit, None);
    for bad in [
        json!({ "cpu_limit": { "percent": 0 } }),
        json!({ "memory_limit": { "memory": 0 } }),
    ] {
        assert_eq!(ct.try_set(bad).unwrap_err().code, Code::InvalidArgument);
    }
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_limit_of_a_group_holds_for_its_containers() {
    let host = host!();
    host.json::<group::New>(json!({ "group": "/small" }));
    host.json::<group::Set>(json!({ "group": "/small", "memory_limit": { "memory": 64 << 20 } }));
    host.json::<osctl_api::container::New>(
        json!({ "id": "web1", "from_archive": host.minimal(), "group": "/small" }),
    );
    let ct = host.ct("web1");
    ct.start();
    let limited = osctl_tests::cgroups::roots(&host.cgroup)
        .iter()
        .flat_map(|d| osctl_tests::cgroups::tree(d))
        .filter(|d| d.ends_with("group.small"))
        .any(|d| {
            ["memory.max", "memory.limit_in_bytes"].iter().any(|f| {
                fs::read_to_string(d.join(f)).is_ok_and(|t| t.trim() == (64 << 20).to_string())
            })
        });
    assert!(limited, "the group has no limit");
    let busy = host.try_json::<group::Delete>(json!({ "group": "/small" }));
    assert!(busy.is_err(), "a group in use was deleted");
    ct.delete();
    host.json::<group::Delete>(json!({ "group": "/small" }));
    host.assert_clean();
}

#[test]
fn cgroup_parameters_are_kept_applied_and_forgotten() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.json::<CgparamsSet>(json!({ "parameter": "pids.max", "value": ["77"] }));
    ct.start();
    assert_eq!(ct.cgroup_file("pids.max").unwrap(), "77");
    ct.json::<CgparamsSet>(json!({ "parameter": "pids.max", "value": ["88"] }));
    assert_eq!(ct.cgroup_file("pids.max").unwrap(), "88");
    let listed = ct.json::<CgparamsList>(json!({})).parameters;
    assert!(
        listed
            .iter()
            .any(|p| p.parameter == "pids.max" && p.value == ["88"]),
        "{listed:?}"
    );
    ct.json::<CgparamsApply>(json!({}));
    for bad in [
        "pids.nothing",
        "../pids.max",
        "pids.max/x",
        "cgroup.procs",
        "release_agent",
        "a\nb",
    ] {
        let set = ct.try_json::<CgparamsSet>(json!({ "parameter": bad, "value": ["1"] }));
        assert!(set.is_err(), "{bad:?} was accepted");
    }
    let listed = ct.json::<CgparamsList>(json!({})).parameters;
    assert!(
        listed.iter().all(|p| p.parameter == "pids.max"),
        "{listed:?}"
    );
    ct.json::<CgparamsUnset>(json!({ "parameter": "pids.max" }));
    assert!(ct.json::<CgparamsList>(json!({})).parameters.is_empty());
    ct.json::<CgparamsReplace>(json!({ "parameters": listed }));
    ct.json::<osctl_api::container::Restart>(json!({ "mode": "kill" }));
    assert_eq!(ct.cgroup_file("pids.max").unwrap(), "88");
    ct.delete();
    host.assert_clean();
}

#[test]
fn resource_limits_hold_for_init_and_for_who_enters() {
    let host = host!();
    let ct = host.new_ct("web1");
    let limit = json!({ "limit": { "name": "nofile", "soft": "200", "hard": "300" } });
    ct.json::<PrlimitsSet>(limit);
    ct.start();
    assert_eq!(ct.sh("ulimit -S -n; ulimit -H -n"), "200\n300\n");
    let line = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        text.lines()
            .find(|l| l.starts_with("Max open files"))
            .unwrap()
            .to_owned()
    };
    assert!(
        line(ct.init_pid()).contains("300"),
        "{}",
        line(ct.init_pid())
    );
    let listed = ct.json::<PrlimitsList>(json!({})).limits;
    assert!(
        listed.iter().any(|l| l.name == "nofile" && l.soft == "200"),
        "{listed:?}"
    );
    for bad in [
        ("nothing", "1", "2"),
        ("nofile", "3", "2"),
        ("nofile", "-1", "5"),
        ("nofile", "x", "5"),
    ] {
        let limit = json!({ "limit": { "name": bad.0, "soft": bad.1, "hard": bad.2 } });
        assert!(ct.try_json::<PrlimitsSet>(limit).is_err(), "{bad:?}");
    }
    ct.json::<PrlimitsUnset>(json!({ "limit": "nofile" }));
    ct.json::<osctl_api::container::Restart>(json!({ "mode": "kill" }));
    assert_ne!(ct.sh("ulimit -H -n"), "300\n");
    ct.delete();
    host.assert_clean();
}

#[test]
fn devices_are_added_changed_and_removed_live() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    // The host's /dev/fuse, which no other device of a container has.
    let add =
        json!({ "kind": "char", "major": "10", "minor": "229", "mode": "rw", "name": "/dev/fuse" });
    ct.json::<DevicesAdd>(add.clone());
    assert_eq!(ct.sh("stat -c %t:%T /dev/fuse"), "a:e5\n");
    let opens = |ct: &Ct<'_>| ct.exec(&["sh", "-c", "exec 3<>/dev/fuse"]).success();
    let there = fs::metadata("/dev/fuse").is_ok();
    assert!(!there || opens(&ct), "the device can't be opened");
    let listed = ct.json::<DevicesList>(json!({})).devices;
    assert!(
        listed
            .iter()
            .any(|d| d.name.as_deref() == Some("/dev/fuse") && !d.inherited),
        "{listed:?}"
    );
    ct.json::<DevicesChmod>(json!({ "kind": "char", "major": "10", "minor": "229", "mode": "r" }));
    assert!(!there || !opens(&ct), "it can still be written");
    ct.json::<DevicesDelete>(json!({ "kind": "char", "major": "10", "minor": "229" }));
    assert!(
        !ct.exec(&["test", "-e", "/dev/fuse"]).success(),
        "the node is still there"
    );
    ct.json::<DevicesAdd>(add);
    ct.json::<osctl_api::container::Restart>(json!({ "mode": "kill" }));
    assert_eq!(ct.sh("stat -c %t:%T /dev/fuse"), "a:e5\n");
    for bad in [
        json!({ "kind": "char", "major": "x", "minor": "1", "mode": "rw" }),
        json!({ "kind": "char", "major": "1", "minor": "1", "mode": "q" }),
        json!({ "kind": "char", "major": "1", "minor": "1", "mode": "rw", "name": "/etc/passwd" }),
        json!({ "kind": "char", "major": "1", "minor": "1", "mode": "rw", "name": "/dev/../etc/x" }),
        json!({ "kind": "char", "major": "-1", "minor": "1", "mode": "rw" }),
    ] {
        assert!(ct.try_json::<DevicesAdd>(bad.clone()).is_err(), "{bad}");
    }
    ct.delete();
    host.assert_clean();
}

#[test]
fn another_owner_takes_no_time_and_changes_no_file() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    ct.sh("echo mine > /root/file; chown 1000:100 /root/file");
    let first = ct.show();
    assert_eq!(
        ct.try_json::<Chown>(json!({ "user": "bob" }))
            .unwrap_err()
            .code,
        Code::InvalidState
    );
    ct.kill();
    assert_eq!(
        ct.try_json::<Chown>(json!({ "user": "bob" }))
            .unwrap_err()
            .code,
        Code::NotFound
    );
    host.json::<user::New>(json!({ "user": "bob" }));
    ct.json::<Chown>(json!({ "user": "bob" }));
    let second = ct.show();
    assert_ne!(first.uid_map[0].host_id, second.uid_map[0].host_id);
    ct.start();
    assert_eq!(
        ct.sh("stat -c %u:%g /root/file; cat /root/file; id -u"),
        "1000:100\nmine\n0\n"
    );
    let uid = processes::status(ct.init_pid(), "Uid").unwrap();
    assert!(
        uid.starts_with(&second.uid_map[0].host_id.to_string()),
        "{uid}"
    );
    let map = fs::read_to_string(format!("/proc/{}/uid_map", ct.init_pid())).unwrap();
    assert!(
        map.contains(&second.uid_map[0].host_id.to_string()),
        "{map}"
    );
    host.assert_clean();
    ct.delete();
    // A user that was made by hand stays.
    assert!(
        host.try_json::<user::Show>(json!({ "user": "bob" }))
            .is_ok()
    );
    host.json::<user::Delete>(json!({ "user": "bob" }));
    host.assert_clean();
}

#[test]
fn a_renamed_container_is_the_same_one() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.set(json!({ "attrs": { "a:b": "c" }, "hostname": "web.example.com" }))
        .start();
    ct.sh("echo mine > /file");
    ct.kill();
    ct.json::<Move>(json!({ "new_id": "web2" }));
    assert_eq!(host.ids(), ["web2"]);
    let ct = host.ct("web2");
    ct.start();
    assert_eq!(ct.sh("cat /file; hostname"), "mine\nweb\n");
    assert_eq!(ct.show().attrs["a:b"], "c");
    host.assert_clean();
    host.new_ct("web1");
    let taken = host
        .ct("web1")
        .try_json::<Move>(json!({ "new_id": "web2" }));
    assert_eq!(taken.unwrap_err().code, Code::AlreadyExists);
    host.ct("web1").delete();
    ct.delete();
    host.assert_clean();
}

#[test]
fn hostname_and_resolvers_are_written_at_the_start_and_live() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.json::<osctl_api::container::Set>(
        json!({ "distribution": { "name": "debian", "version": "trixie" } }),
    );
    ct.set(json!({ "hostname": "web.example.com", "dns_resolvers": ["192.0.2.1", "2001:db8::1"] }));
    ct.start();
    assert!(ct.show().warnings.is_empty(), "{:?}", ct.show().warnings);
    assert_eq!(ct.sh("hostname; cat /etc/hostname"), "web\nweb\n");
    assert!(ct.sh("cat /etc/hosts").contains("web.example.com web"));
    assert!(ct.sh("cat /etc/hosts").contains("localhost"));
    let resolv = ct.sh("cat /etc/resolv.conf");
    assert!(
        resolv.contains("nameserver 192.0.2.1\nnameserver 2001:db8::1"),
        "{resolv}"
    );
    ct.set(json!({ "hostname": "new.example.org", "dns_resolvers": ["192.0.2.9"] }));
    assert_eq!(ct.sh("hostname; cat /etc/hostname"), "new\nnew\n");
    let hosts = ct.sh("cat /etc/hosts");
    assert!(
        hosts.contains("new.example.org new") && !hosts.contains("web.example.com"),
        "{hosts}"
    );
    assert!(ct.sh("cat /etc/resolv.conf").contains("192.0.2.9"));
    // A guest that takes away the right to write keeps its file.
    ct.sh("echo mine > /etc/resolv.conf; chmod 444 /etc/resolv.conf");
    ct.set(json!({ "dns_resolvers": ["192.0.2.10"] }));
    assert_eq!(ct.sh("cat /etc/resolv.conf"), "mine\n");
    ct.json::<Unset>(json!({ "settings": ["hostname", "dns_resolvers"] }));
    ct.json::<osctl_api::container::Restart>(json!({ "mode": "kill" }));
    assert!(!ct.sh("cat /etc/hosts").contains("example.org"));
    ct.delete();
    host.assert_clean();
}

#[test]
fn id_maps_never_overlap_whoever_makes_them_at_once_on_whichever_pool() {
    let host = host!();
    host.install("zwei");
    host.minimal();
    std::thread::scope(|scope| {
        for n in 0..12 {
            let host = &host;
            scope.spawn(move || {
                let pool = ["tank", "zwei"][n % 2];
                host.try_ct_from(&format!("{pool}:ct{n}"), &host.minimal())
                    .unwrap();
                host.json::<user::New>(json!({ "user": format!("{pool}:user{n}") }));
            });
        }
    });
    let mut spans: Vec<(u32, u32)> = host
        .call(&user::List::default())
        .users
        .iter()
        .flat_map(|u| u.uid_map.iter().map(|m| (m.host_id, m.host_id + m.count)))
        .collect();
    assert_eq!(spans.len(), 24);
    spans.sort_unstable();
    assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0), "{spans:?}");
    let taken = spans[3].0;
    let map =
        |host_id: u32, count: u32| json!([{ "ns_id": 0, "host_id": host_id, "count": count }]);
    let wanted = [
        (taken, 65536),
        (taken + 100, 65536),
        (taken - 100, 65536),
        (taken, 1),
        (0, 65536),
        (1000, 10),
    ];
    for (host_id, count) in wanted {
        let new = json!({ "user": "greedy", "map": map(host_id, count) });
        let made = host.try_json::<user::New>(new);
        assert!(made.is_err(), "{count} ids from {host_id} were given twice");
    }
    for id in host.call(&osctl_api::container::List::default()).containers {
        host.ct(&format!("{}:{}", id.pool, id.id)).delete();
    }
    host.assert_clean();
}

#[test]
fn settings_survive_and_a_file_that_changed_behind_the_daemon_is_not_needed() {
    let host = host!();
    let ct = host.new_ct("web1");
    let settings = json!({
        "autostart": { "priority": 5, "delay": 3 }, "nesting": true, "hostname": "a.b", "init_cmd": ["/sbin/init", "x"],
        "dns_resolvers": ["192.0.2.1"], "cpu_limit": { "percent": 30 }, "attrs": { "a:b": "c", "d:e": "f" },
    });
    ct.set(settings);
    let before = serde_json::to_value(ct.show()).unwrap();
    host.kill_daemon();
    // Started with the configuration of old: it must not start by itself here.
    host.start_daemon();
    ct.await_state(State::Running);
    ct.kill();
    let mut after = serde_json::to_value(ct.show()).unwrap();
    after.as_object_mut().unwrap().remove("last_exit");
    assert_eq!(after, before);
    ct.delete();
    host.assert_clean();
}
