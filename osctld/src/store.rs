//! State files: the one place that writes, renames and removes them.
//!
//! Desired configuration is one JSON document per object, `{"version": …, "generation": …, …}`,
//! replaced as a whole and crash-safely: temporary file in the same directory, fdatasync, rename,
//! fsync of the directory. History is JSON lines. What the documents mean is their owners'
//! business. All functions block: call them where blocking is allowed.

mod document;
mod history;
mod objects;
mod replace;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use document::{Document, MAX_DOCUMENT, Stored};
pub use history::{History, MAX_LINE};
pub use objects::{Loaded, Objects, Waits};

/// Why a state file can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted: `read`, `write`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file has no content: a crash of the machine, or a full disk, while something other
    /// than this store wrote it.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// The file is larger than [`MAX_DOCUMENT`] bytes.
    #[error("{} is larger than {MAX_DOCUMENT} bytes", .0.display())]
    TooLarge(PathBuf),
    /// The document is not what it should be.
    #[error("{} is not a valid {kind} document", path.display())]
    Invalid {
        /// What the document should describe.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The document was written by a newer daemon.
    #[error(
        "{} has version {found}, but this osctld knows {kind} documents up to version {known}: it was written by a newer one",
        path.display()
    )]
    Future {
        /// What the document describes.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// Version of the file.
        found: u64,
        /// Latest version that is known.
        known: u32,
    },
    /// An object that should be new exists.
    #[error("{} already exists", .0.display())]
    Exists(PathBuf),
    /// Its disk would not answer; the text says why.
    #[error("{0}")]
    Waits(String),
    /// An object that is being deleted is not written any more.
    #[error("{} says that it is being deleted", .0.display())]
    Deleting(PathBuf),
    /// A key that is no safe file name.
    #[error("{0:?} is not a name of a state file")]
    Key(String),
}

/// Result of the store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::Io {
            action,
            path: path.into(),
            source: source.into(),
        }
    }
}
