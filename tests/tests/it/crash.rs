//! A daemon that dies in the middle of anything: the next start finds nothing lost and nothing
//! left over.

mod archives;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use osctl_api::container::{Chown, Move, State};
use osctl_api::user;
use osctl_tests::daemon::Start;
use osctl_tests::failpoints::*;
use osctl_tests::random::Random;
use osctl_tests::{Ct, Host, Rootfs, host, wait};
use serde_json::json;

/// The fail points in the sources.
fn in_sources(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            in_sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("failpoint.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for part in text.split("failpoint!(\"").skip(1) {
                found.insert(part.split('"').next().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn every_fail_point_in_the_sources_has_a_case() {
    let mut found = BTreeSet::new();
    in_sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../osctld/src"),
        &mut found,
    );
    let all = [
        CREATE, START, ATTACH, STOP, DETACH, NETIF, DELETE, CHOWN, RENAME, COPY, MOVE, STREAMS,
        REINSTALL, SUCCESSION, CONDEMN, INSTALL, SNAPSHOTS, MOUNTS, EXPORT, IMPORT, ARCHIVES, BOOT,
        DATASETS,
    ];
    let cases: BTreeSet<String> = all.concat().into_iter().map(str::to_owned).collect();
    let without: Vec<_> = found.difference(&cases).collect();
    assert!(
        without.is_empty(),
        "fail points without a case: {without:?}"
    );
    let gone: Vec<_> = cases.difference(&found).collect();
    assert!(gone.is_empty(), "cases without a fail point: {gone:?}");
}

/// Kills the daemon at each of `points`, every time that `operation` reaches it, and checks what
/// the next daemon makes of it with `check`.
fn dies_at(
    points: &[&str],
    prepare: impl Fn(&Host),
    operation: impl Fn(&Host) -> bool,
    check: impl Fn(&Host, &str),
) {
    if !cfg!(debug_assertions) {
        osctl_tests::skip!("fail points are in debug builds only");
    }
    dies_on(host!(), points, prepare, operation, check);
}

/// As [`dies_at`], on a host that is there.
fn dies_on(
    host: Host,
    points: &[&str],
    prepare: impl Fn(&Host),
    operation: impl Fn(&Host) -> bool,
    check: impl Fn(&Host, &str),
) {
    let bystander = host.new_ct("bystander");
    bystander.start();
    let init = bystander.init_pid();
    let stopped = host.new_ct("stopped");
    for point in points {
        for hit in 1.. {
            let at = format!("{point}:{hit}");
            println!("{at}");
            prepare(&host);
            host.stop_daemon();
            let started = host.try_start_daemon(&Start::failing_at(&at));
            // A point that every start reaches is no matter of this operation.
            if started.is_ok() {
                let done = operation(&host);
                if done {
                    host.kill_daemon();
                } else {
                    assert!(!host.daemon_ended().success(), "{at}: it fails but lives");
                }
                host.start_daemon();
                check(&host, &at);
                println!("  checked");
                host.assert_clean();
                assert_eq!(
                    bystander.init_pid(),
                    init,
                    "{at}: the bystander was restarted"
                );
                assert_eq!(stopped.state(), State::Stopped, "{at}");
                if done {
                    assert!(hit > 1, "{point} was not reached");
                    break;
                }
            } else {
                host.start_daemon();
                host.assert_clean();
                assert!(hit < 50, "{at} is reached at every start");
            }
        }
    }
    bystander.delete();
    stopped.delete();
    host.assert_clean();
}

/// Uses the container in every way, then removes it.
#[track_caller]
fn works(ct: &Ct<'_>, at: &str) {
    if ct.state() == State::Stopped {
        ct.start();
    }
    assert_eq!(ct.sh("echo $((6*7))"), "42\n", "{at}");
    ct.kill();
    ct.try_delete(false).unwrap_or_else(|e| panic!("{at}: {e}"));
}

/// Gives a new container a routed interface.
fn networked_ct(host: &Host) {
    let ct = host.new_ct("new");
    host.osctl(&["ct", "netif", "new", "routed", &ct.id, "eth0"]);
    host.osctl(&["ct", "netif", "ip", "add", &ct.id, "eth0", "192.0.2.10"]);
}

/// Whether an address answers the host.
fn answers(host: &Host, address: &str) -> bool {
    let mut ping = std::process::Command::new("busybox");
    ping.args(["ping", "-c", "1", "-W", "5", address]);
    let out = host.in_host_ns(|| osctl_tests::processes::output(&mut ping));
    out.status.success()
}

/// What is left of it goes with it.
#[track_caller]
fn network_works(host: &Host, at: &str) {
    let ct = host.ct("new");
    if ct.state() == State::Stopped {
        ct.start();
    }
    assert!(answers(host, "192.0.2.10"), "{at}: it does not answer");
    ct.try_delete(true).unwrap_or_else(|e| panic!("{at}: {e}"));
    let mut list = std::process::Command::new("nft");
    list.args(["list", "ruleset"]);
    let rules = host.in_host_ns(|| osctl_tests::processes::output(&mut list));
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(!rules.contains("new-"), "{at}: {rules}");
}

#[test]
fn a_daemon_that_dies_while_it_starts_a_network_leaves_nothing_of_it() {
    if !cfg!(debug_assertions) {
        osctl_tests::skip!("fail points are in debug builds only");
    }
    dies_on(
        osctl_tests::networked_host!(),
        ATTACH,
        networked_ct,
        |host| host.ct("new").try_start().is_ok(),
        network_works,
    );
}

#[test]
fn a_daemon_that_dies_while_it_removes_a_network_leaves_nothing_of_it() {
    if !cfg!(debug_assertions) {
        osctl_tests::skip!("fail points are in debug builds only");
    }
    dies_on(
        osctl_tests::networked_host!(),
        DETACH,
        |host| {
            networked_ct(host);
            host.ct("new").start();
        },
        |host| host.ct("new").try_stop("kill", 10).is_ok(),
        network_works,
    );
}

#[test]
fn a_daemon_that_dies_while_it_changes_a_network_leaves_what_was_or_what_is_to_be() {
    if !cfg!(debug_assertions) {
        osctl_tests::skip!("fail points are in debug builds only");
    }
    dies_on(
        osctl_tests::networked_host!(),
        &[NETIF, &["store.sync-dir"]].concat(),
        |host| {
            networked_ct(host);
            host.ct("new").start();
        },
        |host| {
            let changes = [
                "ip add new eth0 192.0.2.11",
                "new routed new lan0",
                "rename new eth0 wan0",
                "del new lan0",
            ];
            changes.iter().all(|change| {
                let words = "ct netif ".to_owned() + change;
                let words: Vec<&str> = words.split(' ').collect();
                host.try_osctl(&words).status.success()
            })
        },
        |host, at| {
            let text = host.osctl(&["--json", "ct", "netif", "ls", "new"]);
            let netifs: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            let mut wanted: Vec<&str> = netifs.iter().filter_map(|n| n["veth"].as_str()).collect();
            let links = host.network().host.links();
            let ours = links.iter().filter(|l| l.alias.starts_with("osctl/"));
            let mut there: Vec<&str> = ours.map(|l| l.name.as_str()).collect();
            wanted.sort();
            there.sort();
            assert_eq!(there, wanted, "{at}");
            network_works(host, at);
        },
    );
}

fn remove_all(host: &Host, ids: &[&str]) {
    for id in ids {
        if host.ids().iter().any(|i| i == id) {
            host.ct(id).delete();
        }
    }
}

#[test]
fn a_daemon_that_dies_while_it_creates_leaves_a_container_or_nothing() {
    let images = std::sync::atomic::AtomicU32::new(0);
    dies_at(
        CREATE,
        |host| {
            // An image that was not seen before is unpacked.
            let number = images.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let rootfs = Rootfs::minimal().file("number", 0o644, number.to_string().as_bytes());
            rootfs.write(&host.path("new.tar"));
        },
        |host| host.try_ct_from("new", &host.path("new.tar")).is_ok(),
        |host, at| {
            if host.ids().iter().any(|id| id == "new") {
                works(&host.ct("new"), at);
            }
            // The name is free again.
            host.assert_clean();
            let again = host.new_ct("new");
            again.delete();
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_starts_leaves_a_container_that_runs_or_not() {
    dies_at(
        START,
        |host| {
            remove_all(host, &["new"]);
            host.new_ct("new");
        },
        |host| host.ct("new").try_start().is_ok(),
        |host, at| {
            let ct = host.ct("new");
            wait::until("it runs or not", || {
                matches!(ct.state(), State::Running | State::Stopped)
            });
            host.assert_clean();
            works(&ct, at);
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_stops_leaves_a_container_that_runs_or_not() {
    dies_at(
        STOP,
        |host| {
            remove_all(host, &["new"]);
            host.new_ct("new").start();
        },
        |host| host.ct("new").try_stop("kill", 30).is_ok(),
        |host, at| {
            let ct = host.ct("new");
            wait::until("it runs or not", || {
                matches!(ct.state(), State::Running | State::Stopped)
            });
            host.assert_clean();
            works(&ct, at);
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_deletes_leaves_a_container_or_nothing() {
    dies_at(
        DELETE,
        |host| {
            remove_all(host, &["new"]);
            host.new_ct("new").start();
        },
        |host| host.ct("new").try_delete(true).is_ok(),
        |host, at| {
            if host.ids().iter().any(|id| id == "new") {
                works(&host.ct("new"), at);
            }
            host.assert_clean();
            let again = host.new_ct("new");
            again.delete();
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_changes_the_owner_leaves_one_owner() {
    dies_at(
        CHOWN,
        |host| {
            remove_all(host, &["new"]);
            if host
                .try_json::<user::Show>(json!({ "user": "other" }))
                .is_err()
            {
                host.json::<user::New>(json!({ "user": "other" }));
            }
            host.new_ct("new");
        },
        |host| {
            host.ct("new")
                .try_json::<Chown>(json!({ "user": "other" }))
                .is_ok()
        },
        |host, at| {
            let ct = host.ct("new");
            let shown = ct.show();
            let owner = host.json::<user::Show>(json!({ "user": shown.user }));
            assert_eq!(shown.uid_map, owner.uid_map, "{at}");
            works(&ct, at);
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_changes_mounts_leaves_what_was_or_what_is_to_be() {
    use osctl_api::mounts::{Delete, List, New, Register};
    let share = |host: &Host, name: &str| {
        let path = host.path(name);
        std::fs::create_dir_all(&path).unwrap();
        json!({ "fs": path, "mountpoint": format!("/{name}"), "type": "bind", "opts": "create=dir" })
    };
    dies_at(
        MOUNTS,
        |host| {
            remove_all(host, &["new"]);
            let ct = host.new_ct("new");
            ct.start();
            ct.json::<New>(share(host, "old"));
        },
        |host| {
            let ct = host.ct("new");
            ct.try_json::<New>(share(host, "young")).is_ok()
                && ct.try_json::<Register>(share(host, "brief")).is_ok()
                && ct
                    .try_json::<Delete>(json!({ "mountpoint": "/old" }))
                    .is_ok()
        },
        |host, at| {
            let ct = host.ct("new");
            for mount in ct.json::<List>(json!({})).mounts {
                let place = mount.mountpoint.as_str();
                assert!(
                    ["/old", "/young", "/brief"].contains(&place),
                    "{at}: {place}"
                );
                ct.json::<Delete>(json!({ "mountpoint": place }));
            }
            assert_eq!(
                ct.sh("grep -c -e /old -e /young /proc/mounts; true"),
                "0\n",
                "{at}"
            );
            works(&ct, at);
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_renames_leaves_one_of_the_two_names() {
    dies_at(
        RENAME,
        |host| {
            remove_all(host, &["new", "newer"]);
            let ct = host.new_ct("new");
            ct.set(json!({ "attrs": { "a:b": "kept" } }));
        },
        |host| {
            host.ct("new")
                .try_json::<Move>(json!({ "new_id": "newer" }))
                .is_ok()
        },
        |host, at| {
            let ids = host.ids();
            let names: Vec<_> = ids.iter().filter(|id| id.starts_with("new")).collect();
            assert_eq!(names.len(), 1, "{at}: {names:?}");
            let ct = host.ct(names[0]);
            assert_eq!(ct.show().attrs["a:b"], "kept", "{at}");
            works(&ct, at);
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_reinstalls_leaves_the_old_files_or_the_new_ones() {
    dies_at(
        REINSTALL,
        |host| {
            remove_all(host, &["new"]);
            let ct = host.new_ct("new");
            ct.set(json!({ "attrs": { "a:b": "kept" } }));
            std::fs::write(ct.rootfs().join("old"), "").unwrap();
        },
        |host| {
            let tree = host.path("tree");
            if !tree.exists() {
                let made = Rootfs::minimal().file("fresh", 0o644, b"");
                made.write(&host.path("fresh.tar"));
                std::fs::create_dir(&tree).unwrap();
                let mut unpack = std::process::Command::new("tar");
                unpack
                    .arg("-xpf")
                    .arg(host.path("fresh.tar"))
                    .arg("-C")
                    .arg(&tree);
                assert!(unpack.status().unwrap().success());
            }
            let call = json!({ "id": "new", "from_archive": tree });
            host.try_json::<osctl_api::copies::Reinstall>(call).is_ok()
        },
        |host, at| {
            let ct = host.ct("new");
            assert_eq!(ct.show().attrs["a:b"], "kept", "{at}");
            let has = |name: &str| ct.rootfs().join(name).exists();
            assert_ne!(has("old"), has("fresh"), "{at}");
            works(&ct, at);
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_boots_an_image_leaves_the_containers_own_files() {
    for impermanent in [false, true] {
        dies_at(
            BOOT,
            |host| {
                remove_all(host, &["new"]);
                let ct = host.new_ct("new");
                ct.set(json!({ "impermanence": impermanent }));
                std::fs::write(ct.rootfs().join("mine"), "kept").unwrap();
            },
            |host| {
                let ct = host.ct("new");
                let call = json!({ "id": "new", "from_archive": host.minimal() });
                let ran = match impermanent {
                    true => ct.try_start().is_ok(),
                    false => host.try_json::<osctl_api::copies::Boot>(call).is_ok(),
                };
                ran && ct.try_stop("kill", 10).is_ok()
            },
            |host, at| {
                let ct = host.ct("new");
                wait::until("it has stopped", || ct.state() == State::Stopped);
                let names = std::fs::read_dir(host.pool_dir(osctl_tests::host::POOL).join("ct"));
                let names = names.unwrap().flatten().map(|e| e.file_name());
                let of_it = |n: &std::ffi::OsString| n.to_str().unwrap().starts_with("new");
                assert_eq!(names.filter(of_it).count(), 1, "{at}");
                assert!(!ct.rootfs().join("lost").exists(), "{at}");
                ct.start();
                assert_eq!(ct.sh("cat /mine"), "kept", "{at}");
                works(&ct, at);
            },
        );
    }
}

/// A container that runs, with a file of its own.
fn running(host: &Host, id: &str) {
    let ct = host.new_ct(id);
    std::fs::write(ct.rootfs().join("mine"), "kept").unwrap();
    ct.start();
}

#[test]
fn a_daemon_that_dies_while_it_copies_leaves_a_copy_or_none_and_the_original_running() {
    dies_at(
        COPY,
        |host| {
            remove_all(host, &["new"]);
            if !host.ids().iter().any(|id| id == "original") {
                running(host, "original");
            }
        },
        |host| {
            let copy = json!({ "id": "original", "new_id": "new" });
            host.try_json::<osctl_api::copies::Copy>(copy).is_ok()
        },
        |host, at| {
            let original = host.ct("original");
            original.await_state(State::Running);
            assert_eq!(original.sh("cat /mine"), "kept", "{at}");
            if host.ids().iter().any(|id| id == "new") {
                let copy = host.ct("new");
                copy.start();
                assert_eq!(copy.sh("cat /mine"), "kept", "{at}");
                works(&copy, at);
            }
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_moves_to_another_pool_leaves_it_running_on_one_of_them() {
    dies_at(
        MOVE,
        |host| {
            let pools = host.call(&osctl_api::pool::List::default()).pools;
            if pools.len() == 1 {
                host.install("zwei");
            }
            running(host, "new");
        },
        |host| {
            host.ct("new")
                .try_json::<Move>(json!({ "new_id": "zwei:new" }))
                .is_ok()
        },
        |host, at| {
            let settled = wait::find(wait::SOON, || {
                let all = host.call(&osctl_api::container::List::default()).containers;
                let found: Vec<_> = all.iter().filter(|c| c.id.as_str() == "new").collect();
                match found.as_slice() {
                    [one] if one.state == State::Running => Some(format!("{}:new", one.pool)),
                    _ => None,
                }
            });
            let id = settled.unwrap_or_else(|| panic!("{at}: {:?}", host.ids()));
            let ct = host.ct(&id);
            assert_eq!(ct.sh("cat /mine"), "kept", "{at}");
            works(&ct, at);
        },
    );
}

#[test]
fn a_daemon_that_dies_while_it_makes_a_pool_leaves_a_pool_or_none() {
    let gone = |host: &Host| {
        let _ = host.try_json::<osctl_api::pool::Export>(json!({ "pool": "zwei", "force": true }));
        let _ = host.try_json::<osctl_api::pool::Uninstall>(json!({ "pool": "zwei" }));
        let _ = std::fs::remove_dir_all(host.pool_dir("zwei"));
    };
    let install = |host: &Host| {
        let dir = host.pool_dir("zwei");
        host.try_json::<osctl_api::pool::Install>(json!({ "pool": "zwei", "dir": dir }))
    };
    dies_at(
        INSTALL,
        gone,
        |host| install(host).is_ok(),
        |host, at| {
            let pools = host.call(&osctl_api::pool::List::default()).pools;
            if !pools.iter().any(|p| p.name.as_str() == "zwei") {
                install(host).unwrap_or_else(|e| panic!("{at}: {e}"));
            }
            let image = host.minimal();
            let ct = host.try_ct_from("zwei:new", &image);
            ct.unwrap_or_else(|e| panic!("{at}: {e}")).delete();
        },
    );
}

/// Rounds of the random loop: `OSCTL_TEST_ROUNDS`.
fn rounds() -> u64 {
    let wanted = std::env::var("OSCTL_TEST_ROUNDS").ok();
    wanted.and_then(|t| t.parse().ok()).unwrap_or(200)
}

/// What was asked for in a round, as far as it decides which containers there have to be.
#[derive(Debug, Default)]
struct Asked {
    /// The daemon said that it was made.
    made: BTreeSet<String>,
    /// May be gone, or have another name.
    gone: BTreeSet<String>,
}

fn random_step(host: &Host, random: &mut Random, asked: &Mutex<Asked>) {
    let any = |random: &mut Random| format!("ct{}", random.below(6));
    let id = any(random);
    let ct = host.ct(&id);
    let note = |what: fn(&mut Asked) -> &mut BTreeSet<String>| {
        what(&mut asked.lock().unwrap()).insert(id.clone());
    };
    // Most of these fail, for good reasons: the state is whatever it is.
    match random.below(10) {
        0..=2 => {
            if host.try_ct_from(&id, &host.minimal()).is_ok() {
                note(|a| &mut a.made);
            }
        }
        3 | 4 => drop(ct.try_start()),
        5 => drop(ct.try_stop("kill", 10)),
        6 => {
            note(|a| &mut a.gone);
            drop(ct.try_delete(true));
        }
        7 => {
            note(|a| &mut a.gone);
            let to = any(random);
            drop(ct.try_json::<Move>(json!({ "new_id": to })));
        }
        8 => drop(ct.try_json::<Chown>(json!({ "user": "other" }))),
        _ => drop(ct.try_set(json!({ "attrs": { "a:b": random.number().to_string() } }))),
    }
}

#[test]
fn a_daemon_that_is_killed_at_any_time_loses_nothing_and_leaves_nothing() {
    let host = host!();
    let bystander = host.new_ct("bystander");
    bystander.start();
    let init = bystander.init_pid();
    host.json::<user::New>(json!({ "user": "other" }));
    let seed = std::env::var("OSCTL_TEST_SEED").ok();
    let seed = seed.and_then(|t| t.parse().ok()).unwrap_or(517);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for round in 0..rounds() {
        let delay = Duration::from_micros(random.below(80_000));
        let seeds: Vec<u64> = (0..3).map(|_| random.number()).collect();
        let before: BTreeSet<String> = host.ids().into_iter().collect();
        let asked = Mutex::new(Asked::default());
        std::thread::scope(|scope| {
            for seed in &seeds {
                let (host, asked) = (&host, &asked);
                scope.spawn(move || {
                    let mut random = Random::new(*seed);
                    for _ in 0..4 {
                        random_step(host, &mut random, asked);
                    }
                });
            }
            wait::pause(delay);
            host.kill_daemon();
        });
        host.start_daemon();
        host.assert_clean();
        assert_eq!(bystander.init_pid(), init, "round {round}");
        let asked = asked.into_inner().unwrap();
        let now: BTreeSet<String> = host.ids().into_iter().collect();
        for id in before
            .union(&asked.made)
            .filter(|id| !asked.gone.contains(*id))
        {
            assert!(
                now.contains(id),
                "round {round}: {id} is lost: {asked:?}, {now:?}"
            );
        }
        for id in &now {
            assert_ne!(host.ct(id).state(), State::Error, "round {round}: {id}");
        }
    }
    for id in host.ids() {
        let ct = host.ct(&id);
        ct.start();
        assert_eq!(ct.sh("echo $((6*7))"), "42\n", "{id}");
        ct.delete();
    }
    host.assert_clean();
}
