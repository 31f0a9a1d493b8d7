//! Changes the mode of the user's terminal and puts it back on every way out: when dropped, and
//! when the program panics, which in release builds ends it without unwinding.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::ui::Stream;

/// What the terminal was like before it was changed.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);
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
        TerminalGuard::change(Termios::make_raw)
    }

    /// Input is not shown.
    ///
    /// # Errors
    /// As [`TerminalGuard::raw`].
    pub fn without_echo() -> io::Result<TerminalGuard> {
        TerminalGuard::change(|t| t.local_modes.remove(LocalModes::ECHO))
    }

    fn change(edit: impl FnOnce(&mut Termios)) -> io::Result<TerminalGuard> {
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
        let old = tcgetattr(Stream::In)?;
        let mut new = old.clone();
        edit(&mut new);
        *saved = Some(old);
        if let Err(e) = tcsetattr(Stream::In, OptionalActions::Drain, &new) {
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
    if let Some(old) = saved.take() {
        // a terminal that has gone needs no restoring
        let _ = tcsetattr(Stream::In, OptionalActions::Now, &old);
    }
}
