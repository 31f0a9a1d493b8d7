//! Archives that come and go through pipes, which can't be read twice, nor written to out of order:
//! they are kept meanwhile in a file of the pool that has no name, and so goes with the daemon.
//!
//! What is at the other end of a pipe may do nothing for ever. A pipe is opened anew, so that it is
//! ours alone not to wait in it; waiting for it ends with the call.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::import::bad_archive;
use super::room::Room;
use crate::error::Error;
use crate::handlers::{Cancel, ProgressSender};
use crate::image::{self, Image, Limits};
use crate::pool::Pool;

/// What an archive may grow to when it is unpacked, by its own size: a system is seldom a fifth of
/// its size when it is compressed.
const MOST_GROWTH: u64 = 32;
/// Bytes that are handed on at a time.
const PORTION: usize = 256 << 10;

/// Whether a client's file is a pipe; it may be a regular file, and nothing else.
pub(super) fn is_pipe(file: &File) -> Result<bool, Error> {
    let meta = file.metadata();
    let kind = meta.map_err(|e| Error::backend("cannot look at the archive", e))?;
    match kind.file_type() {
        kind if kind.is_fifo() => Ok(true),
        kind if kind.is_file() => Ok(false),
        _ => Err(Error::invalid("an archive is a regular file or a pipe")),
    }
}

fn own_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn cannot_keep(e: impl Into<io::Error>) -> Error {
    Error::backend("cannot keep the archive on the pool", e.into())
}

/// A new file on the pool without a name, and the room that there is for it.
pub(super) fn draft(pool: &Pool) -> Result<(File, Room), Error> {
    let dir = pool.storage.path().join("repository");
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR);
    let file = file.map(|fd: OwnedFd| File::from(fd));
    let file = file.map_err(cannot_keep)?;
    let room = Room::of(&file)?;
    room.check()?;
    Ok((file, room))
}

/// An archive that is being read.
pub(super) struct Input {
    source: Source,
    /// Bounds of images.
    limits: Limits,
}

enum Source {
    File(File),
    Pipe(Incoming),
}

impl Input {
    pub(super) fn new(
        limits: Limits,
        pool: &Pool,
        file: File,
        cancel: &Cancel,
    ) -> Result<Input, Error> {
        let source = match is_pipe(&file)? {
            false => Source::File(file),
            true => Source::Pipe(Incoming {
                pipe: pipe::OpenOptions::new()
                    .open_receiver(own_path(&file))
                    .map_err(|e| Error::backend("cannot read the archive", e))?,
                runtime: Handle::current(),
                cancel: cancel.clone(),
                draft: draft(pool)?,
                taken: 0,
                max: limits.max_bytes,
                fault: None,
            }),
        };
        Ok(Input { source, limits })
    }

    /// What the archive says of itself, from its beginning.
    pub(super) fn head(&mut self) -> Result<Image, Error> {
        match &mut self.source {
            Source::File(file) => {
                image::read_head(&*file, &grown(file, &self.limits)?).map_err(bad_archive)
            }
            Source::Pipe(pipe) => {
                let head = image::read_head(&mut *pipe, &self.limits);
                // What reading failed with is known better here.
                head.map_err(|e| pipe.fault.take().unwrap_or_else(|| bad_archive(e)))
            }
        }
    }

    /// All of it, as a file, and what it may grow to.
    pub(super) fn whole(self, progress: &ProgressSender) -> Result<(File, Limits), Error> {
        let file = match self.source {
            Source::File(file) => file,
            Source::Pipe(pipe) => pipe.rest(progress)?,
        };
        let limits = grown(&file, &self.limits)?;
        Ok((file, limits))
    }
}

/// The bounds of images, or more when the archive itself is large.
fn grown(file: &File, limits: &Limits) -> Result<Limits, Error> {
    let meta = file.metadata();
    let meta = meta.map_err(|e| Error::backend("cannot look at the archive", e))?;
    let mut limits = limits.clone();
    let grown = meta.len().saturating_mul(MOST_GROWTH);
    limits.max_bytes = limits.max_bytes.max(grown);
    Ok(limits)
}

/// An archive that comes through a pipe: what is read of it is kept.
struct Incoming {
    pipe: pipe::Receiver,
    runtime: Handle,
    cancel: Cancel,
    draft: (File, Room),
    taken: u64,
    max: u64,
    /// Why reading failed.
    fault: Option<Error>,
}

impl Incoming {
    fn portion(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        let Incoming { pipe, cancel, .. } = self;
        let read = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Error::cancelled("cancelled")),
                read = pipe.read(buf) => {
                    read.map_err(|e| Error::backend("cannot read the archive", e))
                }
            }
        })?;
        self.taken += read as u64;
        if self.taken > self.max {
            let most = self.max;
            return Err(Error::invalid(format!(
                "the archive has more than {most} bytes, which is the most that a pipe may bring"
            ))
            .hint("import it from a file, or raise max_bytes of [image] in osctld.toml"));
        }
        let (draft, room) = &mut self.draft;
        room.check()?;
        draft.write_all(&buf[..read]).map_err(cannot_keep)?;
        Ok(read)
    }

    /// Takes what is left.
    fn rest(mut self, progress: &ProgressSender) -> Result<File, Error> {
        let tell = progress.by_mebibytes("reading the archive");
        let mut buffer = vec![0; PORTION];
        while self.portion(&mut buffer)? > 0 {
            tell(self.taken, None);
        }
        Ok(self.draft.0)
    }
}

impl Read for Incoming {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.portion(buf).map_err(|e| {
            let told = io::Error::other(e.to_string());
            self.fault = Some(e);
            told
        })
    }
}

/// A pipe that an archive goes to.
pub(super) struct Outgoing {
    pipe: pipe::Sender,
    runtime: Handle,
    /// The call's own.
    cancel: Cancel,
    /// Tells whether the call ends, or whoever reads the pipe is gone.
    ended: (watch::Sender<bool>, Cancel),
}

impl Outgoing {
    pub(super) fn new(file: &File, cancel: &Cancel) -> Result<Outgoing, Error> {
        let opened = pipe::OpenOptions::new().open_sender(own_path(file));
        Ok(Outgoing {
            pipe: opened.map_err(gone)?,
            runtime: Handle::current(),
            cancel: cancel.clone(),
            ended: Cancel::new(),
        })
    }

    /// Says when there is nobody left to work for.
    pub(super) fn ended(&self) -> Cancel {
        self.ended.1.clone()
    }

    /// Waits for work that heeds [`Outgoing::ended`].
    pub(super) async fn watched<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut reader_gone = false;
        let result = {
            let watching = async {
                tokio::select! {
                    () = self.cancel.cancelled() => {}
                    _ = self.pipe.ready(Interest::ERROR) => reader_gone = true,
                }
                self.ended.0.send_replace(true);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                result = work => Some(result),
                () = watching => None,
            }
        };
        match result {
            Some(Err(e)) if reader_gone && e.code() == osctl_api::Code::Cancelled => {
                Err(gone(io::ErrorKind::BrokenPipe.into()))
            }
            Some(result) => result,
            None => Err(Error::cancelled("cancelled")),
        }
    }

    /// Hands the archive on.
    pub(super) fn send(mut self, mut draft: File, progress: &ProgressSender) -> Result<(), Error> {
        let total = draft.seek(SeekFrom::End(0)).map_err(cannot_keep)?;
        draft.rewind().map_err(cannot_keep)?;
        let tell = progress.by_mebibytes("writing the archive");
        let (mut buffer, mut done) = (vec![0; PORTION], 0);
        loop {
            let n = draft.read(&mut buffer).map_err(cannot_keep)?;
            if n == 0 {
                return Ok(());
            }
            let Outgoing {
                pipe,
                cancel,
                runtime,
                ..
            } = &mut self;
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => Err(Error::cancelled("cancelled")),
                    written = pipe.write_all(&buffer[..n]) => written.map_err(gone),
                }
            })?;
            done += n as u64;
            tell(done, Some(total));
        }
    }
}

fn gone(e: io::Error) -> Error {
    // The second is what opening says.
    let nobody = [Errno::PIPE, Errno::NXIO];
    let errno = e.raw_os_error().map(Errno::from_raw_os_error);
    if e.kind() == io::ErrorKind::BrokenPipe || errno.is_some_and(|e| nobody.contains(&e)) {
        return Error::cancelled("whoever was to read the archive is gone");
    }
    Error::backend("cannot hand the archive on", e)
}
