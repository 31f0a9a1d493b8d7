//! Ways into a container: programs, scripts, the console, passwords, files; and what is told of it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use osctl_api::container::{Cat, Console, LogCat, Passwd, PidLookup, Processes, RunScript, State};
use osctl_api::daemon::{EventKind, Healthcheck, History, Subscribe};
use osctl_tests::host::params;
use osctl_tests::session::{End, Session, collect, packet, read_until};
use osctl_tests::{Ct, host, wait};
use serde_json::json;

fn cat(ct: &Ct<'_>, path: &str) -> Result<String, osctl_api::Error> {
    let (out, end) = std::io::pipe().unwrap();
    let out = collect(out);
    let call = params::<Cat>(json!({ "id": ct.id, "path": path }));
    let fds = [OwnedFd::from(end)];
    let done = ct.host.connect()?.call_fds(&call, &fds);
    drop(fds);
    done?;
    let bytes = out.recv_timeout(wait::SOON).unwrap();
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn files_are_read_from_stopped_and_running_containers() {
    let host = host!();
    let ct = host.new_ct("web1");
    assert_eq!(cat(&ct, "/etc/hostname").unwrap(), "minimal\n");
    assert_eq!(ct.state(), State::Stopped);
    host.assert_clean();
    ct.start();
    ct.sh("echo tmp > /run/file; seq 200000 > /big");
    assert_eq!(cat(&ct, "/run/file").unwrap(), "tmp\n");
    assert_eq!(cat(&ct, "/big").unwrap().lines().count(), 200_000);
    for bad in [
        "/nothing",
        "relative",
        "/etc",
        "/dev/zero",
        "",
        "/etc/../../../../../../etc/shadow/x",
    ] {
        assert!(cat(&ct, bad).is_err(), "{bad:?}");
    }
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_stopped_container_runs_for_one_program_and_stops_again() {
    let host = host!();
    let ct = host.new_ct("web1");
    let run = |command: &[&str]| {
        ct.try_exec_with(command, &json!({ "run": true }), wait::SOON)
            .unwrap()
    };
    let ran = run(&["sh", "-c", "hostname; echo x > /made; exit 3"]);
    assert_eq!((ran.end, ran.stdout.as_str()), (End::Exited(3), "web1\n"));
    ct.await_state(State::Stopped);
    host.assert_clean();
    assert_eq!(cat(&ct, "/made").unwrap(), "x\n");
    let ran = run(&["nothing-like-that"]);
    assert!(matches!(ran.end, End::Failed(127, _)), "{ran:?}");
    ct.await_state(State::Stopped);
    host.assert_clean();
    // In one that runs, it is a program like any other.
    ct.start();
    assert_eq!(run(&["hostname"]).stdout, "web1\n");
    assert_eq!(ct.state(), State::Running);
    ct.delete();
    host.assert_clean();
}

/// Who has seen its end has seen the container's.
#[test]
fn after_a_container_that_ran_for_one_program_the_next_command_is_not_refused() {
    let host = host!();
    let ct = host.new_ct("web1");
    let run = |more: serde_json::Value| ct.try_exec_with(&["hostname"], &more, wait::SOON);
    for _ in 0..4 {
        for _ in 0..2 {
            assert_eq!(run(json!({ "run": true })).unwrap().stdout, "web1\n");
        }
        let error = run(json!({})).unwrap_err();
        assert!(error.message.contains("it is stopped"), "{error}");
        run(json!({ "run": true })).unwrap();
        assert!(cat(&ct, "/etc/passwd").is_ok());
        run(json!({ "run": true })).unwrap();
        ct.start();
        assert_eq!(ct.sh("cat /proc/1/comm | head -c 4"), "init");
        ct.kill();
        run(json!({ "run": true })).unwrap();
        ct.try_stop("shutdown_or_kill", 10).unwrap();
        run(json!({ "run": true })).unwrap();
        ct.try_delete(false).unwrap();
        host.new_ct("web1");
    }
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_user_that_is_not_there_is_named_as_it_was_written() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    ct.sh("echo broken > /etc/passwd");
    let more = json!({ "user": "nobody" });
    let error = ct
        .try_exec_with(&["true"], &more, wait::SOON)
        .map(drop)
        .unwrap_err();
    assert_eq!(error.message, "the container has no user nobody");
    ct.delete();
    host.assert_clean();
}

#[test]
fn scripts_of_the_host_run_inside_and_leave_nothing() {
    let host = host!();
    let ct = host.new_ct("web1");
    let path = host.path("script");
    let mut script = File::create(&path).unwrap();
    script
        .write_all(b"#!/bin/sh\necho \"$# $1 $(hostname)\"; cat; ls -a /tmp /root /run | grep -v '^\\.' ; exit 5\n")
        .unwrap();
    let run = |more: serde_json::Value| {
        let mut call = json!({ "id": "web1", "arguments": ["a b", "--force"] });
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let call = params::<RunScript>(call);
        let (input, mut text) = std::io::pipe().unwrap();
        text.write_all(b"input\n").unwrap();
        drop(text);
        let (out, end) = std::io::pipe().unwrap();
        let null = File::options().write(true).open("/dev/null").unwrap();
        let fds: [OwnedFd; 4] = [
            File::open(&path).unwrap().into(),
            input.into(),
            end.into(),
            null.into(),
        ];
        let out = collect(out);
        let answer = host.client().call_fds(&call, &fds).unwrap();
        drop(fds);
        let mut session = Session::new(answer.fds.into_iter().next().unwrap());
        let end = session.end();
        (
            end,
            String::from_utf8(out.recv_timeout(wait::SOON).unwrap()).unwrap(),
        )
    };
    let (end, said) = run(json!({ "run": true }));
    assert_eq!(end, End::Exited(5), "{said}");
    assert!(said.starts_with("2 a b web1\ninput\n"), "{said}");
    ct.await_state(State::Stopped);
    ct.start();
    let (end, said) = run(json!({}));
    assert_eq!(end, End::Exited(5), "{said}");
    let left = ct.sh("ls -A /tmp /root /run /dev/shm | grep -i -E 'script|osctl'; true");
    assert_eq!(left, "");
    ct.delete();
    host.assert_clean();
}

#[test]
fn passwords_are_set_in_stopped_and_running_containers() {
    let host = host!();
    let name = format!(
        "debian-trixie-{}-default-systemd.tar",
        std::env::consts::ARCH
    );
    let Some(image) = osctl_tests::host::image(&name) else {
        osctl_tests::skip!("needs the image {name}: cargo xtask template debian/trixie");
    };
    let ct = host.ct_from("web1", &image);
    ct.set(json!({ "init_cmd": ["/bin/sleep", "infinity"] }));
    let set = |user: &str, password: &str| {
        ct.try_json::<Passwd>(json!({ "user": user, "password": password }))
            .map(drop)
    };
    let shadow = |ct: &Ct<'_>| cat(ct, "/etc/shadow").unwrap();
    set("root", "first").unwrap();
    let first = shadow(&ct);
    assert!(first.lines().any(|l| l.starts_with("root:$")), "{first}");
    assert_eq!(ct.state(), State::Stopped);
    ct.start();
    set("root", "second : zebra \" odd ' $characters").unwrap();
    let second = shadow(&ct);
    assert_ne!(first, second);
    for (user, password) in [
        ("nobody-like-that", "x"),
        ("root", "a\nb:c"),
        ("ro:ot", "x"),
        ("root\nx", "x"),
        ("", "x"),
    ] {
        assert!(set(user, password).is_err(), "{user:?} {password:?}");
    }
    assert_eq!(shadow(&ct), second);
    // The password is in no history and no log.
    let history = serde_json::to_string(&host.call(&History::default()).entries).unwrap();
    assert!(
        !history.contains("first") && !history.contains("zebra"),
        "{history}"
    );
    let log = std::fs::read_to_string(host.path("osctld.log")).unwrap();
    assert!(!log.contains("zebra"));
    ct.delete();
    host.assert_clean();
}

/// The guest's own programs are asked for some things; they need not answer.
#[test]
fn a_program_of_the_guest_that_never_ends_holds_nobody_up() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    ct.sh("mkdir -p /usr/local/bin && for p in chpasswd hostname; do \
        printf '#!/bin/sh\\nkill -STOP $$\\n' > /usr/local/bin/$p; chmod 755 /usr/local/bin/$p; done");
    let error = ct
        .try_json::<Passwd>(json!({ "user": "root", "password": "x" }))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.code, osctl_api::Code::Timeout, "{error:?}");
    ct.set(json!({ "hostname": "other" }));
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_terminal_of_a_program_has_its_size_and_is_the_guests_own() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let more = json!({ "tty": true, "rows": 33, "cols": 99 });
    let mut session = ct
        .open(
            &["sh", "-c", "stty size; tty; read x; echo got-$x"],
            &more,
            &[],
        )
        .unwrap();
    session.started();
    let mut master = File::from(session.terminal.take().unwrap());
    let said = read_until(&master, "/dev/pts/", wait::SOON);
    assert!(said.contains("33 99"), "{said}");
    master.write_all(b"word\n").unwrap();
    read_until(&master, "got-word", wait::SOON);
    assert_eq!(session.end(), End::Exited(0));
    ct.delete();
    host.assert_clean();
}

#[test]
fn the_console_replays_and_keeps_a_bounded_log() {
    let host = host!("[console]\nlog_max_bytes = 65536");
    let ct = host.new_ct("web1");
    ct.start();
    ct.sh("echo early-output > /dev/console");
    let open = || {
        let call = params::<Console>(json!({ "id": "web1" }));
        let none: [OwnedFd; 0] = [];
        host.client()
            .call_fds(&call, &none)
            .unwrap()
            .fds
            .into_iter()
            .next()
            .unwrap()
    };
    let see = |console: &OwnedFd, text: &str| {
        let mut seen = String::new();
        while !seen.contains(text) {
            let (bytes, _) = packet(console, wait::SOON).expect("more output");
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    };
    let first = open();
    see(&first, "early-output");
    let second = open();
    see(&second, "early-output");
    ct.sh("echo both > /dev/console");
    see(&first, "both");
    see(&second, "both");
    // Whoever does not read holds up nobody.
    ct.sh("seq 100000 > /dev/console; echo the-end > /dev/console");
    see(&open(), "the-end");
    let log = ct.json::<osctl_api::container::LogPath>(json!({})).path;
    wait::until("the log has the end", || {
        std::fs::read_to_string(&log).unwrap().contains("the-end")
    });
    assert!(std::fs::metadata(&log).unwrap().len() <= 65536);
    let call = params::<LogCat>(json!({ "id": "web1" }));
    let none: [OwnedFd; 0] = [];
    let answer = host.client().call_fds(&call, &none).unwrap();
    let out = collect(answer.fds.into_iter().next().unwrap());
    let text = out.recv_timeout(wait::SOON).unwrap();
    assert!(String::from_utf8_lossy(&text).contains("the-end"));
    ct.delete();
    drop((first, second));
    host.assert_clean();
}

#[test]
fn processes_are_listed_and_found_by_their_ids() {
    let host = host!();
    let ct = host.new_ct("web1");
    let other = host.new_ct("web2");
    ct.start();
    other.start();
    let mut session = ct.open_quiet(&["sleep", "4321"]);
    let pid = session.started();
    let listed = host.json::<Processes>(json!({ "ids": ["web1"] })).processes;
    assert!(listed.iter().all(|p| p.ctid.as_str() == "web1"));
    let sleeping = listed
        .iter()
        .find(|p| p.pid == pid)
        .expect("the program is listed");
    assert!(sleeping.command.contains("4321"), "{sleeping:?}");
    assert_eq!(sleeping.cteuid, Some(0));
    let init = listed
        .iter()
        .find(|p| p.ctpid == 1)
        .expect("init is listed");
    assert_eq!(init.pid, ct.init_pid());
    assert!(host.json::<Processes>(json!({})).processes.len() > listed.len());
    let found = host
        .json::<PidLookup>(json!({ "pids": [pid, other.init_pid(), std::process::id()] }))
        .rows;
    let of = |pid: u32| {
        found
            .iter()
            .find(|r| r.pid == pid)
            .unwrap()
            .container
            .clone()
    };
    assert_eq!(of(pid).as_deref(), Some("tank:web1"));
    assert_eq!(of(other.init_pid()).as_deref(), Some("tank:web2"));
    assert_eq!(of(std::process::id()), None);
    drop(session);
    ct.delete();
    other.delete();
    host.assert_clean();
}

#[test]
fn what_happens_is_told_and_remembered() {
    let host = host!();
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut client = host.client();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let watcher = std::thread::spawn(move || {
        let _ = client.call_events(&Subscribe::default(), |event| {
            if event.kind == EventKind::Subscribed {
                let _ = ready.send(());
            }
            sender.send(event).is_ok()
        });
    });
    is_ready.recv_timeout(wait::SOON).unwrap();
    let ct = host.new_ct("web1");
    ct.start();
    ct.kill();
    ct.delete();
    let mut states = Vec::new();
    let mut removed = false;
    while !removed {
        let event = receiver.recv_timeout(wait::SOON).expect("more events");
        if event.kind == EventKind::State {
            states.push(event.state.unwrap());
        }
        removed = event.kind == EventKind::Db && event.action.as_deref() == Some("remove");
        removed = removed && event.object.as_deref() == Some("container");
    }
    for wanted in [State::Starting, State::Running, State::Stopped] {
        assert!(states.contains(&wanted), "{states:?}");
    }
    let methods: Vec<String> = host
        .call(&History::default())
        .entries
        .into_iter()
        .map(|e| e.method)
        .collect();
    for wanted in [
        "PoolInstall",
        "ContainerNew",
        "ContainerStart",
        "ContainerStop",
        "ContainerDelete",
    ] {
        assert!(methods.iter().any(|m| m == wanted), "{methods:?}");
    }
    let health = host.json::<Healthcheck>(json!({ "all": true }));
    assert!(health.entities.is_empty(), "{health:?}");
    host.stop_daemon();
    watcher.join().unwrap();
    host.assert_restarted_history(&methods);
}

trait Remembers {
    fn assert_restarted_history(&self, methods: &[String]);
}

impl Remembers for osctl_tests::Host {
    #[track_caller]
    fn assert_restarted_history(&self, methods: &[String]) {
        self.start_daemon();
        let again: Vec<String> = self
            .call(&History::default())
            .entries
            .into_iter()
            .map(|e| e.method)
            .collect();
        assert!(again.len() >= methods.len(), "{again:?}");
    }
}

#[test]
fn a_healthcheck_finds_what_was_broken() {
    let host = host!();
    let ct = host.new_ct("web1");
    std::fs::remove_dir_all(ct.rootfs()).unwrap();
    let health = host.json::<Healthcheck>(json!({ "all": true }));
    let sick = health
        .entities
        .iter()
        .any(|e| e.id.as_deref() == Some("web1"));
    assert!(sick, "{health:?}");
    let error = ct.try_start().unwrap_err();
    assert!(!error.to_string().is_empty());
    assert_eq!(ct.state(), State::Stopped);
    ct.delete();
    host.assert_clean();
}

#[test]
fn nesting_gives_a_guest_a_proc_to_mount_and_nothing_more() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let mount =
        "unshare -Urmpf sh -c 'mount -t proc p /mnt && ls /mnt/1 >/dev/null && echo mounted'";
    let without = ct.exec(&["sh", "-c", mount]);
    assert!(!without.stdout.contains("mounted"), "{without:?}");
    ct.kill();
    ct.set(json!({ "nesting": true }));
    ct.start();
    let with = ct.exec(&["sh", "-c", mount]);
    assert!(with.stdout.contains("mounted"), "{with:?}");
    assert!(
        !ct.exec(&[
            "sh",
            "-c",
            "echo x > /dev/.osctl/proc/sys/kernel/core_pattern"
        ])
        .success()
    );
    assert!(
        !ct.exec(&["sh", "-c", "echo h > /dev/.osctl/proc/sysrq-trigger"])
            .success()
    );
    ct.delete();
    host.assert_clean();
}
