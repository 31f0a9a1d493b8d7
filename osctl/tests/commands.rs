//! What osctl asks of the daemon, and what it makes of the answers.

#![allow(clippy::unwrap_used)] // a test that can not be set up fails

mod fake;

use std::sync::{Arc, Mutex};

use fake::{Fake, container, osctl, run};
use osctl_api::{Code, Error};
use serde_json::{Value, json};

fn anything() -> Fake {
    Fake::start(|conn, request| {
        if request.more {
            conn.reply(&json!({"result": {}}));
        } else {
            conn.reply(&json!({}));
        }
    })
}

/// Runs a command and returns the method and parameters that it called.
fn call(arguments: &[&str], input: &[u8]) -> (String, Value) {
    let fake = anything();
    let ran = run(fake.osctl(arguments), input);
    assert_eq!(ran.status, Some(0), "{arguments:?} {ran:?}");
    let call = fake.only_call();
    (call.method, call.params)
}

#[test]
fn commands_become_calls() {
    for (line, method, params) in [
        ("ct freeze web1", "ContainerFreeze", json!({"id": "web1"})),
        (
            "ct thaw web1 --pool tank",
            "ContainerUnfreeze",
            json!({"id": "tank:web1"}),
        ),
        (
            "ct start web1",
            "ContainerStart",
            json!({"id": "web1", "wait": 120}),
        ),
        (
            "ct start -w infinity -q -p 3 web1",
            "ContainerStart",
            json!({"id": "web1", "queue": 3}),
        ),
        (
            "ct start --no-wait web1",
            "ContainerStart",
            json!({"id": "web1", "wait": 0}),
        ),
        (
            "ct stop --dont-kill -t 5 -m bye web1",
            "ContainerStop",
            json!({"id": "web1", "mode": "shutdown", "timeout": 5, "message": "bye"}),
        ),
        (
            "ct stop -k web1",
            "ContainerStop",
            json!({"id": "web1", "mode": "kill", "timeout": 300}),
        ),
        (
            "ct restart -r web1",
            "ContainerRestart",
            json!({"id": "web1", "mode": "shutdown_or_kill", "timeout": 300, "reboot": true, "wait": 120}),
        ),
        (
            "ct del -f web1",
            "ContainerDelete",
            json!({"id": "web1", "force": true}),
        ),
        (
            "ct mv web1 web2",
            "ContainerMove",
            json!({"id": "web1", "new_id": "web2"}),
        ),
        (
            "ct set autostart web1",
            "ContainerSet",
            json!({"id": "web1", "autostart": {"priority": 1000, "delay": 5}}),
        ),
        (
            "ct set memory-limit web1 1.5g 512m",
            "ContainerSet",
            json!({"id": "web1", "memory_limit": {"memory": 1_610_612_736u64, "swap": 536_870_912}}),
        ),
        (
            "ct set cpu-limit web1 150% -p 50000",
            "ContainerSet",
            json!({"id": "web1", "cpu_limit": {"percent": 150, "period_us": 50000}}),
        ),
        (
            "ct set dns-resolver web1 1.1.1.1 ::1",
            "ContainerSet",
            json!({"id": "web1", "dns_resolvers": ["1.1.1.1", "::1"]}),
        ),
        (
            "ct set init-cmd web1 /bin/init --flag -x",
            "ContainerSet",
            json!({"id": "web1", "init_cmd": ["/bin/init", "--flag", "-x"]}),
        ),
        (
            "ct set attr web1 my:key value",
            "ContainerSet",
            json!({"id": "web1", "attrs": {"my:key": "value"}}),
        ),
        (
            "ct unset dns-resolver web1",
            "ContainerUnset",
            json!({"id": "web1", "settings": ["dns_resolvers"]}),
        ),
        (
            "ct unset attr web1 my:key",
            "ContainerUnset",
            json!({"id": "web1", "attrs": ["my:key"]}),
        ),
        (
            "ct cgparams set web1 memory.high 1 -1 -a -v 2",
            "ContainerCgparamsSet",
            json!({"id": "web1", "parameter": "memory.high", "value": ["1", "-1"], "version": 2, "append": true}),
        ),
        (
            "ct prlimits set web1 nofile 1024",
            "ContainerPrlimitsSet",
            json!({"id": "web1", "limit": {"name": "nofile", "soft": "1024", "hard": "1024"}}),
        ),
        (
            "ct devices add web1 char 10 229 rwm /dev/fuse",
            "ContainerDevicesAdd",
            json!({"id": "web1", "kind": "char", "major": "10", "minor": "229", "mode": "rwm", "name": "/dev/fuse"}),
        ),
        (
            "ct devices chmod web1 char 10 * -",
            "ContainerDevicesChmod",
            json!({"id": "web1", "kind": "char", "major": "10", "minor": "*", "mode": "-"}),
        ),
        (
            "group del tank:/a/b",
            "GroupDelete",
            json!({"group": "tank:/a/b"}),
        ),
        (
            "group set cpu-limit /a 50 --pool tank",
            "GroupSet",
            json!({"group": "tank:/a", "cpu_limit": {"percent": 50}}),
        ),
        (
            "user unset standalone u1",
            "UserSet",
            json!({"user": "u1", "standalone": false}),
        ),
        (
            "id-range free r --owner bob",
            "IdRangeFree",
            json!({"id_range": "r", "owner": "bob"}),
        ),
        (
            "pool unset parallel-stop tank",
            "PoolUnset",
            json!({"pool": "tank", "parallel_start": false, "parallel_stop": true}),
        ),
        (
            "pool export -f tank",
            "PoolExport",
            json!({"pool": "tank", "force": true, "no_stop_containers": false, "if_imported": false}),
        ),
        ("shutdown -f", "Shutdown", json!({"abort": false})),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (called, mut got) = call(&arguments, b"");
        assert_eq!(called, method, "{line}");
        // what is false in the parameters and absent from the table is a default
        let got = got.as_object_mut().unwrap();
        got.retain(|k, v| params.get(k).is_some() || *v != json!(false));
        assert_eq!(Value::Object(got.clone()), params, "{line}");
    }
}

#[test]
fn documents_come_from_standard_input() {
    let (method, params) = call(
        &["ct", "devices", "replace", "web1"],
        br#"{"devices":[{"type":"char","major":10,"minor":"*","mode":"rw","dev_name":"/dev/x"}]}"#,
    );
    assert_eq!(method, "ContainerDevicesReplace");
    assert_eq!(params["devices"][0]["major"], "10");
    assert_eq!(params["devices"][0]["name"], "/dev/x");
    let (_, params) = call(
        &["ct", "cgparams", "replace", "web1"],
        br#"{"parameters":[{"version":2,"subsystem":"pids","parameter":"pids.max","value":["9"]}]}"#,
    );
    assert_eq!(params["parameters"][0]["value"], json!(["9"]));
}

#[test]
fn paths_are_absolute() {
    let fake = Fake::start(|conn, _| conn.reply(&json!({"result": container("a")})));
    let mut command = fake.osctl(&["ct", "new", "a", "--from-archive", "sub/image.tar"]);
    command.current_dir(fake.dir());
    assert_eq!(run(command, b"").status, Some(0));
    let path = fake.dir().join("sub/image.tar");
    assert_eq!(
        fake.only_call().params["from_archive"],
        path.to_str().unwrap()
    );
    let ran = fake.run(&["-j", "ct", "new", "a", "--from-archive", "/x"]);
    let made: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(made["id"], "a");
}

#[test]
fn passwords_are_not_in_the_history() {
    let fake = anything();
    assert_eq!(
        fake.run(&["ct", "passwd", "a", "root", "secret"]).status,
        Some(0)
    );
    let ran = run(
        fake.osctl(&["ct", "passwd", "a", "root"]),
        b"se cret\nmore\n",
    );
    assert_eq!(ran.status, Some(0));
    let seen = fake.seen();
    assert_eq!(seen[0].params["password"], "secret");
    assert_eq!(seen[1].params["password"], "se cret");
    for call in seen {
        assert_eq!(call.cli.as_deref(), Some("osctl ct passwd a root"));
    }
}

#[test]
fn a_shutdown_is_confirmed() {
    let fake = anything();
    for no in [&b""[..], b"\n", b"no\n", b"y\n"] {
        let ran = run(fake.osctl(&["shutdown"]), no);
        assert_eq!(ran.status, Some(1), "{ran:?}");
    }
    assert!(fake.seen().is_empty());
    assert_eq!(run(fake.osctl(&["shutdown"]), b"yes\n").status, Some(0));
    assert_eq!(fake.only_call().method, "Shutdown");
}

fn event(id: &str, state: &str) -> Value {
    json!({"type": "state", "pool": "tank", "id": id, "state": state})
}

#[test]
fn waiting_subscribes_before_it_looks() {
    let fake = Fake::start(|conn, request| match &*request.method {
        "Subscribe" => {
            conn.more(&json!({"type": "subscribed"}));
            conn.more(&event("other", "stopped"));
            conn.more(&event("web1", "stopping"));
            conn.more(&event("web1", "stopped"));
        }
        _ => conn.reply(&container("web1")),
    });
    let ran = fake.run(&["ct", "wait", "web1", "stopped", "error"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let methods: Vec<String> = fake.seen().into_iter().map(|s| s.method).collect();
    assert_eq!(methods, ["Subscribe", "ContainerShow"]);
    assert_eq!(fake.run(&["ct", "wait", "web1", "running"]).status, Some(0));
}

#[test]
fn waiting_ends_when_there_is_nothing_to_wait_for() {
    let fake = Fake::start(|conn, request| match &*request.method {
        "Subscribe" => {
            conn.more(&json!({"type": "subscribed"}));
            conn.more(
                &json!({"type": "db", "object": "container", "action": "remove",
                "pool": "tank", "id": "web1"}),
            );
        }
        _ => conn.reply(&container("web1")),
    });
    let ran = fake.run(&["ct", "wait", "web1", "stopped"]);
    assert_eq!(ran.status, Some(1));
    assert_eq!(ran.err, "Error: container web1 was deleted\n");
    let fake = Fake::start(|conn, request| match &*request.method {
        "Subscribe" => conn.more(&json!({"type": "subscribed"})),
        _ => conn.error(&Error::new(Code::NotFound, "container web1 does not exist")),
    });
    assert_eq!(fake.run(&["ct", "wait", "web1", "stopped"]).status, Some(1));
}

#[test]
fn monitors_end_with_the_daemon() {
    let fake = Fake::start(|conn, _| {
        conn.more(&json!({"type": "subscribed"}));
        conn.more(&event("web1", "running"));
        conn.more(&event("db1", "stopped"));
        conn.more(
            &json!({"type": "management", "action": "run", "method": "ContainerStart",
            "pool": "tank", "id": "db1", "lost": 3}),
        );
        conn.more(&json!({"type": "shutdown"}));
        conn.close();
    });
    let ran = fake.run(&["ct", "monitor", "web1"]);
    assert_eq!(ran.status, Some(3));
    assert_eq!(ran.out, "state tank web1 running\n");
    let ran = fake.run(&["monitor"]);
    assert_eq!(
        ran.out,
        "state tank web1 running\nstate tank db1 stopped\n\
         management run ContainerStart tank db1\nshutdown\n"
    );
    assert!(ran.err.starts_with("3 events were lost"), "{}", ran.err);
    let ran = fake.run(&["-j", "monitor"]);
    let lines: Vec<Value> = ran
        .out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines[1], event("web1", "running"));
}

#[test]
fn ping_has_exit_statuses_of_its_own() {
    let pong = json!({"version": "1.2", "pid": 7, "initialized": true});
    let good = Fake::start(move |conn, _| conn.reply(&pong));
    let ran = good.run(&["ping"]);
    assert_eq!(
        (ran.status, &*ran.out),
        (Some(0), "pong from osctld 1.2, pid 7\n")
    );
    let bad = Fake::start(|conn, _| conn.error(&Error::new(Code::Backend, "x")));
    assert_eq!(bad.run(&["ping"]).status, Some(1));
    let odd = Fake::start(|conn, _| conn.raw(b"SSH-2.0-x\0"));
    assert_eq!(odd.run(&["ping"]).status, Some(3));
    assert_eq!(odd.run(&["ping", "5"]).status, Some(3));
    let none = tempfile::tempdir().unwrap();
    let socket = none.path().join("a/b.sock");
    assert_eq!(run(osctl(&socket, &["ping"]), b"").status, Some(2));
    assert_eq!(run(osctl(&socket, &["ping", "1"]), b"").status, Some(2));
}

#[test]
fn ping_waits_for_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("late.sock");
    let mut child = osctl(&socket, &["ping", "30"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert!(child.try_wait().unwrap().is_none());
    fake::listen(&socket, Arc::new(Mutex::new(Vec::new())), |conn, _| {
        conn.reply(&json!({"version": "1", "pid": 7, "initialized": false}));
    });
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("being imported"));
}

#[test]
fn health_history_and_assets_are_printed() {
    let fake = Fake::start(|conn, request| {
        let asset = json!({"type": "file", "path": "/x", "state": "invalid",
            "purpose": "key", "errors": ["mode is 777"]});
        match &*request.method {
            "Healthcheck" => conn.reply(&json!({"entities": [{"type": "container",
                "pool": "tank", "id": "a", "assets": [asset], "problems": ["p\u{7}"]}]})),
            "History" => conn.reply(&json!({"entries": [
                {"time": 0, "pool": "tank", "method": "M", "cli": "osctl x", "params": {}},
                {"time": 1, "pool": "tank", "method": "M", "params": {"id": "a"}, "error": "no"},
            ]})),
            _ => conn.reply(&json!({ "assets": [asset] })),
        }
    });
    let out = |arguments: &[&str]| fake.run(arguments).out;
    assert_eq!(
        out(&["healthcheck", "-a"]),
        "container tank a\n\tfile /x: mode is 777\n\tp\\x07\n"
    );
    assert_eq!(
        out(&["history"]),
        "TIME                 POOL  COMMAND\n\
         1970-01-01 00:00:00  tank  osctl x\n\
         1970-01-01 00:00:01  tank  M id=\"a\" [failed: no]\n"
    );
    assert_eq!(out(&["-j", "history"]).lines().count(), 2);
    assert_eq!(
        out(&["assets", "-v"]),
        "TYPE  PATH  STATE    PURPOSE\nfile  /x    invalid  key\n\tmode is 777\n"
    );
}

#[test]
fn processes_are_filtered() {
    let fake = Fake::start(|conn, request| {
        if request.method == "ContainerPidLookup" {
            let row = json!({"pid": 1, "name": "ini\u{1b}t"});
            return conn.reply(&json!({ "rows": [row] }));
        }
        let process = |pid: u32, name: &str| {
            json!({"pool": "tank", "ctid": "a", "pid": pid, "ctpid": 1, "ruid": 0, "rgid": 0,
                "euid": 0, "egid": 0, "vmsize": 0, "rss": pid * 1024, "state": "S",
                "start": 0, "time": 0, "command": name, "name": name})
        };
        conn.reply(&json!({"processes": [process(30, "b\nb"), process(4, "a")]}));
    });
    let out = |arguments: &[&str]| fake.run(arguments).out;
    assert_eq!(
        out(&["ct", "ps", "-Ho", "pid,name,rss", "-s", "pid"]),
        " 4  a      4.0K\n30  b\\nb  30.0K\n"
    );
    let ran = fake.run(&["ct", "ps", "-p", "rss>5k", "-Ho", "pid"]);
    assert_eq!(ran.out, "30\n", "{ran:?}");
    let ran = fake.run(&["ct", "pid", "1", "2"]);
    assert_eq!(ran.status, Some(1));
    assert_eq!(
        ran.out,
        "PID  CONTAINER  CTPID  NAME\n  1  -              -  ini\\x1bt\n"
    );
    assert_eq!(ran.err, "there is no process 2\n");
    let ran = run(fake.osctl(&["ct", "pid", "-"]), b"1\n\n1\n");
    assert_eq!(ran.out.lines().count(), 3);
}

#[test]
fn completion_knows_names_and_is_silent_without_a_daemon() {
    let fake = Fake::start(|conn, request| match &*request.method {
        "ContainerList" => conn.reply(&json!({"containers": [container("web1")]})),
        "FirewallSetList" => conn.reply(&json!({"sets": [
            {"pool": "tank", "name": "office", "addresses": [], "used_by": []}
        ]})),
        _ => conn.error(&Error::new(Code::Internal, "x")),
    });
    let complete = |socket: &std::path::Path, words: &[&str]| {
        let mut arguments = vec!["--", "osctl"];
        arguments.extend(words);
        let mut command = osctl(socket, &arguments);
        command.env("COMPLETE", "fish");
        let ran = run(command, b"");
        assert_eq!(ran.err, "");
        ran.out
    };
    let started = complete(fake.socket(), &["ct", "start", ""]);
    assert!(started.contains("web1"), "{started:?}");
    assert!(!complete(fake.socket(), &["ct", "new", ""]).contains("web1"));
    assert!(complete(fake.socket(), &["ct", "st"]).contains("start"));
    assert!(complete(fake.socket(), &["firewall", "set", "show", ""]).contains("office"));
    complete(fake.socket(), &["pool", "show", ""]);
    complete(&fake.dir().join("none"), &["ct", "start", ""]);
    for shell in ["bash", "zsh", "fish"] {
        let ran = fake.run(&["gen-completion", shell]);
        assert_eq!(ran.status, Some(0));
        assert!(
            ran.out.contains("COMPLETE") && ran.out.contains("osctl"),
            "{shell}"
        );
    }
}

#[test]
fn every_command_has_a_man_page() {
    let fake = anything();
    let dir = fake.dir().join("man");
    let ran = fake.run(&["gen-man", dir.to_str().unwrap()]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    for page in [
        "osctl",
        "osctl-ct",
        "osctl-ct-start",
        "osctl-ct-set-autostart",
        "osctl-ping",
    ] {
        let text = std::fs::read_to_string(dir.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
    let text = std::fs::read_to_string(dir.join("osctl-ct-start.1")).unwrap();
    assert!(text.contains("Attach to the console first"), "{text}");
    assert!(!dir.join("osctl-gen-man.1").exists());
}
