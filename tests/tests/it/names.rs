//! Names that could mean something to a path, a table or an option are refused before anything is
//! touched.

use osctl_api::container::{Move, New, Set};
use osctl_api::{Method, archive, group, id_range, pool, user};
use osctl_tests::canary::manifest;
use osctl_tests::{Host, host};
use serde_json::{Value, json};

fn bad_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/",
        "/etc",
        "a\0b",
        "a\nb",
        "a\rb",
        "a\tb",
        "a b",
        "%",
        "%n",
        "a%s",
        "-",
        "-x",
        "--force",
        "a:b:c",
        "é",
        "a\u{202e}b",
        "~",
        "$(id)",
        "`id`",
        "a;b",
        "*",
        "a\\b",
        "a\"b",
        "a'b",
        "{}",
        "null\u{0}",
    ]
    .map(str::to_owned)
    .into();
    names.push("a".repeat(300));
    names.push("a".repeat(101));
    names.push("ö".repeat(60));
    names
}

/// Sends a call past the types, as a hostile client would.
fn raw(host: &Host, method: &str, parameters: &Value) -> Result<Value, String> {
    use std::io::{BufRead, BufReader, Write};
    let mut socket = std::os::unix::net::UnixStream::connect(host.socket()).unwrap();
    socket
        .set_read_timeout(Some(osctl_tests::wait::SOON))
        .unwrap();
    let call = json!({ "method": format!("org.osctl.{method}"), "parameters": parameters });
    let mut bytes = serde_json::to_vec(&call).unwrap();
    bytes.push(0);
    socket.write_all(&bytes).unwrap();
    let mut reply = Vec::new();
    BufReader::new(socket).read_until(0, &mut reply).unwrap();
    reply.pop();
    let reply: Value = serde_json::from_slice(&reply).unwrap();
    match reply.get("error") {
        Some(error) => Err(format!(
            "{} {}",
            error.as_str().unwrap(),
            reply["parameters"]
        )),
        None => Ok(reply["parameters"].clone()),
    }
}

#[track_caller]
fn refused<M: Method>(host: &Host, name: &str, parameters: Value) {
    let reply = raw(host, M::NAME, &parameters);
    let Err(error) = reply else {
        panic!("{} accepts {name:?}", M::NAME);
    };
    let argument = error.contains("InvalidArgument") || error.contains("InvalidParameter");
    assert!(argument, "{} {name:?}: {error}", M::NAME);
}

#[test]
fn names_that_are_no_names_are_refused_and_nothing_is_touched() {
    let host = host!();
    host.new_ct("good");
    let pool = host.pool_dir("tank");
    let before = manifest(&pool.join("conf"), &[]);
    let directories = manifest(&pool.join("ct"), &[]).len();
    let image = host.minimal();
    for name in bad_names() {
        let n = name.as_str();
        // `pool:name` is a form of its own.
        if !n.contains(':') {
            refused::<pool::Install>(&host, n, json!({ "pool": n, "dir": host.path("other") }));
        }
        refused::<New>(&host, n, json!({ "id": n, "from_archive": image }));
        refused::<New>(
            &host,
            n,
            json!({ "id": "ok", "from_archive": image, "user": n }),
        );
        if !n.starts_with('/') {
            let new = json!({ "id": "ok", "from_archive": image, "group": n });
            refused::<New>(&host, n, new);
        }
        refused::<Move>(&host, n, json!({ "id": "good", "new_id": n }));
        refused::<archive::Export>(&host, n, json!({ "id": n }));
        refused::<archive::Import>(&host, n, json!({ "id": n }));
        refused::<archive::Import>(&host, n, json!({ "id": "ok", "as_user": n }));
        refused::<osctl_api::container::Delete>(&host, n, json!({ "id": n, "force": true }));
        refused::<osctl_api::container::Chown>(&host, n, json!({ "id": "good", "user": n }));
        refused::<user::New>(&host, n, json!({ "user": n }));
        let range = json!({ "id_range": n, "start_id": 500_000_000, "block_size": 65536, "block_count": 1 });
        refused::<id_range::New>(&host, n, range);
        if n != "a/b" {
            refused::<group::New>(&host, n, json!({ "group": format!("/{n}/x") }));
        }
    }
    assert_eq!(manifest(&pool.join("conf"), &[]), before);
    assert_eq!(manifest(&pool.join("ct"), &[]).len(), directories);
    assert!(!host.path("other").exists());
    host.assert_clean();
}

#[test]
fn attributes_and_values_that_could_break_a_file_or_table_are_refused() {
    let host = host!();
    let ct = host.new_ct("good");
    let bad = [
        "ab", ":b", "a:", "a:b\nc", "a:b c", "-a:b", "a:b\0", "a:\u{7f}", "",
    ];
    for name in bad
        .map(str::to_owned)
        .into_iter()
        .chain(["a:".to_owned() + &"b".repeat(300)])
    {
        refused::<Set>(
            &host,
            &name,
            json!({ "id": "good", "attrs": { name.as_str(): "x" } }),
        );
        refused::<user::Set>(
            &host,
            &name,
            json!({ "user": "good", "attrs": { name.as_str(): "x" } }),
        );
        refused::<pool::Set>(
            &host,
            &name,
            json!({ "pool": "tank", "attrs": { name.as_str(): "x" } }),
        );
    }
    for value in ["a\nlxc.idmap=", "a\0b", "\u{1b}[31m"] {
        refused::<Set>(
            &host,
            value,
            json!({ "id": "good", "attrs": { "a:b": value } }),
        );
        refused::<Set>(&host, value, json!({ "id": "good", "hostname": value }));
        refused::<Set>(
            &host,
            value,
            json!({ "id": "good", "dns_resolvers": [value] }),
        );
        let distribution = json!({ "name": value, "version": "1" });
        refused::<Set>(
            &host,
            value,
            json!({ "id": "good", "distribution": distribution }),
        );
    }
    refused::<Set>(
        &host,
        "init",
        json!({ "id": "good", "init_cmd": ["/sbin/init", "a\0b"] }),
    );
    refused::<Set>(
        &host,
        "seccomp",
        json!({ "id": "good", "seccomp": "../../etc/passwd" }),
    );
    // What is allowed comes back as it was given.
    for value in ["", "%s %n ${x} \"q\" 'q' : # - | & <>", "ünïcödé", "- a: b"] {
        ct.set(json!({ "attrs": { "a:b": value } }));
        host.kill_daemon();
        host.start_daemon();
        assert_eq!(ct.show().attrs["a:b"], value);
    }
    host.assert_clean();
}

#[test]
fn the_command_line_refuses_bad_names_as_usage() {
    let host = host!();
    for name in ["../x", "a/b", "a\nb", "%", "é"] {
        let out = host.try_osctl(&["ct", "show", name]);
        assert_eq!(out.status.code(), Some(2), "{name:?}: {out:?}");
    }
    let out = host.try_osctl(&["ct", "show", "--", "-x"]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
}
