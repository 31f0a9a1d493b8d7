//! What guests may not do, as data for the runtime's spec: capabilities, hidden paths, system
//! calls, resource limits.
//!
//! Nothing is enforced here, and nothing is configured here: which profile a container has is its
//! configuration's business, applying it the runtime's.

pub mod capabilities;
pub mod paths;
pub mod rlimit;
pub mod seccomp;
