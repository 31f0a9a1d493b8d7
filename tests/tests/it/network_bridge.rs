//! The default bridge: addresses and names for containers that ask, whoever dies in between.

use std::net::IpAddr;
use std::time::Duration;

use osctl_tests::network::{DOWNLINK, FAR, HOST, seen_as_over_tcp};
use osctl_tests::{Ct, Host, networked_host, processes, wait};
use serde_json::Value;

const BRIDGE: &str = "osbr0";
const SOON: Duration = Duration::from_secs(5);

/// Adds an interface on the default bridge.
fn on_bridge(ct: &Ct<'_>, name: &str) {
    let id = ct.id.as_str();
    ct.host
        .osctl(&["ct", "netif", "new", "bridge", id, name, "--link", BRIDGE]);
}

/// The addresses that the bridge keeps for an interface.
#[track_caller]
fn leases(ct: &Ct<'_>, name: &str) -> [String; 2] {
    let text = ct.host.osctl(&["--json", "ct", "netif", "ls", &ct.id]);
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let found = all.iter().find(|n| n["name"] == name).unwrap();
    [0, 1].map(|n| {
        let net = found["leases"][n].as_str().unwrap();
        net.split_once('/').unwrap().0.to_owned()
    })
}

fn dnsmasq(host: &Host) -> u32 {
    let file = host.run_dir().join("bridge/dnsmasq.pid");
    // It is empty for a moment.
    let pid = wait::find(SOON, || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.trim().parse().ok()
    });
    pid.expect("it has noted its process id")
}

fn has_bridge(host: &Host) -> bool {
    let links = host.network().host.links();
    links.iter().any(|l| l.name == BRIDGE)
}

/// The name is known to whom the container asks, as exactly this address.
#[track_caller]
fn assert_resolves(ct: &Ct<'_>, name: &str, to: &str) {
    let answer = ct.sh(&format!("nslookup {name}"));
    let told = answer.lines().any(|l| l.ends_with(&format!(" {to}")));
    assert!(told, "{name} is not {to}: {answer}");
}

#[test]
fn containers_get_addresses_and_names_and_reach_the_world() {
    let host = networked_host!();
    let (a, b) = (host.new_ct("web1"), host.new_ct("web_2"));
    assert!(!has_bridge(&host));
    on_bridge(&a, "eth0");
    on_bridge(&b, "eth0");
    a.start();
    b.start();
    assert!(has_bridge(&host));
    let [v4, v6] = leases(&b, "eth0");
    for name in ["web-2", "web-2.osctl", "web-2.tank.osctl"] {
        assert_resolves(&a, name, &v4);
        assert_resolves(&a, name, &v6);
    }
    for address in [v4.as_str(), v6.as_str(), FAR[0], FAR[1]] {
        a.sh(&format!("ping -c 1 -W 5 {address}"));
    }
    // The host reaches it, and it asks for its address as a guest with a DHCP client does.
    let seen = host.in_host_ns(|| {
        std::process::Command::new("busybox")
            .args(["ping", "-c", "1", "-W", "5", &v4])
            .output()
    });
    assert!(seen.unwrap().status.success());
    let got = a.sh("udhcpc -n -q -f -t 5 -i eth0 -s /bin/true 2>&1");
    assert!(got.contains(&leases(&a, "eth0")[0]), "{got}");
    // What is not ours to tell is asked for elsewhere, or not known: never told wrong.
    assert!(!a.exec(&["nslookup", "nobody.osctl"]).success());

    b.kill();
    b.delete();
    wait::until("the name is forgotten", || {
        !a.exec(&["nslookup", "web-2.osctl"]).success()
    });
    a.kill();
    let pid = dnsmasq(&host);
    a.delete();
    assert!(!has_bridge(&host));
    assert!(processes::ended(pid, SOON));
    host.assert_clean();
}

#[test]
fn the_world_sees_the_host_and_cannot_come_in() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    on_bridge(&ct, "eth0");
    ct.start();
    let [v4, _] = leases(&ct, "eth0");
    let netns = ct.netns();
    for far in FAR {
        let seen = netns.run(|| seen_as_over_tcp(far, SOON));
        let expected: IpAddr = HOST[usize::from(far.contains(':'))].parse().unwrap();
        assert_eq!(seen, Some(expected), "{far}");
    }
    // Even one that knows the way.
    host.network().world.route(
        &format!("{v4}/32"),
        DOWNLINK,
        Some(HOST[0].parse().unwrap()),
    );
    let mut ping = std::process::Command::new("busybox");
    ping.args(["ping", "-c", "1", "-W", "1", &v4]);
    assert!(
        !host
            .in_world(|| processes::output(&mut ping))
            .status
            .success()
    );
    ct.kill();
    ct.delete();
    host.assert_clean();
}

#[test]
fn dnsmasq_comes_back_and_outlives_the_daemon() {
    let host = networked_host!();
    let (a, b) = (host.new_ct("a"), host.new_ct("b"));
    on_bridge(&a, "eth0");
    on_bridge(&b, "eth0");
    a.start();
    b.start();
    let [v4, _] = leases(&b, "eth0");
    let lease = || std::fs::read_to_string(host.run_dir().join("bridge/leases")).unwrap();
    b.sh("udhcpc -n -q -f -t 5 -i eth0 -s /bin/true");
    assert!(lease().contains(&v4), "{}", lease());
    for _ in 0..2 {
        let old = dnsmasq(&host);
        processes::kill(old);
        wait::until("dnsmasq is back", || {
            dnsmasq(&host) != old && a.exec(&["nslookup", "b.osctl"]).success()
        });
        assert!(lease().contains(&v4), "{}", lease());
    }
    let pid = dnsmasq(&host);
    host.kill_daemon();
    assert!(!processes::ended(pid, Duration::ZERO));
    host.start_daemon();
    assert_resolves(&a, "b.osctl", &v4);
    // The new daemon knows it for its own: it tells it of others, and brings it back.
    let c = host.new_ct("c");
    on_bridge(&c, "eth0");
    wait::until("the new name is known", || {
        a.exec(&["nslookup", "c.osctl"]).success()
    });
    assert_eq!(dnsmasq(&host), pid);
    processes::kill(pid);
    wait::until("dnsmasq is back", || {
        dnsmasq(&host) != pid && a.exec(&["nslookup", "b.osctl"]).success()
    });
    for ct in [&a, &b] {
        ct.kill();
    }
    for ct in [a, b, c] {
        ct.delete();
    }
    assert!(!has_bridge(&host));
    host.assert_clean();
}

#[test]
fn dnsmasq_that_could_not_be_started_is_once_it_can() {
    let host = networked_host!();
    let (a, b) = (host.new_ct("a"), host.new_ct("b"));
    on_bridge(&a, "eth0");
    on_bridge(&b, "eth0");
    let in_its_way = host.in_host_ns(|| std::net::UdpSocket::bind("0.0.0.0:67"));
    a.start();
    b.start();
    let file = host.run_dir().join("bridge/dnsmasq.pid");
    assert!(!file.exists() || processes::ended(dnsmasq(&host), SOON));
    drop(in_its_way.unwrap());
    wait::until("names are known", || {
        a.exec(&["nslookup", "b.osctl"]).success()
    });
    for ct in [&a, &b] {
        ct.kill();
    }
    for ct in [a, b] {
        ct.delete();
    }
    host.assert_clean();
}

#[test]
fn a_container_with_another_id_has_another_name() {
    let host = networked_host!();
    let (a, b) = (host.new_ct("a"), host.new_ct("b"));
    on_bridge(&a, "eth0");
    on_bridge(&b, "eth0");
    a.start();
    let [v4, _] = leases(&b, "eth0");
    assert_resolves(&a, "b.osctl", &v4);
    host.osctl(&["ct", "mv", "b", "c"]);
    wait::until("the new name is known", || {
        a.exec(&["nslookup", "c.osctl"]).success()
    });
    assert_resolves(&a, "c.osctl", &v4);
    assert!(!a.exec(&["nslookup", "b.osctl"]).success());
    let c = host.ct("c");
    c.start();
    a.sh(&format!("ping -c 1 -W 5 {v4}"));
    for ct in [a, c] {
        ct.delete();
    }
    host.assert_clean();
}

#[test]
fn what_containers_ask_fills_no_disk() {
    let host = networked_host!();
    let ct = host.new_ct("a");
    on_bridge(&ct, "eth0");
    ct.start();
    for _ in 0..3 {
        ct.sh("udhcpc -n -q -f -t 5 -i eth0 -s /bin/true");
    }
    // One that it can't have.
    ct.exec(&[
        "sh",
        "-c",
        "udhcpc -n -q -f -t 1 -T 1 -r 192.0.2.1 -i eth0 -s /bin/true",
    ]);
    let said = std::fs::read_to_string(host.run_dir().join("bridge/log")).unwrap();
    assert_eq!(said, "");
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_bridge_of_somebody_else_is_left_alone() {
    let host = networked_host!();
    host.network().host.bridge(BRIDGE);
    let ct = host.new_ct("web1");
    on_bridge(&ct, "eth0");
    let refused = ct.try_start().unwrap_err();
    let text = format!("{} {:?}", refused.message, refused.causes);
    assert!(text.contains("made by somebody else"), "{text}");
    ct.delete();
    assert!(has_bridge(&host));
    host.network().host.remove(BRIDGE);
    host.assert_clean();
}
