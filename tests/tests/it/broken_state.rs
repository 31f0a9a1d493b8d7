//! State files that are damaged: the daemon starts, says which and why, and serves the rest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use osctl_api::container::State;
use osctl_tests::{Host, host, networked_host, processes};
use serde_json::{Value, json};

fn problems(host: &Host) -> Vec<String> {
    let pools = host.call(&osctl_api::pool::List::default()).pools;
    pools.into_iter().flat_map(|p| p.problems).collect()
}

/// What a file becomes, and how.
type Damage = (&'static str, fn(&Path));

/// Ways to damage a file.
fn damages() -> Vec<Damage> {
    fn edit(path: &Path, change: impl Fn(&mut Value)) {
        let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        change(&mut value);
        fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
    }
    vec![
        ("empty", |p| fs::write(p, "").unwrap()),
        ("truncated", |p| {
            let bytes = fs::read(p).unwrap();
            fs::write(p, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("of a future version", |p| {
            edit(p, |v| v["version"] = json!(9999))
        }),
        ("binary", |p| fs::write(p, [0u8, 255, 254, 10]).unwrap()),
        ("of another shape", |p| fs::write(p, "[1,2,3]").unwrap()),
        ("deep", |p| fs::write(p, "[".repeat(100_000)).unwrap()),
        ("huge", |p| {
            let file = fs::File::create(p).unwrap();
            file.set_len(10 << 30).unwrap();
        }),
        ("a directory", |p| {
            fs::remove_file(p).unwrap();
            fs::create_dir(p).unwrap();
        }),
        ("a dangling symlink", |p| {
            fs::remove_file(p).unwrap();
            std::os::unix::fs::symlink("/does/not/exist", p).unwrap();
        }),
        ("a FIFO", |p| {
            fs::remove_file(p).unwrap();
            nix::unistd::mkfifo(p, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        }),
        ("a device that never ends", |p| {
            fs::remove_file(p).unwrap();
            std::os::unix::fs::symlink("/dev/zero", p).unwrap();
        }),
    ]
}

fn restore(path: &Path, bytes: &[u8]) {
    if path.is_dir() {
        fs::remove_dir(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_container_whose_configuration_is_damaged_is_reported_and_left_alone() {
    let host = host!();
    let good = host.new_ct("good");
    let bad = host.new_ct("bad");
    good.start();
    bad.start();
    let init = bad.init_pid();
    let path = host.pool_dir("tank").join("conf/ct/bad.json");
    let bytes = fs::read(&path).unwrap();
    for (what, damage) in damages() {
        host.stop_daemon();
        damage(&path);
        host.start_daemon();
        let told = problems(&host);
        assert!(told.iter().any(|p| p.contains("bad")), "{what}: {told:?}");
        assert_eq!(good.sh("echo fine"), "fine\n", "{what}");
        assert!(
            osctl_tests::processes::Stat::of(init).is_some(),
            "{what}: it was ended"
        );
        assert!(bad.rootfs().exists(), "{what}: its data was removed");
        // Its name and its ids stay taken.
        assert!(
            host.try_ct_from("bad", &host.minimal()).is_err(),
            "{what}: it was overwritten"
        );
        let other = host.new_ct("other");
        assert_ne!(other.show().uid_map, good.show().uid_map);
        other.delete();
        restore(&path, &bytes);
        host.stop_daemon();
        host.start_daemon();
        assert_eq!(problems(&host), Vec::<String>::new(), "{what}");
        assert_eq!(
            (bad.state(), bad.init_pid()),
            (State::Running, init),
            "{what}"
        );
    }
    bad.delete();
    good.delete();
    host.assert_clean();
}

#[test]
fn a_container_that_is_not_loaded_keeps_its_id_and_its_data() {
    let host = host!();
    host.install("zwei");
    let lost = host.new_ct("zwei:web1");
    let mine = host.pool_dir("zwei").join("ct/web1/private/mine");
    fs::write(&mine, "of somebody else").unwrap();
    let here = host.new_ct("web1");
    let kind = ["--distribution", "other", "--version", "1"];
    let new = [&["ct", "new", "--skip-image"][..], &kind, &["zwei:web1"]].concat();
    let conf = host.pool_dir("zwei").join("conf/ct/web1.json");
    let bytes = fs::read(&conf).unwrap();
    type Damage = fn(&Path);
    let damages: [Damage; 2] = [
        |p| fs::write(p, "{").unwrap(),
        |p| fs::remove_file(p).unwrap(),
    ];
    for damage in damages {
        host.stop_daemon();
        damage(&conf);
        host.start_daemon();
        let taken = |args: &[&str]| {
            let out = host.try_osctl(args);
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(!out.status.success(), "{args:?}");
            assert!(said.contains("which is not loaded"), "{args:?}: {said}");
            assert_eq!(fs::read_to_string(&mine).unwrap(), "of somebody else");
        };
        taken(&["ct", "cp", "tank:web1", "zwei:web1"]);
        taken(&["ct", "mv", "tank:web1", "zwei:web1"]);
        taken(&new);
        assert_eq!(host.ids(), ["web1"]);
        restore(&conf, &bytes);
    }
    host.stop_daemon();
    host.start_daemon();
    // Data may be lost, and what is left of the container is not to be written over either.
    let (data, away) = (host.pool_dir("zwei").join("ct/web1"), host.path("away"));
    host.stop_daemon();
    fs::rename(&data, &away).unwrap();
    fs::write(&conf, "{").unwrap();
    host.start_daemon();
    assert!(!host.try_osctl(&new).status.success());
    assert_eq!(fs::read(&conf).unwrap(), b"{");
    host.stop_daemon();
    fs::rename(&away, &data).unwrap();
    restore(&conf, &bytes);
    host.start_daemon();
    lost.delete();
    here.delete();
    host.assert_clean();
}

#[test]
fn a_user_a_group_or_an_id_range_that_is_damaged_is_reported_and_the_rest_served() {
    let host = host!();
    host.json::<osctl_api::user::New>(json!({ "user": "bob" }));
    host.json::<osctl_api::group::New>(json!({ "group": "/special" }));
    let good = host.new_ct("good");
    let conf = host.pool_dir("tank").join("conf");
    let mut files: Vec<PathBuf> = vec![conf.join("user/bob.json"), conf.join("user/good.json")];
    for dir in ["group", "id-range"] {
        files.extend(
            fs::read_dir(conf.join(dir))
                .unwrap()
                .flatten()
                .map(|e| e.path()),
        );
    }
    for path in files {
        let bytes = fs::read(&path).unwrap();
        for (what, damage) in damages().into_iter().take(4) {
            let what = format!("{} {what}", path.file_name().unwrap().display());
            host.stop_daemon();
            damage(&path);
            host.start_daemon();
            assert!(!problems(&host).is_empty(), "{what}: no problem is told");
            assert!(
                host.ids().contains(&"good".to_owned()),
                "{what}: {:?}",
                host.log()
            );
            // Whether it can start depends on what is damaged; it must not take the daemon down.
            if good.try_start().is_ok() {
                good.kill();
            }
            restore(&path, &bytes);
        }
        host.stop_daemon();
        host.start_daemon();
        assert_eq!(problems(&host), Vec::<String>::new());
    }
    good.start();
    good.delete();
    host.assert_clean();
}

#[test]
fn everything_else_that_the_daemon_reads_may_be_damaged() {
    let host = host!();
    host.install("zwei");
    let ct = host.new_ct("web1");
    ct.start();
    let init = ct.init_pid();
    let state: Vec<PathBuf> = fs::read_dir(host.run_dir().join("state"))
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_file())
        .collect();
    let history = host.pool_dir("tank").join("log/history.jsonl");
    let pool_conf: Vec<PathBuf> = fs::read_dir(host.pool_dir("tank").join("conf/pool"))
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .collect();
    let run = host.run_dir().join("pools/tank/ct/web1/spec.json");
    for path in state
        .iter()
        .chain(&pool_conf)
        .chain([&history, &run])
        .filter(|p| p.exists())
    {
        let bytes = fs::read(path).unwrap();
        for (what, damage) in damages()
            .into_iter()
            .filter(|(w, _)| *w != "of a future version")
        {
            println!("{} {what}", path.display());
            host.stop_daemon();
            damage(path);
            host.start_daemon();
            host.call(&osctl_api::daemon::Ping::default());
            host.call(&osctl_api::container::List::default());
            let _ = host.try_json::<osctl_api::daemon::History>(json!({}));
            host.stop_daemon();
            restore(path, &bytes);
            host.start_daemon();
        }
        assert_eq!(ct.init_pid(), init, "{}", path.display());
    }
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_pool_whose_directory_is_gone_does_not_keep_the_others_from_serving() {
    let host = host!();
    host.install("zwei");
    let ct = host.new_ct("web1");
    ct.start();
    host.stop_daemon();
    let away = host.path("away");
    fs::rename(host.pool_dir("zwei"), &away).unwrap();
    host.start_daemon();
    assert_eq!(ct.sh("echo fine"), "fine\n");
    let health = host.json::<osctl_api::daemon::Healthcheck>(json!({ "all": true }));
    let text = format!("{health:?}");
    assert!(text.contains("zwei"), "{text}");
    fs::rename(away, host.pool_dir("zwei")).unwrap();
    host.json::<osctl_api::pool::Import>(json!({ "pool": "zwei" }));
    host.try_ct_from("zwei:web2", &host.minimal())
        .unwrap()
        .delete();
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_configuration_file_with_a_mistake_is_refused_with_its_line() {
    let host = host!();
    host.stop_daemon();
    let path = host.path("osctld.toml");
    let good = fs::read(&path).unwrap();
    for bad in [
        "nonsense = 1\n",
        "log = 5\n",
        "[image]\nmax_bytes = -1\n",
        "\0",
        "[[[",
    ] {
        fs::write(&path, bad).unwrap();
        let started = host.try_start_daemon(&Default::default());
        assert!(started.is_err(), "{bad:?} was accepted");
        assert!(host.log().contains("osctld.toml"), "{}", host.log());
    }
    fs::write(&path, good).unwrap();
    host.start_daemon();
    host.assert_clean();
}

#[test]
fn a_container_that_is_not_known_any_more_stays_filtered_while_it_runs() {
    let host = networked_host!();
    let (lost, good) = (host.new_ct("lost"), host.new_ct("good"));
    for (ct, address) in [(&lost, "192.0.2.10"), (&good, "192.0.2.11")] {
        host.osctl(&["ct", "netif", "new", "routed", &ct.id, "eth0"]);
        host.osctl(&["ct", "netif", "ip", "add", &ct.id, "eth0", address]);
        host.osctl(&[
            "ct", "firewall", "add", &ct.id, "deny", "in", "tcp", "port", "25",
        ]);
        ct.start();
    }
    let rules = || {
        let mut nft = Command::new("nft");
        // Counters and handles differ.
        let out = host.in_host_ns(|| processes::output(nft.args(["-s", "list", "ruleset"])));
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let before = rules();
    assert!(before.contains("lost-"), "{before}");
    let path = host.pool_dir("tank").join("conf/ct/lost.json");
    let bytes = fs::read(&path).unwrap();
    host.kill_daemon();
    fs::write(&path, b"{").unwrap();
    host.start_daemon();
    assert_eq!(rules(), before);
    // Others come and go beside it.
    good.kill();
    let without = rules();
    assert!(
        without.contains("lost-") && !without.contains("good-"),
        "{without}"
    );
    good.start();
    // What is known again is looked after again.
    host.stop_daemon();
    restore(&path, &bytes);
    host.start_daemon();
    assert!(rules().contains("lost-"));
    lost.kill();
    assert!(!rules().contains("lost-"));
    good.kill();
    for ct in [lost, good] {
        ct.delete();
    }
    host.assert_clean();
}
