//! Virtual machines that boot the host image, and what tests do with them.

pub mod frame;
mod http;
mod machine;
mod qmp;

pub use machine::{Machine, Output, Root, Settings};
