//! Makes what is mounted for a guest stay as it was mounted.
//!
//! Whoever owns a mount namespace may change the flags of what was attached there: a guest could
//! take `nodev` or `ro` from its mounts. The kernel locks the flags of mounts that are copied into
//! a namespace with another owner (mount_namespaces(7)), and copies of such mounts keep the locks.
//! So a process of the host attaches the trees in a mount namespace of its own, joins the
//! container's user namespace, takes a copy of everything, and hands back copies of the trees.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fstat};
use osctl_linux::beneath::{Kind, Mounts, Root, Stat, Symlinks};
use osctl_linux::error::Context;
use osctl_linux::mount::{self, Depth};
use osctl_linux::process::{self, Child, Cloned, Parent, SingleThread, clone3};
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Outcome};
use crate::report::Channel;

/// Trees that go with one message: the kernel's SCM_MAX_FD is 253.
const AT_ONCE: usize = 200;
/// Where the trees are attached, in the process' own mount namespace.
const PLACE: &str = "/proc";

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// Descriptors: the copies.
    Locked,
    Failed(String),
}

/// A process that is ready to lock trees once; it ends when this is dropped.
#[derive(Debug)]
pub struct Locker {
    channel: Channel,
    process: Child,
}

impl Drop for Locker {
    fn drop(&mut self) {
        // It has ended by itself, or nobody waits for it.
        let _ = process::pidfd_signal(self.process.pidfd.as_fd(), libc::SIGKILL);
    }
}

impl Locker {
    /// Starts the process; it prepares itself meanwhile.
    pub fn start(witness: &SingleThread) -> Outcome<Locker> {
        let (channel, theirs) = Channel::pair()?;
        match clone3(witness, CloneFlags::empty(), Parent::Caller, None)? {
            Cloned::Parent(process) => Ok(Locker { channel, process }),
            Cloned::Child => {
                drop(channel);
                let answered = match serve(&theirs) {
                    Ok(()) => Ok(()),
                    Err(fault) => theirs.send(&Answer::Failed(fault.text()), &[]),
                };
                process::exit(i32::from(answered.is_err()))
            }
        }
    }

    /// Copies of detached trees whose flags cannot be changed by who owns `userns`. The trees
    /// themselves are attached nowhere afterwards.
    pub fn lock(self, userns: BorrowedFd<'_>, trees: &[BorrowedFd<'_>]) -> Outcome<Vec<OwnedFd>> {
        if trees.len() > AT_ONCE {
            return Err(Fault::refused(format!(
                "{} mounts are more than the {AT_ONCE} there can be",
                trees.len()
            )));
        }
        self.channel.send(&(), &[&[userns], trees].concat())?;
        match self.channel.recv::<Answer>()? {
            Some((Answer::Locked, fds)) if fds.len() == trees.len() => Ok(fds),
            Some((Answer::Failed(why), _)) => Err(Fault::refused(why)),
            _ => Err(Fault::refused("the process that locks mounts has ended")),
        }
    }
}

fn serve(channel: &Channel) -> Outcome {
    unshare(CloneFlags::CLONE_NEWNS).call(|| "unshare(NEWNS)")?;
    let slash =
        open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).call(|| "open(\"/\")")?;
    mount::make_private(slash.as_fd())?;
    let place =
        open(PLACE, super::launch::DIRECTORY, Mode::empty()).call(|| format!("open({PLACE:?})"))?;
    let shelf = mount::fsopen("tmpfs")?.mount(0)?;
    mount::attach(shelf.as_fd(), place.as_fd())?;
    let shelf = Root::from_fd(shelf, Symlinks::Refuse, Mounts::Refuse);
    let Some(((), mut trees)) = channel.recv()? else {
        return Ok(());
    };
    let userns = trees.remove(0);
    for (number, tree) in trees.iter().enumerate() {
        let name = number.to_string();
        if Stat::from(fstat(tree).call(|| "fstat")?).kind() == Kind::Dir {
            shelf.mkdir_all(&name, 0o700)?;
        } else {
            shelf.mknod(&name, Kind::File, 0o600, (0, 0))?;
        }
        mount::attach(tree.as_fd(), shelf.node(&name)?.as_fd())?;
    }
    process::setns(userns.as_fd(), CloneFlags::CLONE_NEWUSER)?;
    unshare(CloneFlags::CLONE_NEWNS).call(|| "unshare(NEWNS)")?;
    let copies = (0..trees.len())
        .map(|number| mount::clone_path(format!("{PLACE}/{number}").as_ref(), Depth::Recursive))
        .collect::<Result<Vec<OwnedFd>, _>>()?;
    let fds: Vec<BorrowedFd<'_>> = copies.iter().map(AsFd::as_fd).collect();
    Ok(channel.send(&Answer::Locked, &fds)?)
}
