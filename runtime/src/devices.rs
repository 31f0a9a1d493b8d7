//! The container's `/dev`: a tmpfs made in the host's user namespace, so that device nodes work,
//! filled here and only here, also while the container runs.
//!
//! The guest may do in it what it likes (links, mounts), so paths never follow symlinks nor leave
//! the file system. Whether a node can be opened is decided by the cgroup's device rules, not here.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks};
use osctl_linux::mount;
use osctl_runtime::spec::{Device, DeviceKind, IdMapping, Spec};

use crate::fault::{During, Fault, Outcome};

const DIRECTORIES: &[&str] = &["pts", "shm", "mqueue", ".osctl"];
/// A null device of our own below `/dev`, to hide files behind.
pub const NULL: &str = ".osctl/null";
const NESTING_DIRECTORIES: &[&str] = &[".osctl/proc", ".osctl/sys"];
const LINKS: &[(&str, &str)] = &[
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// A container's `/dev`.
#[derive(Debug)]
pub struct DevTree {
    root: Root,
    owner: Owner,
}

#[derive(Debug, Clone)]
struct Owner {
    uid_map: Vec<IdMapping>,
    gid_map: Vec<IdMapping>,
}

impl Owner {
    fn host_ids(&self, uid: u32, gid: u32) -> Outcome<(u32, u32)> {
        Ok((host_id(&self.uid_map, uid)?, host_id(&self.gid_map, gid)?))
    }
}

/// The host's id for an id of the container.
pub fn host_id(map: &[IdMapping], id: u32) -> Outcome<u32> {
    map.iter()
        .find_map(|range| {
            let offset = id.checked_sub(range.ns_id)?;
            (offset < range.count).then(|| range.host_id.checked_add(offset))?
        })
        .ok_or_else(|| Fault::refused(format!("id {id} is not in the container's map")))
}

impl DevTree {
    /// Builds the tree; the caller's umask must be 0.
    pub fn build(spec: &Spec) -> Outcome<Self> {
        let owner = Owner {
            uid_map: spec.uid_map.clone(),
            gid_map: spec.gid_map.clone(),
        };
        let (uid, gid) = owner.host_ids(0, 0)?;
        let mount = mount::fsopen("tmpfs")?
            .option("source", Some("osctl"))?
            .option("mode", Some("0755"))?
            .option("size", Some("4m"))?
            .option("nr_inodes", Some("8192"))?
            .option("uid", Some(&uid.to_string()))?
            .option("gid", Some(&gid.to_string()))?
            .mount(mount::ATTR_NOSUID | mount::ATTR_NOEXEC)?;
        let tree = DevTree {
            root: Root::from_fd(mount, Symlinks::Refuse, Mounts::Refuse),
            owner,
        };
        tree.fill(spec)?;
        Ok(tree)
    }

    fn fill(&self, spec: &Spec) -> Outcome {
        let (uid, gid) = self.owner.host_ids(0, 0)?;
        let nesting = if spec.nesting {
            NESTING_DIRECTORIES
        } else {
            &[]
        };
        for name in DIRECTORIES.iter().chain(nesting) {
            self.root.mkdir(name, 0o755)?;
            self.root.chown(name, uid, gid)?;
        }
        for (name, target) in LINKS {
            self.root.symlink(target, name)?;
            self.root.chown(name, uid, gid)?;
        }
        // Owned by the host's root: the guest cannot change it, wherever it hides something.
        self.root.mknod(NULL, Kind::Char, 0o666, (1, 3))?;
        self.root.mknod("console", Kind::File, 0o620, (0, 0))?;
        self.root.chown("console", uid, gid)?;
        for device in &spec.devices {
            self.add(device)
                .during(|| format!("cannot make device {:?}", device.path))?;
        }
        Ok(())
    }

    /// Makes a node, or replaces what is at its path unless that is a directory.
    pub fn add(&self, device: &Device) -> Outcome {
        let path = below_dev(&device.path)?;
        let (uid, gid) = self.owner.host_ids(device.uid, device.gid)?;
        self.parents(path)?;
        let kind = match device.kind {
            DeviceKind::Char => Kind::Char,
            DeviceKind::Block => Kind::Block,
        };
        let number = (device.major, device.minor);
        // The mode is given at once: changing it afterwards would be by name, and the guest may
        // have put something else there.
        let mut made = self.root.mknod(path, kind, device.mode & 0o777, number);
        if matches!(&made, Err(error) if error.errno() == Errno::EEXIST) {
            self.root.unlink(path)?;
            made = self.root.mknod(path, kind, device.mode & 0o777, number);
        }
        made?;
        self.root.chown(path, uid, gid)?;
        Ok(())
    }

    /// Removes a node; what does not exist is removed already.
    pub fn del(&self, path: &Path) -> Outcome {
        match self.root.unlink(below_dev(path)?) {
            Err(error) if error.errno() != Errno::ENOENT => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn parents(&self, path: &Path) -> Outcome {
        let (uid, gid) = self.owner.host_ids(0, 0)?;
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        for directory in above.into_iter().filter(|d| !d.as_os_str().is_empty()) {
            match self.root.mkdir(directory, 0o755) {
                Ok(()) => self.root.chown(directory, uid, gid)?,
                Err(error) if error.errno() == Errno::EEXIST => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for DevTree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// The part of a guest path after `/dev/`.
fn below_dev(path: &Path) -> Outcome<&Path> {
    let plain = |p: &&Path| p.components().all(|c| matches!(c, Component::Normal(_)));
    path.strip_prefix("/dev")
        .ok()
        .filter(plain)
        .filter(|p| !p.as_os_str().is_empty())
        .ok_or_else(|| Fault::refused(format!("{path:?} is not a path below /dev")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_below_dev() {
        assert_eq!(
            below_dev(Path::new("/dev/net/tun")).unwrap(),
            Path::new("net/tun")
        );
        for bad in [
            "/dev",
            "/dev/",
            "/dev/../etc",
            "/etc/passwd",
            "dev/null",
            "/devil",
        ] {
            assert!(below_dev(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_follow_the_map() {
        let range = |ns_id, host_id, count| IdMapping {
            ns_id,
            host_id,
            count,
        };
        let map = [range(0, 100_000, 10), range(10, 5, 1)];
        assert_eq!(host_id(&map, 9).unwrap(), 100_009);
        assert_eq!(host_id(&map, 10).unwrap(), 5);
        assert!(host_id(&map, 11).is_err());
        assert!(host_id(&[range(0, u32::MAX, 5)], 1).is_err());
    }
}
