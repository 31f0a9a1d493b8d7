//! Which file has which hash, so that an archive is not hashed again for every container.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::source::{Counted, read_error};
use super::super::{Error, Result};
use crate::storage::Watch;
use crate::store::{Document, Objects, Stored};

/// Files whose hash is remembered.
const MAX_FILES: usize = 256;
/// A file that was changed less than this ago, in nanoseconds, may be changed again without its
/// times showing it.
const SETTLED: i128 = 100_000_000;
/// Key of the only document.
const KEY: &str = "files";

/// What tells that a file is still the one that was hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileKey {
    dev: u64,
    ino: u64,
    /// In bytes.
    pub(super) size: u64,
    mtime: (i64, i64),
    /// Nobody can set this one.
    ctime: (i64, i64),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KnownFile {
    key: FileKey,
    sha256: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Files {
    files: Vec<KnownFile>,
}

impl Document for Files {
    const KIND: &'static str = "image index";
    const VERSION: u32 = 1;
}

impl FileKey {
    pub(super) fn of(file: &File) -> Result<FileKey> {
        let meta = file.metadata().map_err(|e| Error::Cache(e.into()))?;
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

/// The remembered hashes.
#[derive(Debug)]
pub(super) struct Index {
    objects: Objects<Files>,
    files: Stored<Files>,
}

impl Index {
    /// Reads the index in the directory `path`.
    pub(super) fn open(path: PathBuf) -> Result<Index> {
        let objects: Objects<Files> = Objects::open(path).map_err(|e| Error::Cache(e.into()))?;
        let files = objects.load(KEY).unwrap_or_else(|e| {
            // It only saves time: one that can't be read is made anew.
            tracing::warn!(error = %e, "the index of the image cache is made anew");
            None
        });
        Ok(Index {
            objects,
            files: files.unwrap_or_else(|| Stored::new(Files::default())),
        })
    }

    /// The hash of the file that `key` describes.
    pub(super) fn find(&self, key: &FileKey) -> Option<String> {
        let files = &self.files.value.files;
        let found = files.iter().find(|f| f.key == *key)?;
        is_hash(&found.sha256).then(|| found.sha256.clone())
    }

    /// Remembers a hash, unless the file was changed just now.
    pub(super) fn remember(&mut self, key: &FileKey, sha256: &str) {
        if !key.is_settled() {
            return;
        }
        let list = &mut self.files.value.files;
        list.retain(|f| (f.key.dev, f.key.ino) != (key.dev, key.ino));
        list.push(KnownFile {
            key: key.clone(),
            sha256: sha256.to_owned(),
        });
        if list.len() > MAX_FILES {
            list.remove(0);
        }
        if let Err(e) = self.objects.save(KEY, &mut self.files) {
            tracing::warn!(error = %e, "the index of the image cache is not kept");
        }
    }
}

/// Hash of a file of `size` bytes, in hexadecimal digits.
pub(super) fn hash(file: &File, size: u64, watch: Watch<'_>) -> Result<String> {
    let mut input = Counted::new(file, Some(size), watch);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer).map_err(read_error)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let bytes = hasher.finalize();
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Whether a string is the hash of an image.
pub(super) fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
