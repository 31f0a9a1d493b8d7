//! The wire format: varlink (https://varlink.org/Method-Call), JSON objects terminated by NUL over
//! a stream socket, with file descriptors as SCM_RIGHTS beside a message.
//!
//! It owns framing and the shapes of calls and replies; it knows no method and never waits:
//! whether a socket blocks is its owner's choice.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Code, Error, ErrorParameters};
use crate::{INTERFACE, Method};

/// Most file descriptors that travel with one message.
pub const MAX_FDS: usize = 8;
/// Largest call that a server accepts, in bytes.
pub const MAX_CALL: usize = 1024 * 1024;
/// Largest reply that a client accepts, in bytes.
pub const MAX_REPLY: usize = 256 * 1024 * 1024;

/// A call as it stands on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call<'a> {
    /// Interface and method.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// Parameters, an object.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<&'a RawValue>,
    /// The client wants any number of replies.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// The client wants no reply.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oneway: bool,
    /// The client wants to speak another protocol after the reply.
    #[serde(default, skip_serializing_if = "is_false")]
    pub upgrade: bool,
    /// The command line that made the call, for the history; an addition of ours.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub cli: Option<Cow<'a, str>>,
}

fn is_false(b: &bool) -> bool {
    !b
}

/// A reply as it stands on the wire.
#[derive(Debug, Serialize, Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "is_false")]
    continues: bool,
}

#[derive(Serialize)]
struct OutReply<'a, T: Serialize> {
    parameters: &'a T,
    #[serde(skip_serializing_if = "is_false")]
    continues: bool,
}

#[derive(Serialize)]
struct OutError<'a, T: Serialize> {
    error: &'a str,
    parameters: &'a T,
}

#[derive(Serialize)]
struct OutCall<'a, T: Serialize> {
    method: &'a str,
    parameters: &'a T,
    #[serde(skip_serializing_if = "is_false")]
    more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cli: Option<&'a str>,
}

fn frame<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec(value)
        .map_err(|e| Error::with_source(Code::Internal, "cannot encode a message", &e))?;
    bytes.push(0);
    Ok(bytes)
}

/// The frame of a call of method `M`.
pub fn encode_call<M: Method>(params: &M, more: bool, cli: Option<&str>) -> Result<Vec<u8>, Error> {
    let method = format!("{INTERFACE}.{}", M::NAME);
    frame(&OutCall {
        method: &method,
        parameters: params,
        more,
        cli,
    })
}

/// The frame of a reply; `continues` tells that it isn't the last one.
pub fn encode_reply<T: Serialize>(parameters: &T, continues: bool) -> Result<Vec<u8>, Error> {
    frame(&OutReply {
        parameters,
        continues,
    })
}

/// The frame of an error of our interface.
pub fn encode_error(error: &Error) -> Vec<u8> {
    let parameters = ErrorParameters {
        message: error.message.clone(),
        causes: error.causes.clone(),
        hint: error.hint.clone(),
    };
    let name = format!("{INTERFACE}.{}", error.code.name());
    encode_foreign_error(&name, &parameters)
}

/// The frame of an error of another interface, such as `org.varlink.service.MethodNotFound`.
pub fn encode_foreign_error<T: Serialize>(name: &str, parameters: &T) -> Vec<u8> {
    frame(&OutError {
        error: name,
        parameters,
    })
    .unwrap_or_else(|_| b"{\"error\":\"org.osctl.Internal\"}\0".to_vec())
}

/// What a decoded reply is.
#[derive(Debug)]
pub enum Decoded<T> {
    /// A reply after which more come.
    Continues(T),
    /// The last reply.
    Last(T),
}

/// Decodes a reply frame (without its NUL).
///
/// # Errors
/// The error that the server replied; `Internal` when the frame is not a reply.
pub fn decode_reply<T: DeserializeOwned>(frame: &[u8]) -> Result<Decoded<T>, Error> {
    read_reply(frame, |text| serde_json::from_str(text))
}

/// As [`decode_reply`], with the JSON text of the parameters read by `read`.
///
/// # Errors
/// As [`decode_reply`].
pub fn read_reply<T>(
    frame: &[u8],
    read: impl FnOnce(&str) -> serde_json::Result<T>,
) -> Result<Decoded<T>, Error> {
    let bad = |e: &serde_json::Error| {
        Error::with_source(
            Code::Internal,
            "the daemon sent a reply that can't be understood",
            e,
        )
    };
    let reply: Reply<'_> = serde_json::from_slice(frame).map_err(|e| bad(&e))?;
    let raw = reply.parameters.map_or("{}", RawValue::get);
    if let Some(name) = reply.error {
        return Err(decode_error(&name, raw));
    }
    let value = read(raw).map_err(|e| bad(&e))?;
    Ok(if reply.continues {
        Decoded::Continues(value)
    } else {
        Decoded::Last(value)
    })
}

fn decode_error(name: &str, raw: &str) -> Error {
    let known = name
        .strip_prefix(INTERFACE)
        .and_then(|n| n.strip_prefix('.'))
        .and_then(Code::from_name);
    match (known, serde_json::from_str::<ErrorParameters>(raw)) {
        (Some(code), Ok(p)) => Error {
            code,
            message: p.message,
            causes: p.causes,
            hint: p.hint,
        },
        (Some(code), Err(_)) => Error::new(code, name.to_owned()),
        (None, _) => {
            let code = match name {
                "org.varlink.service.MethodNotFound"
                | "org.varlink.service.MethodNotImplemented"
                | "org.varlink.service.InterfaceNotFound" => Code::Unsupported,
                "org.varlink.service.InvalidParameter" => Code::InvalidArgument,
                _ => Code::Internal,
            };
            let mut e = Error::new(code, format!("the daemon replied {name} {raw}"));
            if code == Code::Unsupported {
                e.hint = Some("osctl and osctld may be of different versions".to_owned());
            }
            e
        }
    }
}

/// A complete message: its bytes without the NUL, and the file descriptors beside it.
#[derive(Debug)]
pub struct Frame {
    /// JSON text.
    pub bytes: Vec<u8>,
    /// File descriptors, in the order in which they were sent.
    pub fds: Vec<OwnedFd>,
}

/// Cuts a byte stream into frames and keeps file descriptors with their frame.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Offset in the stream of `buffer[0]`.
    base: u64,
    /// How much of `buffer` was searched for a NUL.
    scanned: usize,
    /// File descriptors with the offset of the last byte that they came with.
    fds: VecDeque<(u64, OwnedFd)>,
    limit: usize,
}

impl Decoder {
    /// A decoder that refuses frames of more than `limit` bytes.
    pub fn new(limit: usize) -> Decoder {
        Decoder {
            buffer: Vec::new(),
            base: 0,
            scanned: 0,
            fds: VecDeque::new(),
            limit,
        }
    }

    /// Receives once from `socket`. Returns the number of bytes; 0 is the end of the stream.
    ///
    /// # Errors
    /// What recvmsg(2) says, `WouldBlock` included.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        const CHUNK: usize = 16 * 1024;
        let old = self.buffer.len();
        let want = CHUNK.max(old.min(1024 * 1024));
        self.buffer.resize(old + want, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut self.buffer[old..])];
        let got =
            rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
        let n = match got {
            Ok(message) => message.bytes,
            Err(e) => {
                self.buffer.truncate(old);
                return Err(e.into());
            }
        };
        self.buffer.truncate(old + n);
        let last = self.base + (old + n) as u64;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                for fd in fds {
                    if n > 0 && self.fds.len() < MAX_FDS {
                        self.fds.push_back((last - 1, fd));
                    }
                }
            }
        }
        Ok(n)
    }

    /// The next complete frame, if there is one.
    ///
    /// # Errors
    /// `InvalidArgument` when a frame is larger than the limit: the stream can't be used any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(at) = self.buffer[self.scanned..].iter().position(|b| *b == 0) else {
            self.scanned = self.buffer.len();
            if self.buffer.len() > self.limit {
                return Err(self.too_large());
            }
            return Ok(None);
        };
        let end = self.scanned + at;
        if end > self.limit {
            return Err(self.too_large());
        }
        let rest = self.buffer.split_off(end + 1);
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.pop();
        self.base += end as u64 + 1;
        self.scanned = 0;
        let mut fds = Vec::new();
        while self
            .fds
            .front()
            .is_some_and(|(offset, _)| *offset < self.base)
        {
            fds.extend(self.fds.pop_front().map(|(_, fd)| fd));
        }
        Ok(Some(Frame { bytes, fds }))
    }

    fn too_large(&self) -> Error {
        Error::new(
            Code::InvalidArgument,
            format!("a message is larger than {} bytes", self.limit),
        )
    }
}

/// Sends part of `bytes` with `fds` beside the first byte; returns how many bytes were sent.
/// The rest is to be sent without file descriptors.
///
/// # Errors
/// What sendmsg(2) says, `WouldBlock` included.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[impl AsFd]) -> io::Result<usize> {
    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many file descriptors",
        ));
    }
    let slices = [IoSlice::new(bytes)];
    Ok(rustix::net::sendmsg(
        socket,
        &slices,
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Ping, Pong};
    use std::os::unix::net::UnixStream;

    fn send_all(socket: &UnixStream, mut bytes: &[u8], fds: &[OwnedFd]) {
        let n = send(socket.as_fd(), bytes, fds).unwrap();
        bytes = &bytes[n..];
        while !bytes.is_empty() {
            let n = send(socket.as_fd(), bytes, &[] as &[OwnedFd]).unwrap();
            bytes = &bytes[n..];
        }
    }

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_call_is_varlink() {
        let bytes = encode_call(&Ping {}, false, None).unwrap();
        assert_eq!(
            bytes,
            b"{\"method\":\"org.osctl.Ping\",\"parameters\":{}}\0"
        );
        let call: Call<'_> =
            serde_json::from_slice(br#"{"method":"org.osctl.Ping","more":true,"somethingElse":1}"#)
                .unwrap();
        assert_eq!(call.method, "org.osctl.Ping");
        assert!(call.more && !call.oneway && call.parameters.is_none());
    }

    #[test]
    fn replies_and_errors_come_back_as_they_were() {
        let pong = Pong {
            version: "1".into(),
            pid: 7,
            initialized: true,
        };
        let bytes = encode_reply(&pong, true).unwrap();
        match decode_reply::<Pong>(&bytes[..bytes.len() - 1]).unwrap() {
            Decoded::Continues(p) => assert_eq!(p.pid, 7),
            Decoded::Last(_) => panic!("continues was lost"),
        }
        let mut error = Error::new(Code::Busy, "held").hint("wait");
        error.causes.push("why".into());
        let bytes = encode_error(&error);
        let got = decode_reply::<Pong>(&bytes[..bytes.len() - 1]).unwrap_err();
        assert_eq!(got, error);
    }

    #[test]
    fn replies_that_are_no_replies_are_errors() {
        for bad in [
            &b""[..],
            b"x",
            b"[]",
            b"{\"parameters\":1}",
            b"{\"error\":3}",
            b"\xff",
        ] {
            assert!(decode_reply::<Pong>(bad).is_err(), "{bad:?}");
        }
        let e = decode_reply::<Pong>(br#"{"error":"org.varlink.service.MethodNotFound"}"#);
        assert_eq!(e.unwrap_err().code, Code::Unsupported);
    }

    #[test]
    fn descriptors_stay_with_their_message() {
        let (a, b) = UnixStream::pair().unwrap();
        send_all(&a, b"one\0", &[]);
        send_all(&a, b"two\0", &[null(), null()]);
        send_all(&a, b"three\0", &[]);
        send_all(&a, b"four\0", &[null()]);
        drop(a);
        let mut decoder = Decoder::new(100);
        let mut seen = Vec::new();
        while decoder.receive(b.as_fd()).unwrap() > 0 {
            while let Some(f) = decoder.next_frame().unwrap() {
                seen.push((String::from_utf8(f.bytes).unwrap(), f.fds.len()));
            }
        }
        let want = [("one", 0), ("two", 2), ("three", 0), ("four", 1)];
        assert_eq!(seen, want.map(|(s, n)| (s.to_owned(), n)));
    }

    #[test]
    fn a_frame_without_end_is_refused() {
        let (a, b) = UnixStream::pair().unwrap();
        send_all(&a, &[b'x'; 200], &[]);
        let mut decoder = Decoder::new(100);
        decoder.receive(b.as_fd()).unwrap();
        assert!(decoder.next_frame().is_err());
    }
}
