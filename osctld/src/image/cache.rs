//! Images that are kept unpacked, so that a further container only takes a copy or a clone.
//!
//! ```text
//! repository/info/SHA256.json    what runs in an image; its time is that of its last use
//! repository/index/files.json    which file has which hash
//! ```
//! The trees are kept by [`Storage`]. An image is known by the hash of its archive only; a file that is
//! the same by device, inode, size and times as one that was hashed is not hashed again.

mod index;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use self::index::{FileKey, Index, hash, is_hash};
use super::{Error, Facts, Limits, Result, archive};
use crate::storage::{Cause, Storage, Watch};
use crate::store::{Document, Objects, Stored};

const REPOSITORY: &str = "repository";
const INFO: &str = "info";
const INDEX: &str = "index";

/// The unpacked images of one pool.
#[derive(Debug)]
pub struct ImageCache {
    storage: Arc<dyn Storage>,
    info: Objects<Info>,
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    index: Index,
    /// Images that containers are being made from; they are not removed.
    used: BTreeMap<String, Arc<()>>,
}

/// What is kept of an unpacked image beside its tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Info {
    facts: Facts,
}

impl Document for Info {
    const KIND: &'static str = "image";
    const VERSION: u32 = 1;
}

/// An unpacked image. It is not removed from the cache as long as this lives.
#[derive(Debug)]
pub struct Cached {
    facts: Facts,
    sha256: String,
    _used: Arc<()>,
}

impl Cached {
    /// What runs in it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Hash of the archive, in hexadecimal digits: the image's key in storage.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

fn failed(e: impl Into<Cause>) -> Error {
    Error::Cache(e.into())
}

impl ImageCache {
    /// The cache of a pool, whose directories exist. About `max` images are kept, none with 0.
    pub fn open(storage: Arc<dyn Storage>, max: usize) -> Result<ImageCache> {
        let repository = storage.path().join(REPOSITORY);
        let index = Index::open(repository.join(INDEX))?;
        let info = Objects::open(repository.join(INFO)).map_err(failed)?;
        let cache = ImageCache {
            storage,
            info,
            max,
            state: Mutex::new(State {
                index,
                used: BTreeMap::new(),
            }),
        };
        cache.forget_missing()?;
        cache.evict(None)?;
        Ok(cache)
    }

    /// Forgets what is known of images that are not there.
    fn forget_missing(&self) -> Result<()> {
        for known in self.info.load_all().map_err(failed)? {
            if !known.deleting && !self.storage.has_image(&known.key)? {
                self.info.mark_deleting(&known.key).map_err(failed)?;
                self.info.forget(&known.key).map_err(failed)?;
            } else if known.deleting {
                self.discard(&known.key)?;
            }
        }
        Ok(())
    }

    /// The pool's storage, which has the images.
    pub fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The image in the archive at `path`, unpacked now unless it was before.
    pub fn ensure(&self, path: &Path, limits: &Limits, watch: Watch<'_>) -> Result<Cached> {
        let file = archive::open_regular(path)?;
        let key = FileKey::of(&file)?;
        let known = self.lock().index.find(&key);
        let sha256 = match &known {
            Some(sha256) => sha256.clone(),
            None => {
                archive::check_start(&file, limits)?;
                (&file).seek(SeekFrom::Start(0)).map_err(failed)?;
                hash(&file, key.size, watch)?
            }
        };
        if FileKey::of(&file)? != key {
            return Err(Error::Changed(path.to_owned()));
        }
        if let Some(cached) = self.find(&sha256)? {
            if known.is_none() {
                self.lock().index.remember(&key, &sha256);
            }
            return Ok(cached);
        }
        self.unpack(path, &file, &key, &sha256, limits, watch)?;
        self.lock().index.remember(&key, &sha256);
        match self.find(&sha256)? {
            Some(cached) => {
                self.evict(Some(&sha256))?;
                Ok(cached)
            }
            None => Err(failed("the image vanished from the cache")),
        }
    }

    /// Takes an image of the cache into use.
    fn find(&self, sha256: &str) -> Result<Option<Cached>> {
        // Under the lock, so that it is not removed between being found and being used.
        let mut state = self.lock();
        if !self.storage.has_image(sha256)? {
            return Ok(None);
        }
        let Ok(Some(info)) = self.info.load(sha256) else {
            // Damaged: it is unpacked again.
            self.discard(sha256)?;
            return Ok(None);
        };
        let used = state.used.entry(sha256.to_owned()).or_default();
        let cached = Cached {
            facts: info.value.facts,
            sha256: sha256.to_owned(),
            _used: Arc::clone(used),
        };
        let touched = File::open(self.info_file(sha256))
            .and_then(|file| file.set_modified(SystemTime::now()));
        touched.map_err(failed)?;
        Ok(Some(cached))
    }

    fn info_file(&self, sha256: &str) -> PathBuf {
        self.info.path().join(format!("{sha256}.json"))
    }

    fn unpack(
        &self,
        path: &Path,
        file: &File,
        key: &FileKey,
        sha256: &str,
        limits: &Limits,
        watch: Watch<'_>,
    ) -> Result<()> {
        let kept = self.storage.keep_image(sha256, &mut |tree| {
            let mut input = file;
            input.seek(SeekFrom::Start(0)).map_err(failed)?;
            let image = archive::unpack(input, Some(key.size), tree, limits, watch)?;
            for warning in &image.warnings {
                tracing::warn!(image = %path.display(), "{warning}");
            }
            // What was unpacked must be what was hashed.
            if FileKey::of(file)? != *key {
                return Err(Error::Changed(path.to_owned()).into());
            }
            // Before the tree counts as an image: one without facts is taken for a damaged one.
            let mut info = Stored::new(Info { facts: image.facts });
            self.info.save(sha256, &mut info).map_err(failed)?;
            Ok(())
        });
        Ok(kept?)
    }

    /// Discards an image; containers made from it stay.
    fn discard(&self, sha256: &str) -> Result<()> {
        if self.info_file(sha256).exists() {
            self.info.mark_deleting(sha256).map_err(failed)?;
        }
        self.storage.discard_image(sha256)?;
        self.info.forget(sha256).map_err(failed)
    }

    /// Discards the images that were not used for longest, until there are not too many. Those in
    /// use, and `keep`, stay.
    fn evict(&self, keep: Option<&str>) -> Result<()> {
        let mut state = self.lock();
        state.used.retain(|_, used| Arc::strong_count(used) > 1);
        let used = |sha256: &str| {
            let meta = std::fs::metadata(self.info_file(sha256));
            meta.and_then(|m| m.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let keys = self.list()?.into_iter();
        let mut images: Vec<_> = keys.map(|sha256| (used(&sha256), sha256)).collect();
        images.sort();
        let mut excess = images.len().saturating_sub(self.max);
        for (_, sha256) in images {
            if excess == 0 {
                break;
            }
            if keep == Some(&sha256) || state.used.contains_key(&sha256) {
                continue;
            }
            self.discard(&sha256)?;
            excess -= 1;
        }
        Ok(())
    }

    /// Images that are kept, as hashes of their archives, sorted.
    pub fn list(&self) -> Result<Vec<String>> {
        let mut keys = self.storage.images()?;
        keys.retain(|key| is_hash(key));
        Ok(keys)
    }
}
