//! A directory of documents, one per object.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks};

use super::document::{decode, encode};
use super::replace::{remove_leftovers, replace};
use super::{Document, Error, MAX_DOCUMENT, Result, Stored};
use crate::failpoint;

const LIVE: &str = ".json";
const DELETING: &str = ".json.deleting";
/// File name of the object whose key is empty: the root of a tree of objects.
const ROOT: &str = "@";
/// Deepest nesting of keys.
const MAX_DEPTH: usize = 16;

/// One object of a directory, or why it can't be had.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The object's key.
    pub key: String,
    /// Its deletion had begun; the side effects are to be finished.
    pub deleting: bool,
    /// The object.
    pub object: Result<Stored<T>>,
}

/// The objects of one kind, kept below one directory as `KEY.json`.
///
/// A key is one or more components of letters, digits, `_` and `-`, joined by `/` (`a/b` is kept
/// as `a/b.json`); the empty key is kept as `@.json`. Objects of different keys may be written
/// from several threads at once; one object has one writer.
#[derive(Debug)]
pub struct Objects<T> {
    root: Root,
    path: PathBuf,
    waits: Waits,
    kind: PhantomData<fn(T) -> T>,
}

/// Tells why whatever touched the disk now would wait, for who knows how long and out of reach of
/// any signal; asked before each of them.
#[derive(Clone)]
pub struct Waits(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl Waits {
    /// What is told by `why`, which must not touch that disk itself.
    pub fn new(why: impl Fn() -> Option<String> + Send + Sync + 'static) -> Waits {
        Waits(Arc::new(why))
    }

    /// A disk of the host's, which the daemon can't do without.
    fn never() -> Waits {
        Waits::new(|| None)
    }

    fn check(&self) -> Result<()> {
        (self.0)().map_or(Ok(()), |why| Err(Error::Waits(why)))
    }
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waits")
    }
}

struct Place {
    /// Relative directory; empty for the top.
    dir: PathBuf,
    stem: String,
}

fn is_component(s: &str) -> bool {
    !s.is_empty()
        && s.len() <= 200
        && !s.starts_with('-')
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn place(key: &str) -> Result<Place> {
    if key.is_empty() {
        return Ok(Place {
            dir: PathBuf::new(),
            stem: ROOT.to_owned(),
        });
    }
    let (dir, stem) = key.rsplit_once('/').unwrap_or(("", key));
    if key.split('/').all(is_component) && key.split('/').count() <= MAX_DEPTH {
        Ok(Place {
            dir: PathBuf::from(dir),
            stem: stem.to_owned(),
        })
    } else {
        Err(Error::Key(key.chars().take(64).collect()))
    }
}

impl<T: Document> Objects<T> {
    /// Opens the directory at `path`, making it (0700) when it is missing, and removes what
    /// interrupted writes left there. No other process may write to it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Objects<T>> {
        Objects::open_on(path, Waits::never())
    }

    /// The same on a disk that may leave those who use it waiting: they are refused instead.
    pub fn open_on(path: impl Into<PathBuf>, waits: Waits) -> Result<Objects<T>> {
        waits.check()?;
        let path = path.into();
        if let Err(e) = std::fs::create_dir(&path) {
            if e.kind() != std::io::ErrorKind::AlreadyExists {
                return Err(Error::io("make", path, e));
            }
        } else {
            // Below the umask of whoever started the daemon.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(&path, mode).map_err(|e| Error::io("make", &path, e))?;
        }
        let root = Root::open_tree(&path, Symlinks::Refuse, Mounts::Refuse)
            .map_err(|e| Error::io("open", &path, e))?;
        let objects = Objects {
            root,
            path,
            waits,
            kind: PhantomData,
        };
        for dir in objects.dirs()? {
            let tree = objects.open_dir(&dir)?;
            remove_leftovers(&tree, &objects.path.join(&dir))
                .map_err(|e| Error::io("clean", objects.path.join(&dir), e))?;
        }
        Ok(objects)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, place: &Place, suffix: &str) -> PathBuf {
        self.path
            .join(&place.dir)
            .join(format!("{}{suffix}", place.stem))
    }

    fn open_dir(&self, dir: &Path) -> Result<Root> {
        let relative = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        self.root
            .dir(relative)
            .map_err(|e| Error::io("open", self.path.join(dir), e))
    }

    /// All directories that may hold documents, the top (empty) first.
    fn dirs(&self) -> Result<Vec<PathBuf>> {
        let mut dirs = vec![PathBuf::new()];
        let mut next = 0;
        while let Some(dir) = dirs.get(next).cloned() {
            next += 1;
            if dir.components().count() >= MAX_DEPTH {
                continue;
            }
            let relative = if dir.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &dir
            };
            let failed = |e| Error::io("list", self.path.join(&dir), e);
            let tree = self.root.dir(relative).map_err(failed)?;
            for entry in tree.read_dir(".").map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if let Some(name) = entry.name.to_str()
                    && is_component(name)
                    && entry.kind_in(&tree).map_err(failed)? == Kind::Dir
                {
                    dirs.push(dir.join(name));
                }
            }
        }
        Ok(dirs)
    }

    /// Loads one object; `None` when it does not exist or is being deleted.
    pub fn load(&self, key: &str) -> Result<Option<Stored<T>>> {
        self.waits.check()?;
        let place = place(key)?;
        match self.read(&place, LIVE) {
            Ok(object) => Ok(Some(object)),
            Err(Error::Io { source, .. })
                if source
                    .downcast_ref::<osctl_linux::error::Error>()
                    .is_some_and(|e| e.errno() == Errno::ENOENT) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn read(&self, place: &Place, suffix: &str) -> Result<Stored<T>> {
        let path = self.file(place, suffix);
        let relative = place.dir.join(format!("{}{suffix}", place.stem));
        let bytes = self.root.read(relative, MAX_DOCUMENT).map_err(|e| {
            if e.errno() == Errno::EFBIG {
                Error::TooLarge(path.clone())
            } else {
                Error::io("read", &path, e)
            }
        })?;
        decode(&path, &bytes)
    }

    /// Loads all objects, by key; one that can't be read does not take the others with it.
    pub fn load_all(&self) -> Result<Vec<Loaded<T>>> {
        self.waits.check()?;
        let mut all = Vec::new();
        for dir in self.dirs()? {
            let failed = |e| Error::io("list", self.path.join(&dir), e);
            for entry in self.open_dir(&dir)?.read_dir(".").map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let Some(name) = entry.name.to_str() else {
                    continue;
                };
                let (stem, suffix) = match (name.strip_suffix(LIVE), name.strip_suffix(DELETING)) {
                    (Some(stem), _) => (stem, LIVE),
                    (None, Some(stem)) => (stem, DELETING),
                    (None, None) => continue,
                };
                let top = dir.as_os_str().is_empty();
                let named = is_component(stem) || (top && stem == ROOT);
                if !named {
                    continue;
                }
                let place = Place {
                    dir: dir.clone(),
                    stem: stem.to_owned(),
                };
                let key = if top && stem == ROOT {
                    String::new()
                } else {
                    dir.join(stem).to_string_lossy().into_owned()
                };
                all.push(Loaded {
                    key,
                    deleting: suffix == DELETING,
                    object: self.read(&place, suffix),
                });
            }
        }
        all.sort_by(|a, b| a.key.cmp(&b.key).then(a.deleting.cmp(&b.deleting)));
        Ok(all)
    }

    fn has(&self, place: &Place, suffix: &str) -> Result<bool> {
        let relative = place.dir.join(format!("{}{suffix}", place.stem));
        let found = self.root.try_stat(relative);
        let found = found.map_err(|e| Error::io("examine", self.file(place, suffix), e))?;
        Ok(found.is_some())
    }

    /// Refuses a key that has an object: also one that can't be read, or is being deleted.
    pub fn check_free(&self, key: &str) -> Result<()> {
        self.waits.check()?;
        let place = place(key)?;
        for suffix in [LIVE, DELETING] {
            if self.has(&place, suffix)? {
                return Err(Error::Exists(self.file(&place, suffix)));
            }
        }
        Ok(())
    }

    /// Writes a new object; one that exists, even one that is being deleted, is an error.
    pub fn create(&self, key: &str, value: T) -> Result<Stored<T>> {
        self.check_free(key)?;
        let mut object = Stored::new(value);
        self.save(key, &mut object)?;
        Ok(object)
    }

    /// Writes an object, replacing what was stored. Its generation goes up by one, in memory
    /// only when the new one is on the disk. One that is being deleted stays so.
    pub fn save(&self, key: &str, object: &mut Stored<T>) -> Result<()> {
        self.waits.check()?;
        let place = place(key)?;
        if self.has(&place, DELETING)? {
            return Err(Error::Deleting(self.file(&place, DELETING)));
        }
        let path = self.file(&place, LIVE);
        let generation = object.generation.saturating_add(1);
        let bytes = encode(&path, generation, &object.value)?;
        self.ensure_dir(&place.dir)?;
        let dir = self.open_dir(&place.dir)?;
        replace(&dir, &format!("{}{LIVE}", place.stem), &bytes)
            .map_err(|e| Error::io("write", path, e))?;
        object.generation = generation;
        Ok(())
    }

    fn ensure_dir(&self, dir: &Path) -> Result<()> {
        let mut so_far = PathBuf::new();
        for component in dir.components() {
            let above = so_far.clone();
            so_far.push(component);
            let failed = |e| Error::io("make", self.path.join(&so_far), e);
            match self.root.mkdir(&so_far, 0o700) {
                Ok(()) => {
                    let above = if above.as_os_str().is_empty() {
                        Path::new(".")
                    } else {
                        &above
                    };
                    self.root.sync_dir(above).map_err(failed)?;
                }
                Err(e) if e.errno() == Errno::EEXIST => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }

    /// Marks an object as being deleted: from here on it does not exist for [`Objects::load`],
    /// and [`Objects::load_all`] tells that its side effects are to be undone.
    pub fn mark_deleting(&self, key: &str) -> Result<()> {
        self.waits.check()?;
        let place = place(key)?;
        let failed = |e| Error::io("mark as deleted", self.file(&place, LIVE), e);
        let dir = self.open_dir(&place.dir)?;
        let (from, to) = (
            format!("{}{LIVE}", place.stem),
            format!("{}{DELETING}", place.stem),
        );
        dir.rename(from, to).map_err(failed)?;
        failpoint!("store.marked");
        dir.sync_dir(".").map_err(failed)
    }

    /// Whether an object is marked as being deleted.
    pub fn is_deleting(&self, key: &str) -> Result<bool> {
        self.waits.check()?;
        self.has(&place(key)?, DELETING)
    }

    /// Takes the mark of [`Objects::mark_deleting`] off again, when the deletion could not begin.
    pub fn unmark_deleting(&self, key: &str) -> Result<()> {
        self.waits.check()?;
        let place = place(key)?;
        let failed = |e| Error::io("restore", self.file(&place, LIVE), e);
        let dir = self.open_dir(&place.dir)?;
        let (from, to) = (
            format!("{}{DELETING}", place.stem),
            format!("{}{LIVE}", place.stem),
        );
        dir.rename_new(from, to).map_err(failed)?;
        dir.sync_dir(".").map_err(failed)
    }

    /// Forgets an object that was marked; the last step of a deletion. Also when it is gone.
    pub fn forget(&self, key: &str) -> Result<()> {
        self.waits.check()?;
        let place = place(key)?;
        let failed = |e| Error::io("remove", self.file(&place, DELETING), e);
        let Some(dir) = self.try_open_dir(&place.dir)? else {
            return Ok(());
        };
        match dir.unlink(format!("{}{DELETING}", place.stem)) {
            Ok(()) => {}
            Err(e) if e.errno() == Errno::ENOENT => return Ok(()),
            Err(e) => return Err(failed(e)),
        }
        dir.sync_dir(".").map_err(failed)?;
        // Directories of keys that are no more; those that are still used say ENOTEMPTY.
        let mut above = place.dir.as_path();
        while !above.as_os_str().is_empty() && self.root.rmdir(above).is_ok() {
            above = above.parent().unwrap_or(Path::new(""));
        }
        Ok(())
    }

    fn try_open_dir(&self, dir: &Path) -> Result<Option<Root>> {
        if dir.as_os_str().is_empty() {
            return self.open_dir(dir).map(Some);
        }
        match self.root.try_stat(dir) {
            Ok(None) => Ok(None),
            Ok(Some(_)) => self.open_dir(dir).map(Some),
            Err(e) => Err(Error::io("open", self.path.join(dir), e)),
        }
    }
}
