//! Reading and writing files of a cgroup file system.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::{Error, Result};

/// No file of a cgroup that we read is larger; `cgroup.procs` of a million processes is smaller.
const READ_LIMIT: u64 = 16 << 20;

/// Writes a value with one `write(2)`, as the kernel expects it.
pub(super) fn write(path: &Path, value: &str) -> Result<()> {
    let done = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut f| f.write_all(value.as_bytes()));
    done.map_err(|source| failed(format!("write {value:?} to"), path, source))
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let done = File::open(path).and_then(|f| f.take(READ_LIMIT).read_to_string(&mut text));
    match done {
        Ok(_) => Ok(text),
        Err(source) => Err(failed("read".into(), path, source)),
    }
}

/// Reads a file that a host may not have: `None` if it is missing.
pub(super) fn read_optional(path: &Path) -> Result<Option<String>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Creates a directory, content with finding it; says whether it is new.
pub(super) fn ensure_dir(path: &Path) -> Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(failed("create".into(), path, source)),
    }
}

/// Whether the file, its cgroup or its controller does not exist (any more).
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(errno) if
        errno == rustix::io::Errno::NOENT.raw_os_error()
        || errno == rustix::io::Errno::NODEV.raw_os_error())
}

/// The error of a failed operation on a path.
pub(super) fn failed(action: String, path: &Path, source: impl Into<io::Error>) -> Error {
    Error::Io {
        action,
        path: PathBuf::from(path),
        source: source.into(),
    }
}
