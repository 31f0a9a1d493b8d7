//! Processes: starting, finding, ending them.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::wait;

/// Processes that this one started itself and waits for itself.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Starts a process.
#[track_caller]
pub fn spawn(command: &mut Command) -> Child {
    // Under the lock, lest somebody reaps it before it is known.
    let mut own = OWN.lock().unwrap();
    let child = command
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", command.get_program().display()));
    own.insert(child.id());
    child
}

/// Runs a process to its end.
#[track_caller]
pub fn output(command: &mut Command) -> std::process::Output {
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    spawn(command).wait_with_output().unwrap()
}

/// Makes this process the parent of what its descendants leave behind.
pub fn adopt_orphans() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
}

/// Takes note of the end of processes that were left to this one.
pub fn reap_orphans() {
    let me = std::process::id();
    let own = OWN.lock().unwrap();
    for pid in all() {
        if own.contains(&pid) {
            continue;
        }
        let Some(stat) = Stat::of(pid) else { continue };
        if stat.parent == me && stat.state == 'Z' {
            let _ = waitpid(raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

fn raw(pid: u32) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap())
}

/// Sends a signal; whoever is gone does not mind.
pub fn signal(pid: u32, signal: Signal) {
    let _ = nix::sys::signal::kill(raw(pid), signal);
}

/// Kills a process.
pub fn kill(pid: u32) {
    signal(pid, Signal::SIGKILL);
}

/// A descriptor that can be read once the process has ended.
pub fn pidfd(pid: u32) -> Option<OwnedFd> {
    pidfd_open(
        Pid::from_raw(i32::try_from(pid).ok()?)?,
        PidfdFlags::empty(),
    )
    .ok()
}

/// Waits until a process has ended; whether it did.
pub fn ended(pid: u32, limit: Duration) -> bool {
    pidfd(pid).is_none_or(|fd| wait::readable(&[&fd], limit)[0])
}

/// All process ids there are.
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

/// What `/proc/PID/stat` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Name.
    pub comm: String,
    /// State letter.
    pub state: char,
    /// Parent.
    pub parent: u32,
    /// Start, clock ticks since boot.
    pub start: u64,
}

impl Stat {
    /// Of a process, while it exists.
    pub fn of(pid: u32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (left, right) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = right.split(' ').collect();
        Some(Stat {
            comm: left.split_once('(')?.1.to_owned(),
            state: fields[0].chars().next()?,
            parent: fields[1].parse().ok()?,
            start: fields[19].parse().ok()?,
        })
    }
}

/// A field of `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Command line, words joined by spaces.
pub fn cmdline(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    text.trim_end().to_owned()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Memory that is the process' own, in bytes: heap and stacks. Pages of its program are not counted:
/// they are shared or private depending on who else runs the same program at the moment.
pub fn anonymous_memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    text.lines()
        .filter(|l| l.starts_with("Anonymous:") || l.starts_with("Swap:"))
        .filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum::<u64>()
        * 1024
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// Living processes that descend from this one.
pub fn descendants() -> Vec<u32> {
    let stats: Vec<(u32, Stat)> = all()
        .into_iter()
        .filter_map(|pid| Some((pid, Stat::of(pid)?)))
        .collect();
    let mut found = vec![std::process::id()];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        let children = stats
            .iter()
            .filter(|(_, s)| s.parent == parent && s.state != 'Z');
        found.extend(children.map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    /// A copy of this program, waiting for input that never comes.
    fn run(program: &std::path::Path) -> Running {
        let mut command = Command::new(program);
        command.args(["--exact", "processes::tests::waits", "--ignored"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut told = [0; 1];
        let out = child.stdout.as_mut().unwrap();
        std::io::Read::read_exact(out, &mut told).unwrap();
        Running(child)
    }

    #[test]
    #[ignore = "runs for the test below"]
    fn waits() {
        drop(std::io::stdin().lines().next());
    }

    #[test]
    fn who_else_runs_a_program_does_not_change_the_memory_of_a_process() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("copy");
        fs::copy("/proc/self/exe", &program).unwrap();
        let first = run(&program);
        let alone = anonymous_memory(first.0.id());
        assert!(alone > 0);
        let others: Vec<Running> = (0..3).map(|_| run(&program)).collect();
        let together = anonymous_memory(first.0.id());
        drop(others);
        let differs = alone.abs_diff(together);
        assert!(differs < 128 * 1024, "{alone} alone, {together} together");
    }
}
