//! Running programs in a container.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use osctl_linux::seqpacket;
use osctl_runtime::control::{Action, Exec, SessionMessage, SessionRequest};

use crate::harness::{Ct, Place, SLEEP, able, finish, on_tty, program, wait_readable};

fn container() -> Ct {
    let place = Place::new();
    place.run(SLEEP)
}

#[test]
fn streams_and_exit_codes() {
    if !able() {
        return;
    }
    let mut ct = container();
    let output = ct.sh("echo out; echo err >&2; exit 33");
    assert_eq!(
        (output.status(), &*output.out, &*output.err),
        (33, "out\n", "err\n")
    );
    assert_eq!(ct.exec(program(&["true"])).status(), 0);
    let code = |output: crate::harness::Output| match output.end {
        SessionMessage::Failed { code, error } => {
            assert!(!error.is_empty());
            code
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(code(ct.exec(program(&["missing"]))), 127);
    assert_eq!(code(ct.exec(program(&["/missing"]))), 127);
    assert_eq!(code(ct.exec(program(&["/etc/passwd"]))), 126);
    assert_eq!(code(ct.exec(program(&["/etc"]))), 126);
    assert_eq!(code(ct.exec(program(&["a\0b"]))), 125);
    assert_eq!(code(ct.exec(program::<&str>(&[]))), 125);
    assert!(matches!(
        ct.sh("kill -9 $$").end,
        SessionMessage::Signaled(9)
    ));
    assert_eq!(ct.status().sessions, 0);
}

#[test]
fn stdin_and_the_signal_of_a_client() {
    if !able() {
        return;
    }
    let mut ct = container();
    let (input, input_w) = crate::harness::pipe();
    let (out, out_w) = crate::harness::pipe();
    let cat = Action::Exec(program(&["cat"]));
    let fds = [input.as_fd(), out_w.as_fd(), out_w.as_fd()];
    let session = ct.enter(cat, &fds).unwrap();
    drop((input, out_w));
    let mut input_w = fs::File::from(input_w);
    input_w.write_all(b"through").unwrap();
    let mut seen = [0; 7];
    let mut out = fs::File::from(out);
    out.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"through");
    session
        .send_json(&SessionRequest::Signal(libc::SIGTERM), &[])
        .unwrap();
    let end = finish(&session, None).end;
    assert_eq!(end, SessionMessage::Signaled(libc::SIGTERM));
}

#[test]
fn what_a_program_gets() {
    if !able() {
        return;
    }
    let mut ct = container();
    let status = ct.exec(program(&["cat", "/proc/self/status"])).out;
    for line in [
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "SigIgn:\t0000000000000000",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    let env = ct.exec(Exec {
        env: vec![("PATH".into(), "/bin".into()), ("A".into(), "b c".into())],
        ..program(&["env"])
    });
    assert_eq!(env.out, "container=lxc\nPATH=/bin\nA=b c\n");
    assert_eq!(ct.say("ls /proc/self/fd | wc -l"), "4");

    let as_user = |argv: &[&str]| Exec {
        uid: 1000,
        gid: 100,
        groups: vec![5, 27],
        ..program(argv)
    };
    let id = ct.exec(as_user(&[
        "sh",
        "-c",
        "id -u; id -g; id -G; cat /proc/self/status",
    ]));
    assert!(id.out.starts_with("1000\n100\n100 5 27\n"), "{id:?}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(
            id.out.contains(&format!("{set}:\t0000000000000000")),
            "{id:?}"
        );
    }
    let unmapped = ct.exec(Exec {
        uid: 100_000,
        ..program(&["true"])
    });
    assert!(
        matches!(unmapped.end, SessionMessage::Failed { code: 125, .. }),
        "{unmapped:?}"
    );
}

#[test]
fn working_directories() {
    if !able() {
        return;
    }
    let mut ct = container();
    let pwd = |cwd: &str, cwd_required| Exec {
        cwd: cwd.into(),
        cwd_required,
        ..program(&["pwd"])
    };
    assert_eq!(ct.exec(pwd("/home/user", true)).out, "/home/user\n");
    assert_eq!(ct.exec(pwd("/missing", false)).out, "/\n");
    let refused = ct.exec(pwd("/missing", true));
    assert!(matches!(
        refused.end,
        SessionMessage::Failed { code: 126, .. }
    ));
    // Descriptors of the runtime's, if it leaked any.
    for number in 0..110 {
        let path = format!("/proc/self/fd/{number}");
        assert_eq!(ct.exec(pwd(&path, false)).out, "/\n", "{path}");
    }
}

#[test]
fn a_terminal_of_its_own() {
    if !able() {
        return;
    }
    let mut ct = container();
    let script = "tty; stty size; ls -l /proc/self/fd/0; read line; echo got-$line; exit 7";
    let exec = Action::Exec(on_tty(&["/bin/sh", "-c", script]));
    let session = ct.enter(exec, &[]).unwrap();
    let master = master(&session);
    let seen = read_tty(&master, "33 77");
    assert!(seen.contains("/dev/pts/1"), "{seen}");
    nix::unistd::write(&master, b"input\n").unwrap();
    read_tty(&master, "got-input");
    assert_eq!(finish(&session, None).status(), 7);

    // ^C is the terminal's business, a signal goes to all on it.
    let session = ct
        .enter(Action::Exec(on_tty(&["sleep", "10000"])), &[])
        .unwrap();
    let terminal = self::master(&session);
    nix::unistd::write(&terminal, b"\x03").unwrap();
    assert_eq!(
        finish(&session, None).end,
        SessionMessage::Signaled(libc::SIGINT)
    );
    let session = ct
        .enter(Action::Exec(on_tty(&["sleep", "10000"])), &[])
        .unwrap();
    let _terminal = self::master(&session);
    session
        .send_json(&SessionRequest::Signal(libc::SIGKILL), &[])
        .unwrap();
    assert_eq!(
        finish(&session, None).end,
        SessionMessage::Signaled(libc::SIGKILL)
    );
}

#[test]
fn a_client_that_leaves_hangs_up() {
    if !able() {
        return;
    }
    let mut ct = container();
    let session = ct
        .enter(Action::Exec(on_tty(&["sleep", "4242"])), &[])
        .unwrap();
    let terminal = master(&session);
    assert_eq!(ct.status().sessions, 1);
    drop((session, terminal));
    ct.until(|status| status.sessions == 0);
    // Garbage is as good as leaving.
    let session = ct
        .enter(Action::Exec(on_tty(&["sleep", "4242"])), &[])
        .unwrap();
    seqpacket::send(session.as_fd(), b"{garbage", &[], false).unwrap();
    ct.until(|status| status.sessions == 0);
}

#[test]
fn a_script_from_a_descriptor() {
    if !able() {
        return;
    }
    let mut ct = container();
    let path = ct.place().dir.path().join("script");
    fs::write(&path, "#!/bin/sh\necho $# $1; id -u; exit 9\n").unwrap();
    for uid in [0, 1000] {
        let script = fs::File::open(&path).unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        let (out, out_w) = crate::harness::pipe();
        let (err, err_w) = crate::harness::pipe();
        let exec = Exec {
            script: true,
            uid,
            ..program(&["name", "argument"])
        };
        let fds = [null.as_fd(), out_w.as_fd(), err_w.as_fd(), script.as_fd()];
        let session = ct.enter(Action::Exec(exec), &fds).unwrap();
        drop((out_w, err_w));
        let output = finish(&session, Some((out, err)));
        assert_eq!(output.out, format!("1 argument\n{uid}\n"), "{output:?}");
        assert_eq!(output.status(), 9);
    }
}

#[test]
fn many_at_once() {
    if !able() {
        return;
    }
    let mut ct = container();
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let sessions: Vec<_> = (0..100)
        .map(|i| {
            let exec = program(&["sh", "-c", &format!("exit {i}")]);
            ct.enter(Action::Exec(exec), &[null.as_fd(); 3]).unwrap()
        })
        .collect();
    for (i, session) in sessions.iter().enumerate() {
        assert_eq!(finish(session, None).status(), i as i32);
    }
}

fn master(session: &osctl_runtime::control::Connection) -> OwnedFd {
    wait_readable(session.as_fd());
    let (message, mut fds) = session.recv_session().unwrap();
    assert!(matches!(message, SessionMessage::Pid(_)), "{message:?}");
    fds.pop().expect("a master")
}

fn read_tty(master: &OwnedFd, wanted: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains(wanted) {
        wait_readable(master.as_fd());
        let size = nix::unistd::read(master, &mut buffer).unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..size]));
    }
    seen
}
