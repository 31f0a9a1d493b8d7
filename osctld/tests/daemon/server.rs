//! The socket: varlink, and clients that behave badly.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use osctl_api::Code;
use osctl_api::client::Client;
use osctl_api::daemon::{EventKind, Ping, Subscribe};
use osctl_api::user;
use serde_json::{Value, json};

use crate::harness::{Home, able, new_user};

fn error(reply: &Value) -> &str {
    reply["error"]
        .as_str()
        .unwrap_or_else(|| panic!("no error: {reply}"))
}

#[test]
fn it_speaks_varlink() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let mut c = daemon.raw();
    let info = c.ask("org.varlink.service.GetInfo");
    assert_eq!(
        info["parameters"]["interfaces"],
        json!(["org.varlink.service", "org.osctl"])
    );
    for interface in ["org.varlink.service", "org.osctl"] {
        let call = json!({"method": "org.varlink.service.GetInterfaceDescription", "parameters": {"interface": interface}});
        let text = c.call(&call.to_string())["parameters"]["description"].clone();
        let text = text.as_str().unwrap();
        assert!(
            text.contains(&format!("\ninterface {interface}\n")),
            "{text}"
        );
    }
    let table = [
        (
            r#"{"method":"org.example.X"}"#,
            "InterfaceNotFound",
            json!({"interface": "org.example"}),
        ),
        (
            r#"{"method":"org.osctl.Nope"}"#,
            "MethodNotFound",
            json!({"method": "org.osctl.Nope"}),
        ),
        (
            r#"{"method":"org.varlink.service.Nope"}"#,
            "MethodNotFound",
            json!({"method": "org.varlink.service.Nope"}),
        ),
        (
            r#"{"method":"Ping"}"#,
            "InterfaceNotFound",
            json!({"interface": "Ping"}),
        ),
        (
            r#"{"method":"org.osctl.Subscribe","parameters":{}}"#,
            "ExpectedMore",
            json!({}),
        ),
        (
            r#"{"method":"org.varlink.service.GetInterfaceDescription"}"#,
            "InvalidParameter",
            json!({"parameter": "interface"}),
        ),
        (
            r#"{"method":"org.osctl.Ping","parameters":[]}"#,
            "InvalidParameter",
            json!({"parameter": "parameters"}),
        ),
    ];
    for (call, name, parameters) in table {
        let reply = c.call(call);
        assert_eq!(
            error(&reply),
            format!("org.varlink.service.{name}"),
            "{call}"
        );
        assert_eq!(reply["parameters"], parameters, "{call}");
    }
    let reply = c.call(r#"{"method":"org.osctl.UserShow","parameters":{"user":"a/b"}}"#);
    assert_eq!(error(&reply), "org.varlink.service.InvalidParameter");
    assert_eq!(reply["parameters"]["parameter"], "user");
    let reply = c.call(r#"{"method":"org.osctl.Ping","upgrade":true}"#);
    assert_eq!(error(&reply), "org.osctl.Unsupported");
    assert!(
        c.call(r#"{"method":"org.osctl.Ping","parameters":null,"more":true,"x":1}"#)["error"]
            .is_null()
    );
}

#[test]
fn the_socket_is_for_root_and_goes_with_the_daemon() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let meta = fs::symlink_metadata(home.socket()).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o7777, 0o660);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.assert_serves();
    let mut watcher = daemon.client();
    let watching = std::thread::spawn(move || {
        let mut kinds = Vec::new();
        let ended = watcher.call_events(&Subscribe::default(), |e| {
            kinds.push(e.kind);
            true
        });
        (kinds, ended)
    });
    let mut idle = daemon.raw();
    idle.ask("org.osctl.Ping");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!home.socket().exists());
    assert!(idle.message().is_none());
    let (kinds, ended) = watching.join().unwrap();
    if ended.is_ok() {
        assert_eq!(kinds.last(), Some(&EventKind::Shutdown));
    }
}

#[test]
fn garbage_is_refused_and_bothers_nobody_else() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let mut bystander = daemon.raw();
    let deep = format!("{}\0", "[".repeat(100_000));
    for bytes in [
        &b"\0"[..],
        b"hello\0",
        b"GET / HTTP/1.1\r\n\r\n\0",
        b"\xff\xfe\0",
        b"{\0",
        b"[]\0",
        b"{\"method\":7}\0",
        b"{\"method\":\"org.osctl.Ping\",\"more\":\"yes\"}\0",
        deep.as_bytes(),
    ] {
        let mut c = daemon.raw();
        c.send(bytes);
        let reply = c.message().expect("an answer");
        assert_eq!(error(&reply), "org.osctl.InvalidArgument", "{bytes:?}");
        assert!(
            c.message().is_none(),
            "the connection stays open after {bytes:?}"
        );
        bystander.ask("org.osctl.Ping");
    }
}

#[test]
fn a_call_has_a_largest_size() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let mut c = daemon.raw();
    // Refused while it is still being sent.
    let endless = vec![b'x'; 4 * 1024 * 1024];
    let sent = c.socket.write_all(&endless);
    assert!(sent.is_err(), "4 MiB of a call were taken");
    daemon.assert_serves();
    let mut c = daemon.raw();
    let largest = format!(
        r#"{{"method":"org.osctl.Ping","parameters":{{"pad":"{}"}}}}"#,
        "x".repeat(1_000_000)
    );
    assert!(c.call(&largest)["error"].is_null());
}

#[test]
fn half_messages_hangs_and_sudden_ends_bother_nobody_else() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.assert_serves();
    let before = daemon.fds();
    let mut half = daemon.raw();
    half.send("{\"method\":\"org.osc");
    let silent = daemon.raw();
    for _ in 0..50 {
        let mut c = daemon.raw();
        c.send("{\"method\":\"org.osctl.Ping\"}\0{\"method\":\"org.osctl.UserList\"}\0{\"meth");
        drop(c);
    }
    daemon.assert_serves();
    half.send("tl.Ping\"}\0");
    assert!(half.message().unwrap()["error"].is_null());
    drop((half, silent));
    wait_for(|| daemon.fds() <= before);
}

/// Asks the kernel again and again; what is waited for has no event that a test could see.
fn wait_for(done: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < crate::harness::LIMIT, "it did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn calls_sent_ahead_are_answered_in_order() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let mut c = daemon.raw();
    let mut all = String::new();
    for n in 0..500 {
        all.push_str(&format!("{{\"method\":\"org.osctl.N{n}\"}}\0"));
        all.push_str("{\"method\":\"org.osctl.Ping\",\"oneway\":true}\0");
    }
    let mut writer = c.socket.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(all.as_bytes()).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    for n in 0..500 {
        let reply = c.message().expect("a reply");
        assert_eq!(reply["parameters"]["method"], format!("org.osctl.N{n}"));
    }
    // Nothing was said to the calls that wanted no reply, and a client that has said all is
    // let go only after its last reply.
    assert!(c.message().is_none());
    writing.join().unwrap();
}

#[test]
fn a_client_that_floods_without_reading_stops_itself_only() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let c = daemon.raw();
    c.socket.set_nonblocking(true).unwrap();
    let call = b"{\"method\":\"org.varlink.service.GetInfo\"}\0".repeat(1000);
    let mut sent = 0;
    // Until both sockets are full.
    let mut refused = 0;
    while refused < 1000 && sent < 256 * 1024 * 1024 {
        match (&c.socket).write(&call) {
            Ok(n) => sent += n,
            Err(_) => {
                refused += 1;
                daemon.assert_serves();
            }
        }
    }
    assert!(
        sent < 64 * 1024 * 1024,
        "{sent} bytes were taken from a client that reads nothing"
    );
    daemon.assert_serves();
}

#[test]
fn too_many_connections_cost_the_idle_ones_their_place() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let mut watcher = daemon.raw();
    watcher.send(
        r#"{"method":"org.osctl.Subscribe","parameters":{"kinds":["shutdown"]},"more":true}"#
            .to_owned()
            + "\0",
    );
    assert_eq!(
        watcher.message().unwrap()["parameters"]["type"],
        "subscribed"
    );
    let mut idle: Vec<_> = (0..1000).map(|_| daemon.raw()).collect();
    daemon.assert_serves();
    let reply = idle[0].message().expect("a reason");
    assert_eq!(error(&reply), "org.osctl.Unavailable");
    assert!(idle[0].message().is_none());
    idle[999].ask("org.osctl.Ping");
    assert!(daemon.fds() < 600, "{} descriptors are open", daemon.fds());
    drop(idle);
    // Who has a call in progress keeps its place.
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(watcher.message().unwrap()["parameters"]["type"], "shutdown");
}

#[test]
fn descriptors_that_nobody_takes_are_closed() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let null = File::open("/dev/null").unwrap();
    let mut c = daemon.raw();
    c.ask("org.osctl.Ping");
    let before = daemon.fds();
    for _ in 0..100 {
        c.send_fds(b"{\"method\":\"org.osctl.Ping\"}\0", &[&null, &null, &null]);
        assert!(c.message().unwrap()["error"].is_null());
    }
    assert!(daemon.fds() <= before);
}

#[test]
fn a_client_may_close_its_side_and_read_on() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    daemon.assert_serves();
    let before = daemon.fds();
    let mut c = daemon.raw();
    c.send(r#"{"method":"org.osctl.Subscribe","more":true}"#.to_owned() + "\0");
    c.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(c.message().unwrap()["parameters"]["type"], "subscribed");
    daemon.install("tank");
    let mut actions = Vec::new();
    while let Some(event) = c.message() {
        let done = event["parameters"]["action"] == "done";
        actions.push(format!(
            "{} {}",
            event["parameters"]["type"], event["parameters"]["action"]
        ));
        if done {
            break;
        }
    }
    assert_eq!(
        actions,
        [
            "\"management\" \"run\"",
            "\"db\" \"add\"",
            "\"management\" \"done\""
        ]
    );
    drop(c);
    // The pool has brought some of its own; the subscription's are gone.
    let pool = daemon.fds() - before;
    wait_for(|| daemon.fds() <= before + pool);
    let now = daemon.fds();
    let c = daemon.raw();
    c.socket.shutdown(Shutdown::Both).unwrap();
    drop(c);
    wait_for(|| daemon.fds() <= now);
}

#[test]
fn what_was_begun_is_done_though_the_client_is_gone() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let mut watcher = daemon.raw();
    watcher.send(
        r#"{"method":"org.osctl.Subscribe","parameters":{"kinds":["management"]},"more":true}"#
            .to_owned()
            + "\0",
    );
    watcher.message().unwrap();
    let dir = home.path("tank").display().to_string();
    let call =
        json!({"method": "org.osctl.PoolInstall", "parameters": {"pool": "tank", "dir": dir}});
    let mut c = daemon.raw();
    c.send(format!("{call}\0"));
    drop(c);
    assert_eq!(watcher.message().unwrap()["parameters"]["action"], "run");
    assert_eq!(watcher.message().unwrap()["parameters"]["action"], "done");
    assert_eq!(daemon.pool("tank").path, dir);
}

#[test]
fn a_slow_subscriber_is_told_what_it_lost() {
    if !able() {
        return;
    }
    let home = Home::new();
    let daemon = home.start();
    let mut slow = daemon.raw();
    slow.send(
        r#"{"method":"org.osctl.Subscribe","parameters":{"kinds":["management"]},"more":true}"#
            .to_owned()
            + "\0",
    );
    assert_eq!(slow.message().unwrap()["parameters"]["type"], "subscribed");
    let mut client = daemon.client();
    let total = 6000;
    for _ in 0..total / 2 {
        let user = "tank:nobody".parse().unwrap();
        assert_eq!(
            client.call(&user::Delete { user }).unwrap_err().code,
            Code::NotFound
        );
    }
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < total {
        let event = slow.message().unwrap();
        seen += 1;
        lost += event["parameters"]["lost"].as_u64().unwrap_or(0);
    }
    assert_eq!(seen + lost, total);
    assert!(lost > 0, "nothing was lost of {total} events");
}

#[test]
fn the_group_may_look_and_operate_but_not_administer() {
    if !able() {
        return;
    }
    let home = Home::new();
    let Ok(Some(group)) = nix::unistd::Group::from_gid(65534.into()) else {
        eprintln!("skipped: no group has id 65534");
        return;
    };
    home.configure(&format!("socket_group = '{}'", group.name));
    for dir in [home.path(""), home.path("run")] {
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o711)).unwrap();
    }
    let daemon = home.start();
    let run = |gid: u32| {
        // The program of this test can be somewhere that only root may go: it is opened before.
        let program = File::open("/proc/self/exe").unwrap();
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            std::os::fd::AsRawFd::as_raw_fd(&program)
        );
        let copy = home.path("member");
        fs::copy(path, &copy).unwrap();
        let output = Command::new(&copy)
            .args(["--exact", "server::member", "--ignored", "--nocapture"])
            .env("TEST_SOCKET", home.socket())
            .current_dir("/")
            .uid(65534)
            .gid(gid)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run(65533).contains("connect: PermissionDenied"));
    let said = run(65534);
    assert!(said.contains("ping: ok"), "{said}");
    assert!(
        said.contains("start: NotFound") || said.contains("start: Unsupported"),
        "{said}"
    );
    assert!(said.contains("new: PermissionDenied"), "{said}");
    drop(daemon);
}

/// Run by the test above as another user.
#[test]
#[ignore = "a part of another test"]
fn member() {
    let Some(socket) = std::env::var_os("TEST_SOCKET") else {
        return;
    };
    let said = |r: Result<(), osctl_api::Error>| match r {
        Ok(()) => "ok".to_owned(),
        Err(e) => e.code.name().to_owned(),
    };
    let mut client = match Client::connect(socket.as_ref()) {
        Ok(client) => client,
        Err(e) => {
            println!("connect: {}", e.code.name());
            return;
        }
    };
    println!("ping: {}", said(client.call(&Ping {}).map(drop)));
    let freeze = osctl_api::container::Freeze {
        id: "web".parse().unwrap(),
    };
    println!("start: {}", said(client.call(&freeze).map(drop)));
    println!("new: {}", said(client.call(&new_user("a")).map(drop)));
}
