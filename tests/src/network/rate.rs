//! How fast packets go.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::Namespace;

/// Rate at which one TCP connection brings data from a namespace to an address of another, bits of
/// data per second: over `time`, after `warm`, in which queues fill.
#[track_caller]
pub fn tcp_rate(
    from: &Namespace,
    to: &Namespace,
    ip: IpAddr,
    warm: Duration,
    time: Duration,
) -> f64 {
    let listener = to.run(|| TcpListener::bind((ip, 0)).unwrap());
    let there = listener.local_addr().unwrap();
    let sender = from.run(|| TcpStream::connect(there).unwrap());
    let (receiver, _) = listener.accept().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || send(sender));
        receive(receiver, warm, time)
    })
}

/// Sends until nobody takes it any more.
fn send(mut to: TcpStream) {
    let data = vec![0x55; 1 << 16];
    while to.write_all(&data).is_ok() {}
}

fn receive(mut from: TcpStream, warm: Duration, time: Duration) -> f64 {
    from.set_read_timeout(Some(crate::wait::SOON)).unwrap();
    let mut data = vec![0; 1 << 20];
    let start = Instant::now();
    while start.elapsed() < warm {
        assert!(from.read(&mut data).unwrap() > 0, "the sender ended");
    }
    let (start, mut bytes) = (Instant::now(), 0.0);
    while start.elapsed() < time {
        bytes += from.read(&mut data).unwrap() as f64;
    }
    bytes * 8.0 / start.elapsed().as_secs_f64()
}
