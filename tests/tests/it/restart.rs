//! Daemons that end, are killed or replaced: containers, consoles and sessions go on.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use osctl_api::container::{Console, State};
use osctl_api::session::CONSOLE_DATA;
use osctl_tests::host::params;
use osctl_tests::session::{End, Session, collect, packet, send};
use osctl_tests::{Ct, Host, host, processes, wait};
use serde_json::json;

/// How long an adoption may take on a busy machine; the bench measures it.
const ADOPTED: Duration = Duration::from_secs(10);

/// A program that waits for a line and then does `what`.
struct Waiting {
    session: Session,
    input: File,
    output: std::sync::mpsc::Receiver<Vec<u8>>,
}

impl Waiting {
    fn new(ct: &Ct<'_>, what: &str) -> Waiting {
        let (stdin, input) = std::io::pipe().unwrap();
        let (out, stdout) = std::io::pipe().unwrap();
        let null = File::options().write(true).open("/dev/null").unwrap();
        let script = format!("echo ready; read line; {what}");
        let fds = [stdin.into(), stdout.into(), OwnedFd::from(null)];
        let mut session = ct.open(&["sh", "-c", &script], &json!({}), &fds).unwrap();
        session.started();
        Waiting {
            session,
            input: File::from(OwnedFd::from(input)),
            output: collect(out),
        }
    }

    fn go(&mut self) {
        self.input.write_all(b"go\n").unwrap();
    }
}

fn console(ct: &Ct<'_>) -> OwnedFd {
    let call = params::<Console>(json!({ "id": ct.id }));
    let none: [OwnedFd; 0] = [];
    let answer = ct.host.client().call_fds(&call, &none).unwrap();
    answer.fds.into_iter().next().unwrap()
}

fn type_on(console: &OwnedFd, text: &str) {
    let mut bytes = vec![CONSOLE_DATA];
    bytes.extend_from_slice(text.as_bytes());
    send(console, &bytes).unwrap();
}

#[track_caller]
fn await_output(console: &OwnedFd, text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        let Some((bytes, _)) = packet(console, wait::SOON) else {
            panic!("no {text:?} before the end of {seen:?}");
        };
        seen.push_str(&String::from_utf8_lossy(&bytes));
    }
}

#[track_caller]
fn goes_on_over(end_daemon: fn(&Host), replace: fn(&Host)) {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let before = ct.show();
    let start = processes::Stat::of(ct.init_pid()).unwrap().start;
    let mut over = Waiting::new(&ct, "echo after; exit 7");
    let mut meanwhile = Waiting::new(&ct, "exit 8");
    let console = console(&ct);
    type_on(&console, "echo on-$((1+1))\n");
    await_output(&console, "on-2");

    end_daemon(&host);
    meanwhile.go();
    assert_eq!(
        meanwhile.session.end(),
        End::Exited(8),
        "a session ends without a daemon"
    );
    type_on(&console, "echo off-$((1+1))\n");
    await_output(&console, "off-2");
    replace(&host);
    let begun = Instant::now();
    host.start_daemon();
    assert_eq!(ct.state(), State::Running);
    assert!(begun.elapsed() < ADOPTED, "{:?}", begun.elapsed());

    let after = ct.show();
    assert_eq!(after.init_pid, before.init_pid);
    assert_eq!(after.started_at, before.started_at);
    assert_eq!(processes::Stat::of(ct.init_pid()).unwrap().start, start);
    over.go();
    assert_eq!(over.session.end(), End::Exited(7));
    assert_eq!(
        over.output.recv_timeout(wait::SOON).unwrap(),
        b"ready\nafter\n"
    );
    type_on(&console, "echo back-$((1+1))\n");
    await_output(&console, "back-2");
    assert_eq!(ct.sh("echo new"), "new\n");
    host.assert_clean();
    ct.try_stop("shutdown", 30).unwrap();
    assert!(packet(&console, wait::SOON).is_none() || packet(&console, wait::SOON).is_none());
    ct.delete();
    host.assert_clean();
}

#[test]
fn containers_consoles_and_sessions_survive_a_daemon_that_is_stopped() {
    goes_on_over(Host::stop_daemon, |_| ());
}

#[test]
fn containers_consoles_and_sessions_survive_a_daemon_that_is_killed() {
    goes_on_over(Host::kill_daemon, |_| ());
}

#[test]
fn containers_consoles_and_sessions_survive_an_upgrade() {
    goes_on_over(Host::stop_daemon, |host| {
        let dir = host.path("upgrade");
        fs::create_dir(&dir).unwrap();
        for name in ["osctld", "osctl", "osctl-runtime"] {
            fs::copy(host.program(name), dir.join(name)).unwrap();
        }
        host.use_programs(&dir);
    });
}

#[test]
fn a_container_started_by_an_old_daemon_is_controlled_by_the_new_one() {
    let host = host!();
    for round in 0..2 {
        let ct = host.new_ct("web1");
        ct.start();
        match round {
            0 => host.kill_daemon(),
            _ => host.stop_daemon(),
        }
        host.start_daemon();
        ct.try_stop("shutdown", 30).unwrap();
        host.assert_clean();
        ct.start();
        host.kill_daemon();
        host.start_daemon();
        ct.delete();
        host.assert_clean();
    }
}

#[test]
fn reboot_halt_and_crash_of_guests_are_told_apart() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let first = ct.init_pid();
    ct.last_words("kill -TERM 1; sleep 30");
    wait::until("the guest rebooted", || {
        ct.show().init_pid.is_some_and(|pid| pid != first) && ct.state() == State::Running
    });
    ct.last_words("kill -USR1 1; sleep 30");
    ct.await_state(State::Stopped);
    let halted = ct.show().last_exit.unwrap();
    host.assert_clean();
    ct.start();
    processes::kill(ct.init_pid());
    ct.await_state(State::Stopped);
    let crashed = ct.show().last_exit.unwrap();
    assert_ne!(halted, crashed);
    ct.delete();
    host.assert_clean();
}

#[test]
fn reboot_halt_and_crash_are_told_apart_also_when_no_daemon_ran() {
    let host = host!();
    let reboots = host.new_ct("reboots");
    let halts = host.new_ct("halts");
    let crashes = host.new_ct("crashes");
    let vanishes = host.new_ct("vanishes");
    for ct in [&reboots, &halts, &crashes, &vanishes] {
        ct.start();
    }
    let mut asked = [
        Waiting::new(&reboots, "kill -TERM 1"),
        Waiting::new(&halts, "kill -USR1 1"),
    ];
    let inits: Vec<u32> = [&reboots, &halts, &crashes, &vanishes]
        .iter()
        .map(|c| c.init_pid())
        .collect();
    let supervisor = processes::Stat::of(inits[3]).unwrap().parent;
    host.kill_daemon();
    asked.iter_mut().for_each(Waiting::go);
    processes::kill(inits[2]);
    processes::kill(supervisor);
    for pid in &inits {
        assert!(processes::ended(*pid, wait::SOON), "{pid} goes on");
    }
    wait::until("the supervisors are gone", || {
        processes::reap_orphans();
        osctl_tests::cgroups::pids(&host.cgroup).is_empty()
    });
    host.start_daemon();
    reboots.await_state(State::Running);
    assert_ne!(reboots.init_pid(), inits[0]);
    for ct in [&halts, &crashes, &vanishes] {
        assert_eq!(ct.state(), State::Stopped, "{}", ct.id);
        assert!(ct.show().last_exit.is_some(), "{}", ct.id);
    }
    assert_ne!(halts.show().last_exit, crashes.show().last_exit);
    host.assert_clean();
}

#[test]
fn an_ephemeral_container_is_deleted_when_it_stops_also_when_no_daemon_ran() {
    let host = host!();
    let one = host.new_ct("one");
    one.set(json!({ "ephemeral": true })).start();
    one.last_words("kill -USR1 1; sleep 30");
    wait::until("it is gone", || host.ids().is_empty());
    host.assert_clean();
    let two = host.new_ct("two");
    two.set(json!({ "ephemeral": true })).start();
    let init = two.init_pid();
    host.kill_daemon();
    processes::kill(init);
    assert!(processes::ended(init, wait::SOON));
    host.start_daemon();
    wait::until("it is gone", || host.ids().is_empty());
    host.assert_clean();
}

#[test]
fn containers_start_by_themselves_in_their_order_once_after_boot() {
    let host = host!();
    host.json::<osctl_api::pool::Set>(json!({ "pool": "tank", "parallel_start": 1 }));
    let order = ["third", "first", "second", "never"];
    for (n, id) in order.iter().enumerate() {
        let ct = host.new_ct(id);
        let priority = [30, 10, 20, 0][n];
        if *id != "never" {
            ct.set(json!({ "autostart": { "priority": priority, "delay": 0 } }));
        }
    }
    host.stop_daemon();
    host.start_daemon();
    let started = ["first", "second", "third"];
    for id in started {
        host.ct(id).await_state(State::Running);
    }
    assert_eq!(host.ct("never").state(), State::Stopped);
    let at: Vec<u64> = started
        .iter()
        .map(|id| processes::Stat::of(host.ct(id).init_pid()).unwrap().start)
        .collect();
    assert!(at.is_sorted(), "{at:?}");
    // What was stopped by hand stays so, and what runs is not started again.
    host.ct("second").kill();
    let init = host.ct("first").init_pid();
    host.stop_daemon();
    host.start_daemon();
    wait::until("the queue is empty", || {
        let queue = host.json::<osctl_api::pool::AutostartQueue>(json!({ "pool": "tank" }));
        queue.containers.is_empty()
    });
    assert_eq!(host.ct("second").state(), State::Stopped);
    assert_eq!(host.ct("first").init_pid(), init);
    host.json::<osctl_api::pool::AutostartTrigger>(json!({ "pool": "tank" }));
    host.ct("second").await_state(State::Running);
    for id in order {
        host.ct(id).delete();
    }
    host.assert_clean();
}

#[test]
fn a_second_daemon_in_the_same_directory_is_refused() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let mut command = std::process::Command::new(host.program("osctld"));
    command.arg("--run-dir").arg(host.run_dir());
    command.arg("--config").arg(host.path("osctld.toml"));
    let out = processes::output(&mut command);
    assert!(!out.status.success());
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(text.contains("osctld"), "{text}");
    assert_eq!(ct.sh("echo still"), "still\n");
    ct.delete();
    host.assert_clean();
}

#[test]
fn two_daemons_run_side_by_side_with_nothing_but_directories_of_their_own() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let run = host.path("other");
    let paths = osctl_tests::daemon::Paths {
        program: host.program("osctld"),
        run_dir: run.clone(),
        config: None,
        log: host.path("other.log"),
        notify: host.path("other-notify"),
    };
    let other = osctl_tests::daemon::Daemon::start(&paths, &Default::default()).unwrap();
    let osctl = |arguments: &[&str]| {
        let mut command = std::process::Command::new(host.program("osctl"));
        command
            .arg("--socket")
            .arg(run.join("osctld.sock"))
            .args(arguments);
        let out = processes::output(&mut command);
        assert!(out.status.success(), "{arguments:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let dir = host.path("pool-other");
    osctl(&["pool", "install", "other", "--dir", dir.to_str().unwrap()]);
    let image = host.minimal();
    osctl(&[
        "ct",
        "new",
        "web1",
        "--from-archive",
        image.to_str().unwrap(),
    ]);
    osctl(&["ct", "start", "web1"]);
    assert_eq!(osctl(&["ct", "exec", "web1", "echo", "other"]), "other\n");
    assert_eq!(ct.sh("echo one"), "one\n");
    let path = osctl(&["ct", "ls", "-H", "-o", "group_path"]);
    let root = path
        .trim()
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    assert!(root.starts_with("osctl-") && root != host.cgroup, "{path}");
    osctl(&["ct", "del", "--force", "web1"]);
    assert_eq!(ct.state(), State::Running);
    other.stop();
    // Groups outlive a daemon, as their containers would.
    osctl_tests::cgroups::remove(&root);
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_stopped_daemon_leaves_nothing_but_its_state() {
    let host = host!();
    host.new_ct("web1").start();
    host.ct("web1").kill();
    host.stop_daemon();
    assert!(!host.socket().exists(), "the socket is still there");
    let left = osctl_tests::cgroups::containers(&host.cgroup);
    assert!(left.is_empty(), "{left:?}");
}
