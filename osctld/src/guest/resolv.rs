//! /etc/resolv.conf, see resolv.conf(5).

use std::fmt::Write;
use std::net::IpAddr;

use osctl_runtime::spec::{FileAction, FileOp, SymlinkPolicy};

use super::operation;

/// The file.
pub const PATH: &str = "/etc/resolv.conf";

/// The file for these resolvers. A link, such as systemd-resolved makes, is replaced by a file:
/// the resolvers that the host sets are meant to hold.
pub fn file(resolvers: &[IpAddr]) -> FileOp {
    let mut content = String::from("# Set by osctl\n");
    for address in resolvers {
        let _ = writeln!(content, "nameserver {address}");
    }
    content.push_str("options edns0\n");
    operation(PATH, FileAction::Write { content }, SymlinkPolicy::Replace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_resolver() {
        let op = file(&["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        let FileAction::Write { content } = op.action else {
            panic!("not written whole")
        };
        assert!(
            content.contains("\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n"),
            "{content}"
        );
    }
}
