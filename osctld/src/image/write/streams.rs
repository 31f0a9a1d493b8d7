//! Archives that hold streams of ZFS rather than files: one of each of a container's datasets.

use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::{Compression, Outer, Pack, failed, yaml};
use crate::image::{Error, Result};
use crate::storage::{self, Watch};

/// Bytes between two looks at the cancellation flag.
const PORTION: usize = 256 << 10;

/// Where the streams of an archive come from.
pub struct Sent<'a> {
    /// Names of the datasets below the container's own, relative to it, parents before children.
    pub datasets: &'a [String],
    /// The snapshot that the streams are of, which whoever receives them removes.
    pub snapshot: &'a str,
    /// Writes the stream of a dataset, the container's own having an empty name.
    pub send: &'a (dyn Fn(&str, BorrowedFd<'_>) -> storage::Result<()> + Sync),
}

/// Writes an archive of streams to `out`, as [`super::pack`] does one of files.
pub fn pack_streams<W: Write + Seek>(
    sent: &Sent<'_>,
    what: &Pack<'_>,
    out: &mut W,
    watch: Watch<'_>,
) -> Result<()> {
    let mut outer = Outer {
        out,
        time: what.exported_at,
    };
    outer.head(what, "zfs", sent.datasets)?;
    outer.dir("rootfs/")?;
    for dataset in sent.datasets {
        outer.dir(&format!("rootfs/{dataset}/"))?;
    }
    let mut done = 0;
    let root = String::new();
    for dataset in std::iter::once(&root).chain(sent.datasets) {
        let slash = if dataset.is_empty() { "" } else { "/" };
        let extension = what.compression.extension();
        let name = format!("rootfs/{dataset}{slash}base.dat{extension}");
        outer.growing(&name, |out| {
            one(sent, dataset, out, what.compression, &mut done, watch)
        })?;
    }
    let snapshots = yaml(&[sent.snapshot])?;
    outer.file("snapshots.yml", 0o644, snapshots.as_bytes())?;
    outer.end()
}

/// Writes the stream of one dataset.
fn one<W: Write>(
    sent: &Sent<'_>,
    dataset: &str,
    out: &mut W,
    compression: Compression,
    done: &mut u64,
    watch: Watch<'_>,
) -> Result<()> {
    let what = match dataset {
        "" => "the container's dataset".to_owned(),
        _ => format!("dataset {dataset}"),
    };
    let (from, to) = io::pipe().map_err(failed(&what))?;
    compression.write(out, &what, |out| {
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || (sent.send)(dataset, to.as_fd()));
            // Its end is closed before the sender is waited for, who fails then rather than waits.
            let relayed = relay(from, out, done, watch);
            let ended = sender.join();
            match relayed {
                Err(Relayed::Cancelled) => Err(Error::Cancelled),
                Err(Relayed::Failed(e)) => Err(failed(&what)(e)),
                Ok(()) => match ended {
                    Ok(ended) => ended.map_err(Error::Storage),
                    Err(_) => Err(failed(&what)(io::Error::other("its thread failed"))),
                },
            }
        })
    })
}

enum Relayed {
    Cancelled,
    Failed(io::Error),
}

fn relay(
    mut from: io::PipeReader,
    out: &mut dyn Write,
    done: &mut u64,
    watch: Watch<'_>,
) -> std::result::Result<(), Relayed> {
    let mut buffer = vec![0; PORTION];
    loop {
        if watch.is_cancelled() {
            return Err(Relayed::Cancelled);
        }
        let portion = watch.portion(PORTION as u64) as usize;
        let n = match from.read(&mut buffer[..portion]) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Relayed::Failed(e)),
        };
        out.write_all(&buffer[..n]).map_err(Relayed::Failed)?;
        *done += n as u64;
        watch.progress(*done, None);
        watch.spend(n as u64);
    }
}
