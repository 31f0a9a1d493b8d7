//! Who is at the other end, and what may they do: the one place that decides.

use std::os::fd::BorrowedFd;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use osctl_api::Class;

use crate::config::GroupAccess;
use crate::error::{Error, Result};

/// The process at the other end of a connection, as the kernel vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id at the time of connecting.
    pub uid: u32,
    /// Effective group id at the time of connecting.
    pub gid: u32,
    /// Process id; of the process that connected, which may have ended since. 0 when it can't be
    /// seen from here.
    pub pid: i32,
}

impl Peer {
    /// The peer of a connected socket.
    ///
    /// # Errors
    /// What getsockopt(2) says.
    pub fn of(socket: BorrowedFd<'_>) -> std::io::Result<Peer> {
        let c = getsockopt(&socket, PeerCredentials)?;
        Ok(Peer {
            uid: c.uid(),
            gid: c.gid(),
            pid: c.pid(),
        })
    }
}

/// Whether `peer` may call methods of `class`: root may, others as far as the configuration lets
/// the group of the socket. Nobody else could open the socket: its mode sees to that.
///
/// # Errors
/// `PermissionDenied`.
pub fn authorise(peer: Peer, class: Class, group: GroupAccess) -> Result<()> {
    let needed = match class {
        Class::Read => GroupAccess::Read,
        Class::Operate => GroupAccess::Operate,
        Class::Admin => GroupAccess::Admin,
    };
    if peer.uid == 0 || group >= needed {
        return Ok(());
    }
    Err(
        Error::denied(format!("user id {} may not do this", peer.uid)).hint(match class {
            Class::Admin => "only root may change what there is",
            Class::Read | Class::Operate => "see group_access in the daemon's configuration",
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_against_every_access() {
        let peer = |uid| Peer {
            uid,
            gid: 0,
            pid: 1,
        };
        let classes = [Class::Read, Class::Operate, Class::Admin];
        let table = [
            (GroupAccess::None, [false, false, false]),
            (GroupAccess::Read, [true, false, false]),
            (GroupAccess::Operate, [true, true, false]),
            (GroupAccess::Admin, [true, true, true]),
        ];
        for (access, expected) in table {
            for (class, allowed) in classes.into_iter().zip(expected) {
                assert!(authorise(peer(0), class, access).is_ok());
                assert_eq!(authorise(peer(1000), class, access).is_ok(), allowed);
            }
        }
    }
}
