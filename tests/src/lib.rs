//! Harness of the tests that need a daemon and root: hosts of their own, guests built for the
//! occasion, terminals, and the check that nothing is left.
//!
//! It owns no test: those are in `tests/it/`. Its way to report a failure is to panic.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod canary;
pub mod cgroups;
pub mod container;
pub mod daemon;
pub mod failpoints;
pub mod host;
pub mod leaks;
pub mod network;
pub mod processes;
pub mod pty;
pub mod random;
pub mod rootfs;
pub mod session;
mod stale;
pub mod vm;
pub mod wait;

pub use container::{Ct, Ran};
pub use host::Host;
pub use network::Network;
pub use rootfs::Rootfs;

/// Whether tests that walk through many cases take all of them, not some that stand for the others.
pub fn is_thorough() -> bool {
    std::env::var_os("OSCTL_TEST_THOROUGH").is_some()
}

/// Ends the test here, saying why, when what it needs is not there.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        println!("skipped: {}", format!($($why)*));
        return;
    }};
}
