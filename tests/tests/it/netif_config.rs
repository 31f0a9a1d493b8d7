//! Network interfaces as configuration: what is kept, what is refused and why.

use osctl_api::Code;
use osctl_api::netif::{
    Delete, IpAdd, IpDelete, IpList, List, Netif, New, Rename, RouteAdd, RouteDelete, RouteList,
    Set,
};
use osctl_tests::{Ct, Host, host};
use serde_json::{Value, json};

fn with(base: Value, more: Value) -> Value {
    let (Value::Object(mut base), Value::Object(more)) = (base, more) else {
        panic!("not objects");
    };
    base.extend(more);
    Value::Object(base)
}

fn routed(ct: &Ct<'_>, name: &str) {
    ct.json::<New>(json!({ "name": name, "type": "routed" }));
}

fn netifs(host: &Host) -> Vec<Netif> {
    host.call(&List::default()).netifs
}

fn refused(result: Result<impl std::fmt::Debug, osctl_api::Error>, code: Code, said: &str) {
    let error = result.unwrap_err();
    let text = std::iter::once(&error.message)
        .chain(&error.causes)
        .cloned()
        .collect::<Vec<_>>()
        .join(": ");
    assert_eq!(error.code, code, "{text}");
    assert!(text.contains(said), "{text:?} does not say {said:?}");
}

#[test]
fn interfaces_are_kept_changed_and_removed() {
    let host = host!();
    let ct = host.new_ct("web1");
    host.osctl(&[
        "ct",
        "netif",
        "new",
        "bridge",
        "web1",
        "eth0",
        "--link",
        "br0",
        "--hwaddr",
        "52:54:00:xx:xx:01",
    ]);
    host.osctl(&[
        "ct",
        "net",
        "new",
        "routed",
        "web1",
        "eth1",
        "--max-tx",
        "10m",
        "--mtu",
        "1400",
        "--no-anti-spoof",
    ]);
    host.osctl(&["ct", "netif", "ip", "add", "web1", "eth1", "192.0.2.5/32"]);
    host.osctl(&["ct", "netif", "ip", "add", "web1", "eth1", "2001:db8::5/64"]);
    host.osctl(&[
        "ct",
        "netif",
        "route",
        "add",
        "web1",
        "eth1",
        "198.51.100.0/24",
        "--via",
        "192.0.2.5",
    ]);
    host.kill_daemon();
    host.start_daemon();
    let [eth0, eth1] = netifs(&host).try_into().unwrap();
    assert_eq!(
        (eth0.name.as_str(), eth0.index, eth0.dhcp),
        ("eth0", 0, true)
    );
    let hwaddr = eth0.hwaddr.to_string();
    assert!(
        hwaddr.starts_with("52:54:00:") && hwaddr.ends_with(":01"),
        "{hwaddr}"
    );
    assert_eq!(eth1.max_tx.to_string(), "10m");
    assert_eq!((eth1.mtu, eth1.anti_spoof), (Some(1400), false));
    let routes = || {
        let rows = host.call(&RouteList::default()).routes;
        rows.iter().map(|r| r.addr.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        routes(),
        ["192.0.2.5/32", "2001:db8::/64", "198.51.100.0/24"]
    );
    let v6 = host.osctl(&["ct", "netif", "ip", "ls", "-H", "-v", "6", "-o", "addr"]);
    assert_eq!(v6, "2001:db8::5/64\n");

    // The route through an address goes with it, that to it unless it is kept.
    host.osctl(&["ct", "netif", "ip", "del", "web1", "eth1", "192.0.2.5"]);
    assert_eq!(routes(), ["2001:db8::/64"]);
    host.osctl(&[
        "ct",
        "netif",
        "ip",
        "del",
        "--keep-route",
        "web1",
        "eth1",
        "all",
    ]);
    assert_eq!(routes(), ["2001:db8::/64"]);
    assert!(host.call(&IpList::default()).addresses.is_empty());
    ct.json::<RouteDelete>(json!({ "name": "eth1", "addr": "all" }));
    assert!(routes().is_empty());

    host.osctl(&[
        "ct",
        "netif",
        "set",
        "web1",
        "eth0",
        "--disable-dhcp",
        "--gateway-v4",
        "none",
        "--hwaddr",
        "-",
    ]);
    host.osctl(&["ct", "netif", "rename", "web1", "eth0", "lan"]);
    let lan = &netifs(&host)[0];
    assert_eq!((lan.name.as_str(), lan.dhcp), ("lan", false));
    assert_ne!(lan.hwaddr, eth0.hwaddr);
    assert_ne!(lan.veth, eth0.veth);
    host.osctl(&["ct", "netif", "del", "web1", "lan"]);
    let table = host.osctl(&["ct", "netif", "ls", "web1"]);
    assert!(table.contains("eth1") && !table.contains("lan"), "{table}");
    ct.json::<Delete>(json!({ "name": "eth1" }));
    assert!(netifs(&host).is_empty());
}

#[test]
fn two_containers_never_have_the_same_address() {
    let host = host!();
    host.install("other");
    let (a, b) = (host.new_ct("tank:a"), host.new_ct("other:b"));
    routed(&a, "eth0");
    routed(&b, "eth1");
    let add = |ct: &Ct<'_>, name: &str, addr: &str| {
        ct.try_json::<IpAdd>(json!({ "name": name, "addr": addr }))
    };
    add(&a, "eth0", "192.0.2.5/32").unwrap();
    refused(
        add(&b, "eth1", "192.0.2.5/32"),
        Code::AlreadyExists,
        "belongs to tank:a eth0",
    );
    // Its network would be routed to it, with what is in it.
    refused(
        add(&b, "eth1", "192.0.2.9/24"),
        Code::AlreadyExists,
        "192.0.2.5 belongs to tank:a eth0",
    );
    let route = |ct: &Ct<'_>, name: &str, addr: &str| {
        ct.try_json::<RouteAdd>(json!({ "name": name, "addr": addr }))
    };
    refused(
        route(&b, "eth1", "192.0.2.0/28"),
        Code::AlreadyExists,
        "tank:a eth0",
    );
    route(&b, "eth1", "198.51.100.0/24").unwrap();
    refused(
        add(&a, "eth0", "198.51.100.7/32"),
        Code::AlreadyExists,
        "198.51.100.0/24 belongs to other:b eth1",
    );
    refused(
        add(&a, "eth0", "192.0.2.5/32"),
        Code::AlreadyExists,
        "has address 192.0.2.5 already",
    );

    // What was refused is not kept, what is removed is free, also after a restart of the daemon.
    host.kill_daemon();
    host.start_daemon();
    refused(
        add(&b, "eth1", "192.0.2.5/32"),
        Code::AlreadyExists,
        "tank:a eth0",
    );
    a.json::<IpDelete>(json!({ "name": "eth0", "addr": "192.0.2.5/32" }));
    add(&b, "eth1", "192.0.2.5/32").unwrap();
    host.osctl(&["ct", "mv", "b", "c"]);
    refused(
        add(&a, "eth0", "192.0.2.5/32"),
        Code::AlreadyExists,
        "belongs to other:c eth1",
    );
    host.ct("other:c").delete();
    add(&a, "eth0", "192.0.2.5/32").unwrap();

    // Many at once: one of them gets it.
    let ids: Vec<String> = (0..6).map(|n| format!("many{n}")).collect();
    let won: usize = std::thread::scope(|scope| {
        for id in &ids {
            routed(&host.new_ct(id), "eth0");
        }
        let tried: Vec<_> = ids
            .iter()
            .map(|id| {
                let (host, id) = (&host, id.clone());
                scope.spawn(move || {
                    let params = json!({ "name": "eth0", "addr": "203.0.113.1/32" });
                    host.ct(&id).try_json::<IpAdd>(params).is_ok()
                })
            })
            .collect();
        tried
            .into_iter()
            .map(|t| usize::from(t.join().unwrap()))
            .sum()
    });
    assert_eq!(won, 1);
}

#[test]
fn what_cannot_be_is_refused_by_the_command_line() {
    let host = host!();
    host.new_ct("web1");
    let usage = |arguments: &[&str], said: &str| {
        let arguments = [&["ct", "netif"], arguments].concat();
        let output = host.try_osctl(&arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    };
    for name in [
        "",
        "lo",
        "a/b",
        "..",
        "a b",
        "a\n",
        "sixteen-letters-",
        "%d",
        "é",
    ] {
        usage(&["new", "routed", "web1", name], "interface name");
        let link = format!("--link={name}");
        usage(&["new", "bridge", "web1", "x", &link], "interface name");
    }
    for hwaddr in [
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "52:54:00",
        "x",
        "52:54:00:12:34:5g",
        "-\n",
    ] {
        let hwaddr = format!("--hwaddr={hwaddr}");
        usage(&["new", "routed", "web1", "x", &hwaddr], "hardware address");
    }
    usage(
        &[
            "new",
            "bridge",
            "web1",
            "x",
            "--link",
            "br0",
            "--gateway-v4",
            "auto\nx",
        ],
        "gateway",
    );
    for addr in [
        "",
        "192.0.2.0/24",
        "192.0.2.255/24",
        "192.0.2.1/33",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "ff02::1",
        "1.2.3",
        "192.0.2.1/24\n",
        "nonsense",
    ] {
        usage(&["ip", "add", "web1", "eth0", addr], "address");
    }
    usage(&["route", "add", "web1", "eth0", "192.0.2.1/24"], "network");
    usage(&["set", "web1", "eth0", "--max-tx", "7"], "rate");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let host = host!();
    let ct = host.new_ct("web1");
    routed(&ct, "eth0");
    let new =
        |more: Value| ct.try_json::<New>(with(json!({ "name": "x", "type": "routed" }), more));
    let bridge = |more: Value| {
        ct.try_json::<New>(with(
            json!({ "name": "x", "type": "bridge", "link": "br0" }),
            more,
        ))
    };
    let invalid = Code::InvalidArgument;
    refused(
        new(json!({ "name": "eth0" })),
        Code::AlreadyExists,
        "has an interface eth0 already",
    );
    for (queues, field) in [
        (0, "tx_queues"),
        (65, "tx_queues"),
        (0, "rx_queues"),
        (4_000_000_000u32, "rx_queues"),
    ] {
        refused(new(json!({ field: queues })), invalid, "queues can't be");
    }
    for mtu in [1, 67, 65536, u32::MAX] {
        refused(new(json!({ "mtu": mtu })), invalid, "MTU");
    }
    for more in [
        json!({ "link": "br0" }),
        json!({ "dhcp": true }),
        json!({ "gateway_v4": "auto" }),
    ] {
        refused(new(more), invalid, "no bridge, DHCP or gateway");
    }
    refused(
        ct.try_json::<New>(json!({ "name": "x", "type": "bridge" })),
        invalid,
        "name the bridge",
    );
    refused(
        bridge(json!({ "gateway_v4": "2001:db8::1" })),
        invalid,
        "no gateway of IPv4",
    );
    refused(
        bridge(json!({ "gateway_v6": "192.0.2.1" })),
        invalid,
        "no gateway of IPv6",
    );

    let add = |addr: &str| ct.try_json::<IpAdd>(json!({ "name": "eth0", "addr": addr }));
    let route = |params: Value| ct.try_json::<RouteAdd>(with(json!({ "name": "eth0" }), params));
    refused(
        route(json!({ "addr": "0.0.0.0/0" })),
        invalid,
        "everything can't be routed",
    );
    refused(
        route(json!({ "addr": "192.0.2.0/24", "via": "192.0.2.1" })),
        invalid,
        "none of its addresses",
    );
    add("192.0.2.1/32").unwrap();
    refused(
        route(json!({ "addr": "2001:db8::/64", "via": "192.0.2.1" })),
        invalid,
        "can't go through",
    );
    refused(
        route(json!({ "addr": "192.0.2.1/32" })),
        Code::AlreadyExists,
        "routed to interface eth0 already",
    );
    ct.json::<Set>(json!({ "name": "eth0", "mtu": 1000 }));
    refused(
        add("2001:db8::1/64"),
        invalid,
        "MTU of 1000 bytes can't be: use 1280",
    );

    for missing in [
        ct.try_json::<IpDelete>(json!({ "name": "eth0", "addr": "192.0.2.77/32" })),
        ct.try_json::<RouteDelete>(json!({ "name": "eth0", "addr": "192.0.2.77/32" })),
        ct.try_json::<IpAdd>(json!({ "name": "eth9", "addr": "192.0.2.77/32" })),
        ct.try_json::<Delete>(json!({ "name": "eth9" })),
        ct.try_json::<Rename>(json!({ "name": "eth9", "new_name": "eth8" })),
    ] {
        assert_eq!(missing.unwrap_err().code, Code::NotFound);
    }
    for n in 1..64 {
        routed(&ct, &format!("eth{n}"));
    }
    refused(new(json!({})), invalid, "at most 64");
    refused(
        ct.try_json::<Rename>(json!({ "name": "eth0", "new_name": "eth1" })),
        Code::AlreadyExists,
        "eth1",
    );
}

#[test]
fn a_state_file_cannot_say_what_a_command_may_not() {
    let host = host!();
    for (n, netifs) in [
        json!([{ "name": "a/b", "type": "routed", "hwaddr": "52:54:00:00:00:01" }]),
        json!([{ "name": "eth0", "type": "routed", "hwaddr": "53:54:00:00:00:01" }]),
        json!([{ "name": "eth0", "type": "tunnel", "hwaddr": "52:54:00:00:00:01" }]),
        json!([{ "name": "eth0", "type": "routed", "hwaddr": "52:54:00:00:00:01", "mtu": 3 }]),
        json!([
            { "name": "eth0", "type": "routed", "hwaddr": "52:54:00:00:00:01" },
            { "name": "eth0", "type": "routed", "hwaddr": "52:54:00:00:00:02" },
        ]),
        json!([{ "name": "eth0", "type": "routed", "hwaddr": "52:54:00:00:00:01",
                 "routes": [{ "network": "192.0.2.0/24", "via": "192.0.2.1" }] }]),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("ct{n}");
        host.new_ct(&id);
        let file = host.pool_dir("tank").join(format!("conf/ct/{id}.json"));
        host.stop_daemon();
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let body = if config.get("value").is_some() {
            &mut config["value"]
        } else {
            &mut config
        };
        body["netifs"] = netifs;
        std::fs::write(&file, config.to_string()).unwrap();
        host.start_daemon();
        let error = host.ct(&id).try_start().unwrap_err();
        assert_eq!(error.code, Code::NotFound, "{error:?}");
        let pool = host.osctl(&["pool", "show", "tank", "-H", "-o", "problems"]);
        assert!(pool.contains(&id), "{pool}");
    }
}
