//! History: JSON lines that are only ever appended to, in two files of bounded size.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use osctl_linux::beneath::{Mounts, Root, Symlinks};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Result};

/// Longest line, in bytes.
pub const MAX_LINE: usize = 64 << 10;

/// An append-only log of JSON lines: `NAME` and, once that has reached its bound, `NAME.1` with
/// what came before.
#[derive(Debug)]
pub struct History {
    dir: Root,
    path: PathBuf,
    name: String,
    max_bytes: u64,
    file: Mutex<Option<File>>,
}

impl History {
    /// The log `name` in the directory `dir`, which exists. Each of the two files holds about
    /// `max_bytes`.
    pub fn open(dir: impl Into<PathBuf>, name: &str, max_bytes: u64) -> Result<History> {
        let path = dir.into();
        let dir = Root::open_tree(&path, Symlinks::Refuse, Mounts::Refuse)
            .map_err(|e| Error::io("open", &path, e))?;
        Ok(History {
            dir,
            path: path.join(name),
            name: name.to_owned(),
            max_bytes,
            file: Mutex::new(None),
        })
    }

    fn error(
        &self,
        action: &'static str,
    ) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Error {
        let path = self.path.clone();
        move |source| Error::io(action, path.clone(), source)
    }

    fn open_file(&self) -> Result<File> {
        let failed = self.error("open");
        match self.dir.create_new(&self.name, 0o600) {
            Ok(_) => {}
            Err(e) if e.errno() == Errno::EEXIST => {}
            Err(e) => return Err(failed(e.into())),
        }
        let mut file = self
            .dir
            .open_regular(&self.name, OFlag::O_RDWR | OFlag::O_APPEND)
            .map_err(|e| failed(e.into()))?;
        // A crash may have cut the last line short: it must not swallow the next one.
        let len = file.seek(SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        if len > 0 {
            let mut last = [0u8];
            file.seek(SeekFrom::End(-1))
                .and_then(|_| file.read_exact(&mut last))
                .map_err(|e| failed(e.into()))?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(|e| failed(e.into()))?;
            }
        }
        Ok(file)
    }

    /// Appends one line. It is in the page cache when this returns, so it survives the daemon;
    /// the disk gets it when the kernel sees fit.
    pub fn append(&self, event: &impl Serialize) -> Result<()> {
        let failed = self.error("append to");
        let mut line = serde_json::to_vec(event).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        if line.len() > MAX_LINE {
            return Err(failed(
                format!("a line of {} bytes is too long", line.len()).into(),
            ));
        }
        let mut guard = self.file.lock().unwrap_or_else(|e| e.into_inner());
        let mut file = match guard.take() {
            Some(file) => file,
            None => self.open_file()?,
        };
        let size = file.metadata().map_err(|e| failed(e.into()))?.len();
        if size > 0 && size.saturating_add(line.len() as u64) > self.max_bytes {
            self.dir
                .rename(&self.name, format!("{}.1", self.name))
                .map_err(|e| failed(e.into()))?;
            file = self.open_file()?;
        }
        // One write: with O_APPEND lines never mix. On failure the file is opened anew next
        // time, which ends a line that was cut short.
        file.write_all(&line).map_err(|e| failed(e.into()))?;
        *guard = Some(file);
        Ok(())
    }

    /// The latest `limit` lines, oldest first. Lines that can't be read are left out.
    pub fn read<T: DeserializeOwned>(&self, limit: usize) -> Result<Vec<T>> {
        let mut latest = VecDeque::new();
        for name in [format!("{}.1", self.name), self.name.clone()] {
            match self.dir.open_regular(&name, OFlag::O_RDONLY) {
                Ok(file) => self
                    .read_file(file, limit, &mut latest)
                    .map_err(|e| self.error("read")(e.into()))?,
                Err(e) if e.errno() == Errno::ENOENT => {}
                Err(e) => return Err(self.error("read")(e.into())),
            }
        }
        Ok(latest.into())
    }

    fn read_file<T: DeserializeOwned>(
        &self,
        mut file: File,
        limit: usize,
        latest: &mut VecDeque<T>,
    ) -> std::io::Result<()> {
        let bound = self.max_bytes.saturating_add(MAX_LINE as u64);
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(bound)))?;
        let mut reader = BufReader::new(file.take(bound));
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut reader)
                .take(MAX_LINE as u64)
                .read_until(b'\n', &mut line)?
                == 0
            {
                return Ok(());
            }
            if let Ok(event) = serde_json::from_slice(&line) {
                if latest.len() >= limit {
                    latest.pop_front();
                }
                if limit > 0 {
                    latest.push_back(event);
                }
            }
        }
    }
}
