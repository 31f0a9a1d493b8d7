//! What a network costs a container: starts with interfaces, the first reply to
//! a ping, an address or a rule more while it runs.

use std::process::Command;
use std::time::Duration;

use super::figures::Figure;
use super::samples::Side;
use super::{Bench, Result};
use crate::{process, ui};

/// What is measured here.
pub const FIGURES: [Figure; 6] = [
    Figure::StartBridged,
    Figure::StartRouted,
    Figure::StartBoth,
    Figure::ReplyV4,
    Figure::ReplyV6,
    Figure::AddressAdd,
];

/// What is measured of firewalls.
pub const FIREWALLS: [Figure; 2] = [Figure::Rule, Figure::RuleMany];

const BRIDGE: &str = "br0";
const BRIDGED: &str = "bridged";
const ROUTED: &str = "routed";
const BOTH: &str = "both";
/// Has no network.
const NONE: &str = "none";
/// Whose firewall gets another rule.
const RULED: &str = "fw0";
/// How many containers with firewalls there are in the end.
const FIREWALLED: u32 = 200;
const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";

impl Bench {
    /// Starts with interfaces, pings and changes of addresses.
    pub(super) fn network(&mut self) -> Result<()> {
        self.prepare_network()?;
        let measured = self.rounds_of("networks", Self::network_round);
        for id in [BRIDGED, ROUTED, BOTH, NONE] {
            self.ours.run(&["ct", "del", "--force", id])?;
        }
        measured
    }

    /// A rule more, alone and beside many.
    pub(super) fn firewalls(&mut self) -> Result<()> {
        self.firewalled(0)?;
        let alone = self.rounds_of("firewalls", |bench, _| bench.rule(Figure::Rule));
        ui::step(format!("starting {FIREWALLED} containers with firewalls"));
        for number in 1..FIREWALLED {
            self.firewalled(number)?;
        }
        let beside = self.rounds_of("firewalls", |bench, _| bench.rule(Figure::RuleMany));
        for number in 0..FIREWALLED {
            self.ours
                .run(&["ct", "del", "--force", &format!("fw{number}")])?;
        }
        alone.and(beside)
    }

    fn firewalled(&self, number: u32) -> Result<()> {
        let id = format!("fw{number}");
        self.ours.create(&id, &self.image)?;
        for words in [
            &["netif", "new", "routed", &id, "eth0"] as &[&str],
            &["firewall", "policy", &id, "in", "deny"],
            &["firewall", "add", &id, "allow in tcp port 22,443"],
            &["start", &id],
        ] {
            self.ours.run(&[&["ct"], words].concat())?;
        }
        Ok(())
    }

    fn rule(&mut self, figure: Figure) -> Result<()> {
        let words = ["ct", "firewall", "add", RULED, "allow in udp port 53"];
        let mut add = self.ours.command(&words);
        let took = self.timed(&mut add, "osctl ct firewall add")?;
        self.record(figure, Side::Ours, took);
        self.ours.run(&["ct", "firewall", "del", RULED, "2"])
    }

    fn prepare_network(&self) -> Result<()> {
        for words in [
            &["link", "set", "lo", "up"] as &[&str],
            // Whom the container answers.
            &["address", "add", "203.0.113.1/32", "dev", "lo"],
            &["link", "add", BRIDGE, "type", "bridge"],
            &["link", "set", BRIDGE, "up"],
        ] {
            let mut ip = self.ours.in_network("ip")?;
            process::output(ip.args(words), "ip")?;
        }
        for id in [BRIDGED, ROUTED, BOTH, NONE] {
            self.ours.create(id, &self.image)?;
        }
        let on_bridge = ["new", "bridge", "--link", BRIDGE, "--no-dhcp"];
        for words in [
            &[&on_bridge[..], &[BRIDGED, "eth0"]].concat() as &[&str],
            &["ip", "add", BRIDGED, "eth0", "198.51.100.10/24"],
            &["new", "routed", ROUTED, "eth0"],
            &["ip", "add", ROUTED, "eth0", V4],
            &["ip", "add", ROUTED, "eth0", V6],
            &[&on_bridge[..], &[BOTH, "eth0"]].concat(),
            &["ip", "add", BOTH, "eth0", "198.51.100.12/24"],
            &["new", "routed", BOTH, "eth1"],
            &["ip", "add", BOTH, "eth1", "192.0.2.12"],
            &["ip", "add", BOTH, "eth1", "2001:db8::12"],
        ] {
            self.ours.run(&[&["ct", "netif"], words].concat())?;
        }
        Ok(())
    }

    fn network_round(&mut self, _round: u32) -> Result<()> {
        for (figure, id) in [
            (Figure::StartBridged, BRIDGED),
            (Figure::StartRouted, ROUTED),
        ] {
            let took = self.start(id)?;
            self.record(figure, Side::Ours, took);
            if id == ROUTED {
                self.another_address()?;
            }
            self.ours.run(&["ct", "stop", "--kill", id])?;
        }
        let [without, with] = [NONE, BOTH].map(|id| {
            let took = self.start(id)?;
            self.ours.run(&["ct", "stop", "--kill", id]).map(|()| took)
        });
        // Less than nothing is possible when the one without is unlucky.
        let added = (with?.as_secs_f64() - without?.as_secs_f64()) * 1_000.0;
        self.record_ms(Figure::StartBoth, Side::Ours, added);
        for (figure, address) in [(Figure::ReplyV4, V4), (Figure::ReplyV6, V6)] {
            let mut both = self.start_and_ping(address)?;
            let took = self.timed(&mut both, "osctl ct start and ping")?;
            self.record(figure, Side::Ours, took);
            self.ours.run(&["ct", "stop", "--kill", ROUTED])?;
        }
        Ok(())
    }

    fn start(&self, id: &str) -> Result<Duration> {
        let mut start = self.ours.command(&["ct", "start", id]);
        self.timed(&mut start, "osctl ct start")
    }

    fn another_address(&mut self) -> Result<()> {
        let words = ["ct", "netif", "ip", "add", ROUTED, "eth0", "192.0.2.11"];
        let mut add = self.ours.command(&words);
        let took = self.timed(&mut add, "osctl ct netif ip add")?;
        self.record(Figure::AddressAdd, Side::Ours, took);
        self.ours
            .run(&["ct", "netif", "ip", "del", ROUTED, "eth0", "192.0.2.11"])
    }

    /// Starts the routed container and pings it until it answers.
    fn start_and_ping(&self, address: &str) -> Result<Command> {
        let start = self.ours.command(&["ct", "start", ROUTED]);
        let mut both = self.ours.in_network("sh")?;
        both.args([
            "-c",
            "\"$0\" ct start \"$1\" && exec busybox ping -c 1 -W 1 \"$2\"",
        ]);
        both.arg(start.get_program()).args([ROUTED, address]);
        for (name, value) in start.get_envs() {
            both.env(name, value.unwrap_or_default());
        }
        Ok(both)
    }
}
