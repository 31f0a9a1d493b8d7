//! The container's file systems. Targets are resolved beneath the rootfs and never through a
//! symlink, whatever the rootfs holds at that name.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use osctl_linux::beneath::{Kind, Mounts, Node, Root, Symlinks};
use osctl_linux::error::{Context, Result as CallResult};
use osctl_linux::mount::{self, ATTR_NOATIME, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY};
use osctl_runtime::spec::{CreateTarget, Mount, MountAttributes, MountSource};

use super::Stage;
use crate::devices::host_id;
use crate::fault::{During, Fault, Outcome};
use crate::report::Order;

const SAFE: u64 = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;

/// The group `tty` of every distribution, which terminals belong to.
const TTY_GROUP: u32 = 5;

/// Terminals of one container: the host's supply is shared by all.
const TERMINALS: &str = "1024";

/// A guest path as the resolver wants it.
pub fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}

/// The attributes of a mount as the kernel takes them.
pub fn attributes(wanted: &MountAttributes) -> u64 {
    [
        (wanted.read_only, ATTR_RDONLY),
        (wanted.nosuid, ATTR_NOSUID),
        (wanted.nodev, ATTR_NODEV),
        (wanted.noexec, ATTR_NOEXEC),
        (wanted.noatime, ATTR_NOATIME),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(0, |all, (_, attribute)| all | attribute)
}

/// Mounts something in the guest whose root this is: `bind` is the source of a bind mount.
pub fn mount_at(root: &Root, wanted: &Mount, bind: Option<OwnedFd>) -> Outcome {
    let tree = match (&wanted.source, bind) {
        (MountSource::Bind { .. }, Some(tree)) => tree,
        (MountSource::Bind { .. }, None) => return Err(Fault::refused("the source is missing")),
        (
            MountSource::New {
                fstype,
                source,
                options,
            },
            _,
        ) => {
            let mut filesystem = mount::fsopen(fstype)?;
            if let Some(source) = source {
                filesystem = filesystem.option("source", Some(source))?;
            }
            for (key, value) in options {
                filesystem = filesystem.option(key, value.as_deref())?;
            }
            filesystem.mount(attributes(&wanted.attributes))?
        }
    };
    let target = target(root, &wanted.target, wanted.create)?;
    if wanted.exclusive && target.is_mount_root()? {
        let call = "something is mounted there already";
        return Err(osctl_linux::error::Error::new(call, Errno::EBUSY).into());
    }
    Ok(mount::attach(tree.as_fd(), target.as_fd())?)
}

fn target(root: &Root, path: &Path, create: CreateTarget) -> Outcome<Node> {
    let root = root.with(Symlinks::Refuse, Mounts::Cross)?;
    let path = relative(path);
    match create {
        CreateTarget::No => {}
        CreateTarget::Dir => drop(root.mkdir_all(path, 0o755)?),
        CreateTarget::File => {
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                root.mkdir_all(parent, 0o755)?;
            }
            match root.mknod(path, Kind::File, 0o644, (0, 0)) {
                Err(error) if error.errno() != Errno::EEXIST => return Err(error.into()),
                _ => {}
            }
        }
    }
    let node = root.node(path)?;
    // O_NOFOLLOW makes the link itself openable with O_PATH; mounting on it is still refused.
    if node.stat()?.kind() == Kind::Symlink {
        return Err(Fault::refused(format!("{path:?} is a symlink")));
    }
    Ok(node)
}

/// One of our own file systems, which is its own source in mountinfo.
fn standard(fstype: &str) -> CallResult<mount::Filesystem> {
    mount::fsopen(fstype)?.option("source", Some(fstype))
}

/// The directory to mount one of our own file systems on; made when it is missing.
fn standard_target(root: &Root, name: &str) -> Outcome<Root> {
    root.with(Symlinks::Refuse, Mounts::Cross)?
        .mkdir_all(name, 0o755)
        .during(|| format!("/{name} cannot be mounted on"))
}

impl Stage<'_> {
    /// The kernel allows a new proc or sysfs only where one can be seen in full: before the host's
    /// mounts are gone.
    pub(super) fn make_proc(&mut self) -> Outcome {
        self.proc_tree = Some(standard("proc")?.mount(SAFE)?);
        Ok(())
    }

    pub(super) fn make_sysfs(&mut self) -> Outcome {
        let readonly = self.spec.readonly_paths.iter();
        let readonly = readonly.into_iter().any(|p| p == Path::new("/sys"));
        let extra = if readonly { ATTR_RDONLY } else { 0 };
        self.sys_tree = Some(standard("sysfs")?.mount(SAFE | extra)?);
        Ok(())
    }

    /// The tree has to be attached somewhere before anything can be mounted on it; any directory of
    /// the host will do, since this mount namespace is thrown away but for the tree.
    pub(super) fn attach_rootfs(&mut self) -> Outcome {
        let mut fds = self.expect(Order::Base)?;
        let (Some(dev), Some(tree)) = (fds.pop(), fds.pop()) else {
            return Err(Fault::refused("the trees did not arrive"));
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let place = nix::fcntl::open("/proc", flags, nix::sys::stat::Mode::empty())
            .call(|| "open(\"/proc\", O_PATH)")?;
        mount::attach(tree.as_fd(), place.as_fd())?;
        self.root = Some(Root::from_fd(tree, Symlinks::InRoot, Mounts::Cross));
        self.dev_tree = Some(dev);
        Ok(())
    }

    pub(super) fn attach_proc(&mut self) -> Outcome {
        self.attach_standard(|stage| stage.proc_tree.take(), "proc")
    }

    pub(super) fn attach_sysfs(&mut self) -> Outcome {
        self.attach_standard(|stage| stage.sys_tree.take(), "sys")
    }

    pub(super) fn attach_dev(&mut self) -> Outcome {
        self.attach_standard(|stage| stage.dev_tree.take(), "dev")
    }

    fn attach_standard(
        &mut self,
        tree: impl FnOnce(&mut Self) -> Option<OwnedFd>,
        name: &str,
    ) -> Outcome {
        let tree = tree(self).ok_or_else(|| Fault::refused(format!("no tree for /{name}")))?;
        let target = standard_target(self.root()?, name)?;
        Ok(mount::attach(tree.as_fd(), target.as_fd())?)
    }

    pub(super) fn mount_devpts(&mut self) -> Outcome {
        let root = self.root()?.with(Symlinks::Refuse, Mounts::Cross)?;
        let mut devpts = standard("devpts")?
            .option("newinstance", None)?
            .option("max", Some(TERMINALS))?
            .option("ptmxmode", Some("0666"))?
            .option("mode", Some("0620"))?;
        if host_id(&self.spec.gid_map, TTY_GROUP).is_ok() {
            devpts = devpts.option("gid", Some(&TTY_GROUP.to_string()))?;
        }
        let devpts = devpts.mount(ATTR_NOSUID | ATTR_NOEXEC)?;
        mount::attach(devpts.as_fd(), root.dir("dev/pts")?.as_fd())?;
        self.devpts = Some(devpts);
        let shm = standard("tmpfs")?
            .option("mode", Some("1777"))?
            .mount(ATTR_NOSUID | ATTR_NODEV)?;
        mount::attach(shm.as_fd(), root.dir("dev/shm")?.as_fd())?;
        match standard("mqueue").and_then(|queues| queues.mount(SAFE)) {
            Ok(queues) => Ok(mount::attach(
                queues.as_fd(),
                root.dir("dev/mqueue")?.as_fd(),
            )?),
            // A kernel without message queues.
            Err(error) if error.errno() == Errno::ENODEV => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn mount_unmasked(&mut self) -> Outcome {
        if !self.spec.nesting {
            return Ok(());
        }
        let root = self.root()?.with(Symlinks::Refuse, Mounts::Cross)?;
        for (fstype, target) in [("proc", "dev/.osctl/proc"), ("sysfs", "dev/.osctl/sys")] {
            let tree = standard(fstype)?.mount(SAFE)?;
            mount::attach(tree.as_fd(), root.dir(target)?.as_fd())?;
        }
        Ok(())
    }

    pub(super) fn extra_mounts(&mut self) -> Outcome {
        for wanted in &self.spec.mounts {
            let bind = match wanted.source {
                MountSource::New { .. } => Ok(None),
                MountSource::Bind { .. } => self.bind_source(),
            };
            let done = bind.and_then(|bind| mount_at(self.root()?, wanted, bind));
            match done.during(|| format!("cannot mount {:?}", wanted.target)) {
                Err(fault) if wanted.optional => self.warn(fault.text())?,
                other => other?,
            }
        }
        Ok(())
    }

    fn bind_source(&self) -> Outcome<Option<OwnedFd>> {
        match self.order()? {
            (Order::Bind, mut fds) => Ok(fds.pop()),
            (Order::NoBind(why), _) => Err(Fault::refused(why)),
            (other, _) => Err(Fault::refused(format!("{other:?} instead of a source"))),
        }
    }

    /// The root of the cgroup namespace is where this process is by now: in the guest's own cgroup.
    pub(super) fn mount_cgroup(&mut self) -> Outcome {
        self.expect(Order::Placed)?;
        unshare(CloneFlags::CLONE_NEWCGROUP).call(|| "unshare(NEWCGROUP)")?;
        if self.spec.cgroup.v2_payload.is_none() {
            return Ok(());
        }
        let root = self.root()?.with(Symlinks::Refuse, Mounts::Cross)?;
        let target = root
            .dir("sys/fs/cgroup")
            .during(|| "the host's sysfs has no place for cgroups")?;
        let tree = standard("cgroup2")?.mount(SAFE)?;
        Ok(mount::attach(tree.as_fd(), target.as_fd())?)
    }
}
