//! Reading archives that hold streams of ZFS: which stream is of what, and in which order they come,
//! is decided here; what is in them, by whoever receives them.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use super::archive::{Opened, names};
use super::extract::relative;
use super::member::{Kind, Member};
use super::source::{decompress, drain, read_error};
use super::{Error, Image, Limits, Result};
use crate::storage::{self, Broken, Watch, relay};

/// Receives a stream into the dataset of a name relative to the container's own, which is empty; to
/// its end and no further.
pub type Receive<'a> = &'a (dyn Fn(&str, BorrowedFd<'_>) -> storage::Result<()> + Sync);

/// Which of a dataset's streams one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All of it, at a moment.
    Base,
    /// What has changed since, with all snapshots.
    Changes,
}

/// Hands the streams of an archive to `receive`. When it fails, what was made is incomplete and to
/// be removed.
pub fn unpack_streams(
    source: impl Read,
    total: Option<u64>,
    limits: &Limits,
    watch: Watch<'_>,
    receive: Receive<'_>,
) -> Result<Image> {
    let mut opened = Opened::open(source, total, limits, watch)?;
    opened.refuse(true)?;
    let metadata = opened.image.metadata.clone().unwrap_or_default();
    if !metadata.has_streams() {
        return Err(Error::Unsupported("the archive holds no streams".into()));
    }
    let mut left = opened.limits.max_bytes;
    let mut seen = BTreeSet::new();
    let mut next = opened.next.take();
    while let Some(member) = next {
        if member.kind != Kind::Dir {
            let (dataset, part) = place(&member)?;
            expect(&member, &metadata.datasets, &seen, (&dataset, part))?;
            left = hand_on(&mut opened, &member, &dataset, left, (watch, receive))?;
            seen.insert((dataset, part));
        }
        next = opened.next_data()?;
    }
    drain(&mut opened.members.into_inner())?;
    let root = String::new();
    for dataset in std::iter::once(&root).chain(&metadata.datasets) {
        if !seen.contains(&(dataset.clone(), Part::Base)) {
            let of = if dataset.is_empty() { "root" } else { dataset };
            let problem = format!("the archive has no stream of its dataset {of}");
            return Err(Error::Unsupported(problem));
        }
    }
    Ok(opened.image)
}

/// The dataset that a member is of.
fn place(member: &Member) -> Result<(String, Part)> {
    let odd = || Error::member(&member.path, "is not what belongs there");
    let path = relative(&member.path).map_err(|p| Error::member(&member.path, p))?;
    match names(&path).as_slice() {
        ["rootfs", dataset @ .., file] if member.kind == Kind::File && member.sparse.is_none() => {
            let part = match *file {
                "base.dat" | "base.dat.gz" | "base.dat.zst" => Part::Base,
                "incremental.dat" | "incremental.dat.gz" | "incremental.dat.zst" => Part::Changes,
                _ => return Err(odd()),
            };
            Ok((dataset.join("/"), part))
        }
        _ => Err(odd()),
    }
}

/// Refuses a stream that is of nothing that the archive names, or not in its turn.
fn expect(
    member: &Member,
    datasets: &[String],
    seen: &BTreeSet<(String, Part)>,
    (dataset, part): (&str, Part),
) -> Result<()> {
    let has = |dataset: &str, part| seen.contains(&(dataset.to_owned(), part));
    let parent = match dataset.rsplit_once('/') {
        Some((parent, _)) => Some(parent),
        None if dataset.is_empty() => None,
        None => Some(""),
    };
    let problem = if !dataset.is_empty() && !datasets.iter().any(|name| name == dataset) {
        "is of a dataset that the archive does not name"
    } else if has(dataset, part) {
        "is there twice"
    } else if part == Part::Changes && !has(dataset, Part::Base) {
        "comes before what it changes"
    } else if parent.is_some_and(|parent| !has(parent, Part::Base)) {
        "comes before the dataset that it is in"
    } else {
        return Ok(());
    };
    Err(Error::member(&member.path, problem))
}

/// Hands one stream on; how many bytes may still come.
fn hand_on(
    opened: &mut Opened<'_>,
    member: &Member,
    dataset: &str,
    left: u64,
    (watch, receive): (Watch<'_>, Receive<'_>),
) -> Result<u64> {
    let failed = |e: io::Error| Error::write(dataset, e);
    let mut input = decompress(&mut opened.members, left)?;
    let (from, mut to) = io::pipe().map_err(failed)?;
    let (relayed, received) = std::thread::scope(|scope| {
        // Its end is closed with the thread, so that it is no use to go on when it has failed.
        let receiver = scope.spawn(move || receive(dataset, from.as_fd()));
        let relayed = relay(&mut *input, &mut to, watch, &mut |_| {});
        drop(to);
        (relayed, receiver.join())
    });
    let received = received.map_err(|_| failed(io::Error::other("its thread failed")))?;
    match relayed {
        Err(Broken::Cancelled) => Err(Error::Cancelled),
        Err(Broken::Read(e)) => Err(read_error(e)),
        Err(Broken::Write(e)) if e.kind() != io::ErrorKind::BrokenPipe => Err(failed(e)),
        Err(Broken::Write(_)) => {
            received.map_err(Error::Storage)?;
            Err(Error::member(&member.path, "goes on after its stream"))
        }
        Ok(bytes) => {
            received.map_err(Error::Storage)?;
            Ok(left.saturating_sub(bytes))
        }
    }
}
