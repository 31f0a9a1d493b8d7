//! Parts of proc and sysfs that a guest does not get to see, or not to change.
//!
//! The barrier is the user namespace; this keeps what leaks in spite of it, and accidents, out.

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use osctl_linux::beneath::{Kind, Mounts, Node, Root, Symlinks};
use osctl_linux::mount::{self, Depth};

use super::Stage;
use super::mounts::relative;
use crate::devices::NULL;
use crate::fault::{During, Fault, Outcome};

impl Stage<'_> {
    pub(super) fn mask(&mut self) -> Outcome {
        let root = self.root()?.with(Symlinks::Refuse, Mounts::Cross)?;
        for path in &self.spec.readonly_paths {
            // Made read-only when it was mounted.
            if path != Path::new("/sys") {
                make(&root, path, |tree| {
                    mount::add_attributes(tree, Depth::Recursive, mount::ATTR_RDONLY)
                })?;
            }
        }
        for path in &self.spec.writable_paths {
            make(&root, path, |tree| {
                mount::make_writable(tree, Depth::Recursive)
            })?;
        }
        self.hide(&root)
    }

    fn hide(&self, root: &Root) -> Outcome {
        let null = root.node(Path::new("dev").join(NULL))?;
        let stat = null.stat()?;
        if stat.kind() != Kind::Char || stat.device() != (1, 3) {
            return Err(Fault::refused("the null device is something else"));
        }
        let mut empty: Option<std::os::fd::OwnedFd> = None;
        for path in &self.spec.masked_paths {
            let Some(node) = existing(root, path)? else {
                continue;
            };
            let during = || format!("cannot hide {path:?}");
            if node.stat()?.kind() != Kind::Dir {
                let tree = mount::clone_fd(null.as_fd(), Depth::One)?;
                mount::attach(tree.as_fd(), node.as_fd()).during(during)?;
                continue;
            }
            let tree = match &empty {
                Some(mounted) => mount::clone_fd(mounted.as_fd(), Depth::One)?,
                None => empty_directory()?,
            };
            mount::attach(tree.as_fd(), node.as_fd()).during(during)?;
            empty = empty.or(Some(tree));
        }
        Ok(())
    }
}

fn empty_directory() -> Outcome<std::os::fd::OwnedFd> {
    let attributes =
        mount::ATTR_RDONLY | mount::ATTR_NOSUID | mount::ATTR_NODEV | mount::ATTR_NOEXEC;
    Ok(mount::fsopen("tmpfs")?
        .option("source", Some("osctl"))?
        .option("mode", Some("0555"))?
        .option("size", Some("4k"))?
        .option("nr_inodes", Some("2"))?
        .mount(attributes)?)
}

/// Binds a path onto itself, changed.
fn make(
    root: &Root,
    path: &Path,
    change: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> osctl_linux::error::Result<()>,
) -> Outcome {
    let Some(node) = existing(root, path)? else {
        return Ok(());
    };
    let bind = || -> Outcome {
        let tree = mount::clone_fd(node.as_fd(), Depth::Recursive)?;
        change(tree.as_fd())?;
        Ok(mount::attach(tree.as_fd(), node.as_fd())?)
    };
    bind().during(|| format!("cannot change access to {path:?}"))
}

fn existing(root: &Root, path: &Path) -> Outcome<Option<Node>> {
    match root.node(relative(path)) {
        Ok(node) => Ok(Some(node)),
        Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
