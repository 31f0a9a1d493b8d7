//! Handing a stream of bytes on, as fast as the job may, until its end or until it is cancelled.

use std::io::{self, Read, Write};

use super::Watch;

/// Bytes between two looks at the cancellation flag.
const PORTION: usize = 256 << 10;

/// Why a stream was not handed on to its end.
#[derive(Debug)]
pub enum Broken {
    /// The job was cancelled.
    Cancelled,
    /// It can't be read.
    Read(io::Error),
    /// It can't be written.
    Write(io::Error),
}

/// Hands on all of `from`; `add` is told of each portion. How many bytes there were.
pub fn relay(
    from: &mut dyn Read,
    to: &mut dyn Write,
    watch: Watch<'_>,
    add: &mut dyn FnMut(u64),
) -> Result<u64, Broken> {
    let mut buffer = vec![0; PORTION];
    let mut done = 0;
    loop {
        if watch.is_cancelled() {
            return Err(Broken::Cancelled);
        }
        let portion = watch.portion(PORTION as u64) as usize;
        let n = match from.read(&mut buffer[..portion]) {
            Ok(0) => return Ok(done),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Broken::Read(e)),
        };
        to.write_all(&buffer[..n]).map_err(Broken::Write)?;
        done += n as u64;
        add(n as u64);
        watch.spend(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn it_ends_with_the_stream_or_when_it_is_told_to() {
        let bytes = vec![7; 3 * PORTION + 1];
        let (mut out, mut told) = (Vec::new(), 0);
        let done = relay(&mut &bytes[..], &mut out, Watch::none(), &mut |n| told += n);
        assert_eq!(
            (done.unwrap(), told),
            (out.len() as u64, bytes.len() as u64)
        );
        assert!(out == bytes);

        let stop = std::sync::atomic::AtomicBool::new(false);
        let cancelled = || stop.load(std::sync::atomic::Ordering::Relaxed);
        let watch = Watch::new(&cancelled, &|_, _| {});
        let seen = Cell::new(0);
        let broken = relay(&mut io::repeat(1), &mut io::sink(), watch, &mut |n| {
            seen.set(seen.get() + n);
            stop.store(
                seen.get() >= 2 * PORTION as u64,
                std::sync::atomic::Ordering::Relaxed,
            );
        });
        assert!(matches!(broken, Err(Broken::Cancelled)), "{broken:?}");

        let full = relay(
            &mut &bytes[..],
            &mut &mut [0; 9][..],
            Watch::none(),
            &mut |_| {},
        );
        assert!(matches!(full, Err(Broken::Write(_))), "{full:?}");
    }
}
