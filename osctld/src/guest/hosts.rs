//! The block in /etc/hosts that names the container itself.

use osctl_api::names::Hostname;
use osctl_runtime::spec::{FileAction, FileOp, SymlinkPolicy};

use super::{BLOCK_BEGIN, BLOCK_END, operation};

const PATH: &str = "/etc/hosts";

/// The block for `hostname`; none where the distribution generates the file.
pub fn set(distribution: &str, hostname: &Hostname) -> Option<FileOp> {
    if matches!(distribution, "nixos" | "guix") {
        return None;
    }
    let names = if hostname.local() == hostname.as_str() {
        hostname.as_str().to_owned()
    } else {
        format!("{} {}", hostname.as_str(), hostname.local())
    };
    Some(block(format!("127.0.0.1 {names}\n::1 {names}\n")))
}

/// An empty block in place of ours.
pub fn unset() -> FileOp {
    block(String::new())
}

fn block(content: String) -> FileOp {
    let action = FileAction::Block {
        begin: BLOCK_BEGIN.to_owned(),
        end: BLOCK_END.to_owned(),
        content,
    };
    operation(PATH, action, SymlinkPolicy::Refuse)
}
