//! What a network costs a container: starts with an interface, the first reply
//! to a ping, an address more while it runs.

use std::process::Command;

use super::figures::Figure;
use super::samples::Side;
use super::{Bench, Result};
use crate::process;

/// What is measured here.
pub const FIGURES: [Figure; 5] = [
    Figure::StartBridged,
    Figure::StartRouted,
    Figure::ReplyV4,
    Figure::ReplyV6,
    Figure::AddressAdd,
];

const BRIDGE: &str = "br0";
const BRIDGED: &str = "bridged";
const ROUTED: &str = "routed";
const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";

impl Bench {
    /// Starts with interfaces, pings and changes of addresses.
    pub(super) fn network(&mut self) -> Result<()> {
        self.prepare_network()?;
        let measured = self.rounds_of("networks", Self::network_round);
        for id in [BRIDGED, ROUTED] {
            self.ours.run(&["ct", "del", "--force", id])?;
        }
        measured
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
        for id in [BRIDGED, ROUTED] {
            self.ours.create(id, &self.image)?;
        }
        for words in [
            &[
                "new",
                "bridge",
                "--link",
                BRIDGE,
                "--no-dhcp",
                BRIDGED,
                "eth0",
            ] as &[&str],
            &["ip", "add", BRIDGED, "eth0", "198.51.100.10/24"],
            &["new", "routed", ROUTED, "eth0"],
            &["ip", "add", ROUTED, "eth0", V4],
            &["ip", "add", ROUTED, "eth0", V6],
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
            let mut start = self.ours.command(&["ct", "start", id]);
            let took = self.timed(&mut start, "osctl ct start")?;
            self.record(figure, Side::Ours, took);
            if id == ROUTED {
                self.another_address()?;
            }
            self.ours.run(&["ct", "stop", "--kill", id])?;
        }
        for (figure, address) in [(Figure::ReplyV4, V4), (Figure::ReplyV6, V6)] {
            let mut both = self.start_and_ping(address)?;
            let took = self.timed(&mut both, "osctl ct start and ping")?;
            self.record(figure, Side::Ours, took);
            self.ours.run(&["ct", "stop", "--kill", ROUTED])?;
        }
        Ok(())
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
