//! Copying the content of one regular file: shared extents where the file system can, holes kept.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::Watch;

/// Bytes between two looks at the cancellation flag.
const PORTION: u64 = 64 << 20;

/// Copies files from one file system to another, or the same, and remembers what that can't do.
#[derive(Debug)]
pub(super) struct Copier {
    reflink: bool,
    range: bool,
    buffer: Vec<u8>,
}

impl Copier {
    pub(super) fn new() -> Copier {
        Copier {
            reflink: true,
            range: true,
            buffer: Vec::new(),
        }
    }

    /// Copies `size` bytes of `from`, of which `blocks` units of 512 bytes are on the disk, to
    /// the empty file `to`. False when the job was cancelled.
    pub(super) fn copy(
        &mut self,
        from: &File,
        to: &File,
        size: u64,
        blocks: u64,
        watch: Watch<'_>,
    ) -> io::Result<bool> {
        if size == 0 {
            return Ok(true);
        }
        if self.reflink {
            match ioctl_ficlone(to, from) {
                Ok(()) => return Ok(true),
                Err(Errno::NOTSUP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS) => {
                    self.reflink = false;
                }
                Err(e) => return Err(e.into()),
            }
        }
        if blocks.saturating_mul(512) >= size {
            return self.copy_extent(from, to, 0, size, watch);
        }
        // The length first: what is not written stays a hole.
        to.set_len(size)?;
        let mut at = 0;
        while at < size {
            let data = match seek(from, SeekFrom::Data(at)) {
                Ok(data) => data.min(size),
                // Nothing but a hole up to the end.
                Err(Errno::NXIO) => break,
                Err(e) => return Err(e.into()),
            };
            let hole = seek(from, SeekFrom::Hole(data)).map_or(size, |hole| hole.min(size));
            if hole <= at {
                break;
            }
            if !self.copy_extent(from, to, data, hole, watch)? {
                return Ok(false);
            }
            at = hole;
        }
        Ok(true)
    }

    /// Copies the bytes from `start` to `end`; a file that has become shorter ends earlier.
    fn copy_extent(
        &mut self,
        from: &File,
        to: &File,
        start: u64,
        end: u64,
        watch: Watch<'_>,
    ) -> io::Result<bool> {
        let mut at = start;
        while at < end {
            if watch.is_cancelled() {
                return Ok(false);
            }
            let portion = (end - at).min(watch.portion(PORTION));
            let n = if self.range {
                let (mut input, mut output) = (at, at);
                // Fits: PORTION does on every architecture.
                match copy_file_range(
                    from,
                    Some(&mut input),
                    to,
                    Some(&mut output),
                    portion as usize,
                ) {
                    Ok(n) => n as u64,
                    Err(Errno::INTR) => continue,
                    Err(
                        Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM,
                    ) => {
                        self.range = false;
                        continue;
                    }
                    Err(e) => return Err(e.into()),
                }
            } else {
                self.read_write(from, to, at, portion)?
            };
            if n == 0 {
                break;
            }
            at += n;
            watch.spend(n);
        }
        Ok(true)
    }

    fn read_write(&mut self, from: &File, to: &File, at: u64, portion: u64) -> io::Result<u64> {
        use std::os::unix::fs::FileExt;
        if self.buffer.is_empty() {
            self.buffer = vec![0; 256 << 10];
        }
        let want = self
            .buffer
            .len()
            .min(usize::try_from(portion).unwrap_or(usize::MAX));
        let n = match from.read_at(&mut self.buffer[..want], at) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                return self.read_write(from, to, at, portion);
            }
            Err(e) => return Err(e),
        };
        to.write_all_at(&self.buffer[..n], at)?;
        Ok(n as u64)
    }
}

/// Copies the whole content of `from` to the empty file `to`, sharing extents where the file
/// system can and keeping holes. Fails with `Interrupted` when the job was cancelled.
pub fn copy_data(from: &File, to: &File, watch: Watch<'_>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let meta = from.metadata()?;
    if Copier::new().copy(from, to, meta.size(), meta.blocks(), watch)? {
        Ok(())
    } else {
        Err(io::ErrorKind::Interrupted.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::storage::throttle::tests::timed;

    #[test]
    fn data_are_copied_at_a_rate() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("from"), vec![7; 10 << 20]).unwrap();
        let from = File::open(path("from")).unwrap();
        // By both of the ways that move bytes.
        for range in [true, false] {
            let to = File::create(path("to")).unwrap();
            let mut copier = Copier {
                reflink: false,
                range,
                ..Copier::new()
            };
            let took = timed(1 << 20, |throttle, _| {
                let watch = Watch::none().throttled(throttle);
                assert!(copier.copy(&from, &to, 10 << 20, 20 << 10, watch).unwrap());
            });
            let exact = Duration::from_secs(10);
            assert!(
                took >= exact && took < exact + Duration::from_millis(1),
                "{took:?}"
            );
            assert_eq!(to.metadata().unwrap().len(), 10 << 20);
        }
    }

    #[test]
    fn a_copy_that_waits_is_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("from"), vec![7; 1 << 20]).unwrap();
        let (from, to) = (
            File::open(path("from")).unwrap(),
            File::create(path("to")).unwrap(),
        );
        let mut copier = Copier {
            reflink: false,
            ..Copier::new()
        };
        let waited = std::sync::atomic::AtomicBool::new(false);
        let wait = |_| waited.store(true, std::sync::atomic::Ordering::SeqCst);
        let throttle = crate::storage::Throttle::new(1024, &|| Duration::ZERO, &wait);
        let cancelled = || waited.load(std::sync::atomic::Ordering::SeqCst);
        let watch = Watch::new(&cancelled, &|_, _| {}).throttled(&throttle);
        assert!(!copier.copy(&from, &to, 1 << 20, 2 << 10, watch).unwrap());
        assert!(to.metadata().unwrap().len() <= 4 << 10);
    }
}
