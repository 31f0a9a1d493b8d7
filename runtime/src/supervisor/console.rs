//! The container's console: what it writes goes to a ring buffer, a bounded log and the clients;
//! what clients send goes to it.
//!
//! Nothing here waits: a client that does not read loses output older than the ring, a guest that
//! does not read makes clients wait, and the guest never waits for anybody.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use osctl_linux::error::{Context, Result};
use osctl_linux::{seqpacket, tty};
use osctl_runtime::control::{CONSOLE_CHUNK, CONSOLE_DATA, CONSOLE_RESIZE};
use osctl_runtime::spec::ConsoleLog;

const RING: usize = 16 * 1024;
/// The largest input message of a client.
const INPUT: usize = 64 * 1024;
const CLIENTS: usize = 16;
/// Chunks read in a row before others get their turn.
const TURN: usize = 8;

/// The supervisor's side of a console.
#[derive(Debug)]
pub struct Console {
    pty: Option<(OwnedFd, OwnedFd)>,
    ring: VecDeque<u8>,
    /// Bytes that the guest has ever written; the ring holds the last of them.
    written: u64,
    log: Option<Log>,
    clients: Vec<Client>,
    /// Input that the guest has not taken; while there is some, no client is read.
    input: VecDeque<u8>,
}

/// Somebody who watches.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    /// How many of the bytes written were sent, or lost.
    seen: u64,
}

impl Client {
    /// Sends what the ring has and the client has not, as far as there is room; false when the
    /// client is gone.
    fn catch_up(&mut self, ring: &VecDeque<u8>, written: u64) -> bool {
        self.seen = self.seen.max(written - ring.len() as u64);
        while self.seen < written {
            let skip = ring.len() - (written - self.seen) as usize;
            let (head, tail) = ring.as_slices();
            let rest = match head.get(skip..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => &tail[skip - head.len()..],
            };
            let chunk = &rest[..rest.len().min(CONSOLE_CHUNK)];
            match seqpacket::send(self.socket.as_fd(), chunk, &[], true) {
                Ok(()) => self.seen += chunk.len() as u64,
                Err(error) => return matches!(error.errno(), Errno::EAGAIN | Errno::ENOBUFS),
            }
        }
        true
    }
}

impl Console {
    /// Without a terminal yet.
    pub fn new(log: &ConsoleLog) -> Result<Self> {
        let log = match (&log.log, log.max_bytes) {
            (Some(path), 1..) => Some(Log::open(path, log.max_bytes)?),
            _ => None,
        };
        Ok(Console {
            pty: None,
            ring: VecDeque::new(),
            written: 0,
            log,
            clients: Vec::new(),
            input: VecDeque::new(),
        })
    }

    /// Takes both ends of the terminal.
    pub fn connect(&mut self, master: OwnedFd, slave: OwnedFd) -> Result<()> {
        seqpacket::set_nonblocking(&master, true)?;
        self.pty = Some((master, slave));
        Ok(())
    }

    /// To be polled.
    pub fn master(&self) -> Option<BorrowedFd<'_>> {
        self.pty.as_ref().map(|(master, _)| master.as_fd())
    }

    /// To be polled, and whether for writing too.
    pub fn clients(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let behind = |client: &Client| client.seen < self.written;
        self.clients
            .iter()
            .map(move |c| (c.socket.as_fd(), behind(c)))
    }

    /// Whether the terminal has yet to take input.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Adds a client and tells it what was written so far. False when there are too many.
    pub fn attach(&mut self, socket: OwnedFd) -> bool {
        if self.clients.len() >= CLIENTS {
            return false;
        }
        let mut client = Client { socket, seen: 0 };
        if client.catch_up(&self.ring, self.written) {
            self.clients.push(client);
        }
        true
    }

    /// Sends the client with this position what it missed; false when it is gone.
    pub fn catch_up(&mut self, index: usize) -> bool {
        let client = self.clients.get_mut(index);
        client.is_none_or(|client| client.catch_up(&self.ring, self.written))
    }

    /// Reads what the guest wrote. At most one turn; the rest stays for the next.
    pub fn read_output(&mut self) {
        let mut buffer = [0; CONSOLE_CHUNK];
        for _ in 0..TURN {
            let Some((master, _)) = &self.pty else {
                return;
            };
            match nix::unistd::read(master, &mut buffer) {
                Ok(size) if size > 0 => self.output(&buffer[..size]),
                Err(Errno::EINTR) => {}
                _ => return,
            }
        }
    }

    fn output(&mut self, bytes: &[u8]) {
        let excess = (self.ring.len() + bytes.len()).saturating_sub(RING);
        self.ring.drain(..excess.min(self.ring.len()));
        self.ring.extend(bytes);
        self.written += bytes.len() as u64;
        // A full or broken disk costs the log, not the console.
        if self
            .log
            .as_mut()
            .is_some_and(|log| log.append(bytes).is_err())
        {
            self.log = None;
        }
        self.clients
            .retain_mut(|client| client.catch_up(&self.ring, self.written));
    }

    /// Reads a message of the client with this position; false when the client is gone.
    pub fn read_client(&mut self, index: usize) -> bool {
        let Some(client) = self.clients.get(index) else {
            return true;
        };
        match seqpacket::recv(client.socket.as_fd(), INPUT, true) {
            Ok(Some(packet)) => self.message(&packet.data),
            Ok(None) => false,
            Err(error) => error.errno() == Errno::EAGAIN,
        }
    }

    fn message(&mut self, data: &[u8]) -> bool {
        match data {
            [CONSOLE_DATA, input @ ..] => {
                self.input.extend(input);
                self.write_input();
                true
            }
            [CONSOLE_RESIZE, a, b, c, d] => {
                let (rows, cols) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
                if let Some((master, _)) = &self.pty {
                    let _ = tty::set_size(master, rows, cols);
                }
                true
            }
            _ => false,
        }
    }

    /// Lets go of the client with this position.
    pub fn remove_client(&mut self, index: usize) {
        if index < self.clients.len() {
            self.clients.remove(index);
        }
    }

    /// Gives the terminal as much input as it takes.
    pub fn write_input(&mut self) {
        let Some((master, _)) = &self.pty else {
            self.input.clear();
            return;
        };
        while !self.input.is_empty() {
            match nix::unistd::write(master, self.input.as_slices().0) {
                Ok(size) => drop(self.input.drain(..size)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.input.clear(),
            }
        }
    }
}

/// A file that keeps the newest of what is appended.
#[derive(Debug)]
struct Log {
    file: File,
    size: u64,
    max: u64,
}

impl Log {
    fn open(path: &Path, max: u64) -> Result<Self> {
        let call = || format!("open({path:?})");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .call(call)?;
        let metadata = file.metadata().call(call)?;
        if !metadata.is_file() {
            return Err(osctl_linux::error::Error::new(call(), Errno::EINVAL));
        }
        let size = metadata.len();
        Ok(Log { file, size, max })
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        // Of more than half the file at once, only the end would stay anyway.
        let half = (self.max / 2).max(1);
        let skip = (bytes.len() as u64).saturating_sub(half) as usize;
        let bytes = &bytes[skip..];
        if self.size + bytes.len() as u64 > self.max {
            self.keep_newest(half.min(self.max - bytes.len() as u64))?;
        }
        self.file.write_all_at(bytes, self.size)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Moves the last `keep` bytes to the front, in small pieces.
    fn keep_newest(&mut self, keep: u64) -> std::io::Result<()> {
        let keep = keep.min(self.size);
        let start = self.size - keep;
        let mut buffer = [0; CONSOLE_CHUNK];
        let mut moved = 0;
        while moved < keep {
            let piece = (keep - moved).min(buffer.len() as u64) as usize;
            let size = self.file.read_at(&mut buffer[..piece], start + moved)?;
            if size == 0 {
                break;
            }
            self.file.write_all_at(&buffer[..size], moved)?;
            moved += size as u64;
        }
        self.file.set_len(moved)?;
        self.size = moved;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_newest_and_its_bound() {
        let name = format!("osctl-console-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        for max in [1, 2, 100, 101] {
            let mut log = Log::open(&path, max).unwrap();
            for round in 0..50 {
                log.append(format!("line {round:02}\n").as_bytes()).unwrap();
                assert!(std::fs::metadata(&path).unwrap().len() <= max);
            }
            log.append(&vec![b'x'; 5000]).unwrap();
            let content = std::fs::read(&path).unwrap();
            assert!(content.len() as u64 <= max && content.ends_with(b"x"));
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn the_log_does_not_follow_a_symlink() {
        let name = format!("osctl-console-link-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert_eq!(Log::open(&path, 10).unwrap_err().errno(), Errno::ELOOP);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_new_client_is_told_the_newest() {
        let mut console = Console::new(&ConsoleLog::default()).unwrap();
        for _ in 0..10 {
            console.output(&[b'a'; 4000]);
        }
        console.output(b"end");
        let (ours, theirs) = seqpacket::pair().unwrap();
        assert!(console.attach(theirs));
        let mut seen = Vec::new();
        while let Ok(Some(packet)) = seqpacket::recv(ours.as_fd(), CONSOLE_CHUNK, true) {
            seen.extend(packet.data);
        }
        assert_eq!(seen.len(), RING);
        assert!(seen.ends_with(b"aend"));
    }
}
