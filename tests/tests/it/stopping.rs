//! Stopping guests that do not want to.

use std::time::{Duration, Instant};

use osctl_api::Code;
use osctl_api::container::{Freeze, Restart, State, Unfreeze};
use osctl_api::pool::{Export, Import};
use osctl_tests::host::POOL;
use osctl_tests::session::Session;
use osctl_tests::{Ct, Rootfs, host, processes, wait};
use serde_json::json;

/// An init that nobody talks out of it.
const STUBBORN: &str = "#!/bin/sh\ntrap '' HUP INT TERM USR1 USR2 PWR 34 35 36 37 38 39\n\
    while :; do sleep 1000; done\n";

/// What a stop may take beyond its timeout on a busy machine.
const SLACK: Duration = Duration::from_secs(15);

#[test]
fn a_guest_that_ignores_a_stop_is_killed_when_its_time_is_up() {
    let host = host!();
    let ct = host.ct_of("web1", &Rootfs::minimal().init(STUBBORN));
    ct.start();
    let begun = Instant::now();
    ct.try_stop("shutdown_or_kill", 2).unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1900), "killed after {took:?}");
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
    assert_eq!(ct.state(), State::Stopped);
    host.assert_clean();
    ct.delete();
}

#[test]
fn a_stop_that_must_not_kill_fails_in_time_and_leaves_the_guest_running() {
    let host = host!();
    let ct = host.ct_of("web1", &Rootfs::minimal().init(STUBBORN));
    ct.start();
    let init = ct.init_pid();
    let begun = Instant::now();
    let error = ct.try_stop("shutdown", 1).unwrap_err();
    assert_eq!(error.code, Code::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1) + SLACK);
    assert_eq!((ct.state(), ct.init_pid()), (State::Running, init));
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_kill_gets_through_while_a_stop_waits() {
    let host = host!();
    let ct = host.ct_of("web1", &Rootfs::minimal().init(STUBBORN));
    ct.start();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ct.try_stop("shutdown_or_kill", 120));
        ct.await_state(State::Stopping);
        let begun = Instant::now();
        ct.kill();
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        let _ = first.join().unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the first stop goes on"
        );
    });
    assert_eq!(ct.state(), State::Stopped);
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_frozen_guest_is_stopped_or_refused_in_time_and_killed_at_once() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    ct.json::<Freeze>(json!({}));
    assert_eq!(ct.state(), State::Frozen);
    let begun = Instant::now();
    let _ = ct.try_stop("shutdown_or_kill", 2);
    assert!(
        begun.elapsed() < Duration::from_secs(2) + SLACK,
        "{:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    ct.kill();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(ct.state(), State::Stopped);
    host.assert_clean();
    // A guest that froze itself from the inside is no different.
    ct.start();
    let _frozen = ct.open_quiet(&[
        "sh",
        "-c",
        "mkdir /sys/fs/cgroup/x && echo 1 > /sys/fs/cgroup/x/cgroup.procs; echo 1 > /sys/fs/cgroup/x/cgroup.freeze",
    ]);
    let begun = Instant::now();
    ct.kill();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    ct.delete();
    host.assert_clean();
}

#[test]
fn frozen_processes_do_nothing_and_go_on_afterwards() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    ct.sh("(while :; do echo x >> /counter; done) >/dev/null 2>&1 </dev/null &");
    let size = || std::fs::metadata(ct.rootfs().join("counter")).map_or(0, |m| m.len());
    osctl_tests::wait::until("it counts", || size() > 0);
    ct.json::<Freeze>(json!({}));
    let frozen = size();
    osctl_tests::wait::pause(Duration::from_millis(200));
    assert_eq!(size(), frozen, "it goes on while frozen");
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(
        ct.state(),
        State::Frozen,
        "a new daemon sees that it is frozen"
    );
    ct.json::<Unfreeze>(json!({}));
    assert_eq!(ct.state(), State::Running);
    osctl_tests::wait::until("it counts again", || size() > frozen);
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_fork_bomb_is_killed_with_its_container() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.json::<osctl_api::container::CgparamsSet>(
        json!({ "parameter": "pids.max", "value": ["200"] }),
    );
    ct.start();
    let _bomb = ct.open_quiet(&["sh", "-c", "b() { b | b & }; while :; do b; done"]);
    let begun = Instant::now();
    ct.kill();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    host.assert_clean();
    ct.delete();
}

#[test]
fn a_restart_is_a_stop_and_a_start() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let first = ct.init_pid();
    ct.json::<Restart>(json!({ "timeout": 30 }));
    let second = ct.init_pid();
    assert_ne!(first, second);
    assert!(processes::Stat::of(first).is_none());
    ct.json::<Restart>(json!({ "mode": "kill" }));
    assert_ne!(ct.init_pid(), second);
    ct.delete();
    host.assert_clean();
}

/// Waits for the end of a container whose supervisor is killed; what that took.
fn bereaved(ct: &Ct<'_>) -> Duration {
    let supervisor = processes::Stat::of(ct.init_pid()).unwrap().parent;
    let begun = Instant::now();
    processes::kill(supervisor);
    ct.await_state(State::Stopped);
    begun.elapsed()
}

#[test]
fn a_container_whose_supervisor_is_killed_is_stopped_at_once() {
    let host = host!();
    let ct = host.new_ct("web1");
    let idle: fn(&Ct<'_>) -> Vec<Session> = |_| Vec::new();
    let busy: fn(&Ct<'_>) -> Vec<Session> = |ct| {
        ct.sh("sleep 1000 >/dev/null 2>&1 &");
        vec![
            ct.open_quiet(&["sleep", "1000"]),
            ct.open_tty(&["sleep", "1000"]),
        ]
    };
    let adopted: fn(&Ct<'_>) -> Vec<Session> = |ct| {
        let session = ct.open_quiet(&["sleep", "1000"]);
        ct.host.kill_daemon();
        ct.host.start_daemon();
        vec![session]
    };
    let frozen: fn(&Ct<'_>) -> Vec<Session> = |ct| {
        let session = ct.open_quiet(&["sleep", "1000"]);
        ct.json::<Freeze>(json!({}));
        vec![session]
    };
    let ways = [
        ("idle", idle),
        ("busy", busy),
        ("adopted", adopted),
        ("frozen", frozen),
    ];
    for (way, make) in ways {
        // The machine may be busy for one of them.
        let took = (0..3).map(|_| {
            ct.start();
            let _sessions = make(&ct);
            bereaved(&ct)
        });
        let took: Vec<Duration> = took.collect();
        let least = took.iter().min().unwrap();
        eprintln!("{way}: {took:?}");
        assert!(*least < Duration::from_millis(1500), "{way}: {took:?}");
        host.assert_clean();
    }
    ct.delete();
    host.assert_clean();
}

#[test]
fn what_was_ephemeral_is_gone_when_its_pool_is_exported() {
    let host = host!();
    for id in ["one", "two", "three"] {
        host.new_ct(id).set(json!({ "ephemeral": true }));
    }
    let kept = host.new_ct("kept");
    kept.start();
    for id in ["one", "two"] {
        host.ct(id).start();
    }
    let refused = host
        .try_json::<Export>(json!({ "pool": POOL }))
        .map(drop)
        .unwrap_err();
    let said = format!("3 containers of pool {POOL} are running");
    assert!(refused.message.contains(&said), "{refused}");
    host.json::<Export>(json!({ "pool": POOL, "force": true }));
    host.json::<Import>(json!({ "pool": POOL }));
    let mut left = host.ids();
    left.sort();
    // One that was never started has not stopped.
    assert_eq!(left, ["kept", "three"]);
    host.assert_clean();
}

#[test]
fn one_that_does_not_stop_keeps_nobody_from_being_asked_to() {
    let host = host!();
    // Those that started last are stopped first.
    let polite = host.new_ct("polite");
    polite.start();
    let stubborn = host.ct_of("stubborn", &Rootfs::minimal().init(STUBBORN));
    stubborn.start();
    let one = host.try_osctl(&["pool", "set", "parallel-stop", POOL, "1"]);
    assert!(one.status.success(), "{one:?}");
    std::thread::scope(|scope| {
        let force = json!({ "pool": POOL, "force": true });
        let export = scope.spawn(|| host.try_json::<Export>(force).map(drop));
        polite.await_state(State::Stopped);
        assert_eq!(stubborn.state(), State::Stopping);
        stubborn.kill();
        export.join().unwrap().unwrap();
    });
    host.json::<Import>(json!({ "pool": POOL }));
    host.assert_clean();
}

#[test]
fn an_ephemeral_container_that_is_restarted_or_reinstalled_stays() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.set(json!({ "ephemeral": true })).start();
    for (n, mode) in ["shutdown_or_kill", "kill"].iter().enumerate() {
        ct.sh(&format!("echo kept > /root/{n}"));
        let init = ct.init_pid();
        ct.json::<Restart>(json!({ "mode": mode }));
        assert_eq!(ct.state(), State::Running, "{mode}");
        assert_ne!(ct.init_pid(), init, "{mode}");
        assert_eq!(ct.sh(&format!("cat /root/{n}")), "kept\n");
    }
    let image = host.path("new.tar");
    let new = Rootfs::minimal().file("new", 0o644, b"new");
    new.write(&image);
    let reinstall = |image: &str| {
        let from = ["--from-archive", image, "--force"];
        host.try_osctl(&[&["ct", "reinstall", "web1"][..], &from].concat())
    };
    let done = reinstall(image.to_str().unwrap());
    assert!(done.status.success(), "{done:?}");
    // What was in the queue for its lock has had its turn.
    ct.json::<Restart>(json!({}));
    assert_eq!(ct.sh("cat /new"), "new");
    // One that comes to nothing is no reason either; to be stopped and no more is.
    std::fs::write(&image, "no archive").unwrap();
    assert!(!reinstall(image.to_str().unwrap()).status.success());
    assert_eq!(ct.state(), State::Stopped);
    ct.start();
    ct.kill();
    wait::until("it is gone", || host.ids().is_empty());
    host.assert_clean();
}
