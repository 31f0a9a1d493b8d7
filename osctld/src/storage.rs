//! Where the data of a pool's containers live: the trait [`Storage`] and its back ends.
//!
//! A back end knows containers by their id only: not who calls, not what is in them, and nothing
//! of user namespaces: ids on the disk are unshifted. All functions block: call them where
//! blocking is allowed.

mod copy;
mod data;
pub mod datasets;
mod dir;
mod layout;
mod meta;
mod relay;
pub mod snapshots;
mod throttle;
pub mod transfer;
mod usage;
mod walk;
mod watch;
pub mod zfs;

#[cfg(test)]
mod contract_streams;
#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod dir_tests;
#[cfg(test)]
pub mod fake;
#[cfg(test)]
pub(crate) mod zoo;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use osctl_linux::beneath::Root;

pub use copy::{Copied, copy_tree};
pub use data::copy_data;
pub use datasets::Datasets;
pub use dir::DirStorage;
pub use meta::{Meta, is_kept_xattr};
pub use relay::{Broken, relay};
pub use snapshots::{Newer, Snapshot, Snapshots};
pub use throttle::Throttle;
#[cfg(test)]
pub(crate) use throttle::tests::timed;
pub use transfer::Along;
pub use walk::Cursor;
pub use watch::Watch;
pub use zfs::ZfsStorage;

/// The error of somebody else, as a cause.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why storage failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {what}")]
    Io {
        /// What was attempted: `rename`, `list`, …
        action: &'static str,
        /// On what: a container, a path.
        what: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A string that is no name of a container's data.
    #[error("{0:?} can't be the name of a container's data")]
    Name(String),
    /// The container has data already.
    #[error("data of container {0} exist already")]
    Exists(String),
    /// The container has no data.
    #[error("container {0} has no data")]
    NotFound(String),
    /// A string that is no name of a snapshot.
    #[error("{0:?} can't be the name of a snapshot")]
    SnapshotName(String),
    /// The container has such a snapshot already.
    #[error("container {id} has a snapshot {name} already")]
    SnapshotExists {
        /// The container.
        id: String,
        /// The snapshot.
        name: String,
    },
    /// The container has no such snapshot.
    #[error("container {id} has no snapshot {name}")]
    NoSnapshot {
        /// The container.
        id: String,
        /// The snapshot.
        name: String,
    },
    /// The container has such a dataset already.
    #[error("container {id} has a dataset {name} already")]
    DatasetExists {
        /// The container.
        id: String,
        /// The dataset.
        name: String,
    },
    /// The container has no such dataset.
    #[error("container {id} has no dataset {name}")]
    NoDataset {
        /// The container.
        id: String,
        /// The dataset.
        name: String,
    },
    /// A rollback would lose snapshots.
    #[error("container {id} has snapshots that are newer than {name}: {}", newer.join(", "))]
    Newer {
        /// The container.
        id: String,
        /// The snapshot.
        name: String,
        /// Those that are newer.
        newer: Vec<String>,
    },
    /// A snapshot has more in one of the container's datasets than that may have by now.
    #[error(
        "snapshot {name} has {bytes} bytes in {}, of which {quota} are allowed",
        in_dataset(dataset)
    )]
    OverQuota {
        /// The snapshot.
        name: String,
        /// The dataset; the container's own is empty.
        dataset: String,
        /// Bytes that it has in the snapshot.
        bytes: u64,
        /// Bytes that it may have.
        quota: u64,
    },
    /// A rollback has begun and could not be finished, nor undone.
    #[error("a part of the data of container {id} is at snapshot {name} already, the rest is not")]
    HalfReturned {
        /// The container.
        id: String,
        /// The snapshot.
        name: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A snapshot is needed by something, which the text names.
    #[error("{0}")]
    InUse(String),
    /// What was to fill a new container or image failed; nothing of it is left.
    #[error("cannot fill {id}")]
    Populate {
        /// The container, or the image.
        id: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A directory that should become a pool holds something else.
    #[error("{} is not empty and is not a pool", .0.display())]
    NotEmpty(PathBuf),
    /// A directory that should be a pool is none.
    #[error("{} is not a pool", .0.display())]
    NotAPool(PathBuf),
    /// Part of a pool is not as it must be, and repairing it could do harm.
    #[error("{}: {problem}", path.display())]
    Layout {
        /// The part.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such image.
    #[error("there is no image {0}")]
    NoImage(String),
    /// A stream that is not received; what was there before it is as it was.
    #[error("the stream of {what} {problem}")]
    Stream {
        /// What it was to become.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The pool of ZFS waits for its disks.
    #[error(
        "pool {0} is suspended, as its disks do not answer: `zpool status {0}` tells more, \
         `zpool clear {0}` lets it go on once they are back"
    )]
    Suspended(String),
    /// A dataset is encrypted, and there is no key for it.
    #[error("dataset {0} is locked: its key is not loaded")]
    Locked(String),
    /// The back end can't do that.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The job was cancelled.
    #[error("cancelled")]
    Cancelled,
}

fn in_dataset(name: &str) -> String {
    match name {
        "" => "the root file system".to_owned(),
        name => format!("dataset {name}"),
    }
}

/// Result of storage.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(
        action: &'static str,
        what: impl Into<String>,
        source: impl Into<Cause>,
    ) -> Error {
        Error::Io {
            action,
            what: what.into(),
            source: source.into(),
        }
    }
}

impl Error {
    /// What filling a container or image failed with; an error of storage is the error itself.
    fn populate(id: &str, source: Cause) -> Error {
        match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => Error::Populate {
                id: id.to_owned(),
                source,
            },
        }
    }
}

/// What one portion of emptying the trash came to.
#[derive(Debug, Default)]
pub struct Emptied {
    /// Objects (files, directories, …) that were removed.
    pub removed: u64,
    /// Whether the trash is empty now. When it is not and nothing was removed, the errors tell
    /// why, or something that exists needs what is in it: calling again at once is of no use.
    pub done: bool,
    /// What could not be removed; the rest went on.
    pub errors: Vec<Error>,
}

/// Something in the trash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trashed {
    /// Its name there.
    pub name: String,
    /// When it came there, seconds since 1970.
    pub deleted_at: Option<i64>,
    /// Bytes that it takes, where that is known without looking at its files.
    pub used: Option<u64>,
    /// What was made of it and keeps it from being removed.
    pub needed_by: Vec<String>,
}

/// What recovering found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Something was finished or undone.
    Done(String),
    /// Something is not as it should be and was left alone.
    Odd(String),
}

/// What a container takes, as the back end accounts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that deleting it would free.
    pub used: u64,
    /// Bytes that its files take, shared ones too.
    pub referenced: u64,
    /// Most bytes that its files may take.
    pub quota: Option<u64>,
}

/// A disk of the host, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Of its driver.
    pub major: u32,
    /// Which of those.
    pub minor: u32,
}

impl Disk {
    /// The device of a number of `stat(2)`.
    pub(crate) fn of(device: u64) -> Disk {
        Disk {
            major: rustix::fs::major(device),
            minor: rustix::fs::minor(device),
        }
    }
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// What a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What any receiver understands.
    Plain,
    /// Blocks as they are on the disk: compressed, large.
    Compact,
}

/// What a back end says that has no streams.
const NO_STREAMS: Error =
    Error::Unsupported("a pool in a directory has no streams of ZFS: its files are copied");

/// Fills the root directory of a new container, or of an image.
pub type Populate<'a> = &'a mut dyn FnMut(&Root) -> std::result::Result<(), Cause>;

/// The data of a pool's containers.
pub trait Storage: Snapshots + Datasets + Debug + Send + Sync {
    /// Name of the back end: `dir`, `zfs`.
    fn backend(&self) -> &'static str;

    /// The directory that holds the pool.
    fn path(&self) -> &Path;

    /// Makes what is missing of the pool's directories and repairs their modes; tells what it
    /// did.
    fn ensure_layout(&self) -> Result<Vec<String>>;

    /// Finishes or undoes what a crash left half done; to be called once, before anything is
    /// created. `known` tells which ids have a configuration: new data that never got one are
    /// discarded. Tells what it did and what it found odd; data without a configuration that
    /// were complete are left alone.
    fn recover(&self, known: &dyn Fn(&str) -> bool) -> Vec<Note>;

    /// Makes the data of a new container. `populate` fills its root directory, which is empty,
    /// 0755 and owned by root. When this returns, all of it is on the disk; when it fails or the
    /// process is killed, there is no such container. The data count as new until
    /// [`Storage::complete`].
    fn create(&self, id: &str, populate: Populate<'_>) -> Result<()>;

    /// Makes the data of a new container from an image, without a copy where the back end can;
    /// otherwise as [`Storage::create`].
    fn create_from(&self, id: &str, image: &str, watch: Watch<'_>) -> Result<()>;

    /// Makes new data that are those of a container that does not run, without its datasets, for one
    /// run of it: without a copy where the back end can.
    fn copy_own(&self, id: &str, to: &str) -> Result<()> {
        let own = self.open_rootfs(id)?;
        self.create(to, &mut |tree| {
            Ok(copy_tree(&own, tree, Watch::none()).map(drop)?)
        })
    }

    /// Whether a container's data are new: made, and not permanent yet.
    fn is_new(&self, id: &str) -> Result<bool>;

    /// Makes new data permanent; to be called when the container's configuration is on the disk.
    fn complete(&self, id: &str) -> Result<()>;

    /// Gives a container's data another id.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Gives a container the data of a new one, `with`, and moves its own to the trash; datasets
    /// below its own stay, and so do its snapshots when `with` is its successor. Begun, it is gone on with by asking for the same again, also when it was
    /// done.
    fn replace(&self, id: &str, with: &str) -> Result<()> {
        if self.exists(with)? {
            if self.exists(id)? {
                self.hand_over(id, with)?;
                self.trash(id)?;
            }
            crate::failpoint!("storage.replacing");
            self.rename(with, id)?;
        }
        self.complete(id)
    }

    /// Makes new data that get the snapshots of a container when they take its place
    /// ([`Storage::replace`]), which has the snapshot `name` of what it has now and none after it.
    /// `populate` fills them as with [`Storage::create`].
    fn create_successor(
        &self,
        _id: &str,
        _name: &str,
        _to: &str,
        _populate: Populate<'_>,
    ) -> Result<()> {
        Err(Error::Unsupported(
            "only pools of ZFS keep old files as snapshots",
        ))
    }

    /// Moves what outlasts a container's data to those that take their place; a back end without
    /// such things has nothing to do.
    fn hand_over(&self, _from: &str, _to: &str) -> Result<()> {
        Ok(())
    }

    /// Moves a container's data to the trash: at once, whatever their size.
    fn trash(&self, id: &str) -> Result<()>;

    /// What is in the trash, oldest first.
    fn trashed(&self) -> Result<Vec<Trashed>>;

    /// Removes about `limit` objects from the trash; to be called until [`Emptied::done`].
    fn empty_trash(&self, limit: u64) -> Result<Emptied>;

    /// Keeps a tree as an image to make containers from, under a key (a hash, for instance).
    /// `populate` fills it as with [`Storage::create`]; all or nothing of it is kept. When there
    /// is one already, it stays.
    fn keep_image(&self, key: &str, populate: Populate<'_>) -> Result<()>;

    /// Whether there is such an image.
    fn has_image(&self, key: &str) -> Result<bool>;

    /// Keys of all images, sorted.
    fn images(&self) -> Result<Vec<String>>;

    /// Moves an image to the trash; fine when there is none. Containers made from it stay.
    fn discard_image(&self, key: &str) -> Result<()>;

    /// Path of what holds a container's data, whether it exists or not.
    fn dataset(&self, id: &str) -> Result<PathBuf>;

    /// Path of a container's root directory, whether it exists or not. What is there is seen after
    /// [`Storage::ensure_mounted`].
    fn rootfs(&self, id: &str) -> Result<PathBuf>;

    /// Makes a container's root directory visible at its path.
    fn ensure_mounted(&self, id: &str) -> Result<()>;

    /// Opens a container's root directory as a tree that can't be left; symbolic links and
    /// mounts in it are refused.
    fn open_rootfs(&self, id: &str) -> Result<Root>;

    /// Whether a container has data.
    fn exists(&self, id: &str) -> Result<bool>;

    /// Ids of all containers that have data, sorted.
    fn list(&self) -> Result<Vec<String>>;

    /// Space that a container's data take on the disk, in bytes; may look at every file, so that
    /// it may take long. Extents that are shared with other containers may count in full.
    fn usage(&self, id: &str, watch: Watch<'_>) -> Result<u64>;

    /// What containers take, as far as the back end knows without looking at their files.
    fn space(&self) -> Result<BTreeMap<String, Space>>;

    /// The disk that containers read from and write to, where the kernel can limit that.
    ///
    /// # Errors
    /// `Unsupported` where it can't, with the reason.
    fn disk(&self) -> Result<Disk>;

    /// Bounds what a container's files may take, in bytes; `None` for no bound.
    fn set_quota(&self, id: &str, bytes: Option<u64>) -> Result<()>;

    /// Writes the stream of a snapshot of one of a container's datasets (its relative name, empty
    /// for the root) to `out`: all of it, or what has changed since the snapshot `from`. Waits
    /// until it is read; ends with an error when nobody does.
    fn send(
        &self,
        _id: &str,
        _dataset: &str,
        _from: Option<&str>,
        _to: &str,
        _form: Form,
        _out: BorrowedFd<'_>,
    ) -> Result<()> {
        Err(NO_STREAMS)
    }

    /// About how many bytes [`Storage::send`] will write; `NoSnapshot` where the dataset lacks one
    /// of the snapshots.
    fn send_size(
        &self,
        _id: &str,
        _dataset: &str,
        _from: Option<&str>,
        _to: &str,
        _form: Form,
    ) -> Result<u64> {
        Err(NO_STREAMS)
    }

    /// Makes one of a new container's datasets of a stream, or goes on from its newest snapshot;
    /// gives the snapshots that it has got. The data count as new until [`Storage::complete`],
    /// and those that do not are refused. Parents come before children.
    ///
    /// The stream may be anybody's: it decides about files and names of snapshots and nothing
    /// else. One that is broken, or of something else, leaves what was there before. Nothing is
    /// read beyond its end.
    fn receive(&self, _id: &str, _dataset: &str, _input: BorrowedFd<'_>) -> Result<Vec<String>> {
        Err(NO_STREAMS)
    }

    /// Writes one stream of all snapshots of a dataset after `from` up to `to`, as
    /// [`Storage::send`] one of what changed between the two.
    fn send_all(
        &self,
        _id: &str,
        _dataset: &str,
        (_from, _to): (&str, &str),
        _form: Form,
        _out: BorrowedFd<'_>,
    ) -> Result<()> {
        Err(NO_STREAMS)
    }

    /// Makes what was received of somebody else like any other new data: there are no snapshots but
    /// those of users, if they come along, and a dataset holds a root directory and nothing beside
    /// it. What has none is refused; snapshots that hold something else are destroyed: their names.
    fn settle(&self, _id: &str, _along: Along) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// What keeps the pool from answering right now; told at once.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Lets go of the pool: takes it out of the file tree.
    fn close(&self) {}
}

/// An error with its causes on one line.
fn text(e: &Error) -> String {
    let mut text = e.to_string();
    let mut cause = std::error::Error::source(e);
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}

/// A name that nobody has used or can guess.
fn unique() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}-{random:016x}", now.as_secs())
}

/// A name for data that are to take the place of a container's.
pub fn fresh_id(id: &str) -> String {
    let short: String = id.chars().take(48).collect();
    format!("{short}-{}", unique())
}

/// When something got a name of [`unique`] in the trash: `NAME.SECONDS-RANDOM`, or with a dash.
fn trashed_at(name: &str) -> Option<i64> {
    let (rest, _random) = name.rsplit_once('-')?;
    let (_, seconds) = rest.rsplit_once(['.', '-'])?;
    seconds.parse().ok()
}

/// Refuses what is no single safe component of a path or dataset name.
fn check_id(id: &str) -> Result<()> {
    let good = !id.is_empty()
        && id.len() <= 200
        && !id.starts_with('-')
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if good {
        Ok(())
    } else {
        Err(Error::Name(id.chars().take(64).collect()))
    }
}

/// Refuses what is no relative name of a dataset of a container; the empty one is its root's.
fn check_dataset(relative: &str) -> Result<()> {
    let good = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
    };
    if relative.is_empty() || (relative.len() <= 200 && relative.split('/').all(good)) {
        Ok(())
    } else {
        Err(Error::Name(relative.chars().take(64).collect()))
    }
}
