//! The runtime's program as it is executed: a sealed copy in memory.
//!
//! What a guest can reach through `/proc/<pid>/exe` of a process that enters it is then this copy,
//! which nobody can write (CVE-2019-5736), and an upgrade of the file on disk never disturbs what
//! runs.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::error::Error;

/// The runtime's program.
#[derive(Debug)]
pub struct RuntimeBinary {
    memory: OwnedFd,
}

impl RuntimeBinary {
    /// Copies and seals the program at `path`.
    ///
    /// # Errors
    /// `Backend` when the file can't be read or the kernel has no sealed memory.
    pub fn load(path: &Path) -> Result<RuntimeBinary, Error> {
        let failed = |e: io::Error| {
            Error::backend(
                format!("cannot load the container runtime {}", path.display()),
                e,
            )
        };
        // Read and written whole: pages that are moved by splicing may still be pinned when the
        // seals are asked for, which the kernel then refuses.
        let program = std::fs::read(path).map_err(failed)?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memory = memfd_create("osctl-runtime", flags).map_err(|e| failed(e.into()))?;
        let mut copy = File::from(memory);
        copy.write_all(&program).map_err(failed)?;
        let seals = SealFlag::F_SEAL_SEAL
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_WRITE;
        fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)).map_err(|e| failed(e.into()))?;
        Ok(RuntimeBinary {
            memory: copy.into(),
        })
    }

    /// A path that a child of this process can execute.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.memory.as_raw_fd())
    }
}
