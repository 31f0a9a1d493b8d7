//! A program on a terminal of its own, as a person sees it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};

use crate::{processes, session, wait};

/// A program whose controlling terminal is ours.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    before: Termios,
}

impl Terminal {
    /// Starts a program on a new terminal.
    #[track_caller]
    pub fn spawn(command: &Command) -> Terminal {
        let size = Winsize {
            ws_row: 30,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        // setsid(1) makes the terminal the controlling one, and becomes the program.
        let mut session = Command::new("setsid");
        session
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => session.env(key, value),
                None => session.env_remove(key),
            };
        }
        session
            .env("TERM", "xterm")
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(pty.slave.try_clone().unwrap())
            .stderr(pty.slave.try_clone().unwrap());
        let before = tcgetattr(&pty.slave).unwrap();
        Terminal {
            child: processes::spawn(&mut session),
            master: pty.master.into(),
            slave: pty.slave,
            before,
        }
    }

    /// Types.
    pub fn write(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `text` shows up; everything that was read.
    #[track_caller]
    pub fn read_until(&self, text: &str) -> String {
        self.read_until_within(text, wait::SOON)
    }

    /// As [`read_until`](Terminal::read_until), for at most `limit`.
    #[track_caller]
    pub fn read_until_within(&self, text: &str, limit: Duration) -> String {
        session::read_until(&self.master, text, limit)
    }

    /// Process id of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program's end.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        self.end_within(wait::SOON)
    }

    /// Waits for the program's end, for at most `limit`.
    #[track_caller]
    pub fn end_within(&mut self, limit: Duration) -> ExitStatus {
        let pidfd = processes::pidfd(self.child.id()).unwrap();
        let end = std::time::Instant::now() + limit;
        let mut shown = Vec::new();
        loop {
            // What it writes must go somewhere, or it waits for us.
            let left = end.saturating_duration_since(std::time::Instant::now());
            let ready = wait::readable(&[&pidfd, &self.master], left);
            if ready[0] {
                return self.child.wait().unwrap();
            }
            assert!(ready[1], "it goes on: {}", String::from_utf8_lossy(&shown));
            let mut buffer = [0; 4096];
            if let Ok(n) = rustix::io::read(&self.master, &mut buffer) {
                shown.extend_from_slice(&buffer[..n]);
            }
        }
    }

    /// Panics when the terminal is not as it was before the program.
    #[track_caller]
    pub fn assert_restored(&self) {
        let now = tcgetattr(&self.slave).unwrap();
        assert_eq!(now, self.before, "the terminal is not as it was");
    }

    /// Whether the terminal hands over every key at once.
    pub fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.slave).unwrap();
        !now.local_flags
            .contains(nix::sys::termios::LocalFlags::ICANON)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
