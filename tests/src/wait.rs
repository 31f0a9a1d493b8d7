//! Waiting with a deadline.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long anything may take that ought to happen soon: generous, machines are busy, or emulated.
pub const SOON: Duration = Duration::from_secs(90);

fn timespec(d: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(d.as_secs()).unwrap(),
        tv_nsec: i64::from(d.subsec_nanos()),
    }
}

/// Lets `d` pass: for what the kernel tells nobody about, and for proving that nothing happens.
pub fn pause(d: Duration) {
    let _ = poll(&mut [], Some(&timespec(d)));
}

/// Asks `f` until it has something, for at most `limit`.
pub fn find<T>(limit: Duration, mut f: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut step = Duration::from_millis(2);
    loop {
        if let Some(found) = f() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        pause(step);
        step = (step * 2).min(Duration::from_millis(50));
    }
}

/// Asks `f` until it holds; panics, naming `what`, when it doesn't soon.
#[track_caller]
pub fn until(what: &str, mut f: impl FnMut() -> bool) {
    let held = find(SOON, || f().then_some(())).is_some();
    assert!(held, "did not happen within {SOON:?}: {what}");
}

/// Waits until one of `fds` can be read or has ended, for at most `limit`; which ones.
pub fn readable(fds: &[&dyn AsFd], limit: Duration) -> Vec<bool> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut polled: Vec<PollFd<'_>> = fds
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
            .collect();
        match poll(&mut polled, Some(&timespec(left))) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("poll: {e}"),
            Ok(_) => return polled.iter().map(|p| !p.revents().is_empty()).collect(),
        }
    }
}
