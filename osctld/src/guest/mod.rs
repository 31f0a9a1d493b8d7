//! What is written into a guest: pure functions from configuration to file operations.
//!
//! The operations are carried out by the runtime, as root of the container's user namespace and
//! inside of its root; nothing here opens a file, but [`tree`] looks at what decides about them.

mod hostname;
mod hosts;
pub mod network;
mod resolv;
mod services;
pub mod tree;

use osctl_api::names::Hostname;
use osctl_runtime::spec::{FileAction, FileOp, SymlinkPolicy};
use std::net::IpAddr;

pub use hosts::unset as unset_hosts;

/// First line of a block of ours in a guest's file.
pub const BLOCK_BEGIN: &str = "### Start of osctl section: what is written here is replaced";
/// Last line of a block of ours in a guest's file.
pub const BLOCK_END: &str = "### End of osctl section";

/// Everything that is written before init starts.
pub fn at_start(
    distribution: &str,
    hostname: Option<&Hostname>,
    resolvers: &[IpAddr],
) -> Vec<FileOp> {
    let mut files = Vec::new();
    if let Some(hostname) = hostname {
        files.extend(set_hostname(distribution, hostname));
    }
    if !resolvers.is_empty() {
        files.extend(set_resolvers(resolvers));
    }
    files
}

/// What to write when the host name is set.
pub fn set_hostname(distribution: &str, hostname: &Hostname) -> Vec<FileOp> {
    let mut files = hostname::files(distribution, hostname);
    files.extend(hosts::set(distribution, hostname));
    files
}

/// What to write when DNS resolvers are set.
pub fn set_resolvers(resolvers: &[IpAddr]) -> Vec<FileOp> {
    vec![resolv::file(resolvers)]
}

/// An operation on a file of root's, readable by all, which replaces a link in its place.
fn operation(path: &str, action: FileAction, symlink: SymlinkPolicy) -> FileOp {
    FileOp {
        path: path.into(),
        action,
        mode: 0o644,
        uid: 0,
        gid: 0,
        parents: false,
        symlink,
    }
}
