//! Guests that flood: many clients of DHCP that don't exist, more frames than anybody can take.
//! Neighbours and the host go on.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use osctl_tests::network::FAR;
use osctl_tests::network::frames::{Mac, dhcp_discover, udp};
use osctl_tests::random::Random;
use osctl_tests::{Ct, Host, networked_host, processes, wait};

const BRIDGE: &str = "osbr0";
const REQUESTS: usize = 1000;
/// How soon a command on the host is to be done, whatever guests do.
const BEARABLE: Duration = Duration::from_secs(2);

fn on_bridge<'h>(host: &'h Host, id: &str, options: &[&str]) -> Ct<'h> {
    let ct = host.new_ct(id);
    let new = ["ct", "netif", "new", "bridge", "--link", BRIDGE];
    host.osctl(&[&new[..], options, &[id, "eth0"]].concat());
    ct.start();
    ct
}

fn own_mac(ct: &Ct<'_>) -> Mac {
    ct.netns().link("eth0").hwaddr.try_into().unwrap()
}

fn random_mac(random: &mut Random) -> Mac {
    let [_, rest @ .., _, _] = random.number().to_ne_bytes();
    let [a, b, c, d, e] = rest;
    // Administered locally, of one station.
    [0x02, a, b, c, d, e]
}

/// How many hardware addresses the bridge has learnt from frames.
fn learnt(host: &Host) -> usize {
    let mut show = Command::new("bridge");
    show.args(["fdb", "show", "br", BRIDGE, "dynamic"]);
    let out = host.in_host_ns(|| processes::output(&mut show));
    assert!(out.status.success(), "{out:?}");
    out.stdout.split(|b| *b == b'\n').count() - 1
}

fn in_bridge_dir(host: &Host, name: &str) -> String {
    std::fs::read_to_string(host.run_dir().join("bridge").join(name)).unwrap()
}

/// Hardware addresses that have leases.
fn leased(host: &Host) -> BTreeSet<String> {
    let text = in_bridge_dir(host, "leases");
    let macs = text.lines().filter_map(|line| line.split(' ').nth(1));
    // A line of its own says who the server of DHCPv6 is.
    macs.filter(|m| m.len() == 17).map(str::to_owned).collect()
}

/// It gets its address as a DHCP client does, and finds others by name.
#[track_caller]
fn assert_served(ct: &Ct<'_>, neighbour: &str) {
    ct.sh("udhcpc -n -q -f -t 10 -T 1 -i eth0 -s /bin/true 2>&1");
    ct.sh(&format!("nslookup {neighbour}.osctl"));
}

fn text(mac: Mac) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// Sends requests of clients that do not exist: whose frames they are is `from`.
fn request(ct: &Ct<'_>, random: &mut Random, from: Option<Mac>) {
    let wire = ct.netns().wire("eth0");
    for _ in 0..REQUESTS {
        let client = random_mac(random);
        wire.send(&dhcp_discover(from.unwrap_or(client), client));
    }
}

#[test]
fn a_thousand_clients_that_do_not_exist_get_nothing_and_harm_nobody() {
    let host = networked_host!();
    let attacker = on_bridge(&host, "attacker", &[]);
    let neighbour = on_bridge(&host, "neighbour", &[]);
    assert_served(&attacker, "neighbour");
    assert_served(&neighbour, "attacker");
    let real = BTreeSet::from([&attacker, &neighbour].map(|ct| text(own_mac(ct))));
    assert_eq!(leased(&host), real);
    let (before, dnsmasq) = (learnt(&host), in_bridge_dir(&host, "dnsmasq.pid"));
    let mut random = Random::new(1);
    for from in [None, Some(own_mac(&attacker))] {
        request(&attacker, &mut random, from);
        assert_served(&neighbour, "attacker");
        assert_served(&attacker, "neighbour");
        assert_eq!(leased(&host), real);
        // The host's own ends of new ports may be learnt meanwhile.
        let now = learnt(&host);
        assert!(
            now <= before + 4,
            "{before} hardware addresses became {now}"
        );
    }

    // Who is allowed to forge gets as far as dnsmasq, and no further.
    let forger = on_bridge(&host, "forger", &["--no-anti-spoof"]);
    request(&forger, &mut random, None);
    wait::until("the bridge has heard of all", || learnt(&host) >= REQUESTS);
    assert_served(&neighbour, "attacker");
    assert_eq!(leased(&host), real);
    assert_eq!(in_bridge_dir(&host, "dnsmasq.pid"), dnsmasq);
    for ct in [attacker, neighbour, forger] {
        ct.kill();
        ct.delete();
    }
    host.assert_clean();
}

/// Sends these as fast as it goes while `meanwhile` lasts.
fn flood(ct: &Ct<'_>, frames: &[Vec<u8>], meanwhile: impl FnOnce()) {
    let (enough, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let wire = ct.netns().wire("eth0");
    std::thread::scope(|scope| {
        let _end = End(&enough);
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                let taken = frames.iter().filter(|frame| wire.offer(frame)).count();
                sent.fetch_add(taken, Ordering::Relaxed);
            }
        });
        wait::until("frames are sent", || {
            sent.load(Ordering::Relaxed) > REQUESTS
        });
        meanwhile();
    });
}

/// Tells a thread to end, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_flood_of_frames_leaves_neighbours_and_the_host_responsive() {
    let host = networked_host!();
    let attacker = on_bridge(&host, "attacker", &[]);
    let neighbour = on_bridge(&host, "neighbour", &[]);
    let own = own_mac(&attacker);
    let gateway = host.network().host.link(BRIDGE).hwaddr.try_into().unwrap();
    let shown = attacker.sh("ip -4 -o addr show dev eth0");
    let ip = shown.split_whitespace().nth(3).unwrap();
    let ip = ip.split_once('/').unwrap().0.parse().unwrap();
    let datagram = |to: Mac, there: &str| {
        udp(
            (own, to),
            (ip, there.parse().unwrap()),
            (4000, 4000),
            &[7; 1000],
        )
    };
    let forged = dhcp_discover([2, 0xba, 0xd0, 0, 0, 1], own);
    let others_are_well = || {
        for far in FAR {
            neighbour.sh(&format!("ping -c 3 -i 0.1 -W 5 {far}"));
        }
        assert_served(&neighbour, "attacker");
        let begin = Instant::now();
        host.osctl(&["ct", "netif", "ls", "neighbour"]);
        let took = begin.elapsed();
        assert!(took < BEARABLE, "a list of interfaces took {took:?}");
    };
    let through_the_host = datagram(gateway, FAR[0]);
    flood(&attacker, &[forged, through_the_host], others_are_well);
    // What is for all reaches all, as much as the sender's rate allows.
    let id = attacker.id.as_str();
    host.osctl(&["ct", "netif", "set", id, "eth0", "--max-tx", "10m"]);
    let to_all = datagram([0xff; 6], "255.255.255.255");
    flood(&attacker, &[to_all], others_are_well);
    for ct in [attacker, neighbour] {
        ct.kill();
        ct.delete();
    }
    host.assert_clean();
}
