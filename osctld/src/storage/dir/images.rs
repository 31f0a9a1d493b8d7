//! Images that are kept unpacked: `repository/KEY/rootfs`.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use osctl_linux::beneath::{Kind, Root};

use super::{DirStorage, STAGING, failed, unique};
use crate::failpoint;
use crate::storage::{Error, Populate, Result, check_id};

pub(super) const REPOSITORY: &str = "repository";
const ROOTFS: &str = "rootfs";

fn place(key: &str) -> Result<PathBuf> {
    check_id(key)?;
    Ok(Path::new(REPOSITORY).join(key))
}

impl DirStorage {
    pub(super) fn put_image(&self, key: &str, populate: Populate<'_>) -> Result<()> {
        let target = place(key)?;
        let staging = Path::new(REPOSITORY).join(format!("{STAGING}{key}-{}", unique()));
        let made = self.fill(key, &staging, ROOTFS, populate).and_then(|()| {
            failpoint!("image.unpacked");
            match self.root.rename_new(&staging, &target) {
                Ok(()) => self.sync(REPOSITORY),
                // Somebody else kept the same image meanwhile.
                Err(e) if e.errno() == Errno::EEXIST => self.put_away(&staging, key),
                Err(e) => Err(Error::io("keep", format!("image {key}"), e)),
            }
        });
        if made.is_err() {
            // The first error is the one that counts; the next start tries again.
            let _ = self.put_away(&staging, key);
        }
        made
    }

    pub(super) fn image_tree(&self, key: &str) -> Result<Root> {
        match self.root.dir(place(key)?.join(ROOTFS)) {
            Ok(tree) => Ok(tree),
            Err(e) if e.errno() == Errno::ENOENT => Err(Error::NoImage(key.to_owned())),
            Err(e) => Err(Error::io("open", format!("image {key}"), e)),
        }
    }

    pub(super) fn is_image(&self, key: &str) -> Result<bool> {
        Ok(self.stat_kind(place(key)?.join(ROOTFS))? == Some(Kind::Dir))
    }

    pub(super) fn image_keys(&self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for name in self.read_dir(REPOSITORY)? {
            let name = name?;
            if check_id(&name).is_ok() && self.is_image(&name)? {
                keys.push(name);
            }
        }
        keys.sort();
        Ok(keys)
    }

    pub(super) fn drop_image(&self, key: &str) -> Result<()> {
        self.put_away(&place(key)?, key)
    }

    /// Moves an image, or a half one, to the trash; fine when it is gone.
    fn put_away(&self, path: &Path, key: &str) -> Result<()> {
        let short: String = key.chars().take(12).collect();
        match self.discard(path, &format!("image-{short}")) {
            Err(e) if e.errno() != Errno::ENOENT => {
                Err(failed("discard", format!("image {key}"))(e))
            }
            _ => Ok(()),
        }
    }
}
