//! What guests may not do, as data for the runtime's spec: capabilities, hidden paths, system
//! calls, resource limits, AppArmor profiles.
//!
//! Nothing is enforced here but that the kernel knows the profiles, and nothing is configured here: which profile a container has is its
//! configuration's business, applying it the runtime's.

pub mod apparmor;
pub mod capabilities;
pub mod paths;
pub mod rlimit;
pub mod seccomp;
