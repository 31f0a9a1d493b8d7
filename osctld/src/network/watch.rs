//! Seeing interfaces vanish behind our back: removed on the host, or in a container, which takes the
//! host's end along.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use nix::errno::Errno;
use nix::libc;
use osctl_api::net::IfName;
use tokio::sync::mpsc;

use super::link::parse_mark;
use super::message::Link;
use super::netlink::{Error, Message};
use super::wanted::Owner;

/// linux/rtnetlink.h.
const RTNLGRP_LINK: u32 = 1;
/// Length of a receive buffer; a notice is about one link.
const RECEIVE: usize = 64 << 10;

/// Something that happened to interfaces with our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The host's end of an interface is gone, whoever removed it.
    Vanished {
        /// Its name.
        host_name: String,
        /// Its index.
        index: u32,
        /// Whose it was.
        owner: Owner,
        /// Name in the container when it was made or renamed.
        netif: IfName,
    },
    /// More happened than could be told: what is there has to be looked at.
    Missed,
}

/// Listens to what the kernel tells about links.
pub struct Watch {
    socket: TokioSocket,
    root: String,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("root", &self.root).finish()
    }
}

impl Watch {
    /// Begins to listen in the network namespace of the calling thread, which has to be in a tokio
    /// runtime; `root` as of [`Host::open`](super::Host::open).
    ///
    /// # Errors
    /// Those of the calls that open a socket.
    pub fn open(root: &str) -> Result<Watch, Error> {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind_auto()?;
            socket.socket_mut().add_membership(RTNLGRP_LINK)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| Error::Socket {
            what: "listen to the kernel",
            source,
        })?;
        Ok(Watch {
            socket,
            root: root.to_owned(),
        })
    }

    /// Tells what happens from the call of [`Watch::open`] on, until nobody wants to know.
    ///
    /// # Errors
    /// Those of receiving; then nothing is told any more.
    pub async fn run(self, events: mpsc::Sender<Event>) -> Result<(), Error> {
        let mut buffer: Vec<u8> = Vec::with_capacity(RECEIVE);
        loop {
            buffer.clear();
            let received = tokio::select! {
                received = self.socket.recv(&mut buffer) => received,
                () = events.closed() => return Ok(()),
            };
            match received {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    if events.send(Event::Missed).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                Err(source) => {
                    return Err(Error::Socket {
                        what: "receive from the kernel",
                        source,
                    });
                }
            }
            for event in self.events(&buffer) {
                if events.send(event).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn events(&self, packet: &[u8]) -> Vec<Event> {
        let (mut rest, mut events) = (packet, Vec::new());
        while let Some((message, after)) = Message::split(rest) {
            if message.kind == libc::RTM_DELLINK {
                events.extend(self.event(&message));
            }
            rest = after;
        }
        events
    }

    fn event(&self, message: &Message<'_>) -> Option<Event> {
        let link = Link::parse(message.kind, message.body)?;
        if link.kind.as_deref() != Some("veth") {
            return None;
        }
        let (owner, netif) = parse_mark(&self.root, link.alias.as_deref()?)?;
        Some(Event::Vanished {
            host_name: link.name,
            index: link.index,
            owner,
            netif,
        })
    }
}
