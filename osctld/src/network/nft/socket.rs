//! The socket that batches are sent over and dumps are read from.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};

use super::attr::Attrs;
use super::batch::Batch;
use super::error::Error;
use super::message::message_header;
use super::{Family, Table};

const NETLINK_NETFILTER: isize = 12;
const SUBSYSTEM: u16 = 10;
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const REQUEST_DUMP: u16 = 0x301;
const DUMP_INTERRUPTED: u16 = 0x10;
const HEADER: usize = 16;
const ATTEMPTS_OF_A_DUMP: usize = 50;

/// A netlink socket of nf_tables in one network namespace: that of the thread that opens it.
#[derive(Debug)]
pub struct Socket {
    socket: netlink_sys::Socket,
    port: u32,
    longest: usize,
    sequence: u32,
}

/// One message of the kernel's.
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) port: u32,
    pub(super) body: &'a [u8],
}

impl Socket {
    /// Opens one in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn open() -> Result<Socket, Error> {
        let failed = |call| move |source| Error::Socket { call, source };
        let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(failed("socket"))?;
        let port = socket.bind_auto().map_err(failed("bind"))?.port_number();
        // Answers to refused messages do not repeat them.
        socket.set_cap_ack(true).map_err(failed("setsockopt"))?;
        Ok(Socket {
            socket,
            port,
            longest: 64 << 10,
            sequence: 0,
        })
    }

    /// Its number in the network namespace: what it does is announced under that.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Carries out all of `batch`, or nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with the first step that the kernel refused, [`Error::Socket`],
    /// [`Error::Unconfirmed`].
    pub fn transact(&mut self, mut batch: Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let (bytes, last) = batch.finish();
        self.make_room(bytes.len())?;
        let sent = loop {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                sent => break sent.map_err(Error::socket("send"))?,
            }
        };
        if sent != bytes.len() {
            return Err(Error::Unconfirmed);
        }
        self.confirm(&batch, last)
    }

    // The kernel has done all of it when `send` returns, and its answers are waiting.
    fn confirm(&self, batch: &Batch, last: u32) -> Result<(), Error> {
        let mut buffer = vec![0; 64 << 10];
        let mut refused = None;
        let mut confirmed = false;
        loop {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            let len = match recv(self.socket.as_raw_fd(), &mut buffer, flags) {
                Ok(len) => len.min(buffer.len()),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                // More was refused than fits: what was answered first is known.
                Err(Errno::ENOBUFS) => continue,
                Err(e) => return Err(Error::socket("recv")(e)),
            };
            for message in messages(&buffer[..len]) {
                match answer(&message) {
                    Some(Ok(())) => confirmed |= message.sequence == last,
                    Some(Err(errno)) => _ = refused.get_or_insert((message.sequence, errno)),
                    None => {}
                }
            }
        }
        match refused {
            Some((sequence, errno)) => Err(batch.refused(sequence, errno)),
            None if confirmed => Ok(()),
            None => Err(Error::Unconfirmed),
        }
    }

    // A message has to fit into the buffer for sending as a whole.
    fn make_room(&mut self, len: usize) -> Result<(), Error> {
        let needed = len + 4096;
        if needed > self.longest {
            setsockopt(&self.socket, sockopt::SndBufForce, &needed)
                .map_err(Error::socket("setsockopt"))?;
            self.longest = needed;
        }
        Ok(())
    }

    /// Bodies (without headers) of all answers to the question `what` about `table`, of which
    /// `attrs` says the details; none when there is no such thing.
    pub(super) fn dump(
        &mut self,
        what: u16,
        table: &Table,
        attrs: &Attrs,
    ) -> Result<Vec<Vec<u8>>, Error> {
        for _ in 0..ATTEMPTS_OF_A_DUMP {
            match self.dump_once(what, table.family, attrs) {
                Ok(Some(bodies)) => return Ok(bodies),
                Ok(None) => {}
                Err(Errno::ENOENT) => return Ok(Vec::new()),
                Err(errno) => {
                    return Err(Error::Refused {
                        step: format!("read table {table}"),
                        errno,
                    });
                }
            }
        }
        Err(Error::Disturbed)
    }

    // `None` when something changed meanwhile.
    fn dump_once(
        &mut self,
        what: u16,
        family: Family,
        attrs: &Attrs,
    ) -> Result<Option<Vec<Vec<u8>>>, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let kind = SUBSYSTEM << 8 | what;
        let attrs = attrs.as_slice();
        let family = family.number();
        let header = message_header(kind, REQUEST_DUMP, self.sequence, family, 0, attrs.len());
        let question = [&header[..], attrs].concat();
        send(self.socket.as_raw_fd(), &question, MsgFlags::empty())?;
        let mut bodies = Vec::new();
        let mut complete = true;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                len => len?,
            };
            for message in messages(&buffer[..len]) {
                if message.sequence != self.sequence {
                    continue;
                }
                complete &= message.flags & DUMP_INTERRUPTED == 0;
                match (message.kind, answer(&message)) {
                    (MESSAGE_DONE, _) => return Ok(complete.then_some(bodies)),
                    (_, Some(Err(errno))) => return Err(errno),
                    (MESSAGE_ERROR, _) => {}
                    _ => bodies.push(message.body.get(4..).unwrap_or_default().to_vec()),
                }
            }
        }
    }
}

/// The messages in a datagram; it ends at the first that is none.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let number = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let short = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let len = number(0) as usize;
        let message = Message {
            kind: short(4),
            flags: short(6),
            sequence: number(8),
            port: number(12),
            body: bytes.get(HEADER..len)?,
        };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

// What the kernel says to a message; `None` when this is no such answer.
fn answer(message: &Message<'_>) -> Option<Result<(), Errno>> {
    if message.kind != MESSAGE_ERROR {
        return None;
    }
    let code = i32::from_ne_bytes(message.body.get(..4)?.try_into().ok()?);
    Some(match code {
        0 => Ok(()),
        code => Err(Errno::from_raw(code.saturating_neg())),
    })
}
