//! The kernel's record of what processes did, from an instance of tracefs that
//! nobody else uses: the measured programs need no code for it.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::error::{FileContext as _, Result};

/// What is recorded.
const EVENTS: [&str; 8] = [
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "sched/sched_process_exit",
    "syscalls/sys_enter_connect",
    "syscalls/sys_exit_accept4",
    "syscalls/sys_enter_clone3",
    "syscalls/sys_enter_pivot_root",
    "syscalls/sys_enter_setns",
];
/// Per processor.
const BUFFER_KIB: &str = "4096";

/// An instance of tracefs; it is gone when this is dropped.
#[derive(Debug)]
pub struct Tracer {
    instance: PathBuf,
    /// Mounted, but in no directory.
    _tracefs: OwnedFd,
}

/// One thing that a thread did.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, in milliseconds since the kernel was booted.
    pub at: f64,
    /// The thread.
    pub tid: u32,
    /// The event and its fields, as the kernel prints them.
    pub text: String,
}

impl Tracer {
    /// Fails on a kernel without tracefs or without events of system calls.
    pub fn new() -> Result<Self> {
        let tracefs = mount().of("mount", "tracefs")?;
        let name = format!("osctl-bench-{}", std::process::id());
        let instance = PathBuf::from(format!("/proc/self/fd/{}", tracefs.as_raw_fd()))
            .join("instances")
            .join(name);
        fs::create_dir(&instance).of("create", &instance)?;
        let tracer = Self {
            instance,
            _tracefs: tracefs,
        };
        tracer.set("tracing_on", "0")?;
        tracer.set("trace_clock", "mono")?;
        tracer.set("buffer_size_kb", BUFFER_KIB)?;
        for event in EVENTS {
            tracer.set(&format!("events/{event}/enable"), "1")?;
        }
        Ok(tracer)
    }

    /// What happened on this machine while `work` ran.
    pub fn record<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Event>)> {
        self.set("trace", "")?;
        self.set("tracing_on", "1")?;
        let done = work();
        self.set("tracing_on", "0")?;
        let path = self.instance.join("trace");
        let text = fs::read(&path).of("read", &path)?;
        let text = String::from_utf8_lossy(&text);
        Ok((done?, text.lines().filter_map(parse).collect()))
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.instance.join(file);
        fs::write(&path, value).of("write", path)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.instance);
    }
}

fn mount() -> rustix::io::Result<OwnedFd> {
    let tracefs = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&tracefs)?;
    fsmount(
        &tracefs,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

/// A line such as `sh-42  [001] d..2. 12.000345: sched_process_exit: comm=sh pid=42`.
/// The name of the thread may have anything in it.
fn parse(line: &str) -> Option<Event> {
    let (thread, rest) = line.match_indices(" [").find_map(|(at, _)| {
        let (cpu, rest) = line[at + 2..].split_once(']')?;
        let is_cpu = cpu.len() >= 3 && cpu.bytes().all(|byte| byte.is_ascii_digit());
        is_cpu.then_some((&line[..at], rest))
    })?;
    let tid = thread.trim_end().rsplit('-').next()?.parse().ok()?;
    let (_flags, rest) = rest.trim_start().split_once(' ')?;
    let (seconds, text) = rest.trim_start().split_once(": ")?;
    Some(Event {
        at: seconds.parse::<f64>().ok()? * 1_000.0,
        tid,
        text: text.to_owned(),
    })
}

impl Event {
    /// The number after `key=`, of an event of the scheduler.
    pub fn number(&self, key: &str) -> Option<u32> {
        let mut words = self.text.split([' ', '(', ')']);
        words
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?
            .parse()
            .ok()
    }

    /// The child, if this is the birth of one of a thread in `parents`.
    pub fn child_of(&self, parents: &HashSet<u32>) -> Option<u32> {
        let is_fork = self.text.starts_with("sched_process_fork:") && parents.contains(&self.tid);
        is_fork.then(|| self.number("child_pid")).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_the_name_of_the_thread() {
        let event = parse(
            " [lxc [x]-mon-42      [001] d..2.  12.000345: sched_process_fork: comm=a b pid=42 child_comm=a b child_pid=43",
        )
        .unwrap();
        assert_eq!((event.at, event.tid), (12_000.345, 42));
        assert_eq!(event.number("child_pid"), Some(43));
        assert_eq!(event.child_of(&HashSet::from([42])), Some(43));
        assert_eq!(event.child_of(&HashSet::from([43])), None);
        let event = parse("           <...>-7 [000] ..... 1.5: sys_accept4 -> 0xa").unwrap();
        assert_eq!((event.tid, event.text.as_str()), (7, "sys_accept4 -> 0xa"));
        for line in ["", "# tracer: nop", "a-1 [x] b", "a-b [000] ..... 1.0: c"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
