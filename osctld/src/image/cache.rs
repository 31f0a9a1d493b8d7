//! Images that are kept unpacked, so that a further container only takes a copy of a tree.
//!
//! ```text
//! repository/SHA256/rootfs        unpacked image, ids unshifted
//! repository/SHA256/info/image.json
//! repository/.new-SHA256-RAND     one that is being unpacked
//! repository/index/files.json     which file has which hash
//! trash/                          where images go that are no longer kept
//! ```
//! An image is known by the hash of its archive only; a file that is the same by device, inode,
//! size and times as one that was hashed is not hashed again.

mod index;

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks, Time};
use serde::{Deserialize, Serialize};

use self::index::{FileKey, Index, hash, is_hash};
use super::{Error, Facts, Limits, Result, archive};
use crate::failpoint;
use crate::storage::{Cause, Watch};
use crate::store::{Document, Objects};

const REPOSITORY: &str = "repository";
const TRASH: &str = "trash";
const STAGING: &str = ".new-";
const ROOTFS: &str = "rootfs";
const INFO: &str = "info";
const INDEX: &str = "index";

/// The unpacked images of one pool.
#[derive(Debug)]
pub struct ImageCache {
    pool: Root,
    path: PathBuf,
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    index: Index,
    /// Images that are being copied; they are not removed.
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
    rootfs: Root,
    facts: Facts,
    sha256: String,
    _used: Arc<()>,
}

impl Cached {
    /// The root directory; not to be written to.
    pub fn rootfs(&self) -> &Root {
        &self.rootfs
    }

    /// What runs in it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Hash of the archive, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

fn failed(e: impl Into<Cause>) -> Error {
    Error::Cache(e.into())
}

impl ImageCache {
    /// The cache of the pool at `pool`, whose directories exist. About `max` images are kept,
    /// none with 0. What a crash left incomplete is discarded.
    pub fn open(pool: &Path, max: usize) -> Result<ImageCache> {
        let root = Root::open_tree(pool, Symlinks::Refuse, Mounts::Refuse).map_err(failed)?;
        let repository = root.dir(REPOSITORY).map_err(failed)?;
        let index = Index::open(pool.join(REPOSITORY).join(INDEX))?;
        let cache = ImageCache {
            pool: root,
            path: pool.to_owned(),
            max,
            state: Mutex::new(State {
                index,
                used: BTreeMap::new(),
            }),
        };
        for entry in repository.read_dir(".").map_err(failed)? {
            let name = entry.map_err(failed)?.name;
            if let Some(name) = name.to_str().filter(|name| name.starts_with(STAGING)) {
                cache.discard(name)?;
            }
        }
        cache.evict(None)?;
        Ok(cache)
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
        let dir = Path::new(REPOSITORY).join(sha256);
        let rootfs = match self.pool.dir(dir.join(ROOTFS)) {
            Ok(rootfs) => rootfs,
            Err(e) if e.errno() == Errno::ENOENT => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let info: Objects<Info> = Objects::open(self.path.join(&dir).join(INFO)).map_err(failed)?;
        let Ok(Some(info)) = info.load("image") else {
            // Damaged: it is unpacked again.
            self.discard(sha256)?;
            return Ok(None);
        };
        let used = state.used.entry(sha256.to_owned()).or_default();
        let cached = Cached {
            rootfs,
            facts: info.value.facts,
            sha256: sha256.to_owned(),
            _used: Arc::clone(used),
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = Time {
            sec: i64::try_from(now.as_secs()).unwrap_or(0),
            nsec: now.subsec_nanos(),
        };
        self.pool.set_times(&dir, now, now).map_err(failed)?;
        Ok(Some(cached))
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
        let random = RandomState::new().hash_one(sha256);
        let staging = format!("{STAGING}{sha256}-{random:016x}");
        let made = self
            .fill(&staging, path, file, key, limits, watch)
            .and_then(|()| {
                failpoint!("image.unpacked");
                let repository = Path::new(REPOSITORY);
                match self
                    .pool
                    .rename_new(repository.join(&staging), repository.join(sha256))
                {
                    Ok(()) => self.pool.sync_dir(REPOSITORY).map_err(failed),
                    // Somebody else unpacked the same image meanwhile.
                    Err(e) if e.errno() == Errno::EEXIST => self.discard(&staging),
                    Err(e) => Err(failed(e)),
                }
            });
        if made.is_err() {
            // The first error is the one that counts; the next start tries again.
            let _ = self.discard(&staging);
        }
        made
    }

    fn fill(
        &self,
        staging: &str,
        path: &Path,
        file: &File,
        key: &FileKey,
        limits: &Limits,
        watch: Watch<'_>,
    ) -> Result<()> {
        let dir = Path::new(REPOSITORY).join(staging);
        self.pool.mkdir(&dir, 0o700).map_err(failed)?;
        self.pool.mkdir(dir.join(ROOTFS), 0o700).map_err(failed)?;
        let rootfs = self.pool.dir(dir.join(ROOTFS)).map_err(failed)?;
        let mut input = file;
        input.seek(SeekFrom::Start(0)).map_err(failed)?;
        let image = archive::unpack(input, Some(key.size), &rootfs, limits, watch)?;
        for warning in &image.warnings {
            tracing::warn!(image = %path.display(), "{warning}");
        }
        // What was unpacked must be what was hashed.
        if FileKey::of(file)? != *key {
            return Err(Error::Changed(path.to_owned()));
        }
        let info: Objects<Info> = Objects::open(self.path.join(&dir).join(INFO)).map_err(failed)?;
        info.create("image", Info { facts: image.facts })
            .map_err(failed)?;
        let top = self
            .pool
            .open(
                &dir,
                nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY,
                0,
            )
            .map_err(failed)?;
        rustix::fs::syncfs(top.as_fd()).map_err(failed)
    }

    /// Moves an image, or a half one, to the trash of the pool.
    fn discard(&self, name: &str) -> Result<()> {
        let random = RandomState::new().hash_one(name);
        let short = name.trim_start_matches(STAGING).get(..12).unwrap_or("");
        let to = Path::new(TRASH).join(format!("image-{short}-{random:016x}"));
        match self.pool.rename_new(Path::new(REPOSITORY).join(name), to) {
            Err(e) if e.errno() != Errno::ENOENT => Err(failed(e)),
            _ => Ok(()),
        }
    }

    /// Discards the images that were not used for longest, until there are not too many. Those in
    /// use, and `keep`, stay.
    fn evict(&self, keep: Option<&str>) -> Result<()> {
        let mut state = self.lock();
        state.used.retain(|_, used| Arc::strong_count(used) > 1);
        let repository = self.pool.dir(REPOSITORY).map_err(failed)?;
        let mut images: Vec<(Time, String)> = Vec::new();
        for entry in repository.read_dir(".").map_err(failed)? {
            let name = entry.map_err(failed)?.name;
            let Some(name) = name.to_str().filter(|name| is_hash(name)) else {
                continue;
            };
            let stat = repository.stat(name).map_err(failed)?;
            if stat.kind() == Kind::Dir {
                images.push((stat.mtime, name.to_owned()));
            }
        }
        images.sort();
        let mut excess = images.len().saturating_sub(self.max);
        for (_, name) in images {
            if excess == 0 {
                break;
            }
            if keep == Some(&name) || state.used.contains_key(&name) {
                continue;
            }
            self.discard(&name)?;
            excess -= 1;
        }
        Ok(())
    }

    /// Images that are kept, as hashes of their archives, sorted.
    pub fn list(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        let repository = self.pool.dir(REPOSITORY).map_err(failed)?;
        for entry in repository.read_dir(".").map_err(failed)? {
            let name = entry.map_err(failed)?.name;
            all.extend(
                name.to_str()
                    .filter(|name| is_hash(name))
                    .map(str::to_owned),
            );
        }
        all.sort();
        Ok(all)
    }
}
