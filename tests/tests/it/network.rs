//! Networks in a container's life: addresses that answer at once, neighbours that can't be
//! impersonated, and nothing lost or left whatever happens to guest, daemon or links.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use osctl_api::container::State;
use osctl_api::daemon::{EventKind, Subscribe};
use osctl_tests::network::frames::{ethernet, udp};
use osctl_tests::network::{FAR, HOST, Namespace, Responder, seen_as};
use osctl_tests::{Ct, Host, networked_host, processes, wait};
use serde_json::Value;

const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";
const BRIDGE: &str = "br0";
/// How long an answer may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(5);

/// Adds a routed interface with an address of each family.
fn routed(ct: &Ct<'_>, name: &str, addresses: &[&str]) {
    let id = ct.id.as_str();
    ct.host.osctl(&["ct", "netif", "new", "routed", id, name]);
    add(ct, name, addresses);
}

/// Adds a port of a bridge with addresses.
fn bridged(ct: &Ct<'_>, name: &str, addresses: &[&str]) {
    let id = ct.id.as_str();
    let new = ["ct", "netif", "new", "bridge", "--link", BRIDGE];
    ct.host
        .osctl(&[&new[..], &["--no-dhcp", id, name]].concat());
    add(ct, name, addresses);
}

fn add(ct: &Ct<'_>, name: &str, addresses: &[&str]) {
    for address in addresses {
        ct.host
            .osctl(&["ct", "netif", "ip", "add", &ct.id, name, address]);
    }
}

/// An interface of a container as `netif ls` has it.
#[track_caller]
fn netif(ct: &Ct<'_>, name: &str) -> Value {
    let text = ct.host.osctl(&["--json", "ct", "netif", "ls", &ct.id]);
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let found = all.into_iter().find(|n| n["name"] == name);
    found.unwrap_or_else(|| panic!("{text}"))
}

#[track_caller]
fn veth(ct: &Ct<'_>, name: &str) -> String {
    netif(ct, name)["veth"].as_str().unwrap().to_owned()
}

/// Whether an address answers somebody in a namespace.
fn answers(from: &Namespace, address: &str) -> bool {
    let mut ping = Command::new("busybox");
    ping.args(["ping", "-c", "1", "-W", "5", address]);
    from.run(|| processes::output(&mut ping)).status.success()
}

#[track_caller]
fn assert_answers(from: &Namespace, addresses: &[&str]) {
    for address in addresses {
        assert!(answers(from, address), "{address} does not answer");
    }
}

/// Pings from a container.
#[track_caller]
fn assert_reaches(ct: &Ct<'_>, addresses: &[&str]) {
    for address in addresses {
        ct.sh(&format!("ping -c 1 -W 5 {address}"));
    }
}

fn in_host(host: &Host, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let out = host.in_host_ns(|| processes::output(&mut command));
    assert!(out.status.success(), "{program} {arguments:?}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// What the kernel's own tools see that containers have in the host's network.
fn traces(host: &Host) -> Vec<String> {
    let mut lines = Vec::new();
    for arguments in [
        &["-o", "link"] as &[&str],
        &["-4", "route"],
        &["-6", "route"],
        &["-4", "-o", "address"],
    ] {
        lines.push(in_host(host, "ip", arguments));
    }
    lines.push(in_host(host, "nft", &["list", "ruleset"]));
    let lines = lines.iter().flat_map(|text| text.lines());
    // Whether a bridge has a carrier, and its address when it has no ports, changes by itself.
    let stable = |line: &str| match line.split_once(": <") {
        Some((link, _)) => link.to_owned(),
        None => line.replace(" linkdown", ""),
    };
    lines.map(stable).collect()
}

#[test]
fn a_routed_container_is_reached_and_reaches_the_world() {
    let host = networked_host!();
    let before = traces(&host);
    let ct = host.new_ct("web1");
    routed(&ct, "eth0", &[V4, V6]);
    ct.start();
    // The first packet goes through.
    assert_answers(&host.network().world, &[V6, V4]);
    assert_answers(&host.network().host, &[V4, V6]);
    assert_reaches(&ct, &FAR);
    assert_reaches(&ct, &HOST);
    ct.kill();
    assert!(!answers_now(&host, V4));
    ct.delete();
    host.assert_clean();
    assert_eq!(traces(&host), before);
}

/// Whether an address answers at once.
fn answers_now(host: &Host, address: &str) -> bool {
    let mut ping = Command::new("busybox");
    ping.args(["ping", "-c", "1", "-W", "1", address]);
    let out = host.in_host_ns(|| processes::output(&mut ping));
    out.status.success()
}

#[test]
fn a_program_in_a_stopped_container_has_its_network() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    routed(&ct, "eth0", &[V4, V6]);
    for address in FAR {
        let run = ["ct", "exec", "-r", "web1", "ping", "-c", "1", "-W", "5"];
        host.osctl(&[&run[..], &[address]].concat());
        ct.await_state(State::Stopped);
    }
    host.assert_clean();
}

#[test]
fn containers_on_a_bridge_reach_each_other() {
    let host = networked_host!();
    host.network().host.bridge(BRIDGE);
    let (a, b) = (host.new_ct("a"), host.new_ct("b"));
    bridged(&a, "eth0", &["198.18.0.1/24", "2001:db8:1::1/64"]);
    bridged(&b, "eth0", &["198.18.0.2/24", "2001:db8:1::2/64"]);
    a.start();
    b.start();
    assert_reaches(&a, &["198.18.0.2", "2001:db8:1::2"]);
    assert_reaches(&b, &["198.18.0.1", "2001:db8:1::1"]);
    a.kill();
    b.kill();
    host.assert_clean();
}

#[test]
fn forged_frames_do_not_leave_a_container() {
    let host = networked_host!();
    host.network().host.bridge(BRIDGE);
    let (a, b) = (host.new_ct("a"), host.new_ct("b"));
    bridged(&a, "eth0", &["198.18.0.1/24"]);
    bridged(&b, "eth0", &["198.18.0.2/24"]);
    a.start();
    b.start();
    assert_reaches(&a, &["198.18.0.2"]);
    let mac = |ct: &Ct<'_>| -> [u8; 6] { ct.netns().link("eth0").hwaddr.try_into().unwrap() };
    let (own, to) = (mac(&a), mac(&b));
    let ip = |last| Ipv4Addr::new(198, 18, 0, last);
    let (sender, receiver) = (a.netns().wire("eth0"), b.netns().wire("eth0"));
    let forged = b"forged frame";
    let fake = [2, 0xba, 0xd0, 0, 0, 1];
    let honest = (own, to);
    let ports = (4000, 4000);
    let inner = udp(honest, (ip(1), ip(2)), ports, forged);
    for frame in [
        udp((fake, to), (ip(1), ip(2)), ports, forged),
        udp(honest, (ip(77), ip(2)), ports, forged),
        ethernet(honest, &[0x81, 0, 0, 5], &inner[12..]),
        ethernet(honest, &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], &inner[12..]),
        ethernet(honest, &[0x88, 0xb5], forged),
    ] {
        sender.send(&frame);
    }
    let last = b"honest frame";
    sender.send(&udp(honest, (ip(1), ip(2)), ports, last));
    let mut seen = Vec::new();
    let arrived = receiver.find(SOON, |frame| {
        seen.push(frame.to_vec());
        frame.ends_with(last)
    });
    assert!(arrived.is_some(), "what is honest does not arrive");
    let through: Vec<_> = seen.iter().filter(|f| f.ends_with(forged)).collect();
    assert!(through.is_empty(), "{through:x?}");
    a.kill();
    b.kill();
}

#[test]
fn nothing_is_lost_while_the_daemon_is_killed_and_comes_back() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    routed(&ct, "eth0", &[V4, V6]);
    ct.start();
    let link = host.network().host.link(&veth(&ct, "eth0"));
    let inside = ct.netns();
    let responder = inside.run(Responder::start);
    let (enough, lost, sent) = (
        AtomicBool::new(false),
        AtomicBool::new(false),
        AtomicBool::new(false),
    );
    std::thread::scope(|scope| {
        for ip in [V4, V6] {
            let (enough, lost, sent) = (&enough, &lost, &sent);
            let world = &host.network().world;
            scope.spawn(move || {
                world.run(|| {
                    while !enough.load(Ordering::Relaxed) {
                        let answer = seen_as(ip, SOON);
                        lost.fetch_or(answer.is_none(), Ordering::Relaxed);
                        sent.store(true, Ordering::Relaxed);
                    }
                });
            });
        }
        wait::until("something was sent", || sent.load(Ordering::Relaxed));
        for _ in 0..3 {
            host.kill_daemon();
            host.start_daemon();
        }
        host.stop_daemon();
        host.start_daemon();
        enough.store(true, Ordering::Relaxed);
    });
    drop(responder);
    assert!(!lost.load(Ordering::Relaxed), "packets were lost");
    assert_eq!(ct.state(), State::Running);
    let same = host.network().host.link(&veth(&ct, "eth0"));
    assert_eq!(link, same, "the link was made again");
    ct.kill();
    host.assert_clean();
}

#[test]
fn hundreds_of_interfaces_come_and_go_without_a_trace() {
    const CONTAINERS: usize = 50;
    let host = networked_host!();
    host.network().host.bridge(BRIDGE);
    host.minimal();
    let before = traces(&host);
    let ids: Vec<String> = (0..CONTAINERS).map(|n| format!("ct{n}")).collect();
    std::thread::scope(|scope| {
        for (thread, ids) in ids.chunks(CONTAINERS / 5).enumerate() {
            let host = &host;
            scope.spawn(move || {
                for (n, id) in ids.iter().enumerate() {
                    let ct = host.new_ct(id);
                    let v4 = |net: u8| Ipv4Addr::new(198, 18, net, (thread * 40 + n + 1) as u8);
                    let v6 =
                        Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, thread as u16 + 1, n as u16]);
                    routed(&ct, "eth0", &[&v4(1).to_string(), &v6.to_string()]);
                    routed(&ct, "eth1", &[&v4(2).to_string()]);
                    bridged(&ct, "eth2", &[&format!("{}/24", v4(3))]);
                    bridged(&ct, "eth3", &[&format!("{}/24", v4(4))]);
                    ct.start();
                    // Through the first interface, which has the default route.
                    assert_answers(&host.network().host, &[&v4(1).to_string()]);
                }
                for id in ids {
                    host.ct(id).try_delete(true).unwrap();
                }
            });
        }
    });
    host.assert_clean();
    assert_eq!(traces(&host), before);
}

#[test]
fn a_guest_may_do_what_it_likes_to_its_interface() {
    let host = networked_host!();
    let before = traces(&host);
    let ct = host.new_ct("web1");
    routed(&ct, "eth0", &[V4]);
    ct.start();
    ct.sh("ip link set eth0 down; ip link set eth0 name foo; ip link set foo up");
    add(&ct, "eth0", &[V6]);
    assert!(ct.sh("ip addr show dev foo").contains(V6));
    // It comes back, configured.
    ct.sh("ip link del foo");
    wait::until("it is back", || {
        ct.exec(&["test", "-e", "/sys/class/net/eth0"]).success()
    });
    wait::until("it answers", || answers_now(&host, V4));
    // Into a namespace of the guest's own.
    ct.sh(
        "unshare -n sleep 1000 </dev/null >/dev/null 2>&1 & sleep 0.2; ip link set eth0 netns $!",
    );
    wait::until("it is gone", || {
        !ct.exec(&["test", "-e", "/sys/class/net/eth0"]).success()
    });
    add(&ct, "eth0", &["192.0.2.11"]);
    host.osctl(&["ct", "netif", "ip", "del", "web1", "eth0", "192.0.2.11"]);
    ct.kill();
    host.assert_clean();
    assert_eq!(traces(&host), before);
    ct.start();
    assert_answers(&host.network().host, &[V4, V6]);
    ct.kill();
}

#[test]
fn a_link_that_somebody_removes_comes_back() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    routed(&ct, "eth0", &[V4, V6]);
    ct.start();
    let name = veth(&ct, "eth0");
    let old = host.network().host.link(&name).index;
    host.network().host.remove(&name);
    wait::until("it is made again", || {
        let links = host.network().host.links();
        links.iter().any(|l| l.name == name && l.index != old)
    });
    wait::until("it answers", || {
        answers_now(&host, V4) && answers_now(&host, V6)
    });
    ct.kill();
    host.assert_clean();
}

#[test]
fn what_happens_to_interfaces_is_told() {
    let host = networked_host!();
    let mut client = host.client();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let subscribe = Subscribe {
            kinds: vec![EventKind::Subscribed, EventKind::CtNetif],
        };
        // Ends with the daemon.
        let _ = client.call_events(&subscribe, |event| sender.send(event).is_ok());
    });
    let next = || receiver.recv_timeout(SOON).expect("another event");
    assert_eq!(next().kind, EventKind::Subscribed);
    let ct = host.new_ct("web1");
    routed(&ct, "eth0", &[V4]);
    ct.start();
    let name = veth(&ct, "eth0");
    host.network().host.remove(&name);
    let told = |action: &str| {
        let event = next();
        assert_eq!(event.action.as_deref(), Some(action), "{event:?}");
        assert_eq!(event.name.as_ref().unwrap().as_str(), "eth0");
        event
    };
    told("add");
    let up = told("up");
    assert_eq!(up.veth.unwrap().as_str(), name);
    told("down");
    told("up");
    host.osctl(&["ct", "netif", "rename", "web1", "eth0", "lan"]);
    told("down");
    let event = next();
    assert_eq!(
        (
            event.action.as_deref(),
            event.name.as_ref().unwrap().as_str()
        ),
        (Some("up"), "lan")
    );
    let event = told("rename");
    assert_eq!(event.new_name.unwrap().as_str(), "lan");
    ct.kill();
    assert_eq!(next().action.as_deref(), Some("down"));
}

#[test]
fn links_that_vanish_while_no_daemon_runs_come_back() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    routed(&ct, "eth0", &[V4, V6]);
    ct.start();
    let name = veth(&ct, "eth0");
    host.kill_daemon();
    host.network().host.remove(&name);
    host.start_daemon();
    assert_answers(&host.network().host, &[V4, V6]);
    ct.kill();
    host.assert_clean();
}

#[test]
fn filters_that_somebody_flushes_come_back() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    routed(&ct, "eth0", &[V4]);
    ct.start();
    let rules = in_host(&host, "nft", &["list", "ruleset"]);
    assert!(rules.contains(&veth(&ct, "eth0")), "{rules}");
    in_host(&host, "nft", &["flush", "ruleset"]);
    wait::until("the filters are back", || {
        in_host(&host, "nft", &["list", "ruleset"]).contains(&veth(&ct, "eth0"))
    });
    ct.kill();
    host.assert_clean();
}

#[test]
fn what_went_through_is_counted_over_reboots_and_restarts() {
    let host = networked_host!();
    let ct = host.new_ct("web1");
    routed(&ct, "eth0", &[V4]);
    let packets = || -> u64 {
        let netif = netif(&ct, "eth0");
        netif["rx_packets"].as_u64().unwrap()
    };
    ct.start();
    assert_answers(&host.network().host, &[V4, V4, V4]);
    let first = packets();
    assert!(first >= 3, "{first}");
    let init = ct.init_pid();
    ct.last_words("reboot -f -n");
    wait::until("it rebooted", || {
        ct.show().init_pid.is_some_and(|p| p != init)
    });
    assert!(packets() >= first);
    assert_answers(&host.network().host, &[V4, V4]);
    let second = packets();
    assert!(second >= first + 2, "{second}");
    host.stop_daemon();
    host.start_daemon();
    assert!(packets() >= second);
    ct.kill();
    let stopped = packets();
    assert!(stopped >= second);
    ct.start();
    assert_answers(&host.network().host, &[V4]);
    assert!(packets() > stopped);
    ct.kill();
}

#[test]
fn a_running_container_gets_other_interfaces() {
    let host = networked_host!();
    host.network().host.bridge(BRIDGE);
    host.network().host.address(BRIDGE, "198.18.0.254/24");
    let before = traces(&host);
    let ct = host.new_ct("web1");
    ct.start();
    routed(&ct, "eth0", &[V4, V6]);
    assert_answers(&host.network().host, &[V4, V6]);
    bridged(&ct, "lan0", &["198.18.0.1/24"]);
    assert_answers(&host.network().host, &["198.18.0.1"]);
    host.osctl(&["ct", "netif", "rename", "web1", "eth0", "wan0"]);
    // From where it answers through the same interface.
    assert_answers(&host.network().world, &[V4, V6]);
    assert!(ct.exec(&["test", "-e", "/sys/class/net/wan0"]).success());
    host.osctl(&["ct", "netif", "ip", "del", "web1", "wan0", V4]);
    assert!(!ct.sh("ip addr").contains(V4));
    assert!(!answers_now(&host, V4));
    assert_answers(&host.network().world, &[V6]);
    host.osctl(&["ct", "netif", "del", "web1", "lan0"]);
    assert!(!ct.exec(&["test", "-e", "/sys/class/net/lan0"]).success());
    host.osctl(&["ct", "netif", "del", "web1", "wan0"]);
    assert_eq!(traces(&host), before);
    ct.kill();
    host.assert_clean();
}
