//! Waiting for a cgroup's state: `cgroup.events` tells when it changes.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{Result, file};

/// How long to trust that a change is told. The kernel holds back a second one within 10 ms, and
/// tells it never when somebody removes the cgroup meanwhile.
const RECHECK: Duration = Duration::from_millis(50);

/// A time by which something has to have happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// The limit it was made from, for messages.
    pub limit: Duration,
    at: Instant,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Deadline {
        // A limit beyond what the clock can express is as good as a year.
        let now = Instant::now();
        let at = now.checked_add(limit);
        let at = at.unwrap_or_else(|| now + Duration::from_secs(365 * 86400));
        Deadline { limit, at }
    }

    /// What is left, zero once it has passed.
    pub(super) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(super) fn passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// Waits until `key` in `dir/cgroup.events` has a value; `false` if the deadline passed first.
/// A cgroup that is gone has reached any state.
pub(super) fn wait(dir: &Path, key: &str, value: &str, deadline: Deadline) -> Result<bool> {
    let path = dir.join("cgroup.events");
    let failed = |e: io::Error| file::failed("watch".into(), &path, e);
    let gone = |e: &io::Error| {
        [Errno::NOENT, Errno::NODEV]
            .map(|n| Some(n.raw_os_error()))
            .contains(&e.raw_os_error())
    };
    let events = match File::open(&path) {
        Err(e) if gone(&e) => return Ok(true),
        other => other.map_err(failed)?,
    };
    let mut buffer = [0; 256];
    loop {
        // Passed before the read, so that the state is looked at once more after a timeout.
        let passed = deadline.passed();
        let length = match events.read_at(&mut buffer, 0) {
            Err(e) if gone(&e) => return Ok(true),
            other => other.map_err(failed)?,
        };
        if field(&String::from_utf8_lossy(&buffer[..length]), key) == Some(value) {
            return Ok(true);
        }
        if passed {
            return Ok(false);
        }
        let mut fds = [PollFd::new(&events, PollFlags::PRI)];
        let time = deadline.left().min(RECHECK);
        poll_for(&mut fds, time).map_err(|e| failed(e.into()))?;
    }
}

/// Polls, not troubled by signals.
pub(super) fn poll_for(fds: &mut [PollFd<'_>], time: Duration) -> rustix::io::Result<usize> {
    let limit = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    match poll(fds, Some(&limit)) {
        Err(Errno::INTR) => Ok(0),
        other => other,
    }
}

/// The value of a `key value` line.
pub(super) fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|l| l.split_once(' '));
    pairs.find(|(k, _)| *k == key).map(|(_, v)| v)
}
