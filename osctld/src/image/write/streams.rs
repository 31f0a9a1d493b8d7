//! Archives that hold streams of ZFS rather than files: one of each of a container's datasets.

use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::{Compression, Outer, Pack, failed, yaml};
use crate::image::{Error, Part, Result};
use crate::storage::{self, Broken, Watch, relay};

/// Where the streams of an archive come from.
pub struct Sent<'a> {
    /// Names of the datasets below the container's own, relative to it, parents before children.
    pub datasets: &'a [String],
    /// Those that have more than one snapshot, the container's own having an empty name.
    pub changed: &'a [String],
    /// Snapshots in the streams which whoever receives them removes.
    pub temporary: &'a [String],
    /// Writes a stream of a dataset.
    pub send: &'a (dyn Fn(&str, Part, BorrowedFd<'_>) -> storage::Result<()> + Sync),
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
        for (part, name) in [(Part::Base, "base"), (Part::Changes, "incremental")] {
            if part == Part::Changes && !sent.changed.contains(dataset) {
                continue;
            }
            let name = format!("rootfs/{dataset}{slash}{name}.dat{extension}");
            outer.growing(&name, |out| {
                let to = (out, what.compression);
                one(sent, (dataset, part), to, &mut done, watch)
            })?;
        }
    }
    let snapshots = yaml(&sent.temporary)?;
    outer.file("snapshots.yml", 0o644, snapshots.as_bytes())?;
    outer.end()
}

/// Writes the stream of one dataset.
fn one<W: Write>(
    sent: &Sent<'_>,
    (dataset, part): (&str, Part),
    (out, compression): (&mut W, Compression),
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
            let sender = scope.spawn(move || (sent.send)(dataset, part, to.as_fd()));
            // Its end is closed before the sender is waited for, who fails then rather than waits.
            let relayed = {
                let mut from = from;
                relay(&mut from, out, watch, &mut |n| {
                    *done += n;
                    watch.progress(*done, None);
                })
            };
            let ended = sender.join();
            match relayed {
                Err(Broken::Cancelled) => Err(Error::Cancelled),
                Err(Broken::Read(e) | Broken::Write(e)) => Err(failed(&what)(e)),
                Ok(_) => match ended {
                    Ok(ended) => ended.map_err(Error::Storage),
                    Err(_) => Err(failed(&what)(io::Error::other("its thread failed"))),
                },
            }
        })
    })
}
