//! The stream of an image: counted, cancellable, decompressed, bounded.

use std::io::{self, BufReader, Cursor, Read};

use super::{Error, Result};
use crate::storage::Watch;

/// Bytes between two reports of progress.
const REPORT: u64 = 1 << 20;
/// What may follow the end of an archive: padding of blocks, not a second stream.
const MAX_TRAILER: u64 = 16 << 20;

/// Faults that travel through readers of others as [`io::Error`].
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cancelled")]
    Cancelled,
    #[error("too large")]
    TooLarge(u64),
}

/// Tells our own faults, the end of the data and other errors apart.
pub(super) fn read_error(e: io::Error) -> Error {
    let fault = e.get_ref().and_then(|inner| inner.downcast_ref::<Fault>());
    match fault {
        Some(Fault::Cancelled) => Error::Cancelled,
        Some(Fault::TooLarge(limit)) => Error::Limit(format!(
            "more than {limit} bytes, the limit, when it is unpacked"
        )),
        None if e.kind() == io::ErrorKind::UnexpectedEof => Error::Truncated,
        None => Error::Read(e),
    }
}

/// Counts what is read, reports it, and stops when the job is cancelled.
pub(super) struct Counted<'a, R> {
    input: R,
    done: u64,
    total: Option<u64>,
    reported: u64,
    watch: Watch<'a>,
}

impl<'a, R: Read> Counted<'a, R> {
    pub(super) fn new(input: R, total: Option<u64>, watch: Watch<'a>) -> Counted<'a, R> {
        Counted {
            input,
            done: 0,
            total,
            reported: 0,
            watch,
        }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.watch.is_cancelled() {
            return Err(io::Error::other(Fault::Cancelled));
        }
        let n = self.input.read(buf)?;
        self.done += n as u64;
        if self.done - self.reported >= REPORT || (n == 0 && self.done > self.reported) {
            self.reported = self.done;
            self.watch.progress(self.done, self.total);
        }
        Ok(n)
    }
}

/// Hands on no more than the job may in a time.
pub(super) struct Paced<'a, R> {
    input: R,
    watch: Watch<'a>,
}

impl<'a, R: Read> Paced<'a, R> {
    pub(super) fn new(input: R, watch: Watch<'a>) -> Paced<'a, R> {
        Paced { input, watch }
    }
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let portion = self.watch.portion(buf.len() as u64) as usize;
        let n = self.input.read(&mut buf[..portion])?;
        self.watch.spend(n as u64);
        Ok(n)
    }
}

/// Fails when more than a number of bytes come.
struct Bounded<R> {
    input: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(Fault::TooLarge(self.limit))),
        }
        Ok(n)
    }
}

/// The first bytes of a stream, six unless there are fewer, and the stream with them.
fn peek<R: Read>(mut input: R) -> io::Result<(Vec<u8>, impl Read)> {
    let mut magic = vec![0u8; 6];
    let mut n = 0;
    while n < magic.len() {
        match input.read(&mut magic[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    magic.truncate(n);
    Ok((magic.clone(), Cursor::new(magic).chain(input)))
}

/// Decompresses a stream according to what it starts with, at most `limit` bytes of it.
pub(super) fn decompress<'a>(input: impl Read + 'a, limit: u64) -> Result<Box<dyn Read + 'a>> {
    let input = BufReader::with_capacity(128 << 10, input);
    let (magic, input) = peek(input).map_err(read_error)?;
    let plain: Box<dyn Read + 'a> = match magic.as_slice() {
        [] => return Err(Error::Truncated),
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(input)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(zstd::stream::read::Decoder::new(input).map_err(read_error)?)
        }
        b"\xfd7zXZ\0" => return Err(unsupported("xz")),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => return Err(unsupported("bzip2")),
        _ => Box::new(input),
    };
    Ok(Box::new(BufReader::with_capacity(
        128 << 10,
        Bounded {
            input: plain,
            left: limit,
            limit,
        },
    )))
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!(
        "the image is compressed with {what}, which is not supported: use gzip, zstd or none"
    ))
}

/// Reads a stream to its end, so that checksums at the end of compressed data are checked.
pub(super) fn drain(input: &mut dyn Read) -> Result<()> {
    let rest = io::copy(&mut input.take(MAX_TRAILER + 1), &mut io::sink()).map_err(read_error)?;
    if rest > MAX_TRAILER {
        return Err(Error::Damaged {
            offset: 0,
            problem: "something follows its end".into(),
        });
    }
    Ok(())
}
