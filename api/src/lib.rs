//! The contract between osctld and its clients: names, parameters, replies, errors, events,
//! the wire format and a blocking client.
//!
//! It owns no behaviour: it reads no file, no environment variable and no kernel state.

pub mod archive;
pub mod client;
pub mod container;
pub mod copies;
pub mod daemon;
pub mod error;
pub mod firewall;
pub mod group;
pub mod id_range;
pub mod introspect;
pub mod io_limit;
pub mod methods;
pub mod mounts;
pub mod names;
pub mod net;
pub mod netif;
pub mod pool;
pub mod session;
pub mod size;
pub mod snapshot;
pub mod trash_bin;
pub mod user;
pub mod wire;

pub use error::{Code, Error};
pub use methods::{Class, Kind, Method, Progress, Step};

/// Varlink interface that all methods belong to.
pub const INTERFACE: &str = "org.osctl";

/// Socket of the daemon unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/osctl/osctld.sock";
