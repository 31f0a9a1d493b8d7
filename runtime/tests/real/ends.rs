//! The ways for a container to end, and the supervisor without its daemon.

use std::fs;
use std::os::fd::AsFd;

use osctl_runtime::control::{Connection, ExitRecord, How, Message, Reply, Request, State};

use crate::harness::{Place, SLEEP, able, pidfd, wait_readable};

fn end_of(script: &str) -> How {
    let place = Place::new();
    let mut ct = place.run(script);
    let record = ct.exited();
    let file = fs::read_to_string(ct.place().run_dir().join("exit.json")).unwrap();
    assert_eq!(serde_json::from_str::<ExitRecord>(&file).unwrap(), record);
    assert!(ct.child.wait().unwrap().success());
    assert!(!ct.place().run_dir().join("supervisor.sock").exists());
    record.how
}

#[test]
fn reboot_halt_exit_and_crash_are_told_apart() {
    if !able() {
        return;
    }
    assert_eq!(end_of("reboot -f"), How::Reboot);
    assert_eq!(end_of("poweroff -f"), How::Halt);
    assert_eq!(end_of("halt -f"), How::Halt);
    assert_eq!(end_of("exit 3"), How::Exit(3));
    // What a process 1 does to itself is ignored, but for what the kernel forces on it.
    assert_eq!(end_of("kill -HUP 1; kill -KILL 1; exit 4"), How::Exit(4));
}

#[test]
fn killed_from_outside() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    assert_eq!(ct.ask(Request::Kill, &[]), Reply::Done);
    assert_eq!(ct.exited().how, How::Killed);

    let place = Place::new();
    let mut ct = place.run(SLEEP);
    kill(ct.pid, libc::SIGKILL);
    assert_eq!(ct.exited().how, How::Signal(libc::SIGKILL));
}

#[test]
fn an_end_does_not_wait_for_what_entered() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run("mkfifo /tmp/go; read x < /tmp/go; exit 5");
    ct.say("(trap '' HUP TERM; exec sleep 100000) >/dev/null 2>&1 & true");
    let _ = ct.sh("until [ -p /tmp/go ]; do :; done; echo > /tmp/go");
    assert_eq!(ct.exited().how, How::Exit(5));
}

#[test]
fn survives_the_daemon_and_is_adopted() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    ct.disconnect();
    let run_dir = ct.place().run_dir();
    let conn = Connection::open(&run_dir).unwrap();
    wait_readable(conn.as_fd());
    let (hello, _) = conn.recv().unwrap();
    let pid = ct.child.id() as i32;
    assert_eq!(hello, Message::Hello { version: 1, pid });
    ct.conn = conn;
    let status = ct.status();
    assert_eq!((status.state, status.pid), (State::Running, Some(ct.pid)));
    assert_eq!(ct.say("echo still here"), "still here");

    // Ends while nobody listens.
    ct.disconnect();
    kill(ct.pid, libc::SIGKILL);
    ct.child.wait().unwrap();
    let record = fs::read_to_string(run_dir.join("exit.json")).unwrap();
    let record: ExitRecord = serde_json::from_str(&record).unwrap();
    assert_eq!(record.how, How::Signal(libc::SIGKILL));
}

#[test]
fn the_death_of_the_supervisor_is_the_containers() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    let init = pidfd(ct.pid);
    let ours = ct.child.id() as i32;
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        kill(ours, signal);
    }
    assert_eq!(ct.say("echo unmoved"), "unmoved");
    ct.child.kill().unwrap();
    wait_readable(init.as_fd());
}

#[test]
fn a_start_that_fails_says_where_and_why() {
    if !able() {
        return;
    }
    let failure = |change: &dyn Fn(&mut osctl_runtime::spec::Spec)| {
        let place = Place::new();
        let mut spec = place.spec(SLEEP);
        change(&mut spec);
        let (_, step, error) = place.try_start(&spec).err().expect("a failure");
        (step, error)
    };
    let (step, error) = failure(&|spec| spec.rootfs = "/nonexistent".into());
    assert_eq!(step, "rootfs");
    assert!(
        error.contains("/nonexistent") && error.contains("ENOENT"),
        "{error}"
    );
    let (step, error) = failure(&|spec| {
        spec.init = osctl_runtime::spec::Init::Exec {
            argv: vec!["/sbin/missing".into()],
        }
    });
    assert_eq!(step, "init");
    assert!(
        error.contains("/sbin/missing") && error.contains("ENOENT"),
        "{error}"
    );
    let (step, _) = failure(&|spec| spec.version = 99);
    assert_eq!(step, "spec");
    let (step, error) = failure(&|spec| spec.drop_capabilities = vec!["cap_fly".into()]);
    assert_eq!((&*step, error.contains("cap_fly")), ("spec", true));
    let (step, _) = failure(&|spec| spec.uid_map.clear());
    assert_eq!(step, "supervisor");
    let (step, _) = failure(&|spec| spec.seccomp = vec![vec![0xffff << 48]]);
    assert_eq!(step, "seccomp");
    // This machine may or may not have AppArmor; this profile it has not.
    let (step, _) = failure(&|spec| spec.apparmor = Some("osctl-no-such-profile".into()));
    assert!(["label", "LSM label", "init"].contains(&&*step), "{step}");
}

fn kill(pid: i32, signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}
