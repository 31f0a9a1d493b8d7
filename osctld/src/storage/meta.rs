//! Metadata of one object: what is kept of it when it is copied, packed or unpacked.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use osctl_linux::beneath::{Kind, Node, Stat, Time};
use osctl_linux::error::Result;

/// Owner, mode, times and extended attributes, ids unshifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Last access.
    pub atime: Time,
    /// Last change.
    pub mtime: Time,
    /// Extended attributes; access control lists are `system.posix_acl_*`.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

/// Owner and group of an object, where they are known.
pub(super) type Owner = Option<(u32, u32)>;

/// Whether an extended attribute belongs to the content of a container. What the host keeps for
/// itself (`trusted.*`) or decides by itself (security labels) does not.
pub fn is_kept_xattr(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"user.")
        || [
            &b"security.capability"[..],
            b"system.posix_acl_access",
            b"system.posix_acl_default",
        ]
        .contains(&name)
}

impl Meta {
    /// Reads the metadata of `node`, which `stat` describes.
    pub fn read(node: &Node, stat: &Stat) -> Result<Meta> {
        let mut xattrs = Vec::new();
        for name in node.xattrs()? {
            if is_kept_xattr(&name)
                && let Some(value) = node.xattr(&name)?
            {
                xattrs.push((name, value));
            }
        }
        Ok(Meta {
            uid: stat.uid,
            gid: stat.gid,
            mode: stat.permissions(),
            atime: stat.atime,
            mtime: stat.mtime,
            xattrs,
        })
    }

    /// The metadata of a symbolic link, of which there are no attributes to keep: the kernel has
    /// `user.*` and access control lists on nothing that is no file or directory, capabilities on
    /// files only.
    pub fn of_link(stat: &Stat) -> Meta {
        Meta {
            uid: stat.uid,
            gid: stat.gid,
            mode: stat.permissions(),
            atime: stat.atime,
            mtime: stat.mtime,
            xattrs: Vec::new(),
        }
    }

    /// Gives `node`, an object of `kind`, this metadata. Its content must be complete: writing
    /// would change the times and clear what setuid and capabilities say.
    pub fn apply(&self, node: &Node, kind: Kind) -> Result<()> {
        self.apply_to(node, kind, None)
    }

    /// Like [`Meta::apply`], for an object of which the owner and group are known.
    pub(super) fn apply_to(&self, node: &Node, kind: Kind, owner: Owner) -> Result<()> {
        // A change of owner clears setuid bits and capabilities; a list of access rights refines
        // the mode. Hence the order.
        if owner != Some((self.uid, self.gid)) {
            node.chown(self.uid, self.gid)?;
        }
        if kind != Kind::Symlink {
            node.chmod(self.mode)?;
        }
        for (name, value) in &self.xattrs {
            node.set_xattr(name, value)?;
        }
        node.set_times(self.atime, self.mtime)
    }
}
