//! Waiting for what the kernel tells everybody who wants to know.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::message;
use super::netlink::{Error, Message, RECEIVE, Reply, retry};

/// linux/rtnetlink.h.
const RTNLGRP_IPV6_IFADDR: u32 = 9;
/// How long the kernel may take until an IPv6 address can be used. It does so on its own, only the
/// first packets may be lost until then.
const USABLE: Duration = Duration::from_millis(500);

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

    /// Listens to what becomes of IPv6 addresses.
    pub(super) fn of_addresses() -> Result<Notices, Error> {
        Notices::open(&[RTNLGRP_IPV6_IFADDR])
    }

    /// Waits until the kernel says that it uses these addresses of a link, which it does some time
    /// after they were added; this was opened before that. What is asked about links next is
    /// answered when all of it is done.
    pub(super) fn until_used(&self, index: u32, mut addresses: Vec<IpNet>) -> Result<(), Error> {
        if addresses.is_empty() {
            return Ok(());
        }
        self.until(USABLE, |notice| {
            if let Ok(RouteNetlinkMessage::NewAddress(used)) = notice.parse() {
                let net = message::net_of(&used, index);
                addresses.retain(|wanted| Some(*wanted) != net);
            }
            addresses.is_empty()
        })
        .map(drop)
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
