//! Questions to the user, and reading a secret without echo.

use rustix::event::{PollFd, PollFlags, poll};

use super::{Stream, escape};
use crate::failure::Failure;
use crate::terminal::{Signals, TerminalGuard};

/// Longest line that is read, in bytes.
const MAX_LINE: usize = 4096;

/// Asks a question on stderr and returns the line that was answered; `None` at the end of input.
///
/// # Errors
/// When input can't be read, is not text, or has no end.
pub fn ask(question: &str) -> Result<Option<String>, Failure> {
    let _ = Stream::Err.write_all(escape::line(question).as_bytes());
    let line = read_line(None);
    if !Stream::In.is_tty() {
        // an answer that was not typed does not end the line
        let _ = Stream::Err.write_all(b"\n");
    }
    line
}

/// Asks for a secret: without echo on a terminal, else just reads a line.
///
/// # Errors
/// As [`ask`]; with the status of the signal when one arrives.
pub fn secret(question: &str) -> Result<Option<String>, Failure> {
    if !Stream::In.is_tty() {
        return read_line(None);
    }
    let cannot = |e: &std::io::Error| Failure::local("cannot prepare the terminal", e);
    let mut signals = Signals::watch_termination().map_err(|e| cannot(&e))?;
    let guard = TerminalGuard::without_echo().map_err(|e| cannot(&e))?;
    let _ = Stream::Err.write_all(escape::line(question).as_bytes());
    let line = read_line(Some(&mut signals));
    drop(guard);
    // the user's own line end was not shown
    let _ = Stream::Err.write_all(b"\n");
    line
}

fn read_line(mut signals: Option<&mut Signals>) -> Result<Option<String>, Failure> {
    let mut line = Vec::new();
    loop {
        if let Some(signals) = &mut signals {
            wait(signals)?;
        }
        let mut byte = [0u8];
        match rustix::io::read(Stream::In, &mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => {
                let e = std::io::Error::from(e);
                return Err(Failure::local("cannot read standard input", &e));
            }
        }
        if line.len() > MAX_LINE {
            return Err(Failure::usage(format!(
                "a line on standard input is longer than {MAX_LINE} bytes"
            )));
        }
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| Failure::usage("standard input is not UTF-8 text"))
}

/// Waits for input; a signal ends the program once the caller's guards are dropped.
fn wait(signals: &mut Signals) -> Result<(), Failure> {
    loop {
        let mut fds = [
            PollFd::new(&Stream::In, PollFlags::IN),
            PollFd::new(&*signals, PollFlags::IN),
        ];
        let _ = poll(&mut fds, None);
        let ready = !fds[0].revents().is_empty();
        if let Some(signal) = signals.next() {
            return Err(Failure::Status(128 + signal as u8));
        }
        if ready {
            return Ok(());
        }
    }
}
