//! Unix sockets of type SEQPACKET: whole messages, file descriptors beside them, peer credentials.
//! What the messages mean is the caller's business.

use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, getsockopt, listen, recvmsg, sendmsg, socket, socketpair,
    sockopt,
};

use crate::error::{Context, Error, Result};

/// The most file descriptors one message may carry.
pub const MAX_FDS: usize = 16;

/// A received message with the descriptors that came with it.
#[derive(Debug)]
pub struct Packet {
    /// The bytes of the message.
    pub data: Vec<u8>,
    /// Received descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// A connected pair, both ends close-on-exec and blocking.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")
}

/// A non-blocking listener bound to `name` in directory `dir`; an existing socket file is replaced.
///
/// The address goes through `/proc/self/fd`, so the length of the directory's path does not matter.
pub fn listen_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    match nix::unistd::unlinkat(dir, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(Error::new(format!("unlinkat({name:?})"), errno)),
    }
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )
    .call(|| "socket(AF_UNIX, SOCK_SEQPACKET)")?;
    let address = address(dir, name)?;
    bind(fd.as_raw_fd(), &address).call(|| format!("bind({name:?})"))?;
    let backlog = Backlog::new(16).call(|| "listen")?;
    listen(&fd, backlog).call(|| format!("listen({name:?})"))?;
    Ok(fd)
}

/// Connects to the listener `name` in directory `dir`; the result is blocking.
pub fn connect_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .call(|| "socket(AF_UNIX, SOCK_SEQPACKET)")?;
    let address = address(dir, name)?;
    connect(fd.as_raw_fd(), &address).call(|| format!("connect({name:?})"))?;
    Ok(fd)
}

fn address(dir: BorrowedFd<'_>, name: &OsStr) -> Result<UnixAddr> {
    let mut path = std::path::PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    path.push(name);
    UnixAddr::new(&path).call(|| format!("sockaddr_un({name:?})"))
}

/// Takes one connection from a listener, non-blocking; None when there is none waiting.
pub fn accept(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    match accept4(listener.as_raw_fd(), flags) {
        Ok(raw) => Ok(Some(own(raw))),
        Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => Ok(None),
        Err(errno) => Err(Error::new("accept4", errno)),
    }
}

/// Credentials of the process that made the other end: (pid, uid, gid) as this user namespace sees them.
pub fn peer(socket: BorrowedFd<'_>) -> Result<(i32, u32, u32)> {
    let credentials =
        getsockopt(&socket, sockopt::PeerCredentials).call(|| "getsockopt(SO_PEERCRED)")?;
    Ok((credentials.pid(), credentials.uid(), credentials.gid()))
}

/// Sends one message. EAGAIN when `nonblocking` or the socket itself is so and its buffer is full.
pub fn send(
    socket: BorrowedFd<'_>,
    data: &[u8],
    fds: &[BorrowedFd<'_>],
    nonblocking: bool,
) -> Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let mut flags = MsgFlags::MSG_NOSIGNAL;
    flags.set(MsgFlags::MSG_DONTWAIT, nonblocking);
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(data)],
            control,
            flags,
            None,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(Error::new(format!("sendmsg({} bytes)", data.len()), errno));
            }
        }
    }
}

/// Receives one message of at most `limit` bytes; None at the end of the stream.
///
/// EMSGSIZE when the message or its descriptors exceed the limits (the message is consumed);
/// EAGAIN when `nonblocking` or the socket itself is so and nothing waits.
pub fn recv(socket: BorrowedFd<'_>, limit: usize, nonblocking: bool) -> Result<Option<Packet>> {
    let mut flags = MsgFlags::empty();
    flags.set(MsgFlags::MSG_DONTWAIT, nonblocking);
    let size = waiting(socket, flags)?;
    let mut data = vec![0; size.clamp(1, limit)];
    let mut space = cmsg_space!([RawFd; MAX_FDS]);
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    loop {
        let mut slices = [IoSliceMut::new(&mut data)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => {
                let mut fds = Vec::new();
                if let Ok(control) = message.cmsgs() {
                    for part in control {
                        if let ControlMessageOwned::ScmRights(raw) = part {
                            fds.extend(raw.into_iter().map(own));
                        }
                    }
                }
                let truncated = message
                    .flags
                    .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                let length = message.bytes;
                if truncated || size > limit {
                    return Err(Error::new("recvmsg", Errno::EMSGSIZE));
                }
                if length == 0 {
                    return Ok(None);
                }
                data.truncate(length);
                return Ok(Some(Packet { data, fds }));
            }
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(errno) => return Err(Error::new("recvmsg", errno)),
        }
    }
}

fn waiting(socket: BorrowedFd<'_>, flags: MsgFlags) -> Result<usize> {
    let flags = flags | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    loop {
        match nix::sys::socket::recv(socket.as_raw_fd(), &mut [], flags) {
            Ok(size) => return Ok(size),
            // Said once when the peer left something of ours unread; what it sent is still there.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(errno) => return Err(Error::new("recv(MSG_PEEK)", errno)),
        }
    }
}

fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just installed this descriptor for us and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Switches O_NONBLOCK on the open file description.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = fcntl(fd.as_fd(), FcntlArg::F_GETFL).call(|| "fcntl(F_GETFL)")?;
    let mut flags = OFlag::from_bits_retain(flags);
    flags.set(OFlag::O_NONBLOCK, on);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags)).call(|| "fcntl(F_SETFL)")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_descriptors_arrive() {
        let (a, b) = pair().unwrap();
        let (c, d) = pair().unwrap();
        send(a.as_fd(), b"hello", &[c.as_fd()], false).unwrap();
        let packet = recv(b.as_fd(), 100, false).unwrap().unwrap();
        assert_eq!(packet.data, b"hello");
        send(packet.fds[0].as_fd(), b"through", &[], false).unwrap();
        assert_eq!(
            recv(d.as_fd(), 100, false).unwrap().unwrap().data,
            b"through"
        );
    }

    #[test]
    fn limits_and_ends() {
        let (a, b) = pair().unwrap();
        assert_eq!(recv(b.as_fd(), 5, true).unwrap_err().errno(), Errno::EAGAIN);
        send(a.as_fd(), b"123456", &[], false).unwrap();
        send(a.as_fd(), b"12345", &[], false).unwrap();
        assert_eq!(
            recv(b.as_fd(), 5, false).unwrap_err().errno(),
            Errno::EMSGSIZE
        );
        assert_eq!(recv(b.as_fd(), 5, false).unwrap().unwrap().data, b"12345");
        drop(a);
        assert!(recv(b.as_fd(), 5, false).unwrap().is_none());
    }

    #[test]
    fn last_words_of_a_peer_that_did_not_listen() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), b"unread", &[], false).unwrap();
        send(b.as_fd(), b"last words", &[], false).unwrap();
        drop(b);
        assert_eq!(
            recv(a.as_fd(), 20, false).unwrap().unwrap().data,
            b"last words"
        );
        assert!(recv(a.as_fd(), 20, false).unwrap().is_none());
    }

    #[test]
    fn long_directory_paths() {
        let dir = std::env::temp_dir().join(format!("osctl-seqpacket-{}", std::process::id()));
        let deep = dir.join("x".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let handle = std::fs::File::open(&deep).unwrap();
        let listener = listen_at(handle.as_fd(), OsStr::new("s.sock")).unwrap();
        assert!(accept(listener.as_fd()).unwrap().is_none());
        let client = connect_at(handle.as_fd(), OsStr::new("s.sock")).unwrap();
        let server = accept(listener.as_fd()).unwrap().unwrap();
        assert_eq!(peer(server.as_fd()).unwrap().0, std::process::id() as i32);
        drop((client, server));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
