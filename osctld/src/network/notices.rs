//! Waiting for what the kernel tells everybody who wants to know.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::netlink::{Error, Message, RECEIVE, Reply, retry};

/// What the kernel tells everybody who wants to know, in the network namespace in which it was
/// opened.
#[derive(Debug)]
pub(super) struct Notices {
    socket: netlink_sys::Socket,
}

impl Notices {
    /// Listens to groups (`RTNLGRP_*`).
    pub(super) fn open(groups: &[u32]) -> Result<Notices, Error> {
        let failed = |source| Error::Socket {
            what: "listen to the kernel",
            source,
        };
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        for group in groups {
            socket.add_membership(*group).map_err(failed)?;
        }
        Ok(Notices { socket })
    }

    /// Shows each notice until `enough` says so or time is over. Says whether it was enough.
    pub(super) fn until(
        &self,
        limit: Duration,
        mut enough: impl FnMut(&Reply) -> bool,
    ) -> Result<bool, Error> {
        let failed = |source| Error::Socket {
            what: "receive from the kernel",
            source,
        };
        let end = Instant::now() + limit;
        let mut buffer: Vec<u8> = Vec::with_capacity(RECEIVE);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match nix::poll::poll(&mut fds, left) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(failed(e.into())),
            }
            buffer.clear();
            retry(|| self.socket.recv(&mut buffer, libc::MSG_DONTWAIT)).map_err(failed)?;
            let mut rest = buffer.as_slice();
            while let Some((message, after)) = Message::split(rest) {
                if enough(&message.reply()) {
                    return Ok(true);
                }
                rest = after;
            }
        }
    }
}
