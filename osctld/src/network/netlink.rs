//! Speaking rtnetlink: many requests in one message to the kernel, dumps, and errors that name the
//! step that failed.
//!
//! It blocks, but never for long: the kernel carries a request out while it is sent, so that every
//! answer is there once sending is done. It knows nothing of what is asked for.

use std::io;
use std::os::fd::BorrowedFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkHeader, NetlinkMessage,
    NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::libc;
use nix::sched::CloneFlags;

/// Length of the header of a netlink message.
const HEADER: usize = 16;
/// Requests that are sent at once, so that their answers fit into a socket's receive buffer.
const AT_ONCE: usize = 48;
/// Length of a receive buffer: no answer of the kernel is longer (NLMSG_GOODSIZE, dumps of 32 KiB).
pub(super) const RECEIVE: usize = 64 << 10;
/// How often a dump is begun again because what it lists was changing.
const DUMPS: usize = 10;

/// What went wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("cannot {step}: {errno:?}{}", why(message))]
    Refused {
        /// What was asked for: `add address 192.0.2.5/24 to tank:web1 eth0`.
        step: String,
        /// The kernel's answer.
        errno: Errno,
        /// And its words, where it has some.
        message: Option<String>,
    },
    /// The socket failed.
    #[error("cannot {what}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An answer that cannot be one.
    #[error("the kernel's answer cannot be understood: {0}")]
    Answer(String),
    /// What is listed changes faster than it can be read.
    #[error("the kernel's list keeps changing: cannot {0}")]
    Changing(String),
}

fn why(message: &Option<String>) -> String {
    message
        .as_ref()
        .map_or_else(String::new, |m| format!(": {m}"))
}

impl Error {
    /// The kernel's answer, if it was one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// Requests to be sent at once; the kernel carries out each of them, also after one has failed.
#[derive(Debug, Default)]
pub struct Batch {
    requests: Vec<Request>,
}

#[derive(Debug)]
struct Request {
    bytes: Vec<u8>,
    step: String,
    tolerated: &'static [Errno],
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a request. `flags` are those beyond `NLM_F_REQUEST` and `NLM_F_ACK`; `step` says what
    /// it does, to follow `cannot`.
    pub fn add(
        &mut self,
        payload: RouteNetlinkMessage,
        flags: u16,
        step: impl Into<String>,
    ) -> &mut Batch {
        self.add_tolerating(payload, flags, &[], step)
    }

    /// Adds a request for which some answers are as good as success.
    pub fn add_tolerating(
        &mut self,
        payload: RouteNetlinkMessage,
        flags: u16,
        tolerated: &'static [Errno],
        step: impl Into<String>,
    ) -> &mut Batch {
        self.requests.push(Request {
            bytes: serialize(payload, NLM_F_REQUEST | NLM_F_ACK | flags),
            step: step.into(),
            tolerated,
        });
        self
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

fn serialize(payload: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, payload.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    // The next one begins where it is aligned; the length in the header is that without padding.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Something that the kernel sent and that is not an acknowledgement.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Type of the message, `RTM_NEWLINK`.
    pub kind: u16,
    /// What follows the netlink header.
    pub body: Vec<u8>,
}

impl Reply {
    /// The message, in full.
    ///
    /// # Errors
    /// [`Error::Answer`] when it cannot be read.
    pub fn parse(&self) -> Result<RouteNetlinkMessage, Error> {
        use netlink_packet_core::NetlinkDeserializable;
        let mut header = NetlinkHeader::default();
        header.message_type = self.kind;
        RouteNetlinkMessage::deserialize(&header, &self.body)
            .map_err(|e| Error::Answer(e.to_string()))
    }
}

/// A netlink socket; it stays in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket of the network namespace of the calling thread.
    ///
    /// # Errors
    /// Those of the calls that make it.
    pub fn open() -> Result<Socket, Error> {
        let failed = |source| Error::Socket {
            what: "open a netlink socket",
            source,
        };
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.set_cap_ack(true).map_err(failed)?;
        socket.set_ext_ack(true).map_err(failed)?;
        socket.set_netlink_get_strict_chk(true).map_err(failed)?;
        Ok(Socket {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(RECEIVE),
        })
    }

    /// A socket of a network namespace. A thread enters it for that, and ends.
    ///
    /// # Errors
    /// Those of entering the namespace and of [`Socket::open`].
    pub fn in_namespace(netns: BorrowedFd<'_>) -> Result<Socket, Error> {
        in_namespace(netns, Socket::open)?
    }

    /// Has all requests of a batch carried out; what they return, in order.
    ///
    /// # Errors
    /// That of the first that failed, once all of them have been tried.
    pub fn run(&mut self, batch: Batch) -> Result<Vec<Reply>, Error> {
        let mut replies = Vec::new();
        let mut failed = None;
        for part in batch.requests.chunks(AT_ONCE) {
            let first = self.sequence.wrapping_add(1);
            self.send(part)?;
            let mut open = part.len();
            while open > 0 {
                self.receive(|message| {
                    let at = message.sequence.wrapping_sub(first) as usize;
                    let Some(request) = part.get(at) else {
                        return; // the rest of something that was given up
                    };
                    match message.acknowledged() {
                        None => replies.push(message.reply()),
                        Some((errno, text)) => {
                            open -= 1;
                            if failed.is_none()
                                && let Some(errno) = errno
                                && !request.tolerated.contains(&errno)
                            {
                                failed = Some(Error::Refused {
                                    step: request.step.clone(),
                                    errno,
                                    message: text,
                                });
                            }
                        }
                    }
                })?;
            }
        }
        failed.map_or(Ok(replies), Err)
    }

    /// Everything that a list of the kernel holds; `step` says what is read: `list links`.
    ///
    /// # Errors
    /// Those of the request; [`Error::Changing`] when the list is never the same twice.
    pub fn dump(&mut self, payload: RouteNetlinkMessage, step: &str) -> Result<Vec<Reply>, Error> {
        let request = Request {
            bytes: serialize(payload, NLM_F_REQUEST | NLM_F_DUMP),
            step: step.to_owned(),
            tolerated: &[],
        };
        for _ in 0..DUMPS {
            if let Some(replies) = self.dump_once(&request)? {
                return Ok(replies);
            }
        }
        Err(Error::Changing(step.to_owned()))
    }

    fn dump_once(&mut self, request: &Request) -> Result<Option<Vec<Reply>>, Error> {
        self.send(std::slice::from_ref(request))?;
        let sequence = self.sequence;
        let (mut replies, mut done, mut torn) = (Vec::new(), false, false);
        let mut failed = None;
        while !done {
            self.receive(|message| {
                if message.sequence != sequence {
                    return;
                }
                torn |= message.flags & netlink_packet_core::NLM_F_DUMP_INTR != 0;
                match message.acknowledged() {
                    None => replies.push(message.reply()),
                    Some((errno, text)) => {
                        done = true;
                        failed = errno.map(|errno| Error::Refused {
                            step: request.step.clone(),
                            errno,
                            message: text,
                        });
                    }
                }
            })?;
        }
        match failed {
            Some(e) => Err(e),
            None => Ok((!torn).then_some(replies)),
        }
    }

    fn send(&mut self, requests: &[Request]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(requests.iter().map(|r| r.bytes.len()).sum());
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let start = bytes.len();
            bytes.extend_from_slice(&request.bytes);
            bytes[start + 8..start + 12].copy_from_slice(&self.sequence.to_ne_bytes());
        }
        let sent = retry(|| self.socket.send(&bytes, 0)).map_err(|source| Error::Socket {
            what: "send to the kernel",
            source,
        })?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(Error::Answer(format!(
                "it took {sent} bytes of {}",
                bytes.len()
            )))
        }
    }

    /// Reads one packet and shows each message in it.
    fn receive(&mut self, mut each: impl FnMut(Message<'_>)) -> Result<(), Error> {
        self.buffer.clear();
        // What is not there now was lost: the kernel answers while a request is sent.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        let n = retry(|| self.socket.recv(&mut self.buffer, flags)).map_err(|source| {
            Error::Socket {
                what: "receive from the kernel",
                source,
            }
        })?;
        let mut rest = self
            .buffer
            .get(..n)
            .ok_or_else(|| Error::Answer(format!("it is {n} bytes long")))?;
        while let Some((message, after)) = Message::split(rest) {
            each(message);
            rest = after;
        }
        Ok(())
    }
}

/// Runs `work` on a thread that is in a network namespace.
///
/// # Errors
/// That of entering it.
pub fn in_namespace<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    let failed = |source| Error::Socket {
        what: "enter a network namespace",
        source,
    };
    let entered = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        let thread = thread.spawn_scoped(scope, move || {
            nix::sched::setns(netns, CloneFlags::CLONE_NEWNET)?;
            Ok::<T, Errno>(work())
        })?;
        match thread.join() {
            Ok(result) => result.map_err(io::Error::from),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    entered.map_err(failed)
}

pub(super) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// One message in a packet from the kernel.
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message of a packet, and what follows it.
    pub(super) fn split(packet: &'a [u8]) -> Option<(Message<'a>, &'a [u8])> {
        let header = packet.get(..HEADER)?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            body: packet.get(HEADER..length)?,
        };
        let next = length.next_multiple_of(4).min(packet.len());
        Some((message, &packet[next..]))
    }

    pub(super) fn reply(&self) -> Reply {
        Reply {
            kind: self.kind,
            body: self.body.to_vec(),
        }
    }

    /// If it ends a request: its error, and the kernel's words for it.
    fn acknowledged(&self) -> Option<(Option<Errno>, Option<String>)> {
        if self.kind != NLMSG_ERROR && self.kind != NLMSG_DONE {
            return None;
        }
        let code = match self.body.get(..4) {
            Some(code) => i32::from_ne_bytes([code[0], code[1], code[2], code[3]]),
            None => 0,
        };
        if code >= 0 {
            return Some((None, None));
        }
        // With NETLINK_CAP_ACK the header alone of the request is repeated before attributes.
        let skip = if self.kind == NLMSG_ERROR {
            4 + HEADER
        } else {
            4
        };
        let text = NlasIterator::new(self.body.get(skip..).unwrap_or_default())
            .filter_map(Result::ok)
            .find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)
            .map(|nla| text(nla.value()));
        Some((Some(Errno::from_raw(-code)), text))
    }
}

/// linux/netlink.h.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Text as the kernel sends it, with or without its NUL.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
