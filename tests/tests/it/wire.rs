//! The wire as another varlink client sees it, byte by byte, and clients that misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use osctl_api::daemon::Ping;
use osctl_tests::{Host, host, processes, wait};
use serde_json::Value;

fn connect(host: &Host) -> BufReader<UnixStream> {
    let socket = UnixStream::connect(host.socket()).unwrap();
    socket.set_read_timeout(Some(wait::SOON)).unwrap();
    BufReader::new(socket)
}

fn ask(socket: &mut BufReader<UnixStream>, call: &str) -> Value {
    socket.get_mut().write_all(call.as_bytes()).unwrap();
    socket.get_mut().write_all(&[0]).unwrap();
    next(socket)
}

fn next(socket: &mut BufReader<UnixStream>) -> Value {
    let mut reply = Vec::new();
    socket.read_until(0, &mut reply).unwrap();
    assert_eq!(reply.pop(), Some(0), "a reply ends with NUL");
    serde_json::from_slice(&reply).unwrap()
}

#[test]
fn varlinkctl_would_understand_the_daemon() {
    let host = host!();
    let mut socket = connect(&host);
    // As systemd's varlinkctl 257 sends it: `varlinkctl info`, `introspect`, `call`.
    let info = ask(&mut socket, r#"{"method":"org.varlink.service.GetInfo"}"#);
    for field in ["vendor", "product", "version", "url"] {
        assert!(info["parameters"][field].is_string(), "{info}");
    }
    let interfaces = info["parameters"]["interfaces"].as_array().unwrap();
    for name in ["org.varlink.service", "org.osctl"] {
        assert!(interfaces.iter().any(|i| i == name), "{interfaces:?}");
    }
    let call = r#"{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"org.osctl"}}"#;
    let idl = ask(&mut socket, call);
    let idl = idl["parameters"]["description"].as_str().unwrap();
    assert!(idl.contains("interface org.osctl"), "{idl}");
    for method in osctl_api::methods::NAMES {
        assert!(
            idl.contains(&format!("method {method}(")),
            "{method} is missing in the IDL"
        );
    }
    let pong = ask(
        &mut socket,
        r#"{"method":"org.osctl.Ping","parameters":{}}"#,
    );
    assert_eq!(pong["parameters"]["pid"], host.daemon_pid());
    // No parameters at all are fine, too.
    let list = ask(&mut socket, r#"{"method":"org.osctl.ContainerList"}"#);
    assert!(list["parameters"]["containers"].is_array(), "{list}");
    let error = ask(
        &mut socket,
        r#"{"method":"org.osctl.ContainerShow","parameters":{"id":"no"}}"#,
    );
    assert_eq!(error["error"], "org.osctl.NotFound");
    assert!(
        error["parameters"]["message"]
            .as_str()
            .unwrap()
            .contains("no")
    );
    let error = ask(&mut socket, r#"{"method":"org.osctl.Nothing"}"#);
    assert_eq!(error["error"], "org.varlink.service.MethodNotFound");
    let error = ask(&mut socket, r#"{"method":"org.nobody.X"}"#);
    assert_eq!(error["error"], "org.varlink.service.InterfaceNotFound");
    let error = ask(
        &mut socket,
        r#"{"method":"org.osctl.ContainerShow","parameters":{}}"#,
    );
    assert!(
        error["error"].as_str().unwrap().contains("Invalid"),
        "{error}"
    );
}

#[test]
fn several_calls_in_one_packet_and_one_call_in_many_packets_are_answered_in_order() {
    let host = host!();
    let mut socket = connect(&host);
    let ping = "{\"method\":\"org.osctl.Ping\"}\0";
    let missing = "{\"method\":\"org.osctl.ContainerShow\",\"parameters\":{\"id\":\"no\"}}\0";
    let quiet = "{\"method\":\"org.osctl.Ping\",\"oneway\":true}\0";
    let all = format!("{ping}{missing}{quiet}{ping}");
    socket.get_mut().write_all(all.as_bytes()).unwrap();
    assert!(next(&mut socket)["parameters"]["pid"].is_u64());
    assert_eq!(next(&mut socket)["error"], "org.osctl.NotFound");
    assert!(next(&mut socket)["parameters"]["pid"].is_u64());
    for byte in ping.as_bytes() {
        socket.get_mut().write_all(&[*byte]).unwrap();
    }
    assert!(next(&mut socket)["parameters"]["pid"].is_u64());
}

#[test]
fn events_come_as_replies_that_continue() {
    let host = host!();
    let mut events = connect(&host);
    let first = ask(
        &mut events,
        r#"{"method":"org.osctl.Subscribe","parameters":{},"more":true}"#,
    );
    assert_eq!(first["continues"], true, "{first}");
    assert_eq!(first["parameters"]["type"], "subscribed");
    let ct = host.new_ct("web1");
    ct.start();
    let mut seen = Vec::new();
    loop {
        let event = next(&mut events)["parameters"].clone();
        let state = event["state"].as_str().unwrap_or_default().to_owned();
        seen.push(event);
        if state == "running" {
            break;
        }
    }
    let has = |kind: &str| seen.iter().any(|e| e["type"] == kind);
    assert!(has("db") && has("state") && has("management"), "{seen:?}");
    // Without `more`, there can be no stream.
    let mut socket = connect(&host);
    let error = ask(&mut socket, r#"{"method":"org.osctl.Subscribe"}"#);
    assert!(error["error"].is_string(), "{error}");
}

#[test]
fn garbage_is_answered_by_closing_that_connection_only() {
    let host = host!();
    let pid = host.daemon_pid();
    let memory = processes::anonymous_memory(pid);
    let garbage: Vec<Vec<u8>> = vec![
        b"\0".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n\0".to_vec(),
        b"{}\0".to_vec(),
        b"[]\0".to_vec(),
        b"null\0".to_vec(),
        b"{\"method\":1}\0".to_vec(),
        b"{\"method\":\"org.osctl.Ping\",\"parameters\":[]}\0".to_vec(),
        b"{\"method\":\"org.osctl.Ping\"\0".to_vec(),
        vec![0xff; 4096],
        vec![0; 4096],
        [&[b'['; 100_000][..], b"\0"].concat(),
        [
            &b"{\"method\":\"org.osctl.Ping\",\"parameters\":"[..],
            &[b'['; 100_000],
            b"\0",
        ]
        .concat(),
        b"{\"method\":\"\xff\xfe\"}\0".to_vec(),
        b"{\"method\":\"org.osctl.Ping\",\"more\":\"x\"}\0".to_vec(),
    ];
    for bytes in &garbage {
        let mut socket = connect(&host);
        let _ = socket.get_mut().write_all(bytes);
        let _ = socket.get_mut().shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        // Whatever it answers, it comes to an end.
        let ended = socket.read_to_end(&mut rest);
        let closed = ended.as_ref().err().map(std::io::Error::kind);
        assert!(
            !matches!(
                closed,
                Some(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            ),
            "{:?}: {ended:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
        );
    }
    // A call without end is cut off at the limit.
    let mut socket = connect(&host);
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0usize;
    while socket.get_mut().write_all(&piece).is_ok() {
        sent += piece.len();
        assert!(sent < 64 * 1024 * 1024, "it reads without bound");
    }
    host.call(&Ping::default());
    assert_eq!(host.daemon_pid(), pid);
    assert!(host.daemon_runs());
    wait::until("its memory is what it was", || {
        processes::anonymous_memory(pid) < memory + 8 * 1024 * 1024
    });
}

#[test]
fn clients_that_hang_bother_nobody() {
    let host = host!();
    let pid = host.daemon_pid();
    host.call(&Ping::default());
    let before = processes::descriptors(pid);
    let mut silent: Vec<UnixStream> = Vec::new();
    for _ in 0..200 {
        let mut socket = UnixStream::connect(host.socket()).unwrap();
        let _ = socket.write_all(b"{\"method\":\"org.osctl.Pi");
        silent.push(socket);
    }
    // Subscribers that never read, while a lot happens.
    let mut deaf: Vec<UnixStream> = Vec::new();
    for _ in 0..5 {
        let mut socket = UnixStream::connect(host.socket()).unwrap();
        socket
            .write_all(b"{\"method\":\"org.osctl.Subscribe\",\"parameters\":{},\"more\":true}\0")
            .unwrap();
        deaf.push(socket);
    }
    let ct = host.new_ct("web1");
    for n in 0..1500 {
        ct.set(serde_json::json!({ "attrs": { "a:b": n.to_string() } }));
    }
    let begun = Instant::now();
    ct.start();
    assert_eq!(ct.sh("echo hello"), "hello\n");
    ct.delete();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    drop((silent, deaf));
    wait::until("the daemon closed its ends", || {
        processes::descriptors(pid) <= before + 2
    });
    host.assert_clean();
}

#[test]
fn the_socket_is_for_root_and_its_group_only() {
    let host = host!();
    let meta = std::fs::metadata(host.socket()).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(
        meta.mode() & 0o007,
        0,
        "others may open the socket: {:o}",
        meta.mode()
    );
    assert_eq!(meta.uid(), 0);
    // Nothing of ours listens in the abstract namespace, which is not protected by any path.
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let abstract_ones = sockets
        .lines()
        .filter(|l| l.contains('@') && l.contains("osctl"));
    assert_eq!(abstract_ones.count(), 0);
}
