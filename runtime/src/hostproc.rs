//! The host's procfs, held by descriptor: what is said about processes there is the kernel's word,
//! wherever the caller's root directory has gone.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use osctl_linux::error::{Context, Error, Result};

/// The root of the host's procfs.
#[derive(Debug)]
pub struct HostProc(OwnedFd);

impl AsFd for HostProc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl HostProc {
    /// Opens `/proc` and makes sure that it is one.
    pub fn open() -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd =
            nix::fcntl::open("/proc", flags, Mode::empty()).call(|| "open(\"/proc\", O_PATH)")?;
        let stat = fstatfs(&fd).call(|| "fstatfs(\"/proc\")")?;
        if stat.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Error::new("fstatfs(\"/proc\")", Errno::ENODEV));
        }
        Ok(HostProc(fd))
    }

    /// Opens a file, e.g. `self/attr/exec`.
    pub fn file(&self, path: &str, flags: OFlag) -> Result<File> {
        openat(&self.0, path, flags | OFlag::O_CLOEXEC, Mode::empty())
            .map(File::from)
            .call(|| format!("openat(/proc, {path:?})"))
    }

    /// Writes a file in one go.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        self.file(path, OFlag::O_WRONLY)?
            .write_all(content.as_bytes())
            .call(|| match content.len() {
                0..100 => format!("write(/proc/{path}, {content:?})"),
                size => format!("write(/proc/{path}, {size} bytes)"),
            })
    }

    /// A namespace of a process, e.g. `net`.
    pub fn namespace(&self, pid: i32, kind: &str) -> Result<OwnedFd> {
        Ok(self
            .file(&format!("{pid}/ns/{kind}"), OFlag::O_RDONLY)?
            .into())
    }
}
