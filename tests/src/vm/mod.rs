//! Virtual machines that boot the host image, and what tests do with them.

mod agent;
mod closure;
mod console;
pub mod frame;
mod http;
mod machine;
mod qemu;
mod qmp;
mod settings;
mod state;

pub use agent::Output;
pub use machine::Machine;
pub use settings::{Console, Netboot, Root, Settings, Wire};
