//! The cgroups of containers: where they are, what they may use, what they used.
//!
//! Owns the daemon's subtree in the v2 hierarchy and in the v1 hierarchies of the host, limits,
//! raw parameters, device rules, freezing, killing and statistics. It does not own configuration
//! (which limits a container has) and moves no process into a cgroup: the runtime does that with
//! the paths in [`ContainerPaths`].
//!
//! All calls are synchronous. Those that wait (freeze, kill, removal) take a time limit and wait
//! for kernel events; an asynchronous caller runs them on a blocking thread.

mod cpuset;
mod devices;
mod error;
mod events;
mod file;
mod freeze;
mod kill;
mod layout;
mod limits;
mod node;
mod params;
mod removal;
mod stats;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use devices::{Access, DeviceKind, DeviceRule, assemble, default_rules};
pub use error::Error;
pub use layout::{Hierarchy, Layout, Mode};
pub use limits::{CpuLimit, DiskRates, MemoryLimit};
pub use node::Node;
pub use params::{Param, Version, Warning};
pub use stats::{Io, Sampler, Stats};
pub use tree::{ContainerPaths, Owner, Tree};

/// Result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;
