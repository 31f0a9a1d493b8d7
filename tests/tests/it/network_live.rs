//! Changing networks while containers run: what is refused leaves all as it was, what is done is
//! done everywhere, and what a guest does to its own side keeps nobody from it.

use std::process::Command;

use osctl_tests::network::Namespace;
use osctl_tests::{Ct, Host, networked_host, processes, wait};
use serde_json::{Value, json};

const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";

fn osctl(host: &Host, line: &str) -> Result<String, String> {
    let out = host.try_osctl(&line.split(' ').collect::<Vec<_>>());
    match out.status.success() {
        true => Ok(String::from_utf8(out.stdout).unwrap()),
        false => Err(String::from_utf8(out.stderr).unwrap()),
    }
}

#[track_caller]
fn done(host: &Host, line: &str) -> String {
    osctl(host, line).unwrap_or_else(|e| panic!("{line}: {e}"))
}

#[track_caller]
fn refused(host: &Host, line: &str, why: &str) {
    let error = osctl(host, line).unwrap_err();
    assert!(error.contains(why), "{line}: {error}");
}

#[track_caller]
fn netifs(ct: &Ct<'_>) -> Vec<Value> {
    let text = ct.host.osctl(&["--json", "ct", "netif", "ls", &ct.id]);
    serde_json::from_str(&text).unwrap()
}

fn in_host(host: &Host, line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    let out = host.in_host_ns(|| processes::output(&mut command));
    assert!(out.status.success(), "{line}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

fn answers(from: &Namespace, address: &str, seconds: &str) -> bool {
    let mut ping = Command::new("busybox");
    ping.args(["ping", "-c", "1", "-W", seconds, address]);
    from.run(|| processes::output(&mut ping)).status.success()
}

#[track_caller]
fn assert_answers(host: &Host, addresses: &[&str]) {
    for address in addresses {
        assert!(
            answers(&host.network().host, address, "5"),
            "{address} does not answer"
        );
    }
}

#[test]
fn what_was_added_stays_when_all_filters_are_made_anew() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    done(&host, "ct netif new routed web1 eth0");
    ct.start();
    for address in [V4, V6] {
        done(&host, &format!("ct netif ip add web1 eth0 {address}"));
    }
    assert_answers(&host, &[V4, V6]);
    // With the containers of a pool that is added come their filters.
    host.install("zwei");
    assert_answers(&host, &[V4, V6]);
    ct.kill();
    host.assert_clean();
}

#[test]
fn an_interface_that_can_not_be_is_not_kept() {
    let host = networked_host!();
    host.network().host.bridge("osbr0");
    let ct = host.new_ct("web1");
    ct.start();
    let new = "ct netif new bridge web1 eth0 --link osbr0";
    refused(&host, new, "made by somebody else");
    assert_eq!(netifs(&ct), Vec::<Value>::new());
    host.network().host.remove("osbr0");
    done(&host, new);
    assert_eq!(netifs(&ct).len(), 1);
    // On another bridge, which is not there.
    refused(&host, "ct netif set web1 eth0 --link nowhere", "nowhere");
    assert_eq!(netifs(&ct)[0]["link"], "osbr0");
    refused(
        &host,
        "ct netif new bridge web1 eth1 --link nowhere",
        "nowhere",
    );
    assert_eq!(netifs(&ct).len(), 1);
    let ports = in_host(&host, "ip -o link show master osbr0");
    assert_eq!(ports.lines().count(), 1, "{ports}");
    done(&host, "ct netif del web1 eth0");
    // A bridge that was made for what could not be goes again.
    let links = || in_host(&host, "ip -o link");
    assert!(!links().contains("osbr0"));
    refused(
        &host,
        "ct netif new bridge web1 eth0 --link osbr0 --mtu 60",
        "MTU",
    );
    assert!(!links().contains("osbr0"));
    ct.kill();
    host.assert_clean();
}

#[test]
fn a_change_that_is_refused_half_way_is_taken_back() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    done(&host, "ct netif new routed web1 eth0");
    done(&host, &format!("ct netif ip add web1 eth0 {V4}"));
    ct.start();
    let state = || {
        let parts = ["nft list ruleset", "ip -4 route", "tc qdisc"].map(|c| in_host(&host, c));
        let inside = ct.sh("ip addr show dev eth0; ip route");
        (netifs(&ct)[0]["routes"].clone(), parts, inside)
    };
    let before = state();
    // The host's own network.
    let add = "ct netif route add web1 eth0 198.51.100.0/24";
    refused(&host, add, "198.51.100.0/24");
    assert_eq!(state(), before);
    refused(
        &host,
        "ct netif ip add web1 eth0 198.51.100.77/24",
        "198.51.100.0/24",
    );
    assert_eq!(state(), before);
    assert_answers(&host, &[V4]);
    ct.kill();
    host.assert_clean();
}

#[test]
fn an_interface_moves_from_bridge_to_bridge() {
    let host = networked_host!();
    for (bridge, address) in [("br0", "198.18.0.254/24"), ("br1", "198.19.0.254/24")] {
        host.network().host.bridge(bridge);
        host.network().host.address(bridge, address);
    }
    let ct = host.new_ct("web1");
    done(
        &host,
        "ct netif new bridge web1 eth0 --link br0 --no-dhcp --hwaddr 02:00:00:00:00:01",
    );
    done(&host, "ct netif ip add web1 eth0 198.18.0.1/24");
    ct.start();
    assert_answers(&host, &["198.18.0.1"]);
    done(&host, "ct netif ip add web1 eth0 198.19.0.1/24");
    done(&host, "ct netif set web1 eth0 --link br1");
    assert_answers(&host, &["198.19.0.1"]);
    // A bridge forgets an address that nobody has any more.
    let fdb = |bridge: &str| in_host(&host, &format!("bridge fdb show br {bridge}"));
    assert!(!fdb("br0").contains("02:00:00:00:00:01"));
    assert!(fdb("br1").contains("02:00:00:00:00:01"));
    done(&host, "ct netif set web1 eth0 --hwaddr 02:00:00:00:00:02");
    // Neighbours keep the old one for a while.
    in_host(&host, "ip neigh flush dev br1");
    assert_answers(&host, &["198.19.0.1"]);
    assert!(fdb("br1").contains("02:00:00:00:00:02"));
    assert!(!fdb("br1").contains("02:00:00:00:00:01"), "{}", fdb("br1"));
    // To the default one, where it asks for its addresses, and back.
    done(&host, "ct netif set web1 eth0 --link osbr0 --dhcp");
    let lease = netifs(&ct)[0]["leases"][0].as_str().unwrap().to_owned();
    let lease = lease.split_once('/').unwrap().0;
    assert_answers(&host, &[lease]);
    done(&host, "ct netif set web1 eth0 --link br0 --no-dhcp");
    assert_answers(&host, &["198.18.0.1"]);
    let links = in_host(&host, "ip -o link");
    assert!(!links.contains("osbr0"), "{links}");
    ct.kill();
    host.assert_clean();
}

#[test]
fn a_guest_keeps_nobody_from_changing_the_hosts_side() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    done(&host, "ct netif new routed web1 eth0");
    for address in [V4, V6, "192.0.2.11"] {
        done(&host, &format!("ct netif ip add web1 eth0 {address}"));
    }
    ct.start();
    ct.sh("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set eth0 down");
    done(&host, "ct netif ip del web1 eth0 192.0.2.11");
    done(&host, "ct netif ip add web1 eth0 2001:db8::11");
    done(&host, "ct netif set web1 eth0 --max-rx 10m");
    assert!(in_host(&host, "tc qdisc").contains("10Mbit"));
    let rules = in_host(&host, "nft list ruleset");
    assert!(!rules.contains("192.0.2.11"), "{rules}");
    assert!(rules.contains("2001:db8::11"), "{rules}");
    ct.kill();
    ct.start();
    assert_answers(&host, &[V4, V6, "2001:db8::11"]);
    ct.kill();
    host.assert_clean();
}

#[test]
fn what_limits_a_rate_speaks_to_nobody() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    done(&host, "ct netif new routed web1 eth0 --max-tx 10m");
    done(&host, &format!("ct netif ip add web1 eth0 {V4}"));
    ct.start();
    assert_answers(&host, &[V4]);
    let ifb = in_host(&host, "ip -o link show type ifb");
    let name = ifb.split(": ").nth(1).expect("a device").to_owned();
    assert_eq!(
        in_host(&host, &format!("ip -6 address show dev {name}")),
        ""
    );
    ct.kill();
    host.assert_clean();
}

#[test]
fn what_runs_on_of_an_exported_pool_keeps_its_network() {
    let host = networked_host!();
    host.install("zwei");
    let a = host.new_ct("a");
    let new = json!({ "id": "zwei:b", "from_archive": host.minimal() });
    host.json::<osctl_api::container::New>(new);
    let b = host.ct("zwei:b");
    for id in ["a", "zwei:b"] {
        done(
            &host,
            &format!("ct netif new bridge {id} eth0 --link osbr0"),
        );
    }
    a.start();
    b.start();
    let init = b.init_pid();
    let lease = netifs(&b)[0]["leases"][0].as_str().unwrap().to_owned();
    let lease = lease.split_once('/').unwrap().0;
    assert_answers(&host, &[lease]);
    done(&host, "pool export --force --no-stop-containers zwei");
    assert_answers(&host, &[lease]);
    refused(
        &host,
        &format!("ct netif ip add a eth0 {lease}/20"),
        "belongs to zwei:b eth0",
    );
    // Whoever is left does not know of it.
    a.delete();
    assert_answers(&host, &[lease]);
    done(&host, "pool uninstall zwei");
    host.kill_daemon();
    host.start_daemon();
    assert_answers(&host, &[lease]);
    host.install("zwei");
    assert_answers(&host, &[lease]);
    // It ends while nobody looks after it.
    done(&host, "pool export --force --no-stop-containers zwei");
    let links = || in_host(&host, "ip -o link");
    processes::kill(init);
    wait::until("the bridge is gone", || !links().contains("osbr0"));
    assert!(!links().contains("osctl/"), "{}", links());
    done(&host, "pool import zwei");
    b.start();
    assert_answers(&host, &[lease]);
    b.kill();
    b.delete();
    let links = in_host(&host, "ip -o link");
    assert!(!links.contains("osbr0"), "{links}");
    host.assert_clean();
}

#[test]
fn an_interface_whose_new_name_is_taken_keeps_its_old_one() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    done(&host, "ct netif new routed web1 eth0");
    done(&host, &format!("ct netif ip add web1 eth0 {V4}"));
    let name = |ct: &Ct<'_>| netifs(ct)[0]["veth"].as_str().unwrap().to_owned();
    // Its name on the host under another one in the container.
    done(&host, "ct netif rename web1 eth0 wan0");
    let taken = name(&ct);
    done(&host, "ct netif rename web1 wan0 eth0");
    ct.start();
    let same = || {
        assert_eq!(netifs(&ct)[0]["name"], "eth0");
        assert!(ct.exec(&["test", "-e", "/sys/class/net/eth0"]).success());
        assert_answers(&host, &[V4]);
        let rules = in_host(&host, "nft list ruleset");
        assert!(!rules.contains(&taken), "{rules}");
    };
    host.network().host.bridge(&taken);
    refused(&host, "ct netif rename web1 eth0 wan0", "EEXIST");
    same();
    host.network().host.remove(&taken);
    ct.netns().bridge("wan0");
    refused(&host, "ct netif rename web1 eth0 wan0", "EEXIST");
    same();
    ct.sh("ip link del wan0");
    done(&host, "ct netif rename web1 eth0 wan0");
    assert_answers(&host, &[V4]);
    ct.kill();
    host.assert_clean();
}

#[test]
fn a_change_while_the_container_ends_leaves_nothing() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    done(&host, "ct netif new routed web1 eth0");
    done(&host, &format!("ct netif ip add web1 eth0 {V4}"));
    for round in 0..8 {
        ct.start();
        std::thread::scope(|scope| {
            let changing = scope.spawn(|| {
                for n in 0..20 {
                    let new = format!("ct netif new routed web1 eth{}", n + 1);
                    // It may be stopped by then, or have gone while it was done.
                    drop(osctl(&host, &new));
                }
            });
            // At another moment each time.
            for _ in 0..round {
                netifs(&ct);
            }
            ct.kill();
            changing.join().unwrap();
        });
        let rules = in_host(&host, "nft list ruleset");
        assert!(!rules.contains("web1-"), "{rules}");
        host.assert_clean();
        for netif in netifs(&ct) {
            let name = netif["name"].as_str().unwrap();
            if name != "eth0" {
                done(&host, &format!("ct netif del web1 {name}"));
            }
        }
    }
    ct.start();
    assert_answers(&host, &[V4]);
    ct.kill();
    host.assert_clean();
}
