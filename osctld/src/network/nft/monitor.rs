//! Tells when somebody else changes our tables.

use std::future::poll_fn;
use std::io;

use netlink_sys::{AsyncSocket, TokioSocket};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::attr::{find, text};
use super::error::Error;
use super::socket::{Message, messages};

const NETLINK_NETFILTER: isize = 12;
const NFTABLES_GROUP: u32 = 7;
const SUBSYSTEM: u16 = 10;
const NEW_GENERATION: u16 = 15;
const ROOM: usize = 4 << 20;

/// Somebody else changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// One of the tables.
    Ours,
    /// So much at once that it is not known what.
    Unknown,
}

/// Hears of every change of nf_tables in a network namespace.
pub struct Monitor {
    socket: TokioSocket,
    table: String,
    ports: Vec<u32>,
}

impl Monitor {
    /// Listens in the network namespace of the calling thread, for tables called `table` of any
    /// family; changes through the sockets with those port numbers are our own. Panics where there
    /// is no tokio runtime.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn open(table: &str, ports: &[u32]) -> Result<Monitor, Error> {
        let failed = |call| move |source| Error::Socket { call, source };
        let mut socket = TokioSocket::new(NETLINK_NETFILTER).map_err(failed("socket"))?;
        let inner = socket.socket_mut();
        inner.bind_auto().map_err(failed("bind"))?;
        // Without it a large batch of our own makes it overflow, which is no more than a false alarm.
        _ = setsockopt(inner, sockopt::RcvBufForce, &ROOM);
        inner
            .add_membership(NFTABLES_GROUP)
            .map_err(failed("setsockopt"))?;
        Ok(Monitor {
            socket,
            table: table.to_owned(),
            ports: ports.to_vec(),
        })
    }

    /// Waits until somebody else changes one of the tables. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub async fn changed(&self) -> Result<Foreign, Error> {
        loop {
            let got = poll_fn(|cx| self.socket.poll_recv_from_full(cx)).await;
            match got {
                Ok((bytes, _)) if messages(&bytes).any(|m| self.is_foreign(&m)) => {
                    return Ok(Foreign::Ours);
                }
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    return Ok(Foreign::Unknown);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Socket {
                        call: "recv",
                        source,
                    });
                }
            }
        }
    }

    fn is_foreign(&self, message: &Message<'_>) -> bool {
        let of_tables = message.kind >> 8 == SUBSYSTEM && message.kind & 0xff != NEW_GENERATION;
        // In all messages about tables and what is in them, attribute 1 is the table's name.
        let ours = || {
            let attrs = message.body.get(4..).unwrap_or_default();
            find(attrs, 1).and_then(text) == Some(self.table.as_str())
        };
        of_tables && !self.ports.contains(&message.port) && ours()
    }
}
