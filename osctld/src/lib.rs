//! The container daemon.

pub mod failpoint;
pub mod store;
