//! The back end `dir`: a directory on any Linux file system, shared extents where it has them.
//!
//! ```text
//! ct/ID/private    root directory of a container, ids unshifted
//! ct/ID/new        there while the container has no configuration yet
//! ct/.new-ID-RAND  a container that is being made
//! repository/KEY/rootfs          an image
//! repository/.new-KEY-RAND       an image that is being made
//! trash/           what is to be removed
//! conf/ hook/ log/ repository/   others' business; made here
//! ```
//! All of it is accessible to root only, so that setuid programs and sockets of containers are out
//! of the host users' reach.

mod disk;
mod images;
mod layout;
mod snapshots;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use osctl_linux::beneath::{Kind, Root};

use self::images::REPOSITORY;
use super::usage::usage;
use super::{
    Datasets, Disk, Emptied, Error, Note, Populate, Result, Space, Storage, Trashed, Watch,
    check_id, copy_tree, text, trashed_at, unique,
};
use crate::failpoint;

const CT: &str = "ct";
const TRASH: &str = "trash";
const ROOTFS: &str = "private";
const NEW: &str = "new";
const STAGING: &str = ".new-";

/// A pool in a directory.
#[derive(Debug)]
pub struct DirStorage {
    path: PathBuf,
    root: Root,
}

fn failed(
    action: &'static str,
    what: impl Into<String>,
) -> impl FnOnce(osctl_linux::error::Error) -> Error {
    let what = what.into();
    move |e| Error::io(action, what, e)
}

impl DirStorage {
    fn read_dir(&self, path: &'static str) -> Result<impl Iterator<Item = Result<String>> + '_> {
        let shown = self.path.join(path).display().to_string();
        let entries = self.root.read_dir(path).map_err(failed("list", &shown))?;
        Ok(entries.map(move |entry| match entry {
            Ok(entry) => Ok(entry.name.to_string_lossy().into_owned()),
            Err(e) => Err(Error::io("list", &shown, e)),
        }))
    }

    fn stat_kind(&self, path: impl AsRef<Path>) -> Result<Option<Kind>> {
        let path = path.as_ref();
        self.root
            .try_stat(path)
            .map(|stat| stat.map(|s| s.kind()))
            .map_err(failed(
                "examine",
                self.path.join(path).display().to_string(),
            ))
    }

    fn sync(&self, dir: &str) -> Result<()> {
        let shown = self.path.join(dir).display().to_string();
        self.root.sync_dir(dir).map_err(failed("sync", shown))
    }

    fn container(&self, id: &str) -> Result<PathBuf> {
        check_id(id)?;
        Ok(Path::new(CT).join(id))
    }

    /// Moves what is at `path` to the trash.
    fn discard(&self, path: &Path, name: &str) -> osctl_linux::error::Result<()> {
        let to = Path::new(TRASH).join(format!("{name}-{}", unique()));
        self.root.rename_new(path, to)
    }

    fn recover_container(&self, id: &str, known: bool) -> Result<Option<Note>> {
        match (known, self.is_new(id)?) {
            (true, true) => self.complete(id).map(|()| None),
            (true, false) => Ok(None),
            (false, true) => {
                self.trash(id)?;
                Ok(Some(Note::Done(format!(
                    "discarded data of container {id}, which was being made"
                ))))
            }
            (false, false) => Ok(Some(Note::Odd(format!(
                "data of container {id} have no configuration; left alone"
            )))),
        }
    }

    fn populate(&self, id: &str, staging: &Path, populate: Populate<'_>) -> Result<()> {
        let mut mark_and_fill = |tree: &Root| {
            self.root
                .mknod(staging.join(NEW), Kind::File, 0o600, (0, 0))?;
            populate(tree)
        };
        self.fill(id, staging, ROOTFS, &mut mark_and_fill)
    }

    /// Makes the directory `staging` with a root directory `rootfs` in it; all of it is on the
    /// disk after that.
    fn fill(&self, id: &str, staging: &Path, rootfs: &str, populate: Populate<'_>) -> Result<()> {
        let whole = || format!("data of {id}");
        self.root
            .mkdir(staging, 0o700)
            .map_err(failed("make", whole()))?;
        let rootfs = staging.join(rootfs);
        self.root
            .mkdir(&rootfs, 0o700)
            .map_err(failed("make", whole()))?;
        self.root
            .chmod(&rootfs, 0o755)
            .map_err(failed("make", whole()))?;
        let tree = self.root.dir(&rootfs).map_err(failed("open", whole()))?;
        populate(&tree).map_err(|source| Error::populate(id, source))?;
        failpoint!("storage.populated");
        // The data must not be younger on the disk than the name. One syncfs is far cheaper than
        // one fsync per file.
        let dir = self
            .root
            .open(
                staging,
                nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY,
                0,
            )
            .map_err(failed("open", whole()))?;
        rustix::fs::syncfs(dir.as_fd()).map_err(|e| Error::io("sync", whole(), e))
    }
}

impl Datasets for DirStorage {}

impl Storage for DirStorage {
    fn backend(&self) -> &'static str {
        "dir"
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn ensure_layout(&self) -> Result<Vec<String>> {
        self.ensure_dirs()
    }

    fn recover(&self, known: &dyn Fn(&str) -> bool) -> Vec<Note> {
        let mut notes = Vec::new();
        for dir in [CT, REPOSITORY] {
            let names: Result<Vec<String>> = self.read_dir(dir).and_then(Iterator::collect);
            let names = names.unwrap_or_else(|e| {
                notes.push(Note::Odd(text(&e)));
                Vec::new()
            });
            for name in names {
                let note = if let Some(id) = name.strip_prefix(STAGING) {
                    self.discard(&Path::new(dir).join(&name), id)
                        .map(|()| Some(Note::Done(format!("discarded {name}: it was being made"))))
                        .map_err(failed("discard", &name))
                } else if dir == CT && check_id(&name).is_ok() {
                    self.recover_container(&name, known(&name))
                } else {
                    Ok(None)
                };
                notes.extend(note.unwrap_or_else(|e| Some(Note::Odd(text(&e)))));
            }
        }
        notes
    }

    fn create(&self, id: &str, populate: Populate<'_>) -> Result<()> {
        let target = self.container(id)?;
        if self.stat_kind(&target)?.is_some() {
            return Err(Error::Exists(id.to_owned()));
        }
        let staging = Path::new(CT).join(format!("{STAGING}{id}-{}", unique()));
        let made = self.populate(id, &staging, populate).and_then(|()| {
            match self.root.rename_new(&staging, &target) {
                Ok(()) => Ok(()),
                Err(e) if e.errno() == Errno::EEXIST => Err(Error::Exists(id.to_owned())),
                Err(e) => Err(Error::io("make", format!("data of container {id}"), e)),
            }
        });
        if made.is_err() {
            // Removing may take long and fail: the trash does that. Should even this fail, the
            // next start does it.
            let _ = self.discard(&staging, id);
            return made;
        }
        failpoint!("storage.created");
        self.sync(CT)
    }

    fn create_from(&self, id: &str, image: &str, watch: Watch<'_>) -> Result<()> {
        let image = self.image_tree(image)?;
        self.create(
            id,
            &mut |tree| Ok(copy_tree(&image, tree, watch).map(drop)?),
        )
    }

    fn is_new(&self, id: &str) -> Result<bool> {
        Ok(self.stat_kind(self.container(id)?.join(NEW))?.is_some())
    }

    fn complete(&self, id: &str) -> Result<()> {
        let path = self.container(id)?;
        match self.root.unlink(path.join(NEW)) {
            Ok(()) => Ok(()),
            Err(e) if e.errno() == Errno::ENOENT => match self.exists(id)? {
                true => Ok(()),
                false => Err(Error::NotFound(id.to_owned())),
            },
            Err(e) => Err(Error::io("complete", format!("data of container {id}"), e)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (self.container(from)?, self.container(to)?);
        match self.root.rename_new(&source, &target) {
            Ok(()) => self.sync(CT),
            Err(e) if e.errno() == Errno::ENOENT => Err(Error::NotFound(from.to_owned())),
            Err(e) if e.errno() == Errno::EEXIST => Err(Error::Exists(to.to_owned())),
            Err(e) => Err(Error::io("rename", format!("data of container {from}"), e)),
        }
    }

    fn trash(&self, id: &str) -> Result<()> {
        match self.discard(&self.container(id)?, id) {
            Ok(()) => {}
            Err(e) if e.errno() == Errno::ENOENT => return Err(Error::NotFound(id.to_owned())),
            Err(e) => return Err(Error::io("discard", format!("data of container {id}"), e)),
        }
        failpoint!("storage.trashed");
        self.sync(CT)
    }

    fn trashed(&self) -> Result<Vec<Trashed>> {
        let names = self.read_dir(TRASH)?;
        let item = |name: Result<String>| {
            let name = name?;
            Ok(Trashed {
                deleted_at: trashed_at(&name),
                name,
                ..Trashed::default()
            })
        };
        let mut all: Vec<Trashed> = names.map(item).collect::<Result<_>>()?;
        all.sort_by_key(|item| item.deleted_at);
        Ok(all)
    }

    fn empty_trash(&self, limit: u64) -> Result<Emptied> {
        let mut out = Emptied {
            done: true,
            ..Emptied::default()
        };
        let trash = self.root.dir(TRASH).map_err(failed("open", "the trash"))?;
        for entry in trash.read_dir(".").map_err(failed("list", "the trash"))? {
            let name = entry.map_err(failed("list", "the trash"))?.name;
            let left = limit.saturating_sub(out.removed);
            if left == 0 {
                out.done = false;
                return Ok(out);
            }
            let shown = || format!("{name:?} of the trash");
            match trash.remove_some(&name, left) {
                Ok(removal) => {
                    out.removed += removal.removed;
                    out.done &= removal.done;
                    let errors = removal.errors.into_iter();
                    out.errors
                        .extend(errors.map(|e| Error::io("remove", shown(), e)));
                }
                Err(e) => {
                    out.done = false;
                    out.errors.push(Error::io("remove", shown(), e));
                }
            }
        }
        Ok(out)
    }

    fn dataset(&self, id: &str) -> Result<PathBuf> {
        Ok(self.path.join(self.container(id)?))
    }

    fn rootfs(&self, id: &str) -> Result<PathBuf> {
        Ok(self.path.join(self.container(id)?).join(ROOTFS))
    }

    fn open_rootfs(&self, id: &str) -> Result<Root> {
        match self.root.dir(self.container(id)?.join(ROOTFS)) {
            Ok(tree) => Ok(tree),
            Err(e) if e.errno() == Errno::ENOENT => Err(Error::NotFound(id.to_owned())),
            Err(e) => Err(Error::io("open", format!("data of container {id}"), e)),
        }
    }

    fn exists(&self, id: &str) -> Result<bool> {
        Ok(self.stat_kind(self.container(id)?)?.is_some())
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for name in self.read_dir(CT)? {
            let name = name?;
            if check_id(&name).is_ok()
                && self.stat_kind(Path::new(CT).join(&name))? == Some(Kind::Dir)
            {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }

    fn ensure_mounted(&self, id: &str) -> Result<()> {
        self.open_rootfs(id).map(drop)
    }

    fn usage(&self, id: &str, watch: Watch<'_>) -> Result<u64> {
        usage(&self.open_rootfs(id)?, watch)
    }

    fn space(&self) -> Result<BTreeMap<String, Space>> {
        Ok(BTreeMap::new())
    }

    fn disk(&self) -> Result<Disk> {
        disk::disk_of(&self.path)
    }

    fn set_quota(&self, _id: &str, _bytes: Option<u64>) -> Result<()> {
        Err(Error::Unsupported("a pool in a directory has no quotas"))
    }

    fn keep_image(&self, key: &str, populate: Populate<'_>) -> Result<()> {
        self.put_image(key, populate)
    }

    fn has_image(&self, key: &str) -> Result<bool> {
        self.is_image(key)
    }

    fn images(&self) -> Result<Vec<String>> {
        self.image_keys()
    }

    fn discard_image(&self, key: &str) -> Result<()> {
        self.drop_image(key)
    }
}
