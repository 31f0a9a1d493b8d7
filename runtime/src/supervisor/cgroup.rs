//! Placing processes in the container's cgroups. The directories exist; limits are not set here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use osctl_linux::error::{Context, Error, Result};
use osctl_linux::process::{Cloned, SingleThread};
use osctl_runtime::spec::Spec;

use super::launch::DIRECTORY;
use crate::devices::host_id;
use crate::fault::Outcome;

/// The cgroup of what enters: systemd and others allow no process in a cgroup that has children
/// with controllers, as the payload soon does.
const LEAF: &str = ".osctl";

/// Where a process came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the v2 cgroup that was asked for, and in the v1 cgroups of its parent.
    Inside,
    /// Where its parent was, or outside: it has yet to be moved.
    Outside,
}

/// The container's cgroups.
#[derive(Debug)]
pub struct Cgroups {
    payload: Option<OwnedFd>,
    v1: Vec<PathBuf>,
    owner: (u32, u32),
}

impl Cgroups {
    /// Opens what the spec names.
    pub fn open(spec: &Spec) -> Outcome<Self> {
        let payload = match &spec.cgroup.v2_payload {
            None => None,
            Some(path) => Some(open_directory(path)?),
        };
        Ok(Cgroups {
            payload,
            v1: spec.cgroup.v1.clone(),
            owner: (host_id(&spec.uid_map, 0)?, host_id(&spec.gid_map, 0)?),
        })
    }

    /// The guest's own v2 cgroup.
    pub fn payload(&self) -> Option<BorrowedFd<'_>> {
        self.payload.as_ref().map(AsFd::as_fd)
    }

    /// The v2 cgroup of what enters, made anew if the guest has removed it.
    pub fn leaf(&self) -> Result<Option<OwnedFd>> {
        let Some(payload) = &self.payload else {
            return Ok(None);
        };
        match mkdirat(payload, LEAF, Mode::from_bits_truncate(0o755)) {
            Ok(()) => self.hand_over(payload)?,
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Error::new(format!("mkdirat({LEAF:?})"), errno)),
        }
        let flags = DIRECTORY | OFlag::O_NOFOLLOW;
        let leaf = openat(payload, LEAF, flags, Mode::empty());
        leaf.map(Some).call(|| format!("openat({LEAF:?})"))
    }

    /// The guest may move processes in and out and remove it.
    fn hand_over(&self, payload: &OwnedFd) -> Result<()> {
        use nix::fcntl::AtFlags;
        use nix::unistd::{Gid, Uid, fchownat};
        let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        for name in [
            "",
            "/cgroup.procs",
            "/cgroup.threads",
            "/cgroup.subtree_control",
        ] {
            let path = format!("{LEAF}{name}");
            fchownat(
                payload,
                path.as_str(),
                Some(uid),
                Some(gid),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )
            .call(|| format!("fchownat({path:?})"))?;
        }
        Ok(())
    }

    /// Makes a process in a v2 cgroup. When the kernel will not (a limit on the number of processes
    /// is reached, the guest has turned the cgroup into something else), makes it outside.
    pub fn clone_into(
        &self,
        cgroup: Option<BorrowedFd<'_>>,
        clone: impl Fn(Option<BorrowedFd<'_>>) -> Result<Cloned>,
    ) -> Result<(Cloned, Placement)> {
        let error = match clone(cgroup) {
            Ok(cloned) => return Ok((cloned, Placement::Inside)),
            Err(error) => error,
        };
        if cgroup.is_some()
            && let Ok(cloned) = clone(None)
        {
            return Ok((cloned, Placement::Outside));
        }
        match error.errno() {
            Errno::EAGAIN => self.clone_outside(clone),
            _ => Err(error),
        }
    }

    /// Makes a process where the container's limit on their number does not count.
    pub fn clone_outside(
        &self,
        clone: impl Fn(Option<BorrowedFd<'_>>) -> Result<Cloned>,
    ) -> Result<(Cloned, Placement)> {
        self.step_outside()?;
        let cloned = clone(None);
        if matches!(cloned, Ok(Cloned::Child)) {
            return Ok((Cloned::Child, Placement::Outside));
        }
        let back = self.step_inside();
        let cloned = cloned?;
        back?;
        Ok((cloned, Placement::Outside))
    }

    /// The v1 hierarchies that limit the number of processes; this one counts there too.
    fn counting(&self) -> impl Iterator<Item = &PathBuf> {
        self.v1.iter().filter(|dir| dir.join("pids.max").exists())
    }

    fn step_outside(&self) -> Result<()> {
        for parent in self.counting().filter_map(|dir| dir.parent()) {
            enter(parent)?;
        }
        Ok(())
    }

    fn step_inside(&self) -> Result<()> {
        self.counting().try_for_each(|dir| enter(dir))
    }

    /// Moves the caller into every v1 cgroup, where its later children are then born: that costs
    /// nothing, while moving one of them would cost a grace period of the kernel.
    pub fn enter_v1(&self, _witness: &SingleThread) -> Result<()> {
        self.v1.iter().try_for_each(|dir| enter(dir))
    }

    /// Moves a process that was made outside into the cgroups of init.
    pub fn place(&self, pid: i32) -> Result<()> {
        self.place_v2(pid)?;
        self.v1.iter().try_for_each(|dir| join(dir, pid))
    }

    fn place_v2(&self, pid: i32) -> Result<()> {
        match &self.payload {
            None => Ok(()),
            Some(payload) => join_at(payload.as_fd(), "cgroup.procs", pid),
        }
    }

    /// Moves an entered process that was made outside into the leaf, or beside init, and into every
    /// v1 cgroup.
    pub fn place_entered(&self, pid: i32) -> Result<()> {
        if let Some(leaf) = self.leaf()? {
            join_at(leaf.as_fd(), "cgroup.procs", pid).or_else(|_| self.place_v2(pid))?;
        }
        self.v1.iter().try_for_each(|dir| join(dir, pid))
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    nix::fcntl::open(path, DIRECTORY, Mode::empty()).call(|| format!("open({path:?})"))
}

/// Moves the caller, which has a single thread. As one that moves itself it needs no lock against
/// threads that come and go, for which the kernel would wait.
fn enter(dir: &Path) -> Result<()> {
    std::fs::write(dir.join("tasks"), "0").call(|| format!("write({dir:?}/tasks, 0)"))
}

fn join(dir: &Path, pid: i32) -> Result<()> {
    std::fs::write(dir.join("cgroup.procs"), pid.to_string())
        .call(|| format!("write({dir:?}/cgroup.procs, {pid})"))
}

fn join_at(dir: BorrowedFd<'_>, file: &str, pid: i32) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let fd = openat(dir, file, flags, Mode::empty()).call(|| format!("openat({file:?})"))?;
    nix::unistd::write(&fd, pid.to_string().as_bytes())
        .map(drop)
        .call(|| format!("write({file:?}, {pid})"))
}
