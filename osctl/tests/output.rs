//! What osctl prints: tables, JSON, errors, progress, exit statuses.

#![allow(clippy::unwrap_used)] // a test that can not be set up fails

mod fake;

use std::process::Stdio;

use fake::{Fake, container, run};
use osctl_api::{Code, Error};
use serde_json::{Value, json};

fn containers(ids: &'static [&'static str]) -> Fake {
    Fake::start(move |conn, request| {
        assert_eq!(request.method, "ContainerList");
        let all: Vec<Value> = ids.iter().map(|id| container(id)).collect();
        conn.reply(&json!({ "containers": all }));
    })
}

#[test]
fn containers_are_listed() {
    let fake = containers(&["ct2", "ct10"]);
    let ran = fake.run(&["ct", "ls"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(
        ran.out,
        "POOL  ID    USER  GROUP     DISTRIBUTION  VERSION  STATE    INIT_PID  MEMORY  CPU_US\n\
         tank  ct2   ct2   /default  debian        13       running      4242    1.5M    1d2h\n\
         tank  ct10  ct10  /default  debian        13       running      4242    1.5M    1d2h\n"
    );
    assert_eq!(ran.err, "");
    let call = fake.only_call();
    assert_eq!(call.params["stats"], true);
    assert_eq!(call.cli.as_deref(), Some("osctl ct ls"));
}

#[test]
fn statistics_are_read_only_when_shown() {
    for (arguments, want) in [
        (&["ct", "ls", "-o", "id,state"][..], false),
        (&["ct", "ls", "-o", "-memory,cpu_us"], false),
        (&["ct", "ls", "-o", "id", "-s", "nproc"], true),
        (&["ct", "ls", "-o", "+memory_pct"], true),
        (&["-j", "ct", "ls"], true),
    ] {
        let fake = containers(&["a"]);
        assert_eq!(fake.run(arguments).status, Some(0));
        assert_eq!(fake.only_call().params["stats"], want, "{arguments:?}");
    }
}

#[test]
fn output_is_chosen() {
    let fake = containers(&["ct10", "ct2"]);
    let out = |arguments: &[&str]| {
        let ran = fake.run(arguments);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran.out
    };
    assert_eq!(
        out(&["ct", "ls", "-H", "-o", "id", "-s", "id"]),
        "ct2\nct10\n"
    );
    assert_eq!(
        out(&[
            "ct",
            "ls",
            "-p",
            "--parsable",
            "-Ho",
            "id,memory,my:attr,nope:x"
        ]),
        "ct10  1572864  value  -\nct2   1572864  value  -\n"
    );
    assert_eq!(out(&["ct", "ls", "-o", ""]), "");
    assert_eq!(
        out(&["-j", "ct", "ls", "-o", "id,memory", "-s", "id"]),
        "[{\"id\":\"ct2\",\"memory\":1572864},{\"id\":\"ct10\",\"memory\":1572864}]\n"
    );
    let all: Value = serde_json::from_str(&out(&["ct", "ls", "-j"])).unwrap();
    assert_eq!(all[0]["seccomp_profile"], "default");
    assert_eq!(all[0]["hostname"], Value::Null);
}

#[test]
fn one_container_is_shown_in_rows() {
    let fake = Fake::start(|conn, _| conn.reply(&container("web1")));
    let ran = fake.run(&[
        "--pool",
        "tank",
        "ct",
        "show",
        "web1",
        "-o",
        "id,memory,state",
    ]);
    assert_eq!(ran.out, "    ID:  web1\nMEMORY:  1.5M\n STATE:  running\n");
    assert_eq!(fake.only_call().params["id"], "tank:web1");
    let ran = fake.run(&["ct", "show", "other:web1", "--pool", "tank"]);
    assert!(ran.out.contains("MY:ATTR:  value\n"), "{}", ran.out);
    assert_eq!(fake.seen()[1].params["id"], "other:web1");
    let ran = fake.run(&["ct", "show", "x", "-L"]);
    assert!(ran.out.starts_with("pool\nid\n"));
    assert_eq!(fake.seen().len(), 2, "-L asks nothing");
}

#[test]
fn control_characters_of_guests_are_escaped() {
    let fake = Fake::start(|conn, _| {
        let mut ct = container("a");
        ct["distribution"] = json!("\u{1b}[2Jx\n\u{9b}");
        conn.reply(&json!({ "containers": [ct] }));
    });
    let ran = fake.run(&["ct", "ls", "-Ho", "distribution"]);
    assert_eq!(ran.out, "\\x1b[2Jx\\n\\x9b\n");
    let ran = fake.run(&["-j", "ct", "ls", "-o", "distribution"]);
    assert_eq!(ran.out, "[{\"distribution\":\"\\u001b[2Jx\\n\\u009b\"}]\n");
}

#[test]
fn errors_are_rendered() {
    let fake = Fake::start(|conn, _| {
        let mut e = Error::new(Code::Busy, "tank:web1 is being started").hint("wait for it");
        e.causes = vec!["held by \u{1b}[31mstart".into()];
        conn.error(&e);
    });
    let ran = fake.run(&["ct", "freeze", "web1"]);
    assert_eq!(ran.status, Some(1));
    assert_eq!(ran.out, "");
    assert_eq!(
        ran.err,
        "Error: tank:web1 is being started\nCaused by: held by \\x1b[31mstart\nHint: wait for it\n"
    );
    let ran = fake.run(&["ct", "freeze", "web1", "-j"]);
    assert_eq!(ran.status, Some(1));
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["code"], "Busy");
    assert_eq!(error["error"]["hint"], "wait for it");
    let ran = fake.run(&["--color", "ct", "freeze", "web1"]);
    assert!(ran.err.starts_with("\u{1b}[1;31mError:\u{1b}[0m tank"));
}

#[test]
fn without_a_daemon_there_is_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let ran = run(fake::osctl(&socket, &["ct", "ls"]), b"");
    assert_eq!(ran.status, Some(3));
    assert_eq!(ran.out, "");
    assert!(
        ran.err.contains("none.sock\nCaused by: No such file"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("\nHint: check that osctld runs"),
        "{}",
        ran.err
    );
    let ran = run(fake::osctl(&socket, &["--json", "ct", "ls"]), b"");
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["code"], "Unavailable");
}

#[test]
fn a_reply_that_is_garbage_is_an_error() {
    for garbage in [
        &b"\0"[..],
        b"hello\0",
        b"[1,2]\0",
        b"{\"parameters\":{}}\0",
        b"{\"parameters\":{\"containers\":[{}]}}\0",
        b"\xff\xfe\0",
    ] {
        let fake = Fake::start(move |conn, _| conn.raw(garbage));
        let ran = fake.run(&["ct", "ls"]);
        assert_eq!(ran.status, Some(1), "{garbage:?} {ran:?}");
        assert!(ran.err.contains("can't be understood"), "{ran:?}");
    }
}

#[test]
fn a_lost_connection_is_told() {
    for part in [&b""[..], b"{\"parameters\":{\"containers\":["] {
        let fake = Fake::start(move |conn, _| {
            conn.raw(part);
            conn.close();
        });
        let ran = fake.run(&["ct", "ls"]);
        assert_eq!(ran.status, Some(3), "{ran:?}");
        assert!(
            ran.err.contains("connection to the daemon was lost"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let fake = Fake::start(|conn, _| {
        let all: Vec<Value> = (0..5000).map(|i| container(&format!("ct{i}"))).collect();
        conn.reply(&json!({ "containers": all }));
    });
    for arguments in [&["ct", "ls"][..], &["-j", "ct", "ls"]] {
        let mut command = fake.osctl(arguments);
        let (read, write) = rustix::pipe::pipe().unwrap();
        drop(read);
        command.stdout(write).stderr(Stdio::piped());
        let ran = command.output().unwrap();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert!(ran.stderr.is_empty(), "{ran:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let fake = containers(&["a"]);
    let mut command = fake.osctl(&["ct", "ls"]);
    command.stdout(std::fs::File::create("/dev/full").unwrap());
    let ran = command.output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("standard output"));
}

#[test]
fn progress_is_a_line_for_each_step() {
    let fake = Fake::start(|conn, _| {
        for (message, done) in [("unpacking", 1), ("unpacking", 2), ("writing \u{7}", 3)] {
            let progress = json!({"message": message, "done": done, "total": 4});
            conn.more(&json!({ "progress": progress }));
        }
        conn.reply(&json!({"result": {}}));
    });
    let ran = fake.run(&["ct", "start", "web1"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!((&*ran.out, &*ran.err), ("", "unpacking\nwriting \\x07\n"));
    assert!(fake.only_call().more);
    for quiet in [
        &["-q", "ct", "stop", "web1"][..],
        &["-j", "ct", "stop", "web1"],
    ] {
        let ran = fake.run(quiet);
        assert_eq!((&*ran.out, &*ran.err), ("", ""));
    }
}

#[test]
fn what_a_name_can_not_be_is_a_usage_error() {
    let fake = Fake::start(|_, request| panic!("{} was called", request.method));
    for arguments in [
        &["ct", "show", "a\nb"][..],
        &["ct", "show", "../etc"],
        &["ct", "new", "x y", "--from-archive", "/x"],
        &["ct", "set", "attr", "a", "novendor", "x"],
        &["ct", "set", "hostname", "a", "x\ny"],
        &["ct", "set", "distribution", "a", "x\ny", "1"],
        &["ct", "passwd", "a", "root", "x\ny"],
        &["ct", "passwd", "a", "ro\not", "x"],
        &["ct", "ls", "-S", "nostate"],
        &["ct", "ls", "-s", "nope"],
        &["ct", "cat", "a", "relative"],
        &["ct", "wait", "a", "gone"],
        &["ct", "pid", "0"],
        &["ct", "exec", "-e", "noequals", "a", "ls"],
        &["ct", "ps", "-p", "nope=1"],
        &["pool", "set", "parallel-start", "tank", "0"],
        &["ct", "start", "a", "--user-shell"],
        &["--pool", "a/b", "ct", "ls"],
        &["nonsense"],
        &["ct"],
        &[],
    ] {
        let ran = fake.run(arguments);
        assert_eq!(ran.status, Some(2), "{arguments:?} {ran:?}");
        assert!(!ran.err.is_empty() && ran.out.is_empty(), "{arguments:?}");
    }
    let ran = fake.run(&["ct", "show", "a\nb"]);
    assert!(
        ran.err.contains("use 1 to 100 letters, digits"),
        "{}",
        ran.err
    );
    for (arguments, input) in [
        (&["ct", "passwd", "a", "root"][..], &b"x\0y\n"[..]),
        (&["ct", "passwd", "a", "root"], b""),
        (&["ct", "passwd", "a", "root"], b"\xff\n"),
        (&["ct", "pid", "-"], b"1 x\n"),
        (&["ct", "devices", "replace", "a"], b"{\0}"),
        (&["ct", "cgparams", "replace", "a"], b"{}"),
    ] {
        let ran = run(fake.osctl(arguments), input);
        assert_eq!(ran.status, Some(2), "{arguments:?} {ran:?}");
    }
    let ran = run(fake.osctl(&["ct", "passwd", "a", "root"]), b"x\0y\n");
    assert_eq!(ran.err, "Error: the password must not contain a NUL byte\n");
}

#[test]
fn usage_errors_are_json_if_asked_for() {
    let fake = containers(&[]);
    let ran = fake.run(&["ct", "show", "-j"]);
    assert_eq!(ran.status, Some(2));
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["code"], "InvalidArgument");
}

#[test]
fn help_and_version_go_to_stdout() {
    let fake = containers(&[]);
    for arguments in [
        &["--help"][..],
        &["help"],
        &["help", "ct", "start"],
        &["ct", "start", "--help"],
        &["ct", "set", "-h"],
        &["--version"],
    ] {
        let ran = fake.run(arguments);
        assert_eq!(ran.status, Some(0), "{arguments:?} {ran:?}");
        assert!(!ran.out.is_empty() && ran.err.is_empty(), "{arguments:?}");
    }
}
