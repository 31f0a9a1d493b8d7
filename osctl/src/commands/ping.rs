//! `osctl ping`: whether the daemon answers, with exit statuses of its own.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use osctl_api::Code;
use osctl_api::client::Client;
use osctl_api::daemon::{self, Pong};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::context::{Context, to_value};
use crate::failure::{DONE, Failure, Outcome};
use crate::tree::Verb;

const ERROR: u8 = 1;
const NOT_CONNECTED: u8 = 2;
const UNEXPECTED: u8 = 3;
/// How long a daemon that was connected to may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Between the socket being bound and being listened to there is no event to wait for.
const TICK: Duration = Duration::from_millis(100);

/// Check that the daemon answers
///
/// Exit status: 0 it does, 1 it replied with an error or not in time, 2 it can't be connected to,
/// 3 it replied something else.
#[derive(Debug, clap::Args)]
pub struct Ping {
    /// Seconds to wait for it; 0 to wait as long as it takes
    wait: Option<u64>,
}

impl Verb for Ping {
    fn run(self, cx: &mut Context) -> Outcome {
        let path = cx.daemon.socket();
        let pong = match self.wait {
            None => attempt(path, ANSWER),
            Some(0) => retry(path, None),
            Some(n) => retry(path, Instant::now().checked_add(Duration::from_secs(n))),
        }?;
        if cx.ui.json {
            cx.ui.json(&to_value(&pong)?)?;
        } else {
            let state = if pong.initialized {
                ""
            } else {
                ", pools are being imported"
            };
            cx.ui.line(&format!(
                "pong from osctld {}, pid {}{state}",
                pong.version, pong.pid
            ))?;
        }
        Ok(DONE)
    }
}

fn attempt(path: &Path, timeout: Duration) -> Result<Pong, Failure> {
    let mut client = Client::connect(path).map_err(|e| Failure::Coded(NOT_CONNECTED, e))?;
    client
        .set_timeout(Some(timeout))
        .map_err(|e| Failure::local("cannot limit the time to wait", &e))?;
    client.call(&daemon::Ping {}).map_err(|e| {
        let status = match e.code {
            Code::Internal | Code::InvalidArgument | Code::Unsupported => UNEXPECTED,
            _ => ERROR,
        };
        Failure::Coded(status, e)
    })
}

fn retry(path: &Path, deadline: Option<Instant>) -> Result<Pong, Failure> {
    // watched before it is tried, so that nothing is missed in between
    let watch = watch(path);
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.unwrap_or(ANSWER).min(ANSWER).max(TICK);
        let failure = match attempt(path, timeout) {
            Ok(pong) => return Ok(pong),
            Err(failure) => failure,
        };
        if failure.status() == UNEXPECTED || left.is_some_and(|l| l.is_zero()) {
            return Err(failure);
        }
        wait(watch.as_ref(), left);
    }
}

/// Watches for the socket being made: in its directory, or where that directory will be made.
fn watch(path: &Path) -> Option<OwnedFd> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watch = inotify::init(flags).ok()?;
    let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    for directory in path.ancestors().skip(1) {
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        if inotify::add_watch(&watch, directory, events).is_ok() {
            return Some(watch);
        }
    }
    None
}

fn wait(watch: Option<&OwnedFd>, left: Option<Duration>) {
    let tick = left.unwrap_or(TICK).min(TICK);
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(tick.subsec_nanos()),
    };
    let mut fds = Vec::new();
    fds.extend(watch.map(|w| PollFd::new(w, PollFlags::IN)));
    let _ = poll(&mut fds, Some(&timeout));
    if let Some(watch) = watch {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        while reader.next().is_ok() {}
    }
}
