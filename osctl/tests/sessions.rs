//! Programs, consoles and files in containers: streams, terminals, signals, exit statuses.

#![allow(clippy::unwrap_used)] // a test that can not be set up fails

mod fake;

use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use fake::{Fake, Terminal, packet, read_all, run, send_packet, session};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// What the daemon got with a call of exec, and the supervisor's end of the session.
struct Started {
    method: String,
    params: Value,
    fds: Vec<OwnedFd>,
    session: OwnedFd,
}

/// A daemon that hands out sessions, which the test plays the supervisor of.
fn supervised() -> (Fake, Receiver<Started>) {
    let (sender, receiver) = channel::<Started>();
    let sender: Mutex<Sender<Started>> = Mutex::new(sender);
    let fake = Fake::start(move |conn, request| {
        let (ours, theirs) = session();
        conn.reply_fds(&json!({"session_fd": 0}), &[theirs]);
        let started = Started {
            method: request.method,
            params: request.params,
            fds: request.fds,
            session: ours,
        };
        sender.lock().unwrap().send(started).unwrap();
    });
    (fake, receiver)
}

fn is_tty(fd: &OwnedFd) -> bool {
    rustix::termios::isatty(fd)
}

#[test]
fn streams_are_passed_and_the_status_is_returned() {
    for (message, want) in [
        (r#"{"exited":0}"#, 0),
        (r#"{"exited":7}"#, 7),
        (r#"{"signaled":9}"#, 137),
        (r#"{"failed":{"code":127,"error":"no such program"}}"#, 127),
        (r#"{"failed":{"code":126,"error":"not executable"}}"#, 126),
        ("nonsense", 125),
        ("", 125),
    ] {
        let (fake, started) = supervised();
        let supervisor = std::thread::spawn(move || {
            let s = started.recv().unwrap();
            assert_eq!(s.fds.len(), 3);
            send_packet(&s.session, br#"{"pid":42}"#, &[]);
            rustix::io::write(&s.fds[1], b"to stdout").unwrap();
            rustix::io::write(&s.fds[2], b"to stderr\n").unwrap();
            let mut input = [0u8; 16];
            let n = rustix::io::read(&s.fds[0], &mut input).unwrap();
            assert_eq!(&input[..n], b"typed");
            if !message.is_empty() {
                send_packet(&s.session, message.as_bytes(), &[]);
            }
            s.params
        });
        let arguments = ["ct", "exec", "-u", "bob", "web1", "ls", "-l", "--", "-j"];
        let ran = run(fake.osctl(&arguments), b"typed");
        assert_eq!(ran.status, Some(want), "{message} {ran:?}");
        assert_eq!(ran.out, "to stdout");
        assert!(ran.err.starts_with("to stderr\n"), "{ran:?}");
        assert_eq!(
            ran.err.contains("Error: "),
            want >= 125 && want != 137,
            "{ran:?}"
        );
        let params = supervisor.join().unwrap();
        assert_eq!(params["command"], json!(["ls", "-l", "--", "-j"]));
        assert_eq!(
            (&params["tty"], &params["user"]),
            (&json!(false), &json!("bob"))
        );
    }
}

#[test]
fn a_container_that_can_not_be_entered_is_125() {
    let fake = Fake::start(|conn, _| {
        let e = osctl_api::Error::new(osctl_api::Code::InvalidState, "web1 does not run");
        conn.error(&e);
    });
    let ran = fake.run(&["ct", "exec", "web1", "ls"]);
    assert_eq!(
        (ran.status, &*ran.err),
        (Some(125), "Error: web1 does not run\n")
    );
    let ran = run(
        fake::osctl(&fake.dir().join("none"), &["ct", "exec", "web1", "ls"]),
        b"",
    );
    assert_eq!(ran.status, Some(125));
    let no_fd = Fake::start(|conn, _| conn.reply(&json!({"session_fd": 3})));
    assert_eq!(no_fd.run(&["ct", "exec", "web1", "ls"]).status, Some(125));
    assert_eq!(fake.run(&["ct", "exec", "web1"]).status, Some(2));
}

#[test]
fn signals_are_forwarded_and_a_second_one_ends_it() {
    let (fake, started) = supervised();
    let mut child = fake
        .osctl(&["ct", "exec", "web1", "sleep", "9"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let s = started.recv().unwrap();
    send_packet(&s.session, br#"{"pid":42}"#, &[]);
    wait_for_signalfd(&child);
    for (signal, number) in [
        (Signal::SIGTERM, 15),
        (Signal::SIGHUP, 1),
        (Signal::SIGQUIT, 3),
        (Signal::SIGINT, 2),
        (Signal::SIGINT, 2),
    ] {
        fake::signal(&child, signal);
        let got: Value = serde_json::from_slice(&packet(&s.session)).unwrap();
        assert_eq!(got, json!({ "signal": number }));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// Signals end a program that does not watch them yet: its mask tells when it does.
fn wait_for_signalfd(child: &std::process::Child) {
    let path = format!("/proc/{}/status", child.id());
    loop {
        let status = std::fs::read_to_string(&path).unwrap();
        let mask = status
            .lines()
            .find_map(|l| l.strip_prefix("SigBlk:"))
            .unwrap();
        if u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0 {
            return;
        }
        std::thread::yield_now();
    }
}

/// Starts a program on a terminal of its own: returns the guest's side of the pty.
fn start_on_terminal(s: &Started) -> Terminal {
    assert_eq!(s.params["tty"], true);
    assert_eq!(
        (&s.params["rows"], &s.params["cols"]),
        (&json!(40), &json!(123))
    );
    assert_eq!(s.fds.len(), 0, "a terminal of the host must not be passed");
    let guest = Terminal::open();
    let master = guest.master.try_clone().unwrap();
    send_packet(&s.session, br#"{"pid":42}"#, &[master]);
    guest
}

#[test]
fn a_terminal_is_relayed_and_restored() {
    let (fake, started) = supervised();
    let terminal = Terminal::open();
    let mut child = terminal.spawn(fake.osctl(&["ct", "attach", "web1"]));
    let s = started.recv().unwrap();
    assert_eq!(s.params["command"], json!([]));
    let guest = start_on_terminal(&s);
    rustix::io::write(&guest.slave, b"prompt# ").unwrap();
    terminal.expect("prompt# ");
    assert!(terminal.is_raw());
    terminal.type_keys(b"id\x03\r");
    let mut typed = [0u8; 16];
    // the guest's terminal is a usual one: Ctrl-C is not in what it reads, the line after it is
    let n = rustix::io::read(&guest.slave, &mut typed).unwrap();
    assert_eq!(&typed[..n], b"\n");
    let size = rustix::termios::Winsize {
        ws_row: 50,
        ws_col: 90,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&terminal.slave, size).unwrap();
    fake::signal(&child, Signal::SIGWINCH);
    while rustix::termios::tcgetwinsize(&guest.slave).unwrap().ws_row != 50 {
        std::thread::yield_now();
    }
    rustix::io::write(&guest.slave, b"last words").unwrap();
    send_packet(&s.session, br#"{"exited":3}"#, &[]);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    terminal.expect("last words");
    assert!(!terminal.is_raw());
}

#[test]
fn the_terminal_is_restored_on_every_way_out() {
    for (what, want) in [
        ("term", 143),
        ("hup", 129),
        ("lost", 125),
        ("garbage", 125),
        ("failed", 127),
    ] {
        let (fake, started) = supervised();
        let terminal = Terminal::open();
        let mut child = terminal.spawn(fake.osctl(&["ct", "exec", "web1", "top"]));
        let s = started.recv().unwrap();
        let guest = start_on_terminal(&s);
        rustix::io::write(&guest.slave, b"screen").unwrap();
        terminal.expect("screen");
        assert!(terminal.is_raw());
        match what {
            "term" => fake::signal(&child, Signal::SIGTERM),
            "hup" => fake::signal(&child, Signal::SIGHUP),
            "garbage" => send_packet(&s.session, b"\xff", &[]),
            "failed" => {
                send_packet(
                    &s.session,
                    br#"{"failed":{"code":127,"error":"gone"}}"#,
                    &[],
                );
            }
            _ => {}
        }
        if what != "term" && what != "hup" {
            drop(s);
        }
        assert_eq!(child.wait().unwrap().code(), Some(want), "{what}");
        assert!(!terminal.is_raw(), "{what}");
    }
}

#[test]
fn a_stream_that_is_a_terminal_is_replaced_by_a_pipe() {
    let (fake, started) = supervised();
    let terminal = Terminal::open();
    let mut command = fake.osctl(&["ct", "exec", "web1", "cat"]);
    command.stdin(terminal.slave.try_clone().unwrap());
    command.stderr(terminal.slave.try_clone().unwrap());
    command.stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let s = started.recv().unwrap();
    assert_eq!(s.params["tty"], false);
    assert!(s.fds.iter().all(|fd| !is_tty(fd)));
    send_packet(&s.session, br#"{"pid":42}"#, &[]);
    terminal.type_keys(b"hello\n");
    let mut input = [0u8; 16];
    let n = rustix::io::read(&s.fds[0], &mut input).unwrap();
    assert_eq!(&input[..n], b"hello\n");
    terminal.type_keys(b"\x04");
    assert_eq!(
        rustix::io::read(&s.fds[0], &mut input).unwrap(),
        0,
        "Ctrl-D ends the input"
    );
    rustix::io::write(&s.fds[1], b"out").unwrap();
    rustix::io::write(&s.fds[2], b"warning").unwrap();
    send_packet(&s.session, br#"{"exited":0}"#, &[]);
    drop(s);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"out"[..])
    );
    terminal.expect("warning");
}

#[test]
fn scripts_are_passed_as_files() {
    for (from_stdin, input) in [(false, &b"typed"[..]), (true, b"#!/bin/sh\necho hi\n")] {
        let (fake, started) = supervised();
        let path = fake.dir().join("script.sh");
        std::fs::write(&path, b"#!/bin/sh\necho hi\n").unwrap();
        let supervisor = std::thread::spawn(move || {
            let mut s = started.recv().unwrap();
            assert_eq!((s.fds.len(), &*s.method), (4, "ContainerRunScript"));
            assert_eq!(read_all(s.fds.remove(0)), b"#!/bin/sh\necho hi\n");
            send_packet(&s.session, br#"{"exited":0}"#, &[]);
            (s.params, read_all(s.fds.remove(0)))
        });
        let script = if from_stdin {
            "-"
        } else {
            path.to_str().unwrap()
        };
        let command = fake.osctl(&["ct", "runscript", "-r", "web1", script, "-a", "b"]);
        assert_eq!(run(command, input).status, Some(0));
        let (params, stdin) = supervisor.join().unwrap();
        assert_eq!(params["arguments"], json!(["-a", "b"]));
        assert_eq!(params["run"], true);
        assert_eq!(stdin, if from_stdin { &b""[..] } else { b"typed" });
    }
    let (fake, _) = supervised();
    let ran = fake.run(&["ct", "runscript", "web1", "/nonexistent"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    assert_eq!(
        fake.run(&["ct", "runscript", "web1", "/"]).status,
        Some(125)
    );
}

#[test]
fn a_console_is_attached_until_the_user_leaves() {
    let (fake, started) = supervised();
    let terminal = Terminal::open();
    let mut child = terminal.spawn(fake.osctl(&["ct", "console", "web1"]));
    let first = started.recv().unwrap();
    assert_eq!(first.params, json!({"id": "web1", "wait": true}));
    assert_eq!(
        packet(&first.session),
        [1, 40, 0, 123, 0],
        "its size comes first"
    );
    send_packet(&first.session, b"login: ", &[]);
    let screen = terminal.expect("login: ");
    assert!(screen.contains("Ctrl-a q"), "{screen:?}");
    assert!(terminal.is_raw());
    terminal.type_keys(b"ro\x01\x01ot");
    let mut typed = Vec::new();
    while typed.len() < 5 {
        let p = packet(&first.session);
        assert_eq!(p[0], 0);
        typed.extend_from_slice(&p[1..]);
    }
    assert_eq!(typed, b"ro\x01ot");
    drop(first);
    terminal.expect("web1 stopped");
    let second = started.recv().unwrap();
    assert_eq!(second.method, "ContainerConsole");
    send_packet(&second.session, b"booting", &[]);
    terminal.expect("booting");
    terminal.type_keys(b"\x01q");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!terminal.is_raw());
}

#[test]
fn a_console_that_waits_can_be_left() {
    // the daemon never answers: the container does not start
    let fake = Fake::start(|_, _| {});
    let terminal = Terminal::open();
    let mut child = terminal.spawn(fake.osctl(&["ct", "console", "web1"]));
    terminal.expect("Ctrl-a q");
    while !terminal.is_raw() {
        std::thread::yield_now();
    }
    terminal.type_keys(b"\x01q");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut child = terminal.spawn(fake.osctl(&["ct", "console", "web1"]));
    terminal.expect("Ctrl-a q");
    while !terminal.is_raw() {
        std::thread::yield_now();
    }
    fake::signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!terminal.is_raw());
}

#[test]
fn a_console_of_nothing_is_an_error() {
    let fake = Fake::start(|conn, _| {
        let e = osctl_api::Error::new(osctl_api::Code::NotFound, "no container web1");
        conn.error(&e);
    });
    let terminal = Terminal::open();
    let mut child = terminal.spawn(fake.osctl(&["ct", "console", "web1"]));
    terminal.expect("Error: no container web1");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!terminal.is_raw());
}

#[test]
fn starting_in_the_foreground_attaches_the_console() {
    let console: Arc<Mutex<Vec<OwnedFd>>> = Arc::default();
    let kept = console.clone();
    let fake = Fake::start(move |conn, request| match &*request.method {
        "ContainerStart" => conn.reply(&json!({"result": {}})),
        _ => {
            let (ours, theirs) = session();
            send_packet(&ours, b"kernel", &[]);
            conn.reply_fds(&json!({"session_fd": 0}), &[theirs]);
            kept.lock().unwrap().push(ours);
        }
    });
    let terminal = Terminal::open();
    let mut child = terminal.spawn(fake.osctl(&["ct", "start", "-F", "web1"]));
    terminal.expect("kernel");
    terminal.type_keys(b"\x01q");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut methods: Vec<String> = fake.seen().into_iter().map(|s| s.method).collect();
    methods.sort();
    assert_eq!(methods, ["ContainerConsole", "ContainerStart"]);
}

#[test]
fn a_start_that_fails_ends_the_foreground() {
    let fake = Fake::start(move |conn, request| {
        if request.method == "ContainerStart" {
            let e = osctl_api::Error::new(osctl_api::Code::Backend, "no init");
            conn.error(&e);
        }
    });
    let terminal = Terminal::open();
    let mut child = terminal.spawn(fake.osctl(&["ct", "start", "-F", "web1"]));
    terminal.expect("Error: no init");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!terminal.is_raw());
}

#[test]
fn files_and_logs_go_to_stdout() {
    let fake = Fake::start(|conn, mut request| match &*request.method {
        "ContainerCat" => {
            let fd = request.fds.remove(0);
            assert!(!is_tty(&fd));
            rustix::io::write(&fd, request.params["path"].as_str().unwrap().as_bytes()).unwrap();
            drop(fd);
            conn.reply(&json!({}));
        }
        _ => {
            let (read, write) = rustix::pipe::pipe().unwrap();
            rustix::io::write(&write, b"log line\n").unwrap();
            conn.reply_fds(&json!({"session_fd": 0}), &[read]);
        }
    });
    let ran = fake.run(&["ct", "cat", "web1", "/a", "/b"]);
    assert_eq!((ran.status, &*ran.out), (Some(0), "/a/b"), "{ran:?}");
    let ran = fake.run(&["ct", "log", "cat", "web1"]);
    assert_eq!((ran.status, &*ran.out), (Some(0), "log line\n"), "{ran:?}");
    let terminal = Terminal::open();
    let mut child = terminal.spawn(fake.osctl(&["ct", "cat", "web1", "/etc/motd"]));
    terminal.expect("/etc/motd");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn passwords_are_asked_for_twice_without_echo() {
    let fake = Fake::start(|conn, _| conn.reply(&json!({})));
    let terminal = Terminal::open();
    for (again, want) in [("s3cret\n", 0), ("other\n", 2)] {
        let mut child = terminal.spawn(fake.osctl(&["ct", "passwd", "web1", "root"]));
        terminal.expect("New password: ");
        terminal.type_keys(b"s3cret\n");
        let screen = terminal.expect("Repeat password: ");
        assert!(!screen.contains("s3cret"));
        terminal.type_keys(again.as_bytes());
        assert_eq!(child.wait().unwrap().code(), Some(want));
    }
    assert_eq!(fake.only_call().params["password"], "s3cret");
    let mut child = terminal.spawn(fake.osctl(&["ct", "passwd", "web1", "root"]));
    terminal.expect("New password: ");
    fake::signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let modes = rustix::termios::tcgetattr(terminal.slave.as_fd()).unwrap();
    assert!(
        modes
            .local_modes
            .contains(rustix::termios::LocalModes::ECHO)
    );
}
