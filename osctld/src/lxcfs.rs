//! lxcfs: files of `/proc` and `/sys` that show a container its own limits, of a FUSE file system
//! that somebody else runs on this host.
//!
//! It owns which of its files a container gets, and what says whether they are the ones of the
//! lxcfs that runs now. It mounts nothing.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use osctl_linux::process;
use osctl_runtime::spec::{CreateTarget, Mount, MountAttributes, MountSource};
use serde::Deserialize;

use crate::security::paths;

/// What there may be of it, below its directory and at the same place in a container.
const FILES: &[&str] = &[
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/pressure/cpu",
    "proc/pressure/io",
    "proc/pressure/memory",
    "proc/slabinfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "sys/devices/system/cpu/online",
];
/// What is read to see whether it answers.
const WITNESS: &str = "proc/uptime";
/// Its type in mountinfo.
const FSTYPE: &str = "fuse.lxcfs";

/// Where it is, as the configuration says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Its mount point; empty when it is not to be used.
    pub path: PathBuf,
    /// Where it keeps its process id.
    pub pid_file: PathBuf,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            path: "/var/lib/lxcfs".into(),
            pid_file: "/run/lxcfs.pid".into(),
        }
    }
}

/// One that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Number of its device: that of every run is another.
    device: u64,
    path: PathBuf,
    files: Vec<&'static str>,
}

impl Found {
    /// What a container gets of it. What is gone meanwhile is left out by the runtime.
    pub fn mounts(&self) -> Vec<Mount> {
        self.files.iter().map(|file| self.mount(file)).collect()
    }

    fn mount(&self, file: &str) -> Mount {
        Mount {
            source: MountSource::Bind {
                path: self.path.join(file),
                recursive: false,
                idmap: false,
                file: None,
            },
            target: Path::new("/").join(file),
            create: CreateTarget::No,
            attributes: MountAttributes {
                read_only: true,
                nosuid: true,
                nodev: true,
                noexec: true,
                ..MountAttributes::default()
            },
            optional: true,
            exclusive: false,
        }
    }
}

impl Settings {
    /// Looks whether one answers. Blocks for as long as one that hangs does.
    pub fn look(&self) -> Option<Found> {
        if self.path.as_os_str().is_empty() {
            return None;
        }
        let mut witness = File::open(self.path.join(WITNESS)).ok()?;
        witness.read_exact(&mut [0]).ok()?;
        let device = witness.metadata().ok()?.dev();
        let is_there = |file: &&str| {
            // Without it on the host there is nothing to mount it on.
            Path::new("/").join(file).exists()
                && fs::metadata(self.path.join(file)).is_ok_and(|m| m.dev() == device)
        };
        Some(Found {
            device,
            path: self.path.clone(),
            files: FILES.iter().copied().filter(is_there).collect(),
        })
    }

    /// Becomes readable when the lxcfs that runs now ends; `None` when it is not known which
    /// process that is.
    pub fn process(&self) -> Option<OwnedFd> {
        let pid: i32 = fs::read_to_string(&self.pid_file)
            .ok()?
            .trim()
            .parse()
            .ok()?;
        process::pidfd_open(pid).ok()
    }
}

/// What has to be done in a container, by the mounts that its processes have, so that it shows
/// what `now` does, or the kernel's own files without one: mount points to be cleared, and mounts.
pub fn repair(mountinfo: &str, now: Option<&Found>) -> (Vec<PathBuf>, Vec<Mount>) {
    let (mut stale, mut missing) = (Vec::new(), Vec::new());
    for file in FILES {
        let target = Path::new("/").join(file);
        let wanted = now.filter(|found| found.files.contains(file));
        let there: Vec<Line<'_>> = mountinfo
            .lines()
            .filter_map(parse)
            .filter(|m| m.target == target)
            .collect();
        // The list is not in the order in which they lie on each other.
        let top = there
            .iter()
            .find(|m| !there.iter().any(|o| o.parent == m.id));
        match top {
            Some(top) if top.fstype == FSTYPE => {
                if wanted.is_some_and(|found| found.device == top.device) {
                    continue;
                }
                stale.push(target);
            }
            // What hides the kernel's file is ours, as a start has it; else it is the guest's affair.
            Some(_) if !paths::MASKED.iter().any(|m| target == Path::new(m)) => continue,
            _ => {}
        }
        missing.extend(wanted.map(|found| found.mount(file)));
    }
    (stale, missing)
}

struct Line<'m> {
    id: &'m str,
    parent: &'m str,
    target: PathBuf,
    device: u64,
    fstype: String,
}

/// One line of mountinfo; proc_pid_mountinfo(5).
fn parse(line: &str) -> Option<Line<'_>> {
    let mut fields = line.split(' ');
    let (id, parent) = (fields.next()?, fields.next()?);
    let (major, minor) = fields.next()?.split_once(':')?;
    let target = fields.nth(1)?.into();
    let fstype = fields.skip_while(|f| *f != "-").nth(1)?.to_owned();
    Some(Line {
        id,
        parent,
        target,
        device: rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?),
        fstype,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(minor: u32, files: &[&'static str]) -> Found {
        Found {
            device: rustix::fs::makedev(0, minor),
            path: "/var/lib/lxcfs".into(),
            files: files.to_vec(),
        }
    }

    const NONE: &str = "30 29 0:26 / /proc rw,nosuid shared:2 master:1 - proc proc rw\n";
    const OLD: &str = "31 30 0:45 /proc/meminfo /proc/meminfo ro - fuse.lxcfs lxcfs rw,user_id=0\n";

    fn targets((stale, missing): (Vec<PathBuf>, Vec<Mount>)) -> (Vec<String>, Vec<String>) {
        let text = |path: &Path| path.display().to_string();
        (
            stale.iter().map(|p| text(p)).collect(),
            missing.iter().map(|m| text(&m.target)).collect(),
        )
    }

    #[test]
    fn what_is_there_stays_what_is_old_goes_and_what_is_missing_comes() {
        let meminfo = || vec!["/proc/meminfo".to_owned()];
        let now = found(45, &["proc/meminfo"]);
        let all = format!("{NONE}{OLD}");
        assert_eq!(targets(repair(&all, Some(&now))), (vec![], vec![]));
        assert_eq!(targets(repair(NONE, Some(&now))), (vec![], meminfo()));
        let later = found(46, &["proc/meminfo"]);
        assert_eq!(targets(repair(&all, Some(&later))), (meminfo(), meminfo()));
        assert_eq!(targets(repair(&all, None)), (meminfo(), vec![]));
        assert_eq!(targets(repair(NONE, None)), (vec![], vec![]));
    }

    #[test]
    fn what_is_on_top_is_told_by_what_it_is_on_and_masks_are_no_obstacle() {
        // As a start makes it: the tree from the host is older than the mask that it is put on.
        let below = "40 30 0:5 /null /proc/slabinfo ro - tmpfs dev rw\n";
        let old = "33 40 0:45 /proc/slabinfo /proc/slabinfo ro - fuse.lxcfs lxcfs rw\n";
        let all = format!("{NONE}{old}{below}");
        let slabinfo = || vec!["/proc/slabinfo".to_owned()];
        let (now, later) = (found(45, &["proc/slabinfo"]), found(46, &["proc/slabinfo"]));
        assert_eq!(targets(repair(&all, Some(&now))), (vec![], vec![]));
        assert_eq!(
            targets(repair(&all, Some(&later))),
            (slabinfo(), slabinfo())
        );
        assert_eq!(targets(repair(&all, None)), (slabinfo(), vec![]));
        let masked = format!("{NONE}{below}");
        assert_eq!(targets(repair(&masked, Some(&now))), (vec![], slabinfo()));
    }

    #[test]
    fn what_the_guest_has_mounted_itself_is_left_alone() {
        let own = "32 31 0:50 /x /proc/meminfo rw - tmpfs tmpfs rw\n";
        let all = format!("{NONE}{OLD}{own}");
        let later = found(46, &["proc/meminfo"]);
        assert_eq!(targets(repair(&all, Some(&later))), (vec![], vec![]));
        assert_eq!(targets(repair("nonsense\n - \n", None)), (vec![], vec![]));
    }
}
