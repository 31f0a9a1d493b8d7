//! The socket file and the lock that keeps a second daemon out of the run directory.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use tokio::net::UnixListener;

use crate::config::Config;
use crate::error::{Error, Result};

const SOCKET: &str = "osctld.sock";
const LOCK: &str = "osctld.lock";

/// The socket file and the lock; the file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    _lock: File,
}

/// Takes the run directory, making it when it is missing, and listens in it.
///
/// # Errors
/// `Busy` when another daemon runs there; `InvalidArgument` when others could write there;
/// `Backend` when the kernel refuses.
pub fn bind(config: &Config) -> Result<(Socket, UnixListener)> {
    let dir = open_run_dir(&config.run_dir)?;
    let lock = take_lock(&config.run_dir)?;
    let path = config.run_dir.join(SOCKET);
    let listener = listen(&dir, &path, &config.socket_group)
        .map_err(|e| e.context(format!("cannot listen at {}", path.display())))?;
    Ok((Socket { path, _lock: lock }, listener))
}

fn open_run_dir(path: &Path) -> Result<File> {
    let cannot = |e: io::Error| {
        Error::backend(
            format!("cannot use the run directory {}", path.display()),
            e,
        )
    };
    if !path.is_dir() {
        let made = DirBuilder::new().recursive(true).create(path);
        made.map_err(cannot)?;
        // Others may pass through to the socket, and to nothing else; whatever the umask is.
        fs::set_permissions(path, Permissions::from_mode(0o711)).map_err(cannot)?;
    }
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(libc_flags())
        .open(path)
        .map_err(cannot)?;
    let meta = dir.metadata().map_err(cannot)?;
    let ours = meta.uid() == rustix::process::geteuid().as_raw();
    if !ours || meta.mode() & 0o022 != 0 {
        return Err(Error::invalid(format!(
            "the run directory {} belongs to another user, or others may write to it",
            path.display()
        )));
    }
    Ok(dir)
}

fn libc_flags() -> i32 {
    rustix::fs::OFlags::DIRECTORY.bits() as i32
}

fn take_lock(run_dir: &Path) -> Result<File> {
    let path = run_dir.join(LOCK);
    let cannot = |e: io::Error| Error::backend(format!("cannot lock {}", path.display()), e);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(cannot)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::busy(format!(
            "another osctld runs in {}",
            run_dir.display()
        ))
        .hint("stop it, or use another --run-dir")),
        Err(e) => Err(cannot(e.into())),
    }
}

/// Binds under another name and renames, so that the socket is never open to more than it should,
/// and so that a stale one is replaced in one step.
fn listen(dir: &File, path: &Path, group: &str) -> Result<UnixListener> {
    if let Ok(meta) = fs::symlink_metadata(path)
        && !meta.file_type().is_socket()
    {
        return Err(Error::invalid(
            "something that is no socket is in its place",
        ));
    }
    let failed = |what: &'static str| move |e: io::Error| Error::backend(what, e);
    let new = format!("{SOCKET}.new");
    // The path of a socket is at most 108 bytes, which the run directory's may exceed.
    let base = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let new = base.join(new);
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(failed("cannot remove what an earlier daemon left")(e));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(failed("cannot bind"))?;
    fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(failed("cannot chmod"))?;
    match group_id(group) {
        Some(gid) => {
            std::os::unix::fs::chown(&new, None, Some(gid)).map_err(failed("cannot chown"))?
        }
        None => tracing::info!("there is no group {group}: only root can use the socket"),
    }
    fs::set_permissions(&new, Permissions::from_mode(0o660)).map_err(failed("cannot chmod"))?;
    fs::rename(&new, path).map_err(failed("cannot rename"))?;
    Ok(listener)
}

fn group_id(name: &str) -> Option<u32> {
    match nix::unistd::Group::from_name(name) {
        Ok(group) => group.map(|g| g.gid.as_raw()),
        Err(e) => {
            tracing::warn!("cannot look up group {name}: {e}");
            None
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {e}", self.path.display());
        }
    }
}
