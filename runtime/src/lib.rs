//! What the daemon and the runtime of one container agree on.
//!
//! [`spec`] is what a container is to be, [`control`] is how to talk to its supervisor.
//! The supervisor itself is the binary of this crate.

pub mod control;
pub mod spec;
