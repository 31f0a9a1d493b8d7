//! What can go wrong with links of containers.

use std::io;
use std::path::PathBuf;

use super::netlink;

/// An error about an interface.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something; it names what and whose.
    #[error(transparent)]
    Kernel(#[from] netlink::Error),
    /// An interface of the host has the name that ours should get.
    #[error("interface {0} of the host is not one of ours: its name cannot be used")]
    Foreign(String),
    /// The bridge is not there.
    #[error("the host has no interface {0} to link to")]
    NoBridge(String),
    /// What should be a bridge is something else.
    #[error("interface {0} of the host is not a bridge")]
    NotABridge(String),
    /// The host's end is not there.
    #[error("the host has no interface {0}")]
    NoLink(String),
    /// The container has no longer the interface that it was given.
    #[error("{0} is no longer in the container's network namespace")]
    Gone(String),
    /// The container has another interface of that name.
    #[error("{0} cannot be added: the container has an interface of that name already")]
    NameInUse(String),
    /// A setting of the kernel could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Setting {
        /// Verb: `read`, `write 1 to`.
        action: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Result of what is done about interfaces.
pub type Result<T> = std::result::Result<T, Error>;
