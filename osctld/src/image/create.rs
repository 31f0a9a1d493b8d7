//! Making a container's data from an image.

use std::path::Path;

use osctl_linux::beneath::{Mounts, Root, Symlinks};

use super::{Error, Facts, ImageCache, Limits, Result, archive};
use crate::storage::{self, Populate, Storage, Watch, copy_tree};

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
    match cache {
        Some(cache) if !is_dir(path)? => {
            let cached = cache.ensure(path, limits, watch)?;
            cache.storage().create_from(id, cached.sha256(), watch)?;
            Ok(cached.facts().clone())
        }
        _ => unpack_by(storage.path(), path, limits, watch, &mut |populate| {
            storage.create(id, populate)
        }),
    }
}

fn opened(path: &Path) -> impl FnOnce(crate::storage::Cause) -> Error {
    |source| Error::Open {
        path: path.to_owned(),
        source,
    }
}

fn is_dir(path: &Path) -> Result<bool> {
    let meta = std::fs::metadata(path).map_err(|e| opened(path)(e.into()))?;
    Ok(meta.is_dir())
}

/// Makes data in the pool at `pool` from the image at `path` by `make`, which is given what fills
/// them.
pub fn unpack_by(
    pool: &Path,
    path: &Path,
    limits: &Limits,
    watch: Watch<'_>,
    make: &mut dyn FnMut(Populate<'_>) -> storage::Result<()>,
) -> Result<Facts> {
    let mut facts = Facts::default();
    if !is_dir(path)? {
        make(&mut |tree| {
            facts = archive::unpack_file(path, tree, limits, watch)?.facts;
            Ok(())
        })?;
        return Ok(facts);
    }
    // The path is the administrator's; what it leads to is trusted only to be copied.
    let real = path.canonicalize().map_err(|e| opened(path)(e.into()))?;
    let from = Root::open_tree(&real, Symlinks::Refuse, Mounts::Refuse)
        .map_err(|e| opened(path)(e.into()))?;
    if pool
        .canonicalize()
        .is_ok_and(|pool| pool.starts_with(&real))
    {
        return Err(Error::Unsupported(format!(
            "{} holds the pool itself: the copy would have no end",
            path.display()
        )));
    }
    make(&mut |tree| {
        copy_tree(&from, tree, watch).map_err(Error::from)?;
        facts = Facts::of_tree(tree);
        Ok(())
    })?;
    Ok(facts)
}
