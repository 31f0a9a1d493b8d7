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

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::source::{Counted, read_error};
use super::{Error, Facts, Limits, Result, archive};
use crate::failpoint;
use crate::storage::{Cause, Watch};
use crate::store::{Document, Objects, Stored};

const REPOSITORY: &str = "repository";
const TRASH: &str = "trash";
const STAGING: &str = ".new-";
const ROOTFS: &str = "rootfs";
const INFO: &str = "info";
const INDEX: &str = "index";
/// Files whose hash is remembered.
const MAX_FILES: usize = 256;
/// A file that was changed less than this ago, in nanoseconds, may be changed again without its
/// times showing it.
const SETTLED: i128 = 100_000_000;

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
    files: Objects<Files>,
    known: Stored<Files>,
    /// Images that are being copied; they are not removed.
    used: BTreeMap<String, Arc<()>>,
}

/// Which file has which hash.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Files {
    files: Vec<KnownFile>,
}

impl Document for Files {
    const KIND: &'static str = "image index";
    const VERSION: u32 = 1;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileKey {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    /// Nobody can set this one.
    ctime: (i64, i64),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KnownFile {
    key: FileKey,
    sha256: String,
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

impl FileKey {
    fn of(file: &File) -> Result<FileKey> {
        let meta = file.metadata().map_err(failed)?;
        Ok(FileKey {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether a change from now on would show.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let changed = i128::from(self.ctime.0) * 1_000_000_000 + i128::from(self.ctime.1);
        i128::try_from(now.as_nanos()).unwrap_or(0) - changed > SETTLED
    }
}

/// Hash of a file, in hexadecimal digits.
fn hash(file: &File, size: u64, watch: Watch<'_>) -> Result<String> {
    let mut input = Counted::new(file, Some(size), watch);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer).map_err(read_error)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect())
}

fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl ImageCache {
    /// The cache of the pool at `pool`, whose directories exist. About `max` images are kept,
    /// none with 0. What a crash left incomplete is discarded.
    pub fn open(pool: &Path, max: usize) -> Result<ImageCache> {
        let root = Root::open_tree(pool, Symlinks::Refuse, Mounts::Refuse).map_err(failed)?;
        let repository = root.dir(REPOSITORY).map_err(failed)?;
        let files: Objects<Files> =
            Objects::open(pool.join(REPOSITORY).join(INDEX)).map_err(failed)?;
        let known = match files.load("files") {
            Ok(found) => found.unwrap_or_else(|| Stored::new(Files::default())),
            // It only saves time: one that can't be read is made anew.
            Err(e) => {
                tracing::warn!(error = %e, "the index of the image cache is made anew");
                Stored::new(Files::default())
            }
        };
        let cache = ImageCache {
            pool: root,
            path: pool.to_owned(),
            max,
            state: Mutex::new(State {
                files,
                known,
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
        let known = self.known(&key);
        let sha256 = match &known {
            Some(sha256) => sha256.clone(),
            None => hash(&file, key.size, watch)?,
        };
        if FileKey::of(&file)? != key {
            return Err(Error::Changed(path.to_owned()));
        }
        if let Some(cached) = self.find(&sha256)? {
            if known.is_none() {
                self.remember(&key, &sha256);
            }
            return Ok(cached);
        }
        self.unpack(path, &file, &key, &sha256, limits, watch)?;
        self.remember(&key, &sha256);
        match self.find(&sha256)? {
            Some(cached) => {
                self.evict(Some(&sha256))?;
                Ok(cached)
            }
            None => Err(failed("the image vanished from the cache")),
        }
    }

    fn known(&self, key: &FileKey) -> Option<String> {
        let state = self.lock();
        let files = &state.known.value.files;
        let found = files.iter().find(|f| f.key == *key)?;
        is_hash(&found.sha256).then(|| found.sha256.clone())
    }

    fn remember(&self, key: &FileKey, sha256: &str) {
        if !key.is_settled() {
            return;
        }
        let mut state = self.lock();
        let State { files, known, .. } = &mut *state;
        let list = &mut known.value.files;
        list.retain(|f| (f.key.dev, f.key.ino) != (key.dev, key.ino));
        list.push(KnownFile {
            key: key.clone(),
            sha256: sha256.to_owned(),
        });
        if list.len() > MAX_FILES {
            list.remove(0);
        }
        if let Err(e) = files.save("files", known) {
            tracing::warn!(error = %e, "the index of the image cache is not kept");
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
        let Some(info) = info.load("image").map_err(failed)? else {
            return Err(failed(format!("image {sha256} has no description")));
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
        use std::io::{Seek, SeekFrom};
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
