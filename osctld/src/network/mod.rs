//! The network of containers: links, addresses, routes, shaping, filtering, the default bridge.
//!
//! It owns what is wanted of one interface ([`Wanted`]) and how that is made true in the kernel. It
//! knows neither containers nor pools: who calls it resolves their configuration first.

mod attach;
pub mod book;
mod change;
pub mod error;
pub mod filter;
pub mod firewall;
pub mod inside;
pub mod link;
mod live;
pub mod managed_bridge;
mod message;
pub mod nat;
pub mod netlink;
pub mod nft;
mod notices;
mod pair;
mod port;
mod setting;
mod settle;
mod shaping;
pub mod stats;
#[cfg(test)]
mod tests;
mod wanted;
pub mod watch;

pub use attach::{Network, Setup};
pub use change::{Change, changes};
pub use error::{Error, Result};
pub use inside::Inside;
pub use link::{Ensured, Host, Made, Ours};
pub use message::Link;
pub use setting::ensure_forwarding;
pub use stats::Counters;
pub use wanted::{Attachment, DhcpLease, Gateways, Owner, Route, Wanted, hashed, host_name};
