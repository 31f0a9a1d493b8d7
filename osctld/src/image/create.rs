//! Making a container's data from an image.

use std::path::Path;

use osctl_linux::beneath::{Mounts, Root, Symlinks};

use super::{Error, Facts, ImageCache, Limits, Result, archive};
use crate::storage::{Storage, Watch, copy_tree};

/// Makes the data of container `id` from the image at `path`: an archive, a tarball or a
/// directory. Archives and tarballs are taken from `cache`, which unpacks new ones, or, when
/// there is none, are unpacked right where the container will be.
pub fn create_from(
    storage: &dyn Storage,
    cache: Option<&ImageCache>,
    id: &str,
    path: &Path,
    limits: &Limits,
    watch: Watch<'_>,
) -> Result<Facts> {
    let opened = |e: crate::storage::Cause| Error::Open {
        path: path.to_owned(),
        source: e,
    };
    let meta = std::fs::metadata(path).map_err(|e| opened(e.into()))?;
    let mut facts = Facts::default();
    if meta.is_dir() {
        // The path is the administrator's; what it leads to is trusted only to be copied.
        let real = path.canonicalize().map_err(|e| opened(e.into()))?;
        let from = Root::open_tree(&real, Symlinks::Refuse, Mounts::Refuse)
            .map_err(|e| opened(e.into()))?;
        let pool = storage.path().canonicalize();
        if pool.is_ok_and(|pool| pool.starts_with(&real)) {
            return Err(Error::Unsupported(format!(
                "{} holds the pool itself: the copy would have no end",
                path.display()
            )));
        }
        storage.create(id, &mut |tree| {
            copy_tree(&from, tree, watch).map_err(Error::from)?;
            facts = Facts::of_tree(tree);
            Ok(())
        })?;
        return Ok(facts);
    }
    match cache {
        Some(cache) => {
            let cached = cache.ensure(path, limits, watch)?;
            cache.storage().create_from(id, cached.sha256(), watch)?;
            Ok(cached.facts().clone())
        }
        None => {
            storage.create(id, &mut |tree| {
                facts = archive::unpack_file(path, tree, limits, watch)?.facts;
                Ok(())
            })?;
            Ok(facts)
        }
    }
}
