//! The user's terminal: its modes, signals, and relaying bytes between it and a session.

pub mod console;
pub mod exec;
mod guard;
mod keys;
mod pump;
mod signals;

pub use guard::TerminalGuard;
pub use signals::Signals;

use crate::ui::Stream;

/// Rows and columns of the user's terminal, when there is one.
pub fn size() -> Option<(u16, u16)> {
    [Stream::In, Stream::Out, Stream::Err]
        .into_iter()
        .find_map(|s| rustix::termios::tcgetwinsize(s).ok())
        .filter(|w| w.ws_row > 0 && w.ws_col > 0)
        .map(|w| (w.ws_row, w.ws_col))
}
