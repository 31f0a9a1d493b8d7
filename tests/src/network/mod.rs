//! A network of its own for one test: the host's namespace, in which the daemon and everything that
//! it starts run, with an uplink to the namespace of the world, where somebody answers.
//!
//! ```text
//! world  198.51.100.1, 2001:db8:ffff::1 ─── uplink0  host  198.51.100.2, 2001:db8:ffff::2
//!        203.0.113.1,  2001:db8:fffe::1     routes everything else to the world
//!        routes everything else to the host
//! ```
//!
//! Nothing of it is seen by the machine. It goes when it is dropped.

pub mod frames;
mod namespace;
mod rate;
mod responder;
mod wire;

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

pub use namespace::{Link, Namespace};
pub use rate::tcp_rate;
pub use responder::{PORT, Responder};
pub use wire::Wire;

/// The host's interface to the world.
pub const UPLINK: &str = "uplink0";
/// The world's interface to the host.
pub const DOWNLINK: &str = "down0";
/// The host's addresses on its uplink.
pub const HOST: [&str; 2] = ["198.51.100.2", "2001:db8:ffff::2"];
/// The world's addresses on the link to the host.
pub const WORLD: [&str; 2] = ["198.51.100.1", "2001:db8:ffff::1"];
/// Addresses of the world that are beyond the link to the host.
pub const FAR: [&str; 2] = ["203.0.113.1", "2001:db8:fffe::1"];

/// The namespaces of one test.
#[derive(Debug)]
pub struct Network {
    /// Where the daemon is.
    pub host: Namespace,
    /// What it reaches.
    pub world: Namespace,
    _responder: Responder,
}

impl Network {
    /// Makes both, and somebody in the world who answers.
    pub fn new() -> Network {
        let (host, world) = (Namespace::new(), Namespace::new());
        host.pair(UPLINK, &world, DOWNLINK);
        for (there, link, own, other) in [
            (&host, UPLINK, HOST, WORLD),
            (&world, DOWNLINK, WORLD, HOST),
        ] {
            there.address(link, &format!("{}/24", own[0]));
            there.address(link, &format!("{}/64", own[1]));
            there.default_route(link, other[0]);
            there.default_route(link, other[1]);
        }
        for ip in FAR {
            world.address("lo", ip);
        }
        host.settle(UPLINK);
        world.settle(DOWNLINK);
        let responder = world.run(Responder::start);
        Network {
            host,
            world,
            _responder: responder,
        }
    }
}

impl Default for Network {
    fn default() -> Network {
        Network::new()
    }
}

/// Asks a [`Responder`] by UDP, on a thread of the namespace in which one wants to ask: the address
/// by which it knows us; `None` when nothing comes back within `limit`.
pub fn seen_as(ip: &str, limit: Duration) -> Option<IpAddr> {
    let there = SocketAddr::new(ip.parse().unwrap(), PORT);
    let any = if there.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(limit)).unwrap();
    socket.send_to(b"hello", there).ok()?;
    let mut answer = [0; 256];
    let n = socket.recv(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer[..n]).into_owned();
    text.split_once(' ')?.0.parse().ok()
}

/// Asks a [`Responder`] by TCP: as [`seen_as`].
pub fn seen_as_over_tcp(ip: &str, limit: Duration) -> Option<IpAddr> {
    let there = SocketAddr::new(ip.parse().unwrap(), PORT);
    let mut stream = TcpStream::connect_timeout(&there, limit).ok()?;
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(&mut stream), &mut line).ok()?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn the_world_answers_and_can_be_listened_to() {
        if !rustix::process::geteuid().is_root() {
            crate::skip!("needs root");
        }
        let network = Network::new();
        let wire = network.world.wire(DOWNLINK);
        for (ip, own) in [(WORLD[0], HOST[0]), (FAR[1], HOST[1])] {
            let own: IpAddr = own.parse().unwrap();
            let seen = network.host.run(|| seen_as(ip, SOON));
            assert_eq!(seen, Some(own), "by UDP at {ip}");
            let seen = network.host.run(|| seen_as_over_tcp(ip, SOON));
            assert_eq!(seen, Some(own), "by TCP at {ip}");
        }
        assert_eq!(
            network
                .world
                .run(|| seen_as(HOST[0], Duration::from_millis(50))),
            None
        );
        // 203.0.113.1 was not asked, so no packet to it was seen.
        assert!(wire.find(SOON, |frame| frame.ends_with(b"hello")).is_some());

        let out = network.host.wire(UPLINK);
        let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xb5], &[7; 50]].concat();
        out.send(&frame);
        assert!(wire.find(SOON, |seen| seen == frame).is_some());
        assert!(wire.find(Duration::ZERO, |seen| seen == frame).is_none());
    }

    #[test]
    fn rates_are_measured() {
        if !rustix::process::geteuid().is_root() {
            crate::skip!("needs root");
        }
        let network = Network::new();
        let (warm, time) = (Duration::from_millis(10), Duration::from_millis(50));
        let ip = FAR[0].parse().unwrap();
        let rate = tcp_rate(&network.host, &network.world, ip, warm, time);
        assert!(rate > 1e6, "{rate} bit/s");
    }

    #[test]
    fn links_are_listed_with_their_aliases() {
        if !rustix::process::geteuid().is_root() {
            crate::skip!("needs root");
        }
        let here = Namespace::new();
        here.bridge("br0");
        here.address("br0", "192.0.2.1/24");
        let names: Vec<String> = here.links().into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["lo", "br0"]);
        here.run(|| UdpSocket::bind("192.0.2.1:0").unwrap());
    }
}
