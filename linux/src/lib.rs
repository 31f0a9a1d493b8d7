//! Safe wrappers for kernel calls: system calls and their constants, no policy.

pub mod beneath;
pub mod bpf;
pub mod error;
pub mod fds;
pub mod mount;
pub mod probe;
pub mod process;
pub mod seqpacket;
pub mod tty;
