//! Writes the content of one unpacked file, leaving holes for zeros.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::source::read_error;
use super::sparse::Map;
use super::{Error, Result};

/// Zeros of this size and alignment become holes.
const HOLE: usize = 4096;
const BUFFER: usize = 128 << 10;

pub(super) struct Content {
    buffer: Vec<u8>,
    /// Bytes that came, zeros too, holes of sparse files not.
    pub(super) bytes: u64,
}

impl Content {
    pub(super) fn new() -> Content {
        Content {
            buffer: vec![0; BUFFER],
            bytes: 0,
        }
    }

    /// Writes the content of a file, leaving holes for zeros and for what a sparse map leaves out.
    pub(super) fn write(
        &mut self,
        mut file: File,
        path: &Path,
        sparse: Option<&Map>,
        data: &mut dyn Read,
    ) -> Result<File> {
        let failed = |e: std::io::Error| Error::write(path, e);
        let mut end = 0;
        match sparse {
            None => end = self.span(&mut file, path, 0, u64::MAX, data)?,
            Some(map) => {
                for (offset, length) in &map.parts {
                    end = self.span(&mut file, path, *offset, *length, data)?;
                }
                end = end.max(map.size);
            }
        }
        if file.metadata().map_err(failed)?.len() != end {
            file.set_len(end).map_err(failed)?;
        }
        Ok(file)
    }

    /// Writes up to `length` bytes of `data` at `offset`; returns where they end.
    fn span(
        &mut self,
        file: &mut File,
        path: &Path,
        offset: u64,
        length: u64,
        data: &mut dyn Read,
    ) -> Result<u64> {
        let (mut at, mut left) = (offset, length);
        while left > 0 {
            // The first piece ends where pages begin, so that holes fall on them.
            let aligned = BUFFER - usize::try_from(at % BUFFER as u64).unwrap_or(0);
            let want = aligned.min(usize::try_from(left).unwrap_or(usize::MAX));
            let mut filled = 0;
            while filled < want {
                match data
                    .read(&mut self.buffer[filled..want])
                    .map_err(read_error)?
                {
                    0 => break,
                    n => filled += n,
                }
            }
            write_pieces(file, at, &self.buffer[..filled]).map_err(|e| Error::write(path, e))?;
            self.bytes += filled as u64;
            at += filled as u64;
            left -= filled as u64;
            if filled < want {
                break;
            }
        }
        Ok(at)
    }
}

/// Writes `bytes` at `at`, but not pieces that are all zeros.
fn write_pieces(file: &mut File, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    let mut start = 0;
    let mut next = 0;
    let flush = |file: &mut File, from: usize, to: usize| {
        if from < to {
            file.seek(SeekFrom::Start(at + from as u64))?;
            file.write_all(&bytes[from..to])?;
        }
        Ok::<(), std::io::Error>(())
    };
    while next < bytes.len() {
        let step = HOLE - usize::try_from((at + next as u64) % HOLE as u64).unwrap_or(0);
        let end = bytes.len().min(next + step);
        let piece = &bytes[next..end];
        if piece.len() == HOLE && piece.iter().all(|b| *b == 0) {
            flush(file, start, next)?;
            start = end;
        }
        next = end;
    }
    flush(file, start, bytes.len())
}
