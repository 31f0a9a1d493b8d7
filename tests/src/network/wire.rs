//! Frames as they are on an interface: sent and seen.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::wait;

/// A raw socket of an interface. It sees what the interface sends and receives, from when it was
/// made.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// Of the interface with an index in the calling thread's namespace.
    #[track_caller]
    pub(super) fn open(index: u32) -> Wire {
        let socket = osctl_linux::attempt::packet_socket(index).unwrap();
        Wire { socket }
    }

    /// Sends a frame as it is.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        rustix::net::send(&self.socket, frame, SendFlags::empty()).unwrap();
    }

    /// Sends a frame unless what takes it has no room for it; whether it was sent.
    #[track_caller]
    pub fn offer(&self, frame: &[u8]) -> bool {
        match rustix::net::send(&self.socket, frame, SendFlags::empty()) {
            Ok(_) => true,
            Err(Errno::NOBUFS) => false,
            Err(e) => panic!("{e}"),
        }
    }

    /// The next frame, within a time limit.
    pub fn next(&self, limit: Duration) -> Option<Vec<u8>> {
        if !wait::readable(&[&self.socket], limit)[0] {
            return None;
        }
        let mut frame = vec![0; 65536];
        let (n, _) = rustix::net::recv(&self.socket, &mut frame, RecvFlags::DONTWAIT).ok()?;
        frame.truncate(n);
        Some(frame)
    }

    /// The first frame that fits, within a time limit. Those before it are lost.
    pub fn find(&self, limit: Duration, mut fits: impl FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        loop {
            let frame = self.next(end.saturating_duration_since(Instant::now()))?;
            if fits(&frame) {
                return Some(frame);
            }
        }
    }

    /// Every frame that was seen and not yet returned.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.next(Duration::ZERO)).collect()
    }
}
