//! Safe wrappers for kernel calls: system calls and their constants, no policy.

#[cfg(feature = "attempt")]
pub mod attempt;
pub mod beneath;
pub mod bpf;
pub mod error;
pub mod fds;
pub mod mount;
pub mod probe;
pub mod process;
pub mod seqpacket;
pub mod tty;
pub mod zfs;
