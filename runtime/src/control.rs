//! The protocol between the daemon and a supervisor, and a small blocking client of it.
//!
//! # Transport
//!
//! Unix sockets of type SEQPACKET, one JSON document per message, at most [`MAX_MESSAGE`] bytes and
//! [`osctl_linux::seqpacket::MAX_FDS`] descriptors. Peers whose uid is not 0 are cut off.
//!
//! There are two ways to a connection, equal afterwards:
//! * fd 0 of a new `osctl-runtime supervise`: the daemon's first message is the
//!   [`Spec`](crate::spec::Spec) (see [`Connection::send_spec`]);
//! * `supervisor.sock` in the run directory: [`Connection::open`].
//!
//! The supervisor's first message on either is [`Message::Hello`]. Then the daemon sends
//! [`Command`]s; each is answered by one [`Message::Reply`] with the same `seq`, in order.
//! [`Message::Event`]s come to every connection, between the replies. A peer that breaks the rules
//! or does not read is disconnected. Losing every connection does not disturb the container, except
//! before init runs ([`Event::Created`] with `hold`): then nobody is left to let it go on and it ends.
//!
//! # Sessions
//!
//! Entering a container (exec, writing files, …) has a *session socket*: a SEQPACKET pair made by the
//! daemon. One end goes to the supervisor with [`Request::Enter`], the other to the client, which then
//! needs neither daemon nor this crate. All messages are small JSON objects with one key.
//!
//! | direction | message | meaning |
//! |---|---|---|
//! | to client | `{"pid":4711}` | a program runs; host pid. With a tty the pty master comes with it as one descriptor |
//! | to client | `{"warning":"…"}` | something was not as asked, it goes on |
//! | to client | `{"exited":0}` | last message: exit status |
//! | to client | `{"signaled":9}` | last message: ended by a signal |
//! | to client | `{"failed":{"code":127,"error":"…"}}` | last message, may be the only one: 126 cannot be executed, 127 not found, 125 anything else |
//! | to supervisor | `{"signal":15}` | send this signal (1 to 64) to the program, to its process group if it has a tty |
//!
//! The socket closing without a last message means that the supervisor is gone and the container
//! with it. When the client closes its end the program's process group gets SIGHUP.
//! A client that sends signals has to expect ECONNRESET once, when the supervisor closes without
//! having read them: the messages sent before come after it.
//! The tty's size is set by the client with TIOCSWINSZ on the master.
//!
//! # Console
//!
//! [`Request::Console`] hands over a SEQPACKET socket as well; its other end is for the client.
//! The supervisor first sends what its ring buffer holds, then the output as it comes: raw bytes,
//! at most [`CONSOLE_CHUNK`] in a message. A client that does not keep up loses output, but gets the
//! newest once it reads again.
//! Client to supervisor: first byte 0, then input bytes; or first byte 1, then rows and columns as
//! u16 little endian (5 bytes together). Any number of clients; each sees everything.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::path::PathBuf;

use osctl_linux::seqpacket;
use serde::{Deserialize, Serialize};

use crate::spec::{Device, FileOp, Mount, Spec};

/// Version of this protocol, told in [`Message::Hello`].
pub const VERSION: u32 = 1;
/// The largest message in bytes.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// The largest console message towards a client, in bytes.
pub const CONSOLE_CHUNK: usize = 4096;
/// The largest script of [`Exec::script`], in bytes.
pub const MAX_SCRIPT: u64 = 16 * 1024 * 1024;
/// First byte of console input.
pub const CONSOLE_DATA: u8 = 0;
/// First byte of a console size.
pub const CONSOLE_RESIZE: u8 = 1;

/// Daemon to supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Chosen by the daemon, comes back in the reply.
    pub seq: u64,
    /// What to do.
    pub request: Request,
}

/// What the daemon may ask of a supervisor. Descriptors that go along are listed at each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Reply: [`Reply::Status`], with descriptors of init: pidfd, network namespace (once created).
    Status,
    /// Let a held container run its init. An error when it is not held.
    Proceed,
    /// Send a signal to init.
    Signal {
        /// Signal number.
        signal: i32,
    },
    /// End the container: SIGKILL to its init, thereby to everything in it. Ends a held one too.
    Kill,
    /// End the container as soon as nothing that entered it is left in it: at once, when there is
    /// nothing now. For one that was started with [`crate::spec::Init::Pause`].
    EndWhenIdle,
    /// Do something inside. Descriptors: session socket, then what the [`Action`] says.
    /// The reply says only that it was accepted; the rest goes through the session.
    Enter(Enter),
    /// Attach a console client. Descriptors: the supervisor's end of a SEQPACKET pair.
    Console,
    /// Create a device node, or replace the one at its path.
    DeviceAdd(Device),
    /// Remove a device node.
    DeviceDel {
        /// Guest path below `/dev`.
        path: PathBuf,
    },
}

/// One entry into a running container: in all its namespaces and cgroups, under the policy of its
/// [`Spec`] (rlimits, capabilities, seccomp, LSM).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enter {
    /// What is done.
    pub action: Action,
}

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Run a program. Further descriptors: stdin, stdout, stderr, none of them with a tty; then the
    /// script if there is one. Terminals and directories are refused as descriptors.
    Exec(Exec),
    /// Change files, in order; what cannot be changed is a warning in the session. As root.
    WriteFiles {
        /// The changes.
        files: Vec<FileOp>,
    },
    /// Copy a regular file's content. Further descriptor: where to write it (pipe or file). As root.
    /// Failure 127: no such file; 126: not a regular file, or larger than the limit.
    ReadFile {
        /// Guest path; symlinks are followed within the guest.
        path: PathBuf,
        /// Refuse a larger file.
        max_bytes: u64,
    },
    /// Mount something now. A bind's source is opened by the supervisor in the host. Failure 126:
    /// something is mounted there already, and the mount is exclusive.
    Mount(Mount),
    /// Unmount (detach) what is mounted on a guest path. Failure 127: nothing is mounted there.
    Unmount {
        /// Guest path; symlinks in it are refused.
        target: PathBuf,
    },
}

/// A program to run inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Program and arguments; a name without `/` is looked up in PATH of `env`.
    pub argv: Vec<String>,
    /// Run what the last descriptor holds, a program or a script with `#!`, with `argv` as its
    /// arguments. Its content (at most [`MAX_SCRIPT`] bytes) is copied; the guest sees the copy only.
    #[serde(default)]
    pub script: bool,
    /// The whole environment; `container=lxc` is added.
    pub env: Vec<(String, String)>,
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups in the container.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Working directory in the guest, absolute; `/` when it cannot be entered and is not required.
    pub cwd: PathBuf,
    /// Fail (126) instead of falling back to `/`.
    #[serde(default)]
    pub cwd_required: bool,
    /// Run on a new pty of the container with this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<WindowSize>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// Supervisor to daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// First message of every connection.
    Hello {
        /// [`VERSION`] of the supervisor.
        version: u32,
        /// Its process id.
        pid: i32,
    },
    /// Answer to one command.
    Reply {
        /// From the command.
        seq: u64,
        /// The answer.
        reply: Reply,
    },
    /// Something happened.
    Event(Event),
}

/// Answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, or accepted.
    Done,
    /// Not done.
    Error(String),
    /// To [`Request::Status`].
    Status(Status),
}

/// What a supervisor knows about its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`Spec::id`].
    pub id: String,
    /// How far it is.
    pub state: State,
    /// Process id of init on the host, once it exists.
    pub pid: Option<i32>,
    /// When init was run, in seconds since 1970.
    pub started_at: Option<u64>,
    /// What was not as the spec asked.
    pub warnings: Vec<String>,
    /// Number of console clients.
    pub console_clients: u32,
    /// Number of entries that have not ended.
    pub sessions: u32,
    /// Whether it is ending: killed, or idle after [`Request::EndWhenIdle`].
    #[serde(default)]
    pub ending: bool,
}

/// Stages of a container as its supervisor sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being set up.
    Starting,
    /// Set up and waiting for [`Request::Proceed`].
    Held,
    /// Init runs.
    Running,
}

/// What a supervisor reports unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Namespaces exist; with `hold`, init waits. Descriptors: pidfd of init, network namespace.
    Created {
        /// Process id of the future init on the host.
        pid: i32,
    },
    /// Init runs. Descriptors: pidfd of init, network namespace.
    Started {
        /// Its process id on the host.
        pid: i32,
        /// What was not as the spec asked.
        warnings: Vec<String>,
        /// [`Status::started_at`].
        #[serde(default)]
        started_at: Option<u64>,
    },
    /// The container could not be started; the supervisor ends now.
    Failed {
        /// Name of the step that failed.
        step: String,
        /// Why.
        error: String,
    },
    /// Init has ended and with it the container; the supervisor ends now.
    Exited(ExitRecord),
}

/// How a container ended. Also the content of `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// [`Spec::id`].
    pub id: String,
    /// What happened.
    pub how: How,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// Ways for a container to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It asked for a reboot.
    Reboot,
    /// It halted or powered off.
    Halt,
    /// Init returned with this status.
    Exit(i32),
    /// Init was ended by this signal.
    Signal(i32),
    /// [`Request::Kill`].
    Killed,
    /// It never ran: [`Event::Failed`].
    Failed {
        /// Name of the step that failed.
        step: String,
        /// Why.
        error: String,
    },
}

/// Supervisor to the client of a session; see the table above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionMessage {
    /// It runs, as this process id of the host.
    Pid(i32),
    /// Something was not as asked.
    Warning(String),
    /// Exit status.
    Exited(i32),
    /// Ended by a signal.
    Signaled(i32),
    /// It never ran, or the action failed.
    Failed {
        /// 125, 126 or 127.
        code: i32,
        /// Why.
        error: String,
    },
}

/// Client of a session to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionRequest {
    /// Send this signal to the program.
    Signal(i32),
}

/// Why a message could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot use the supervisor's socket")]
    Io(#[source] osctl_linux::error::Error),
    /// Nothing waits, or no room: try again when the descriptor is ready.
    #[error("the supervisor's socket would block")]
    WouldBlock,
    /// The other side is gone.
    #[error("the supervisor's socket is closed")]
    Closed,
    /// Larger than [`MAX_MESSAGE`].
    #[error("message of {0} bytes exceeds the limit of {MAX_MESSAGE}")]
    TooLarge(usize),
    /// Not what the protocol says.
    #[error("message not understood")]
    Malformed(#[source] serde_json::Error),
}

impl From<osctl_linux::error::Error> for Error {
    fn from(error: osctl_linux::error::Error) -> Self {
        use nix::errno::Errno;
        match error.errno() {
            Errno::EAGAIN => Error::WouldBlock,
            Errno::EPIPE | Errno::ECONNRESET => Error::Closed,
            _ => Error::Io(error),
        }
    }
}

/// One end of a control connection, on either side.
///
/// Blocking unless [`Connection::set_nonblocking`] says otherwise.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// From a connected SEQPACKET socket.
    pub fn new(socket: OwnedFd) -> Self {
        Connection { socket }
    }

    /// The daemon's end, and the descriptor that becomes fd 0 of `osctl-runtime supervise`.
    pub fn pair() -> Result<(Self, OwnedFd), Error> {
        let (ours, theirs) = seqpacket::pair()?;
        Ok((Connection::new(ours), theirs))
    }

    /// Connects to the supervisor whose run directory this is.
    pub fn open(run_dir: &Path) -> Result<Self, Error> {
        let dir = std::fs::File::open(run_dir).map_err(|error| {
            Error::Io(osctl_linux::error::Error::from_io(
                format!("open({run_dir:?})"),
                &error,
            ))
        })?;
        let socket = seqpacket::connect_at(dir.as_fd(), crate::spec::SOCKET_FILE.as_ref())?;
        Ok(Connection::new(socket))
    }

    /// Makes every call return [`Error::WouldBlock`] instead of waiting.
    pub fn set_nonblocking(&self, on: bool) -> Result<(), Error> {
        Ok(seqpacket::set_nonblocking(self.as_fd(), on)?)
    }

    /// First message to a new supervisor.
    pub fn send_spec(&self, spec: &Spec) -> Result<(), Error> {
        self.send_json(spec, &[])
    }

    /// Sends one command with descriptors.
    pub fn send(&self, command: &Command, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        self.send_json(command, fds)
    }

    /// Receives one message of the supervisor with its descriptors.
    pub fn recv(&self) -> Result<(Message, Vec<OwnedFd>), Error> {
        self.recv_json()
    }

    /// Receives one message of a session.
    pub fn recv_session(&self) -> Result<(SessionMessage, Vec<OwnedFd>), Error> {
        self.recv_json()
    }

    /// Sends any document of this protocol.
    pub fn send_json<T: Serialize>(&self, value: &T, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let data = serde_json::to_vec(value).map_err(Error::Malformed)?;
        if data.len() > MAX_MESSAGE {
            return Err(Error::TooLarge(data.len()));
        }
        Ok(seqpacket::send(self.as_fd(), &data, fds, false)?)
    }

    /// Receives any document of this protocol.
    pub fn recv_json<T: for<'de> Deserialize<'de>>(&self) -> Result<(T, Vec<OwnedFd>), Error> {
        match seqpacket::recv(self.as_fd(), MAX_MESSAGE, false)? {
            None => Err(Error::Closed),
            Some(packet) => {
                let value = serde_json::from_slice(&packet.data).map_err(Error::Malformed)?;
                Ok((value, packet.fds))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json<T: Serialize>(value: &T) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn session_messages_read_as_documented() {
        assert_eq!(json(&SessionMessage::Pid(4711)), r#"{"pid":4711}"#);
        assert_eq!(json(&SessionMessage::Exited(0)), r#"{"exited":0}"#);
        assert_eq!(json(&SessionMessage::Signaled(9)), r#"{"signaled":9}"#);
        let failed = SessionMessage::Failed {
            code: 127,
            error: "no".into(),
        };
        assert_eq!(json(&failed), r#"{"failed":{"code":127,"error":"no"}}"#);
        assert_eq!(json(&SessionRequest::Signal(15)), r#"{"signal":15}"#);
    }

    #[test]
    fn a_closed_peer_and_garbage_are_errors() {
        let (ours, theirs) = Connection::pair().unwrap();
        let theirs = Connection::new(theirs);
        theirs.send_json(&"garbage", &[]).unwrap();
        assert!(matches!(ours.recv(), Err(Error::Malformed(_))));
        drop(theirs);
        assert!(matches!(ours.recv(), Err(Error::Closed)));
    }

    #[test]
    fn too_large_is_refused_before_it_is_sent() {
        let (ours, _theirs) = Connection::pair().unwrap();
        let long = "x".repeat(MAX_MESSAGE);
        assert!(matches!(
            ours.send_json(&long, &[]),
            Err(Error::TooLarge(_))
        ));
    }
}
