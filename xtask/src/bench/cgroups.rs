//! The cgroups of one side: a tree of one name in every hierarchy. Owns that
//! nothing is left in it and of it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long a killed process may take to be gone.
const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// Trees that end with this value, and all processes in them.
#[derive(Debug)]
pub struct Cgroups {
    name: String,
}

impl Cgroups {
    /// Trees of a name that nobody else uses.
    pub fn new(whose: &str) -> Self {
        Self {
            name: format!("osctl-bench-{whose}-{}", std::process::id()),
        }
    }

    /// Their name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills all processes in the trees and removes the trees. What can't be
    /// removed stays: there is nobody left to hear of it.
    pub fn clear(&self) {
        let roots = self.roots();
        for cgroup in roots.iter().flat_map(|root| below(root)) {
            let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|line| line.parse().ok()) {
                self.kill(pid);
            }
        }
        for cgroup in roots.iter().flat_map(|root| below(root)) {
            let _ = fs::remove_dir(cgroup);
        }
    }

    /// Kills a process that is in the trees, and waits until it is gone.
    fn kill(&self, pid: i32) {
        let Some(Ok(process)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()))
        else {
            return;
        };
        // Only now is it sure whose number it is.
        let is_ours = fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .is_ok_and(|membership| membership.contains(&self.name));
        if is_ours && pidfd_send_signal(&process, Signal::KILL).is_ok() {
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&PATIENCE));
        }
    }

    fn roots(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mount_points = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (point, kind) = (fields.next()?, fields.next()?);
            kind.starts_with("cgroup").then(|| PathBuf::from(point))
        });
        mount_points
            .map(|point| point.join(&self.name))
            .filter(|root| root.exists())
            .collect()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A cgroup and all below it, the lowest first.
fn below(cgroup: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(below(&entry.path()));
        }
    }
    all.push(cgroup.to_owned());
    all
}
