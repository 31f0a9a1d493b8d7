//! Images: what containers are made from, read and written.
//!
//! An image is an archive as vpsAdminOS writes them (an outer tar with `metadata.yml`,
//! `config/container.yml` and a packed root file system), a tarball of a root file system, or a
//! directory. All of it is hostile input: it is read as a stream, bounded in every respect, and
//! written through a tree that can't be left. Nothing that comes with an image sets anything on
//! the host. All functions block: call them where blocking is allowed.

mod acl;
mod archive;
mod attributes;
mod cache;
mod content;
mod create;
mod extract;
mod facts;
mod member;
mod metadata;
mod pax;
mod source;
mod sparse;
mod streams;
mod write;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::storage::{self, Cause};

pub use archive::{Hook, Image, read_head, unpack, unpack_file};
pub use cache::{Cached, ImageCache};
pub use create::{create_from, unpack_by};
pub use facts::Facts;
pub use metadata::Metadata;
pub use streams::{Part, Receive, unpack_streams};
pub use write::{Compression, Pack, Packed, Sent, pack, pack_streams, pack_tarball};
pub use yaml::{parse as parse_yaml, text as yaml_text};

/// Bounds on an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of an unpacked tar stream: content, headers and padding.
    pub max_bytes: u64,
    /// Most files, directories, links and devices.
    pub max_entries: u64,
    /// Most bytes of each metadata file, and of all hooks together.
    pub max_metadata: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_bytes: 64 << 30,
            max_entries: 4_000_000,
            max_metadata: 256 << 10,
        }
    }
}

/// Why an image can't be used or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image can't be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The image.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Reading failed: the disk, or damaged compressed data.
    #[error("cannot read the image")]
    Read(#[source] std::io::Error),
    /// The image ends in the middle of something.
    #[error("the image is cut short")]
    Truncated,
    /// The image is no proper tar archive.
    #[error("the image is damaged: {problem} (at byte {offset} of the tar stream)")]
    Damaged {
        /// Where in the uncompressed stream.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A member of the image is not acceptable.
    #[error("member {path:?} of the image {problem}")]
    Member {
        /// Its name.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A member can't be written.
    #[error("cannot unpack {path:?}")]
    Write {
        /// Its name.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The image exceeds a limit.
    #[error("the image has {0}")]
    Limit(String),
    /// A metadata file of the image is not as it must be.
    #[error("{file} of the image is not valid")]
    Metadata {
        /// The file.
        file: &'static str,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The image is something else than what can be used here.
    #[error("{0}")]
    Unsupported(String),
    /// The image was changed while it was being read.
    #[error("{} changed while it was being read", .0.display())]
    Changed(PathBuf),
    /// The root file system can't be packed.
    #[error("cannot pack {what}")]
    Pack {
        /// What of it.
        what: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The image cache can't be used.
    #[error("cannot use the image cache")]
    Cache(#[source] Cause),
    /// The job was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The container's data can't be made.
    #[error(transparent)]
    Storage(storage::Error),
}

/// Result of reading or writing an image.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn member(path: &[u8], problem: impl Into<String>) -> Error {
        Error::Member {
            path: shown(path),
            problem: problem.into(),
        }
    }

    fn write(path: impl AsRef<std::ffi::OsStr>, source: impl Into<Cause>) -> Error {
        Error::Write {
            path: shown(path.as_ref().as_encoded_bytes()),
            source: source.into(),
        }
    }

    fn metadata(file: &'static str, source: impl Into<Cause>) -> Error {
        Error::Metadata {
            file,
            source: source.into(),
        }
    }
}

impl From<storage::Error> for Error {
    /// What a callback of this module reported through storage comes back as it was.
    fn from(e: storage::Error) -> Error {
        match e {
            storage::Error::Cancelled => Error::Cancelled,
            storage::Error::Populate { id, source } => match source.downcast::<Error>() {
                Ok(e) => *e,
                Err(source) => Error::Storage(storage::Error::Populate { id, source }),
            },
            e => Error::Storage(e),
        }
    }
}

/// A name for messages, not longer than they should be.
fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
