//! The daemon as a process: its socket, its state on the disk, what survives its end.

#![allow(clippy::unwrap_used)]

mod harness;
mod ids;
mod server;
mod state;
