//! Interfaces in namespaces of the tests' own: nothing of it is seen by the machine.

mod filter;
mod life;
mod shaping;
mod traffic;

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::link::{InfoKind, LinkAttribute};
use nix::sched::CloneFlags;
use osctl_api::net::{Address, HwAddr, Network, Rate};

use super::message::{self, indexed, named, with};
use super::netlink::Batch;
use super::*;

/// Runs a test on a thread that is in a network namespace of its own.
fn on_a_host(test: impl FnOnce() + Send) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A new network namespace; it lives as long as it is held or a link of it is.
fn namespace() -> OwnedFd {
    let make = || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap().into()
    };
    std::thread::scope(|scope| scope.spawn(make).join().unwrap())
}

fn inside<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    netlink::in_namespace(netns.as_fd(), work).unwrap()
}

/// A host with a bridge `br0` that has addresses.
fn host() -> Host {
    let host = Host::open("test").unwrap();
    let mut batch = Batch::new();
    let kind = LinkAttribute::LinkInfo(vec![message::kind(InfoKind::Bridge)]);
    batch.add(
        RouteNetlinkMessage::NewLink(message::up(with(named("br0"), [kind]))),
        NLM_F_CREATE | NLM_F_EXCL,
        "make a bridge",
    );
    batch.add(
        RouteNetlinkMessage::SetLink(message::up(indexed(1))),
        0,
        "let lo go up",
    );
    host.run(batch).unwrap();
    let bridge = host.link("br0").unwrap().unwrap();
    let mut batch = Batch::new();
    for net in ["10.5.0.1/24", "fd00:5::1/64"] {
        let net: IpNet = net.parse().unwrap();
        batch.add(
            RouteNetlinkMessage::NewAddress(message::address(
                bridge.index,
                net,
                AddressScope::Universe,
            )),
            NLM_F_CREATE,
            "add an address",
        );
    }
    host.run(batch).unwrap();
    host
}

fn wanted(container: &str, addresses: &[&str], attachment: Attachment) -> Wanted {
    let owner = Owner {
        pool: "tank".into(),
        container: container.into(),
    };
    let name = "eth0".parse().unwrap();
    Wanted {
        host_name: host_name("test", &owner, &name),
        owner,
        name,
        hwaddr: hwaddr(container),
        attachment,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        mtu: None,
        tx_queues: 1,
        rx_queues: 1,
        max_tx: Rate::UNLIMITED,
        max_rx: Rate::UNLIMITED,
        anti_spoof: true,
    }
}

/// One of its own for each container.
fn hwaddr(container: &str) -> HwAddr {
    let name = hashed("", container).to_string();
    let octets = [
        0x52,
        0x54,
        0,
        name.as_bytes()[2],
        name.as_bytes()[3],
        name.as_bytes()[4],
    ];
    HwAddr::from_octets(octets).unwrap()
}

fn route(network: &str) -> Route {
    Route {
        network: network.parse().unwrap(),
        via: None,
    }
}

fn routed(container: &str, addresses: &[&str]) -> Wanted {
    let routes = addresses
        .iter()
        .map(|a| Route {
            network: Network::host(a.parse::<Address>().unwrap().ip()),
            via: None,
        })
        .collect();
    wanted(container, addresses, Attachment::Routed { routes })
}

fn bridged(container: &str, addresses: &[&str]) -> Wanted {
    let attachment = Attachment::Bridge {
        link: "br0".parse().unwrap(),
        dhcp: false,
        lease: None,
        gateways: Gateways {
            v4: "10.5.0.1".parse().ok(),
            v6: "fd00:5::1".parse().ok(),
        },
    };
    wanted(container, addresses, attachment)
}

/// All of a start.
fn start(host: &Host, wanted: &Wanted, netns: &OwnedFd) -> Made {
    let made = host.create(wanted, netns.as_fd()).unwrap();
    host.raise(wanted).unwrap();
    super::inside::configure(netns.as_fd(), made.inside_index, wanted).unwrap();
    assert!(host.running(&wanted.host_name).unwrap());
    made
}

/// Whether the first packet from here to there is answered.
fn answers(netns: &OwnedFd, ip: &str) -> bool {
    let ip: IpAddr = ip.parse().unwrap();
    inside(netns, || echo(ip)).is_ok_and(asks)
}

/// Answers one packet, on a thread of the calling one's namespace.
fn echo(ip: IpAddr) -> std::io::Result<SocketAddr> {
    let socket = UdpSocket::bind((ip, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let address = socket.local_addr()?;
    std::thread::spawn(move || {
        let mut packet = [0; 64];
        if let Ok((n, from)) = socket.recv_from(&mut packet) {
            socket.send_to(&packet[..n], from).ok();
        }
    });
    Ok(address)
}

fn asks(there: SocketAddr) -> bool {
    let any: IpAddr = match there {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    // Less than the second that the kernel waits before it asks again for a neighbour or ends
    // looking for duplicates of an address.
    let limit = Duration::from_millis(900);
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut answer = [0; 64];
    socket.send_to(b"hello", there).is_ok()
        && socket
            .recv(&mut answer)
            .is_ok_and(|n| &answer[..n] == b"hello")
}

/// Asks from inside of a namespace.
fn is_answered(netns: &OwnedFd, ip: &str) -> bool {
    let there = echo(ip.parse().unwrap()).unwrap();
    inside(netns, || asks(there))
}
