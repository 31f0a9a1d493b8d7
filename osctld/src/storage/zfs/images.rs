//! Images: each a dataset with one snapshot, which containers are cloned of.

use nix::errno::Errno;

use super::names::{IMAGE, REPOSITORY, STAGING, staging};
use super::{ZfsStorage, failed};
use crate::failpoint;
use crate::storage::{Populate, Result, check_id};

impl ZfsStorage {
    pub(super) fn put_image(&self, key: &str, populate: Populate<'_>) -> Result<()> {
        let target = self.base.image(key)?;
        let what = || format!("image {key}");
        let new = staging(REPOSITORY, key);
        let dataset = self.base.below(&new);
        let kept = self.fill(&new, key, populate).and_then(|()| {
            let snapshot = format!("{dataset}@{IMAGE}");
            let taken = self.zfs()?.snapshot(&[&snapshot], &[]);
            taken.map_err(failed("keep", what()))?;
            failpoint!("image.unpacked");
            match self.zfs()?.rename(&dataset, &target) {
                Ok(()) => Ok(()),
                // Somebody else kept the same image meanwhile.
                Err(e) if e.is(Errno::EEXIST) => self.discard(&new, &trashed_as(key)).map(drop),
                Err(e) => Err(failed("keep", what())(e)),
            }
        });
        if kept.is_err() {
            // The first error is the one that counts; the next start tries again.
            let _ = self.discard(&new, &trashed_as(key));
        }
        kept
    }

    pub(super) fn image_keys(&self) -> Result<Vec<String>> {
        let mut keys = self.children(REPOSITORY)?;
        keys.retain(|key| check_id(key).is_ok() && !key.starts_with(STAGING));
        keys.sort();
        Ok(keys)
    }

    pub(super) fn drop_image(&self, key: &str) -> Result<()> {
        check_id(key)?;
        self.discard(&format!("{REPOSITORY}/{key}"), &trashed_as(key))
            .map(drop)
    }
}

fn trashed_as(key: &str) -> String {
    let short: String = key.chars().take(12).collect();
    format!("image-{short}")
}
