//! The standard streams themselves: whether they are terminals, reading, writing, handing them on.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes that are handed on at a time.
const PORTION: usize = 256 << 10;

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard input.
    In,
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// Whether it is a terminal.
    pub fn is_tty(self) -> bool {
        rustix::termios::isatty(self.as_fd())
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn write_all(self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(self.as_fd(), bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => wait(&[(self.as_fd(), PollFlags::OUT)])?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Reads what there is; nothing at the end.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn read(self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(self.as_fd(), &mut *buffer) {
                Ok(n) => return Ok(n),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => wait(&[(self.as_fd(), PollFlags::IN)])?,
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Hands a pipe on to its end, or until whoever reads this stream is gone.
    ///
    /// # Errors
    /// `BrokenPipe` when that is so; what read(2) and write(2) say.
    pub fn write_from(self, mut from: io::PipeReader) -> io::Result<()> {
        let mut buffer = vec![0; PORTION];
        loop {
            // A reader that goes is noticed while there is nothing to write, too.
            wait(&[
                (from.as_fd(), PollFlags::IN),
                (self.as_fd(), PollFlags::empty()),
            ])?;
            if ready(from.as_fd(), PollFlags::IN)? {
                match from.read(&mut buffer)? {
                    0 => return Ok(()),
                    n => self.write_all(&buffer[..n])?,
                }
            } else if ready(self.as_fd(), PollFlags::empty())? {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }

    /// Hands all of this stream on to a pipe.
    ///
    /// # Errors
    /// `BrokenPipe` when nobody reads the pipe any more; what read(2) and write(2) say.
    pub fn read_into(self, mut to: io::PipeWriter) -> io::Result<()> {
        let mut buffer = vec![0; PORTION];
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(()),
                n => to.write_all(&buffer[..n])?,
            }
        }
    }
}

/// Waits for one of these, or an error of one.
fn wait(fds: &[(BorrowedFd<'_>, PollFlags)]) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> = fds
        .iter()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Whether it is so far, or has an error, now.
fn ready(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<bool> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&now)) {
        Ok(n) => Ok(n > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::In => rustix::stdio::stdin(),
            Stream::Out => rustix::stdio::stdout(),
            Stream::Err => rustix::stdio::stderr(),
        }
    }
}
