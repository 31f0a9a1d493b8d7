//! Moves bytes from one file descriptor to another within a poll loop, without ever waiting.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::ui::Stream;

/// As much as a pipe that is ready to be written takes without blocking (PIPE_BUF).
const PIECE: usize = 4096;

/// An end of a pump.
#[derive(Debug)]
pub enum End {
    /// A standard stream of ours.
    Std(Stream),
    /// A pipe or terminal that was opened for the session.
    Owned(OwnedFd),
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            End::Std(s) => s.as_fd(),
            End::Owned(fd) => fd.as_fd(),
        }
    }
}

/// Bytes on their way from a source to a sink.
#[derive(Debug)]
pub struct Pump {
    source: Option<End>,
    sink: Option<End>,
    buffer: Vec<u8>,
    /// Writing to the sink failed.
    broken: bool,
}

impl Pump {
    /// A pump from `source` to `sink`.
    pub fn new(source: End, sink: End) -> Pump {
        Pump {
            source: Some(source),
            sink: Some(sink),
            buffer: Vec::new(),
            broken: false,
        }
    }

    /// What to poll for; `None` when there is nothing to do for now or any more.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let sink = self.sink.as_ref()?;
        if !self.buffer.is_empty() {
            return Some((sink.as_fd(), PollFlags::OUT));
        }
        let source = self.source.as_ref()?;
        if matches!(source, End::Std(s) if in_background(*s)) {
            return None;
        }
        Some((source.as_fd(), PollFlags::IN))
    }

    /// Whether it reads from standard input.
    pub fn is_input(&self) -> bool {
        matches!(self.source, Some(End::Std(Stream::In)))
    }

    /// Whether its source has ended, rather than its sink.
    pub fn has_lost_source(&self) -> bool {
        self.source.is_none() && !self.broken
    }

    /// Moves a piece, after what [`Pump::interest`] asked for was reported. Returns bytes moved in.
    pub fn step(&mut self) -> usize {
        let mut moved = 0;
        if self.buffer.is_empty() {
            moved = self.read();
        } else {
            self.write();
        }
        if self.source.is_none() && self.buffer.is_empty() {
            // the other side sees the end of its input
            self.sink = None;
        }
        moved
    }

    fn read(&mut self) -> usize {
        let Some(source) = &self.source else { return 0 };
        self.buffer.resize(PIECE, 0);
        let got = rustix::io::read(source, &mut self.buffer[..]);
        let n = *got.as_ref().unwrap_or(&0);
        self.buffer.truncate(n);
        match got {
            Ok(0) => self.source = None,
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            // EIO is how the end of a terminal looks
            Err(_) => self.source = None,
        }
        n
    }

    fn write(&mut self) {
        let Some(sink) = &self.sink else { return };
        match rustix::io::write(sink, &self.buffer) {
            Ok(n) => {
                self.buffer.drain(..n);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => {
                self.buffer.clear();
                self.broken = true;
                self.source = None;
                self.sink = None;
            }
        }
    }
}

/// Whether reading from the terminal would stop this program.
fn in_background(stream: Stream) -> bool {
    stream == Stream::In
        && rustix::termios::tcgetpgrp(stream)
            .is_ok_and(|foreground| foreground != rustix::process::getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, poll};

    fn run(pump: &mut Pump) {
        while let Some((fd, flags)) = pump.interest() {
            poll(&mut [PollFd::from_borrowed_fd(fd, flags)], None).unwrap();
            pump.step();
        }
    }

    #[test]
    fn bytes_and_the_end_arrive() {
        let (r1, w1) = rustix::pipe::pipe().unwrap();
        let (r2, w2) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&w1, b"hello").unwrap();
        drop(w1);
        let mut pump = Pump::new(End::Owned(r1), End::Owned(w2));
        run(&mut pump);
        assert!(pump.has_lost_source());
        let mut buffer = [0u8; 16];
        assert_eq!(rustix::io::read(&r2, &mut buffer).unwrap(), 5);
        assert_eq!(rustix::io::read(&r2, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_sink_that_is_gone_ends_it() {
        let (r1, w1) = rustix::pipe::pipe().unwrap();
        let (r2, w2) = rustix::pipe::pipe().unwrap();
        drop(r2);
        rustix::io::write(&w1, b"hello").unwrap();
        let mut pump = Pump::new(End::Owned(r1), End::Owned(w2));
        run(&mut pump);
        assert!(!pump.has_lost_source());
    }
}
