//! The default bridge on hosts of all kinds, and when what the daemon is told of it changes.

use std::path::Path;
use std::process::Command;

use osctl_tests::network::FAR;
use osctl_tests::{Ct, Host, networked_host, processes, wait};
use serde_json::Value;

fn on_bridge(ct: &Ct<'_>, link: &str) {
    let id = ct.id.as_str();
    ct.host
        .osctl(&["ct", "netif", "new", "bridge", id, "eth0", "--link", link]);
}

#[track_caller]
fn leases(ct: &Ct<'_>) -> Vec<String> {
    let text = ct.host.osctl(&["--json", "ct", "netif", "ls", &ct.id]);
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let leases = all[0]["leases"].as_array().unwrap().iter();
    let address = |net: &Value| net.as_str().unwrap().split_once('/').unwrap().0.to_owned();
    leases.map(address).collect()
}

fn in_host(host: &Host, line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    let out = host.in_host_ns(|| processes::output(&mut command));
    assert!(out.status.success(), "{line}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// Starts the daemon anew with another section `[network]`.
fn reconfigure(host: &Host, network: &str) {
    host.stop_daemon();
    let file = host.path("osctld.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, _) = text.split_once("[network]").unwrap();
    std::fs::write(&file, format!("{before}[network]\n{network}\n")).unwrap();
    host.start_daemon();
}

fn dnsmasq(host: &Host) -> Option<u32> {
    let text = std::fs::read_to_string(host.run_dir().join("bridge/dnsmasq.pid"));
    let pid = text.ok()?.trim().parse().ok()?;
    Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
}

fn links(host: &Host) -> String {
    in_host(host, "ip -o link")
}

#[test]
fn a_host_that_keeps_ipv6_from_new_interfaces_has_a_bridge() {
    let host = networked_host!();
    host.in_host_ns(|| std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"))
        .unwrap();
    let (a, b) = (host.new_ct("a"), host.new_ct("b"));
    for ct in [&a, &b] {
        on_bridge(ct, "osbr0");
        ct.start();
    }
    for address in leases(&b).iter().map(String::as_str).chain(FAR) {
        a.sh(&format!("ping -c 1 -W 5 {address}"));
    }
    for ct in [a, b] {
        ct.kill();
        ct.delete();
    }
    host.assert_clean();
}

#[test]
fn nobody_gets_the_address_of_the_bridge() {
    let host = networked_host!("[network]\nbridge_ipv4 = \"198.18.7.3/29\"");
    let mut given = Vec::new();
    for n in 0..5 {
        let ct = host.new_ct(&format!("ct{n}"));
        on_bridge(&ct, "osbr0");
        given.push(leases(&ct)[0].clone());
    }
    given.sort();
    let free = [1, 2, 4, 5, 6].map(|n| format!("198.18.7.{n}"));
    assert_eq!(given, free);
    let add = ["ct", "netif", "ip", "add", "ct0", "eth0", "198.18.7.3/29"];
    let out = host.try_osctl(&add);
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(error.contains("of bridge osbr0 itself"), "{error}");
    host.assert_clean();
}

#[test]
fn another_network_is_used_from_the_next_start_on() {
    let host = networked_host!("[network]\nbridge_ipv4 = \"198.18.1.1/24\"");
    let (a, b) = (host.new_ct("a"), host.new_ct("b"));
    for ct in [&a, &b] {
        on_bridge(ct, "osbr0");
        ct.start();
    }
    reconfigure(&host, "bridge_ipv4 = \"198.18.2.1/24\"\nnat = false");
    let addresses = in_host(&host, "ip -4 -o address show dev osbr0");
    assert!(addresses.contains("198.18.2.1/24"), "{addresses}");
    assert_eq!(addresses.lines().count(), 1, "{addresses}");
    for ct in [&a, &b] {
        ct.kill();
        ct.start();
    }
    let b_has = leases(&b)[0].clone();
    assert!(b_has.starts_with("198.18.2."), "{b_has}");
    a.sh(&format!("ping -c 1 -W 5 {b_has}"));
    wait::until("it is told of it", || {
        let out = a.exec(&["sh", "-c", "udhcpc -n -q -f -t 5 -i eth0 -s /bin/true 2>&1"]);
        out.stdout.contains(&leases(&a)[0])
    });
    let rules = in_host(&host, "nft list ruleset");
    assert!(!rules.contains("masquerade"), "{rules}");
    for ct in [a, b] {
        ct.kill();
        ct.delete();
    }
    assert!(!links(&host).contains("osbr0"));
    host.assert_clean();
}

#[test]
fn a_bridge_that_is_not_wanted_any_more_goes_once_nobody_is_on_it() {
    let host = networked_host!("[network]");
    let ct = host.new_ct("a");
    on_bridge(&ct, "osbr0");
    ct.start();
    let lease = leases(&ct)[0].clone();
    let pid = dnsmasq(&host).unwrap();
    reconfigure(&host, "bridge = \"\"");
    // It is used.
    in_host(&host, &format!("busybox ping -c 1 -W 5 {lease}"));
    ct.kill();
    host.stop_daemon();
    host.start_daemon();
    assert!(!links(&host).contains("osbr0"));
    wait::until("nobody answers any more", || {
        !Path::new(&format!("/proc/{pid}")).exists() || dnsmasq(&host) != Some(pid)
    });
    assert!(!in_host(&host, "nft list ruleset").contains("masquerade"));
    let error = ct.try_start().unwrap_err();
    let text = format!("{} {:?}", error.message, error.causes);
    assert!(text.contains("osbr0"), "{text}");

    // Under another name.
    reconfigure(&host, "bridge = \"osbr0\"");
    ct.start();
    ct.kill();
    reconfigure(&host, "bridge = \"osbr1\"");
    assert!(!links(&host).contains("osbr0"));
    host.osctl(&["ct", "netif", "set", "a", "eth0", "--link", "osbr1"]);
    ct.start();
    in_host(&host, &format!("busybox ping -c 1 -W 5 {}", leases(&ct)[0]));
    ct.kill();
    ct.delete();
    assert!(!links(&host).contains("osbr"));
    host.assert_clean();
}
