//! Changes the mode of the user's terminal and puts it back on every way out: when dropped, and
//! when the program panics, which in release builds ends it without unwinding.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::ui::Stream;

/// The terminal, and what it was like before it was changed.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// A changed terminal.
#[derive(Debug)]
pub struct TerminalGuard(());

impl TerminalGuard {
    /// Raw mode: every byte is passed on, none is acted upon.
    ///
    /// # Errors
    /// When standard input is no terminal, or its mode is held by another guard.
    pub fn raw() -> io::Result<TerminalGuard> {
        TerminalGuard::change(Stream::In, Termios::make_raw)
    }

    /// Input is not shown.
    ///
    /// # Errors
    /// As [`TerminalGuard::raw`].
    pub fn without_echo() -> io::Result<TerminalGuard> {
        TerminalGuard::change(Stream::In, |t| t.local_modes.remove(LocalModes::ECHO))
    }

    fn change(terminal: impl AsFd, edit: impl FnOnce(&mut Termios)) -> io::Result<TerminalGuard> {
        let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.is_some() {
            return Err(io::Error::other(
                "the mode of the terminal is changed already",
            ));
        }
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                previous(info);
            }));
        });
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let old = tcgetattr(&terminal)?;
        let mut new = old.clone();
        edit(&mut new);
        let changed = tcsetattr(&terminal, OptionalActions::Drain, &new);
        *saved = Some((terminal, old));
        if let Err(e) = changed {
            *saved = None;
            return Err(e.into());
        }
        Ok(TerminalGuard(()))
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((terminal, old)) = saved.take() {
        // a terminal that has gone needs no restoring
        let _ = tcsetattr(&terminal, OptionalActions::Now, &old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_raw(terminal: &OwnedFd) -> bool {
        let modes = tcgetattr(terminal).unwrap().local_modes;
        !modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    // one test, since there is one terminal
    #[test]
    fn the_terminal_is_put_back() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let guard = TerminalGuard::change(&pty.slave, Termios::make_raw).unwrap();
        assert!(is_raw(&pty.slave));
        assert!(TerminalGuard::change(&pty.slave, Termios::make_raw).is_err());
        drop(guard);
        assert!(!is_raw(&pty.slave));

        // a panic that does not unwind drops nothing
        let guard = TerminalGuard::change(&pty.slave, Termios::make_raw).unwrap();
        std::mem::forget(guard);
        assert!(is_raw(&pty.slave));
        let panicked = std::thread::spawn(|| panic!("on purpose")).join();
        assert!(panicked.is_err());
        assert!(!is_raw(&pty.slave));

        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(TerminalGuard::change(&null, Termios::make_raw).is_err());
        assert!(TerminalGuard::change(&pty.slave, Termios::make_raw).is_ok());
        assert!(!is_raw(&pty.slave));
    }
}
