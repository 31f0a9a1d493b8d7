//! The processes of a cgroup: listing and killing them.

use std::{
    collections::BTreeSet,
    ffi::CStr,
    fs::File,
    io::Read,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{Mode, OFlags, openat},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{
    Error, Node, Result, Tree,
    events::{self, Deadline},
    file, walk,
};

/// Pids seen in a cgroup, in the pid namespace of the daemon.
type Pids = BTreeSet<i32>;

impl Tree {
    /// Pids of all processes in a cgroup and below it.
    pub fn procs(&self, node: &Node) -> Result<Vec<u32>> {
        let mut pids = Pids::new();
        match self.v2_path(node) {
            Some(dir) => collect(&dir, &mut pids)?,
            // Each v1 hierarchy has all of them; one may miss a process that is just arriving.
            None => self.collect_v1(node, &mut pids)?,
        }
        Ok(pids
            .into_iter()
            .filter_map(|p| u32::try_from(p).ok())
            .collect())
    }

    /// Whether any process is in a cgroup or below it, in any hierarchy.
    pub fn populated(&self, node: &Node) -> Result<bool> {
        if let Some(dir) = self.v2_path(node) {
            let text = file::read_optional(&dir.join("cgroup.events"))?;
            if text.is_some_and(|t| events::field(&t, "populated") == Some("1")) {
                return Ok(true);
            }
        }
        let mut pids = Pids::new();
        self.collect_v1(node, &mut pids)?;
        Ok(!pids.is_empty())
    }

    /// Kills all processes of a cgroup and waits until there are none.
    pub fn kill(&self, node: &Node, limit: Duration) -> Result<()> {
        let deadline = Deadline::after(limit);
        if self.layout().v2().is_some() {
            // What else is in v1 cgroups is the supervisor: it ends by itself, after its last word.
            return self.kill_v2(node, deadline);
        }
        self.kill_v1(node, Duration::ZERO, deadline)
    }

    /// Kills what is in the v2 cgroup, which the kernel does at once and without a race.
    pub(super) fn kill_v2(&self, node: &Node, deadline: Deadline) -> Result<()> {
        let Some(dir) = self.v2_path(node).filter(|d| d.is_dir()) else {
            return Ok(());
        };
        match file::write(&dir.join("cgroup.kill"), "1") {
            // Its last process ended meanwhile, and whoever saw that removed it, or is about to.
            Err(e) if !dir.is_dir() || e.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {
                return Ok(());
            }
            other => other?,
        }
        if events::wait(&dir, "populated", "0", deadline)? {
            return Ok(());
        }
        Err(timeout(node, deadline))
    }

    /// Gives the processes in v1 cgroups some time to end by themselves, then kills them one by
    /// one. On a host with v2 that is at most a supervisor, which is in v1 cgroups only.
    pub(super) fn kill_v1(&self, node: &Node, grace: Duration, deadline: Deadline) -> Result<()> {
        let mut pids = Pids::new();
        self.collect_v1(node, &mut pids)?;
        if !pids.is_empty() && self.layout().v2().is_none() {
            // Nothing may be forked while we chase what is there.
            if let Some(dir) = self.v1_path("pids", node) {
                write_existing(&dir.join("pids.max"), "0");
            }
            if let Some(dir) = self.v1_path("freezer", node) {
                write_existing(&dir.join("freezer.state"), "THAWED");
            }
        }
        let mut grace = Some(Deadline::after(grace.min(deadline.left())));
        while !pids.is_empty() {
            let open = self.handles(node, &pids)?;
            let first = grace.take();
            if !first.is_some_and(|g| wait_for_exit(&open, g)) {
                for handle in &open {
                    // ESRCH: it ended meanwhile.
                    let _ = pidfd_send_signal(handle, Signal::KILL);
                }
                wait_for_exit(&open, deadline);
            }
            pids.clear();
            self.collect_v1(node, &mut pids)?;
            if !pids.is_empty() && deadline.passed() {
                return Err(timeout(node, deadline));
            }
        }
        Ok(())
    }

    fn collect_v1(&self, node: &Node, pids: &mut Pids) -> Result<()> {
        let dirs = self.v1_paths(node);
        dirs.iter().try_for_each(|dir| collect(dir, pids))
    }

    /// Descriptors of processes that are still in the cgroup once they are open, so that a pid
    /// that was given to somebody else meanwhile is not hit.
    fn handles(&self, node: &Node, pids: &Pids) -> Result<Vec<OwnedFd>> {
        let own = i32::try_from(std::process::id()).ok();
        let open: Vec<_> = pids
            .iter()
            .filter(|p| Some(**p) != own)
            .filter_map(|p| Some((p, Pid::from_raw(*p)?)))
            .filter_map(|(p, pid)| Some((p, pidfd_open(pid, PidfdFlags::empty()).ok()?)))
            .collect();
        let mut still = Pids::new();
        self.collect_v1(node, &mut still)?;
        let here = open.into_iter().filter(|(p, _)| still.contains(p));
        Ok(here.map(|(_, fd)| fd).collect())
    }
}

/// Waits until all processes have ended; `false` if the deadline passed first.
fn wait_for_exit(handles: &[OwnedFd], deadline: Deadline) -> bool {
    let mut left: Vec<_> = handles.iter().collect();
    while !left.is_empty() {
        let mut fds: Vec<_> = left
            .iter()
            .map(|fd| PollFd::new(*fd, PollFlags::IN))
            .collect();
        let passed = deadline.passed();
        if events::poll_for(&mut fds, deadline.left()).is_err() {
            return false;
        }
        let running: Vec<_> = fds.iter().map(|fd| fd.revents().is_empty()).collect();
        let mut running = running.into_iter();
        left.retain(|_| running.next().unwrap_or(false));
        if passed {
            break;
        }
    }
    left.is_empty()
}

fn timeout(node: &Node, deadline: Deadline) -> Error {
    Error::Timeout {
        node: node.clone(),
        state: "empty",
        limit: deadline.limit,
    }
}

fn write_existing(path: &Path, value: &str) {
    if let Err(error) = file::write(path, value) {
        tracing::debug!(path = %path.display(), ?error, "left as it is");
    }
}

/// Adds the pids of a cgroup and of everything below it.
fn collect(top: &Path, pids: &mut Pids) -> Result<()> {
    let mut text = String::new();
    walk::deepest_first(top, |parent, name| {
        text.clear();
        match read_procs(parent, name, &mut text) {
            Ok(()) => {}
            // Gone, or a threaded cgroup, whose processes are listed by its domain.
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(file::failed("read processes of".into(), top, e)),
        }
        // 0 is a process outside of our pid namespace.
        let numbers = text.lines().filter_map(|l| l.parse::<i32>().ok());
        pids.extend(numbers.filter(|p| *p != 0));
        Ok(())
    })
}

fn read_procs(parent: BorrowedFd<'_>, name: &CStr, text: &mut String) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = openat(parent, name, flags | OFlags::DIRECTORY, Mode::empty())?;
    let procs = openat(&dir, c"cgroup.procs", flags, Mode::empty())?;
    let read = File::from(procs).take(16 << 20).read_to_string(text);
    read.map(drop)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}
