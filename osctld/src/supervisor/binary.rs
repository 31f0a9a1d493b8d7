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

/// Makes a file in memory that nobody has mapped unchangeable for good.
///
/// Not `F_SEAL_WRITE`: that one is refused with EBUSY while the kernel itself holds a page, as it does
/// at any time on a machine that is short of memory. What it waits for beyond this one are writers
/// from before, and there is none (fcntl(2)).
fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_FUTURE_WRITE;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

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
        let program = std::fs::read(path).map_err(failed)?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memory = memfd_create("osctl-runtime", flags).map_err(|e| failed(e.into()))?;
        let mut copy = File::from(memory);
        copy.write_all(&program).map_err(failed)?;
        seal(&copy).map_err(failed)?;
        Ok(RuntimeBinary {
            memory: copy.into(),
        })
    }

    /// A path that a child of this process can execute.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.memory.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use rustix::pipe::{SpliceFlags, splice};

    use super::*;

    #[test]
    fn pages_that_somebody_holds_do_not_keep_it_from_being_sealed() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut file = File::from(memfd_create("osctl-test", flags).unwrap());
        file.write_all(&[7; 8192]).unwrap();
        // What is spliced into a pipe are references to the file's pages.
        let (reader, writer) = io::pipe().unwrap();
        let spliced = splice(
            &file,
            Some(&mut 0),
            &writer,
            None,
            8192,
            SpliceFlags::empty(),
        );
        assert_eq!(spliced, Ok(8192));
        seal(&file).unwrap();
        drop(reader);
        let refused = file.write_at(b"x", 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(file.set_len(0).is_err());
        let again = fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE));
        assert!(again.is_err());
    }
}
