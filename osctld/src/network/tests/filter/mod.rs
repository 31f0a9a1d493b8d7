//! Filters, seen by the `nft` program and by neighbours that listen.

mod attacks;
mod bad;
mod bridged;
mod firewalls;
mod frames;
mod golden;
mod good;
mod life;
mod nat;
mod routed;

use std::os::fd::AsRawFd;
use std::process::Command;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use super::*;
use crate::network::filter::Filters;

/// What the `nft` program says is in the kernel, in the namespace of the calling thread.
fn ruleset() -> Option<String> {
    let output = Command::new("nft").args(["-s", "list", "ruleset"]).output();
    let Ok(output) = output else {
        println!("skipped: there is no nft program");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A socket that sends and hears whole frames.
struct Wire(OwnedFd);

impl Wire {
    /// Of the interface with that number in that namespace.
    fn open(netns: &OwnedFd, index: u32) -> Wire {
        inside(netns, || {
            Wire(osctl_linux::attempt::packet_socket(index).unwrap())
        })
    }

    fn send(&self, frame: &[u8]) {
        // Too short a frame is filled up by nobody.
        let sent = send(self.0.as_raw_fd(), frame, MsgFlags::empty());
        match sent {
            Ok(n) => assert_eq!(n, frame.len()),
            Err(Errno::ENOBUFS) => println!("ENOBUFS {frame:02x?}"),
            Err(e) => panic!("{e}"),
        }
    }

    /// The next frame, if one comes within a second.
    fn hear(&self, limit: Duration) -> Option<Vec<u8>> {
        let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).unwrap();
        if poll(&mut waiting, limit).unwrap() == 0 {
            return None;
        }
        let mut frame = vec![0; 4096];
        let len = recv(self.0.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT).ok()?;
        frame.truncate(len);
        Some(frame)
    }
}

/// Something that is sent, called so in messages.
type Sent = (&'static str, Vec<u8>);

/// The frame as it is heard: its tag is kept beside it by the kernel.
fn as_heard(frame: &[u8]) -> Vec<u8> {
    match frame[12..14] {
        [0x81, 0] | [0x88, 0xa8] => [&frame[..12], &frame[16..]].concat(),
        _ => frame.to_vec(),
    }
}

/// Sends all of it and says which arrived, by name. `fence` is a frame that arrives in any case.
fn arrives(from: &Wire, at: &Wire, all: &[Sent], fence: &[u8]) -> Vec<&'static str> {
    // What is sent on one processor arrives in its order.
    let mut one = nix::sched::CpuSet::new();
    one.set(0).unwrap();
    let this = nix::unistd::Pid::from_raw(0);
    let before = nix::sched::sched_getaffinity(this).unwrap();
    nix::sched::sched_setaffinity(this, &one).unwrap();
    for (_, frame) in all {
        from.send(frame);
    }
    from.send(fence);
    nix::sched::sched_setaffinity(this, &before).unwrap();
    let mut awaited: Vec<_> = all.iter().map(|(_, f)| Some(as_heard(f))).collect();
    let mut arrived = Vec::new();
    loop {
        let frame = at.hear(Duration::from_secs(10));
        let frame = frame.unwrap_or_else(|| panic!("of all frames only {arrived:?} arrive"));
        if frame == fence {
            return arrived;
        }
        let which = awaited.iter().position(|f| f.as_ref() == Some(&frame));
        if let Some(at) = which {
            awaited[at] = None;
            arrived.push(all[at].0);
        }
    }
}

/// Whether a datagram from a namespace to that port in another is answered.
fn reaches(from: &OwnedFd, to: &OwnedFd, ip: &str, port: u16) -> bool {
    let there = SocketAddr::new(ip.parse().unwrap(), port);
    let server = inside(to, || UdpSocket::bind(there).unwrap());
    // A little longer than is asked for.
    let limit = Duration::from_millis(600);
    server.set_read_timeout(Some(limit)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut packet = [0; 64];
            if let Ok((n, from)) = server.recv_from(&mut packet) {
                server.send_to(&packet[..n], from).ok();
            }
        });
        inside(from, || asks(there))
    })
}
