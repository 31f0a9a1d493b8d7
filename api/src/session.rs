//! What is spoken on the file descriptors that `ContainerExec` and `ContainerConsole` hand out:
//! between a client and the supervisor of a container, without the daemon in between.
//!
//! Both are `SOCK_SEQPACKET` sockets, one message per packet.
//!
//! **Exec**: the supervisor sends JSON [`FromSession`]; the first is `pid`, with the master of the
//! terminal as SCM_RIGHTS when one was asked for; the last is `exited`, `signaled` or `failed`.
//! The client may send [`ToSession`].
//!
//! **Console**: the supervisor sends raw bytes. The client sends packets whose first byte tells
//! the kind: [`CONSOLE_DATA`] followed by bytes, or [`CONSOLE_RESIZE`] followed by rows and
//! columns, each u16 little-endian. The end of the stream means that the container stopped.

use serde::{Deserialize, Serialize};

/// First byte of a console packet that carries input.
pub const CONSOLE_DATA: u8 = 0;
/// First byte of a console packet that carries the size of the terminal.
pub const CONSOLE_RESIZE: u8 = 1;
/// Largest packet either side sends, in bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// A message of the supervisor to the client of an exec session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromSession {
    /// The program runs; its process id on the host.
    Pid(u32),
    /// Something was not as asked; the program runs all the same.
    Warning(String),
    /// The program ended with this status.
    Exited(u8),
    /// The program was ended by this signal.
    Signaled(i32),
    /// The program could not be run.
    Failed {
        /// Exit code for the client: 125 (entering failed), 126 (can't be executed), 127 (not found).
        code: u8,
        /// Why.
        error: String,
    },
}

/// A message of the client of an exec session to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToSession {
    /// Send this signal to the program's process group.
    Signal(i32),
}
