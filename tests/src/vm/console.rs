//! A machine's console: what it shows, and a keyboard for it.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

use super::machine::{DEADLINE, Machine};
use crate::{daemon, wait};

/// How many lines of the console a failure shows.
const SHOWN: usize = 60;

impl Machine {
    /// Waits until the console shows `text`, for as long as the machine is on.
    #[track_caller]
    pub fn console_shows(&mut self, text: &str) {
        let path = self.directory.path().join("console");
        let shown = wait::find(DEADLINE, || {
            let console = fs::read(&path).unwrap_or_default();
            String::from_utf8_lossy(&console)
                .contains(text)
                .then_some(())
        });
        assert!(shown.is_some(), "no {text:?}:\n{}", self.console());
    }

    /// The last lines of the console.
    pub fn console(&self) -> String {
        daemon::tail(&self.directory.path().join("console"), SHOWN)
    }

    /// Types `text`.
    #[track_caller]
    pub fn types(&mut self, text: &str) {
        let path = self.directory.path().join("keyboard");
        let running = self.running.as_mut().expect("the machine is off");
        let keyboard = running
            .keyboard
            .get_or_insert_with(|| UnixStream::connect(path).unwrap());
        keyboard.write_all(text.as_bytes()).unwrap();
    }
}
