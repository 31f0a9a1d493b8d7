//! What is asked of ZFS often, through `libzfs_core`, which is loaded at run time: a host without
//! ZFS runs the same programs. Not: properties, lists and keys, which `zfs` and `zpool` tell.
//!
//! Names are whole: `tank/ct/web1`, `tank/ct/web1@today`. All functions block, and what changes
//! something has it on the disk when they return.

mod error;
mod list;
pub mod record;
mod stream;
mod sys;

#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::path::PathBuf;
use std::ptr;
use std::sync::OnceLock;

use nix::errno::Errno;

pub use error::{Code, Error, Missing, Result};
pub use list::Value;
pub use record::Record;
pub use stream::{Force, From, Receive, Resume, Send};

use list::{List, c_string};
use sys::{Functions, RawList};

/// Longest name of a dataset or snapshot, bytes.
pub const MAX_NAME: usize = 255;
const FILE_SYSTEM: i32 = 2;

/// ZFS of this host.
#[derive(Debug)]
pub struct Zfs {
    lib: Functions,
}

/// What becomes of snapshots that can't be destroyed now: held ones, and those with clones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InUse {
    /// Then nothing is destroyed.
    Refuse,
    /// They go as soon as they can.
    Later,
}

/// A call with its arguments, for messages.
fn call<S: AsRef<str>>(name: &str, on: &[S]) -> String {
    let shown: Vec<&str> = on.iter().take(3).map(AsRef::as_ref).collect();
    let more = match on.len() {
        0..=3 => String::new(),
        n => format!(", … {n}"),
    };
    format!("{name}({}{more})", shown.join(", "))
}

fn name(text: &str) -> std::result::Result<CString, Errno> {
    if text.len() > MAX_NAME {
        return Err(Errno::ENAMETOOLONG);
    }
    c_string(text)
}

/// Where the library is looked for instead of the linker's own places.
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Has the library looked for in a directory, for a host that keeps it where the linker does not
/// look. Only the first call counts.
pub fn look_in(directory: PathBuf) {
    let _ = DIRECTORY.set(directory);
}

impl Zfs {
    /// ZFS of this host. Once the library is found, it is the one.
    ///
    /// # Errors
    /// [`Missing`] when there is no library or no kernel module; both may come later.
    pub fn load() -> std::result::Result<&'static Zfs, Missing> {
        static LOADED: OnceLock<Zfs> = OnceLock::new();
        if let Some(zfs) = LOADED.get() {
            return Ok(zfs);
        }
        let lib = sys::load(DIRECTORY.get().map(PathBuf::as_path)).map_err(Missing::new)?;
        Ok(LOADED.get_or_init(|| Zfs { lib }))
    }

    fn done(&self, code: i32, call: impl FnOnce() -> String) -> Result<()> {
        match code {
            0 => Ok(()),
            code => Err(Error::new(call(), Code::from_raw(code))),
        }
    }

    /// Runs what takes names and tells errors of each.
    fn each(
        &self,
        run: impl FnOnce(*mut *mut RawList) -> i32,
        call: impl FnOnce() -> String,
    ) -> Result<()> {
        let mut errors = ptr::null_mut();
        let code = run(&mut errors);
        let errors = List::given(&self.lib, errors);
        if code == 0 {
            return Ok(());
        }
        let each = errors.map(|list| list.numbers()).unwrap_or_default();
        Err(Error::with_each(call(), Code::from_raw(code), each))
    }

    /// Whether a file system, volume or snapshot exists.
    pub fn exists(&self, dataset: &str) -> Result<bool> {
        let call = || call("lzc_exists", &[dataset]);
        let dataset = name(dataset).map_err(|e| Error::errno(call(), e))?;
        // The library says no whatever the kernel says, whose answer is the last thing that it asks
        // for.
        Errno::clear();
        // SAFETY: the name outlives the call.
        if unsafe { (self.lib.lzc_exists)(dataset.as_ptr()) } != 0 {
            return Ok(true);
        }
        match Errno::last() {
            Errno::ENOENT => Ok(false),
            errno => Err(Error::errno(call(), errno)),
        }
    }

    /// Makes a file system with these properties; its parent must exist. It is not mounted.
    pub fn create(&self, dataset: &str, properties: &[(&str, Value)]) -> Result<()> {
        let call = || call("lzc_create", &[dataset]);
        let failed = |e| Error::errno(call(), e);
        let dataset = name(dataset).map_err(failed)?;
        let list = List::values(&self.lib, properties).map_err(failed)?;
        // SAFETY: name and list outlive the call, and there is no key.
        let code = unsafe {
            (self.lib.lzc_create)(
                dataset.as_ptr(),
                FILE_SYSTEM,
                list.as_ptr(),
                ptr::null_mut(),
                0,
            )
        };
        self.done(code, call)
    }

    /// Makes a file system of what is in a snapshot of the same pool. It is not mounted.
    pub fn clone(&self, snapshot: &str, dataset: &str, properties: &[(&str, Value)]) -> Result<()> {
        let call = || call("lzc_clone", &[snapshot, dataset]);
        let failed = |e| Error::errno(call(), e);
        let snapshot = name(snapshot).map_err(failed)?;
        let dataset = name(dataset).map_err(failed)?;
        let list = List::values(&self.lib, properties).map_err(failed)?;
        // SAFETY: names and list outlive the call.
        let code =
            unsafe { (self.lib.lzc_clone)(dataset.as_ptr(), snapshot.as_ptr(), list.as_ptr()) };
        self.done(code, call)
    }

    /// Renames a file system with all that is below it. One that is mounted stays mounted where
    /// it is.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let call = || call("lzc_rename", &[from, to]);
        let failed = |e| Error::errno(call(), e);
        let (from, to) = (name(from).map_err(failed)?, name(to).map_err(failed)?);
        // SAFETY: the names outlive the call.
        let code = unsafe { (self.lib.lzc_rename)(from.as_ptr(), to.as_ptr()) };
        self.done(code, call)
    }

    /// Destroys a file system: one with snapshots or anything else below it is `EEXIST`, one that
    /// is mounted or in use `EBUSY`.
    pub fn destroy(&self, dataset: &str) -> Result<()> {
        let call = || call("lzc_destroy", &[dataset]);
        let dataset = name(dataset).map_err(|e| Error::errno(call(), e))?;
        // SAFETY: the name outlives the call.
        let code = unsafe { (self.lib.lzc_destroy)(dataset.as_ptr()) };
        self.done(code, call)
    }

    /// Makes snapshots of one pool with these user properties: all at the same moment, or none.
    pub fn snapshot<S: AsRef<str>>(&self, names: &[S], properties: &[(&str, Value)]) -> Result<()> {
        let call = || call("lzc_snapshot", names);
        let failed = |e| Error::errno(call(), e);
        let list = List::names(&self.lib, names).map_err(failed)?;
        let values = List::values(&self.lib, properties).map_err(failed)?;
        self.each(
            // SAFETY: the lists outlive the call; what it writes is ours to free.
            |errors| unsafe { (self.lib.lzc_snapshot)(list.as_ptr(), values.as_ptr(), errors) },
            call,
        )
    }

    /// Destroys snapshots of one pool: all or none. Those that do not exist are passed over.
    pub fn destroy_snapshots<S: AsRef<str>>(&self, names: &[S], in_use: InUse) -> Result<()> {
        let call = || call("lzc_destroy_snaps", names);
        let list = List::names(&self.lib, names).map_err(|e| Error::errno(call(), e))?;
        let later = i32::from(in_use == InUse::Later);
        self.each(
            // SAFETY: the list outlives the call; what it writes is ours to free.
            |errors| unsafe { (self.lib.lzc_destroy_snaps)(list.as_ptr(), later, errors) },
            call,
        )
    }

    /// Returns a file system to its newest snapshot, of which it gives the name.
    pub fn rollback(&self, dataset: &str) -> Result<String> {
        let call = || call("lzc_rollback", &[dataset]);
        let dataset = name(dataset).map_err(|e| Error::errno(call(), e))?;
        let mut to = [0u8; MAX_NAME + 1];
        // SAFETY: the buffer is as large as the call is told.
        let code = unsafe {
            (self.lib.lzc_rollback)(dataset.as_ptr(), to.as_mut_ptr().cast(), to.len() as i32)
        };
        self.done(code, call)?;
        let end = to.iter().position(|b| *b == 0).unwrap_or(to.len());
        Ok(String::from_utf8_lossy(&to[..end]).into_owned())
    }

    /// Returns a file system to this snapshot, which must be its newest: `EEXIST` otherwise.
    pub fn rollback_to(&self, dataset: &str, snapshot: &str) -> Result<()> {
        let call = || call("lzc_rollback_to", &[dataset, snapshot]);
        let failed = |e| Error::errno(call(), e);
        let (dataset, snapshot) = (
            name(dataset).map_err(failed)?,
            name(snapshot).map_err(failed)?,
        );
        // SAFETY: the names outlive the call.
        let code = unsafe { (self.lib.lzc_rollback_to)(dataset.as_ptr(), snapshot.as_ptr()) };
        self.done(code, call)
    }

    /// Keeps snapshots of one pool from being destroyed, until the tag is released.
    pub fn hold<S: AsRef<str>>(&self, snapshots: &[S], tag: &str) -> Result<()> {
        let call = || call("lzc_hold", snapshots);
        let failed = |e| Error::errno(call(), e);
        let list = List::new(&self.lib).map_err(failed)?;
        for snapshot in snapshots {
            list.add_text(snapshot.as_ref(), tag).map_err(failed)?;
        }
        self.each(
            // SAFETY: the list outlives the call; what it writes is ours to free.
            |errors| unsafe { (self.lib.lzc_hold)(list.as_ptr(), -1, errors) },
            call,
        )
    }

    /// Releases a tag of snapshots of one pool.
    pub fn release<S: AsRef<str>>(&self, snapshots: &[S], tag: &str) -> Result<()> {
        let call = || call("lzc_release", snapshots);
        let failed = |e| Error::errno(call(), e);
        let list = List::new(&self.lib).map_err(failed)?;
        let tags = List::names(&self.lib, &[tag]).map_err(failed)?;
        for snapshot in snapshots {
            list.add_list(snapshot.as_ref(), &tags).map_err(failed)?;
        }
        self.each(
            // SAFETY: the list outlives the call; what it writes is ours to free.
            |errors| unsafe { (self.lib.lzc_release)(list.as_ptr(), errors) },
            call,
        )
    }

    /// The tags that hold a snapshot, with the times they were set at, in seconds since 1970.
    pub fn holds(&self, snapshot: &str) -> Result<Vec<(String, u64)>> {
        let call = || call("lzc_get_holds", &[snapshot]);
        let snapshot = name(snapshot).map_err(|e| Error::errno(call(), e))?;
        let mut holds = ptr::null_mut();
        // SAFETY: the name outlives the call; what it writes is ours to free.
        let code = unsafe { (self.lib.lzc_get_holds)(snapshot.as_ptr(), &mut holds) };
        let holds = List::given(&self.lib, holds);
        self.done(code, call)?;
        Ok(holds.map(|list| list.numbers()).unwrap_or_default())
    }

    /// Makes a bookmark (`tank/a#name`) of a snapshot: what a stream can start from when the
    /// snapshot is gone.
    pub fn bookmark(&self, snapshot: &str, bookmark: &str) -> Result<()> {
        let call = || call("lzc_bookmark", &[snapshot, bookmark]);
        let failed = |e| Error::errno(call(), e);
        let list = List::new(&self.lib).map_err(failed)?;
        list.add_text(bookmark, snapshot).map_err(failed)?;
        self.each(
            // SAFETY: the list outlives the call; what it writes is ours to free.
            |errors| unsafe { (self.lib.lzc_bookmark)(list.as_ptr(), errors) },
            call,
        )
    }

    /// Destroys bookmarks of one pool.
    pub fn destroy_bookmarks<S: AsRef<str>>(&self, names: &[S]) -> Result<()> {
        let call = || call("lzc_destroy_bookmarks", names);
        let list = List::names(&self.lib, names).map_err(|e| Error::errno(call(), e))?;
        self.each(
            // SAFETY: the list outlives the call; what it writes is ours to free.
            |errors| unsafe { (self.lib.lzc_destroy_bookmarks)(list.as_ptr(), errors) },
            call,
        )
    }
}
