//! Safe wrappers for kernel calls: system calls and their constants, no policy.

pub mod beneath;
pub mod bpf;
pub mod error;
pub mod probe;
pub mod seqpacket;
