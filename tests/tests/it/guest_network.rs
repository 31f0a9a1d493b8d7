//! Real systems whose own programs configure the network: with ifupdown, systemd-networkd,
//! NetworkManager, and with nothing, so that the host does.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use osctl_api::netif::{IpAdd, New};
use osctl_tests::network::{FAR, Namespace};
use osctl_tests::{Ct, Host, networked_host, processes, wait};
use serde_json::{Value, json};

/// How long a Debian may take to boot on a busy machine.
const LONG: Duration = Duration::from_secs(120);
const BRIDGE: &str = "br0";
const DNSMASQ: &str = "/usr/sbin/dnsmasq";
/// The bridge's addresses.
const GATEWAYS: [&str; 2] = ["198.18.0.1", "2001:db8:1::1"];
const ROUTED: [&str; 2] = ["192.0.2.10", "2001:db8::10"];
const MORE: [&str; 2] = ["192.0.2.11", "2001:db8::11"];
const SECOND: [&str; 2] = ["198.18.1.12", "2001:db8:2::12"];
const FIXED: [&str; 2] = ["198.18.0.200", "2001:db8:1::200"];

/// Somebody else's DHCP server, router and DNS server on a bridge.
struct Dnsmasq(Child);

impl Dnsmasq {
    fn start(host: &Host) -> Dnsmasq {
        let ns = &host.network().host;
        ns.bridge(BRIDGE);
        ns.address(BRIDGE, &format!("{}/24", GATEWAYS[0]));
        ns.address(BRIDGE, &format!("{}/64", GATEWAYS[1]));
        let mut command = Command::new(DNSMASQ);
        command.args([
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
        ]);
        command.args(["--user=root", "--leasefile-ro", "--pid-file", "--enable-ra"]);
        command.args([&format!("--interface={BRIDGE}"), "--bind-interfaces"]);
        command.args([
            "--dhcp-range=198.18.0.10,198.18.0.99,1h",
            "--dhcp-authoritative",
        ]);
        command.args(["--dhcp-range=2001:db8:1::,ra-only", "--ra-param=br0,5"]);
        command.arg(format!("--address=/far.test/{}", FAR[0]));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Dnsmasq(ns.run(|| command.spawn().unwrap()))
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Adds an interface and addresses to a container.
pub fn netif(ct: &Ct<'_>, mut settings: Value, addresses: &[&str]) {
    let name = settings["name"].take();
    settings["name"] = name.clone();
    ct.json::<New>(settings);
    for addr in addresses {
        ct.json::<IpAdd>(json!({ "name": name, "addr": addr }));
    }
}

fn await_boot(ct: &Ct<'_>) {
    let up = wait::find(LONG, || {
        let command = ["systemctl", "is-system-running", "--wait"];
        let ran = ct.try_exec_with(&command, &json!({}), LONG).ok()?;
        (ran.success() || ran.stdout == "degraded\n").then_some(ran.stdout)
    });
    let failed = || {
        ct.sh("systemctl --failed --no-legend --plain; networkctl 2>&1; journalctl -b -n 60 --no-pager")
    };
    match up.as_deref() {
        Some("running\n") => {}
        Some(_) => panic!("something failed:\n{}", failed()),
        None => panic!("it does not boot:\n{}", ct.console_log()),
    }
    assert!(ct.show().warnings.is_empty(), "{:?}", ct.show().warnings);
}

fn answers(from: &Namespace, address: &str) -> bool {
    let mut ping = Command::new("busybox");
    ping.args(["ping", "-c", "1", "-W", "2", address]);
    from.run(|| processes::output(&mut ping)).status.success()
}

fn state(ct: &Ct<'_>) -> String {
    ct.sh("ip addr; ip route; ip -6 route; cat /etc/resolv.conf; journalctl -b -n 80 --no-pager")
}

/// Whether a container has these addresses and everybody reaches everybody.
#[track_caller]
fn assert_network(ct: &Ct<'_>, addresses: &[&str], others: &[&Namespace]) {
    for address in addresses {
        let there = wait::find(LONG, || {
            let shown = ct.sh("ip -o addr show scope global");
            let is = |l: &str| l.contains(&format!(" {address}/")) && !l.contains("tentative");
            shown.lines().any(is).then_some(())
        });
        assert!(
            there.is_some(),
            "{} has no {address}:\n{}",
            ct.id,
            state(ct)
        );
        for other in others {
            let reached = wait::find(Duration::from_secs(20), || {
                answers(other, address).then_some(())
            });
            assert!(
                reached.is_some(),
                "{} is not reached at {address}:\n{}",
                ct.id,
                state(ct)
            );
        }
    }
    for far in FAR {
        if addresses
            .iter()
            .any(|a| a.contains(':') == far.contains(':'))
        {
            let ran = ct.exec(&["ping", "-c", "1", "-W", "5", far]);
            assert!(
                ran.success(),
                "{} does not reach {far}:\n{}",
                ct.id,
                state(ct)
            );
        }
    }
}

/// Whether the guest's own program says that it has done it.
#[track_caller]
fn assert_configured(ct: &Ct<'_>, asked: &str) {
    let said = wait::find(LONG, || {
        ct.exec(&["sh", "-c", asked]).success().then_some(())
    });
    assert!(said.is_some(), "{}: {asked}\n{}", ct.id, state(ct));
}

/// Address of stateless configuration.
fn eui64(ct: &Ct<'_>) -> String {
    let text = ct.sh("cat /sys/class/net/eth0/address");
    let hw: osctl_api::net::HwAddr = text.trim().parse().unwrap();
    hw.eui64("2001:db8:1::".parse().unwrap()).to_string()
}

fn lives(release: &str, variant: &str, asks: Asks, configured: &str) {
    if !std::path::Path::new(DNSMASQ).exists() {
        osctl_tests::skip!("needs {DNSMASQ}");
    }
    let host = networked_host!();
    let arch = std::env::consts::ARCH;
    let name = format!("debian-{release}-{arch}-default-{variant}.tar");
    let Some(image) = osctl_tests::host::image(&name) else {
        osctl_tests::skip!(
            "needs the image {name}: cargo xtask template debian/{release}/{variant}"
        );
    };
    let dnsmasq = Dnsmasq::start(&host);
    let [fixed, routed] = ["fixed", "routed"].map(|id| host.ct_from(id, &image));
    let asking = match asks {
        Asks::Guest => Some(host.ct_from("asking", &image)),
        Asks::Nobody => None,
    };
    if let Some(ct) = &asking {
        netif(
            ct,
            json!({ "name": "eth0", "type": "bridge", "link": BRIDGE }),
            &[],
        );
    }
    let settings = json!({ "name": "eth0", "type": "bridge", "link": BRIDGE, "dhcp": false });
    let addresses = [format!("{}/24", FIXED[0]), format!("{}/64", FIXED[1])];
    netif(&fixed, settings, &[&addresses[0], &addresses[1]]);
    netif(
        &routed,
        json!({ "name": "eth0", "type": "routed" }),
        &ROUTED,
    );
    let all: Vec<&Ct<'_>> = [Some(&fixed), Some(&routed), asking.as_ref()]
        .into_iter()
        .flatten()
        .collect();
    for ct in [&fixed, &routed] {
        ct.set(json!({ "dns_resolvers": [GATEWAYS[0]] }));
    }
    for ct in &all {
        ct.start();
    }
    let world = &host.network().world;
    let here = &host.network().host;
    for round in 0..2 {
        for ct in &all {
            await_boot(ct);
            assert_configured(ct, configured);
        }
        if round == 0 {
            for addr in MORE {
                routed.json::<IpAdd>(json!({ "name": "eth0", "addr": addr }));
            }
            let settings = json!({
                "name": "eth1", "type": "bridge", "link": "br1", "dhcp": false,
                "gateway_v4": "none", "gateway_v6": "none",
            });
            here.bridge("br1");
            here.address("br1", "198.18.1.1/24");
            here.address("br1", "2001:db8:2::1/64");
            let addresses = [format!("{}/24", SECOND[0]), format!("{}/64", SECOND[1])];
            netif(&fixed, settings, &[&addresses[0], &addresses[1]]);
        }
        let addresses = [&ROUTED[..], &MORE[..]].concat();
        assert_network(&routed, &addresses, &[here, world, &fixed.netns()]);
        assert_network(&fixed, &FIXED, &[here, world]);
        assert_network(&fixed, &SECOND, &[here]);
        if round == 1 {
            assert_configured(&fixed, &configured.replace("eth0", "eth1"));
        }
        if let Some(ct) = &asking {
            let v4 = wait::find(LONG, || {
                let shown = ct.sh("ip -4 -o addr show dev eth0 scope global");
                let (v4, _) = shown.split_whitespace().nth(3)?.split_once('/')?;
                Some(v4.to_owned())
            });
            let v4 = v4.unwrap_or_else(|| panic!("no address:\n{}", state(ct)));
            assert!(v4.starts_with("198.18.0."), "{v4}");
            assert_network(ct, &[&v4, &eui64(ct)], &[here, world, &fixed.netns()]);
        }
        for ct in &all {
            let found = ct.exec(&["getent", "ahostsv4", "far.test"]);
            assert!(
                found.stdout.contains(FAR[0]),
                "{}: {found:?}\n{}",
                ct.id,
                state(ct)
            );
        }
        for ct in [&fixed, &routed] {
            let text = ct.sh("cat /etc/resolv.conf");
            assert!(
                text.contains(GATEWAYS[0]) && text.contains("osctl"),
                "{text}"
            );
        }
        if round == 0 {
            for ct in &all {
                reboot(ct);
            }
        }
    }
    for ct in &all {
        ct.kill();
        ct.delete();
    }
    // Whole systems take a while to remove.
    let trash = host.pool_dir("tank").join("trash");
    let empty = || {
        std::fs::read_dir(&trash)
            .unwrap()
            .next()
            .is_none()
            .then_some(())
    };
    assert!(
        wait::find(LONG, empty).is_some(),
        "the trash is not emptied"
    );
    drop(dnsmasq);
    host.assert_clean();
}

fn reboot(ct: &Ct<'_>) {
    let init = ct.init_pid();
    ct.exec(&["systemctl", "reboot"]);
    let back = wait::find(LONG, || {
        let shown = ct.show();
        let is_new =
            shown.state == osctl_api::container::State::Running && shown.init_pid != Some(init);
        is_new.then_some(())
    });
    assert!(back.is_some(), "it does not reboot:\n{}", ct.console_log());
}

/// Who asks for addresses.
#[derive(Clone, Copy)]
enum Asks {
    Guest,
    Nobody,
}

#[test]
fn a_debian_with_ifupdown_has_the_network_that_is_wanted() {
    lives("trixie", "systemd", Asks::Guest, "ifquery --state eth0");
}

#[test]
fn a_debian_with_an_older_ifupdown_has_the_network_that_is_wanted() {
    lives("bookworm", "systemd", Asks::Guest, "ifquery --state eth0");
}

#[test]
fn a_debian_with_networkd_has_the_network_that_is_wanted() {
    lives(
        "trixie",
        "networkd",
        Asks::Guest,
        "networkctl status eth0 | grep 05-osctl-eth0",
    );
}

#[test]
fn a_debian_with_an_older_networkd_has_the_network_that_is_wanted() {
    lives(
        "bookworm",
        "networkd",
        Asks::Guest,
        "networkctl status eth0 | grep 05-osctl-eth0",
    );
}

#[test]
fn a_debian_with_networkmanager_has_the_network_that_is_wanted() {
    lives(
        "trixie",
        "networkmanager",
        Asks::Guest,
        "nmcli -t device | grep '^eth0:ethernet:connected:osctl-eth0'",
    );
}

#[test]
fn a_debian_with_an_older_networkmanager_has_the_network_that_is_wanted() {
    lives(
        "bookworm",
        "networkmanager",
        Asks::Guest,
        "nmcli -t device | grep '^eth0:ethernet:connected:osctl-eth0'",
    );
}

#[test]
fn a_debian_with_nothing_for_it_has_the_network_that_is_wanted() {
    lives(
        "trixie",
        "bare",
        Asks::Nobody,
        "! grep -rqs 'Set by osctl' /etc/systemd /etc/network /etc/NetworkManager",
    );
}
