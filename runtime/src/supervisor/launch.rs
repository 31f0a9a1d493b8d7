//! The supervisor's half of a start: the process, its id maps, the trees it is handed, its cgroups.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::time::{ClockId, clock_gettime};
use osctl_linux::beneath::{Mounts, Node, Root, Symlinks};
use osctl_linux::error::Context;
use osctl_linux::mount::{self, ATTR_NODEV, ATTR_RDONLY, Depth};
use osctl_linux::process::{self, Child, Cloned, Parent, SingleThread, clone3};
use osctl_runtime::spec::{FileId, IdMapping, Mount, MountSource, Spec};

use super::cgroup::{Cgroups, Placement};
use super::lock::Locker;
use crate::devices::{DevTree, host_id};
use crate::fault::{During, Fault, Outcome};
use crate::hostproc::HostProc;
use crate::policy;
use crate::report::{Channel, Order};
use crate::stage;

/// A container whose first process goes through its init stage.
#[derive(Debug)]
pub struct Launched {
    /// The first process.
    pub init: Child,
    /// Its reports come here.
    pub channel: Channel,
    /// Its user namespace.
    pub userns: OwnedFd,
    /// Its `/dev`.
    pub dev: DevTree,
    /// What is not as asked.
    pub warnings: Vec<String>,
}

/// A launch that failed, in a named step. The process, if there is one, has been killed.
#[derive(Debug)]
pub struct LaunchError {
    /// Name of the step.
    pub step: &'static str,
    /// Why.
    pub fault: Fault,
}

trait In<T> {
    fn step(self, step: &'static str) -> Result<T, LaunchError>;
}

impl<T, E: Into<Fault>> In<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, LaunchError> {
        self.map_err(|fault| LaunchError {
            step,
            fault: fault.into(),
        })
    }
}

/// Starts a container up to the point where its init waits to be let go.
pub fn launch(
    spec: &Spec,
    witness: &SingleThread,
    proc: &HostProc,
    cgroups: &Cgroups,
) -> Result<Launched, LaunchError> {
    let locker = Locker::start(witness).step("mounts")?;
    if spec.time_namespace {
        own_clocks(proc).step("time namespace")?;
    }
    // Before the rules of the container's cgroup for devices are this process' too.
    let dev = DevTree::build(spec).step("dev")?;
    cgroups.enter_v1(witness).step("cgroup")?;
    let (channel, theirs) = Channel::pair().step("process")?;
    let namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID;
    // Owned by the host's root, its containers would share what the kernel grants to one user.
    let owner = host_id(&spec.uid_map, 0).step("process")?;
    let (init, placement) = cgroups
        .clone_into(cgroups.payload(), |cgroup| {
            process::as_owner(owner, || {
                clone3(witness, namespaces, Parent::Caller, cgroup)
            })
        })
        .step("process")?;
    let init = match init {
        Cloned::Child => stage::enter(spec, theirs),
        Cloned::Parent(child) => child,
    };
    drop(theirs);
    let mut warnings = Vec::new();
    let furnished = furnish(spec, proc, &dev, locker, &init, &channel, &mut warnings);
    match furnished.and_then(|userns| {
        if placement == Placement::Outside {
            cgroups.place(init.pid).step("cgroup")?;
        }
        channel.send(&Order::Placed, &[]).step("cgroup")?;
        Ok(userns)
    }) {
        Ok(userns) => Ok(Launched {
            init,
            channel,
            userns,
            dev,
            warnings,
        }),
        Err(error) => {
            let _ = process::pidfd_signal(init.pidfd.as_fd(), libc::SIGKILL);
            Err(error)
        }
    }
}

fn furnish(
    spec: &Spec,
    proc: &HostProc,
    dev: &DevTree,
    locker: Locker,
    init: &Child,
    channel: &Channel,
    warnings: &mut Vec<String>,
) -> Result<OwnedFd, LaunchError> {
    let map =
        |name: &str, map: &[IdMapping]| proc.write(&format!("{}/{name}", init.pid), &map_text(map));
    map("uid_map", &spec.uid_map).step("uid map")?;
    map("gid_map", &spec.gid_map).step("gid map")?;
    // A host's root that lacks CAP_SYS_RESOURCE may not do this to who is not its own.
    process::as_owner(host_id(&spec.uid_map, 0).step("rlimits")?, || {
        policy::set_rlimits(init.pid, &spec.rlimits, &mut |w| warnings.push(w))
    })
    .step("rlimits")?;
    channel.send(&Order::Mapped, &[]).step("uid map")?;

    let userns = proc.namespace(init.pid, "user").step("user namespace")?;
    let rootfs = rootfs(spec, userns.as_fd()).step("rootfs")?;
    hand_over(
        spec,
        locker,
        userns.as_fd(),
        [rootfs.as_fd(), dev.as_fd()],
        channel,
    )
    .step("mounts")?;
    if let Some(value) = spec.oom_score_adj {
        let path = format!("{}/oom_score_adj", init.pid);
        if let Err(error) = proc.write(&path, &value.to_string()) {
            warnings.push(format!("cannot set oom_score_adj: {error}"));
        }
    }
    Ok(userns)
}

fn map_text(map: &[IdMapping]) -> String {
    map.iter()
        .map(|range| format!("{} {} {}\n", range.ns_id, range.host_id, range.count))
        .collect()
}

/// Children of this process see clocks that began when the container did.
fn own_clocks(proc: &HostProc) -> Outcome {
    process::unshare_time()?;
    let mut offsets = String::new();
    for (name, clock) in [
        ("monotonic", ClockId::CLOCK_MONOTONIC),
        ("boottime", ClockId::CLOCK_BOOTTIME),
    ] {
        let now = clock_gettime(clock).call(|| "clock_gettime")?;
        // The kernel adds seconds and nanoseconds, the latter never negative: -now, normalized.
        let (seconds, nanoseconds) = match now.tv_nsec() {
            0 => (-now.tv_sec(), 0),
            some => (-now.tv_sec() - 1, 1_000_000_000 - some),
        };
        offsets.push_str(&format!("{name} {seconds} {nanoseconds}\n"));
    }
    Ok(proc.write("self/timens_offsets", &offsets)?)
}

fn rootfs(spec: &Spec, userns: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    let tree = mount::clone_path(&spec.rootfs, Depth::Recursive)?;
    mount::make_private(tree.as_fd())?;
    let readonly = if spec.rootfs_readonly { ATTR_RDONLY } else { 0 };
    mount::map_ids(
        tree.as_fd(),
        Depth::Recursive,
        userns,
        ATTR_NODEV | readonly,
    )?;
    Ok(tree)
}

/// Sends the trees of the root file system and of /dev, then those of the bind mounts in their order.
fn hand_over(
    spec: &Spec,
    locker: Locker,
    userns: BorrowedFd<'_>,
    base: [BorrowedFd<'_>; 2],
    channel: &Channel,
) -> Outcome {
    let binds: Vec<_> = spec
        .mounts
        .iter()
        .map(|wanted| bind_source(wanted, userns))
        .collect();
    let sources = binds.iter().flatten().flatten().map(AsFd::as_fd);
    let trees: Vec<BorrowedFd<'_>> = base.into_iter().chain(sources).collect();
    let mut locked = locker.lock(userns, &trees)?.into_iter();
    let mut next = || {
        locked
            .next()
            .ok_or_else(|| Fault::refused("a tree got lost"))
    };
    channel.send(&Order::Base, &[next()?.as_fd(), next()?.as_fd()])?;
    for bind in &binds {
        match bind {
            Ok(None) => {}
            Ok(Some(_)) => channel.send(&Order::Bind, &[next()?.as_fd()])?,
            Err(fault) => channel.send(&Order::NoBind(fault.text()), &[])?,
        }
    }
    Ok(())
}

/// The detached tree to be mounted, for a bind mount.
pub fn bind_source(wanted: &Mount, userns: BorrowedFd<'_>) -> Outcome<Option<OwnedFd>> {
    let MountSource::Bind {
        path,
        recursive,
        idmap,
        file,
    } = &wanted.source
    else {
        return Ok(None);
    };
    if !path.is_absolute() {
        return Err(Fault::refused(format!("{path:?} is not absolute")));
    }
    let depth = if *recursive {
        Depth::Recursive
    } else {
        Depth::One
    };
    let tree = match file {
        None => mount::clone_path(path, depth)?,
        Some(file) => mount::clone_fd(known_file(path, *file)?.as_fd(), depth)?,
    };
    // Else what the guest mounts on it would appear on the host as well.
    mount::make_private(tree.as_fd())?;
    let attributes = stage::attributes(&wanted.attributes);
    if *idmap {
        mount::map_ids(tree.as_fd(), depth, userns, attributes)
            .during(|| format!("cannot map ids of {path:?}"))?;
    } else {
        mount::add_attributes(tree.as_fd(), depth, attributes)?;
    }
    Ok(Some(tree))
}

/// Opens what a host path leads to without symlinks, which must be this file.
fn known_file(path: &Path, wanted: FileId) -> Outcome<Node> {
    let host = Root::open_tree("/", Symlinks::Refuse, Mounts::Cross)?;
    let node = host.node(stage::relative(path))?;
    let stat = node.stat()?;
    if (stat.dev, stat.ino) != (wanted.dev, wanted.ino) {
        return Err(Fault::refused(format!("{path:?} is not what it was")));
    }
    Ok(node)
}

/// Flags of a directory that is only referred to.
pub const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);
