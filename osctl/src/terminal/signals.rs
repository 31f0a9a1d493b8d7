//! Signals as a file descriptor to poll, so that one loop sees them in order with everything else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

const TERMINATION: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// Signals that are held back and read from a file descriptor, until this is dropped.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    set: SigSet,
}

impl Signals {
    /// The signals that ask a program to end.
    ///
    /// # Errors
    /// What signalfd(2) says.
    pub fn watch_termination() -> io::Result<Signals> {
        Signals::watch(&[])
    }

    /// The signals that ask a program to end, and that its terminal changed its size or that it
    /// was brought to the foreground.
    ///
    /// # Errors
    /// What signalfd(2) says.
    pub fn watch_session() -> io::Result<Signals> {
        Signals::watch(&[Signal::SIGWINCH, Signal::SIGCONT])
    }

    fn watch(more: &[Signal]) -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for signal in TERMINATION.iter().chain(more) {
            set.add(*signal);
        }
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        set.thread_block()?;
        Ok(Signals { fd, set })
    }

    /// The next signal, if one arrived.
    pub fn next(&mut self) -> Option<Signal> {
        let info = self.fd.read_signal().ok().flatten()?;
        Signal::try_from(info.ssi_signo as i32).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // what is still pending would end the program now, with the terminal as it is meant to be
        let _ = self.set.thread_unblock();
    }
}
