//! The network of containers: links, addresses, routes, shaping, filtering, the default bridge.
//!
//! It owns what is wanted of one interface ([`Wanted`]) and how that is made true in the kernel. It
//! knows neither containers nor pools: who calls it resolves their configuration first.

mod wanted;

pub use wanted::{Attachment, DhcpLease, Gateways, Owner, Route, Wanted, hashed, host_name};
