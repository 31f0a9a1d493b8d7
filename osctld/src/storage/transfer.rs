//! Taking a container's data elsewhere: within a pool, between pools, between back ends.
//!
//! Between pools of ZFS they travel as streams of snapshots, otherwise as a tree of files. What is
//! made depends on its source in no way.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use super::{Broken, Error, Form, Result, Storage, Watch, copy_tree, relay, unique};

/// Which snapshots travel along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// None: a copy has a history of its own.
    Nothing,
    /// Those of users.
    Snapshots,
}

/// One container's data on the way from a pool to another, or the same.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    /// Where they are.
    pub from: &'a dyn Storage,
    /// As which container.
    pub id: &'a str,
    /// Where they go.
    pub to: &'a dyn Storage,
    /// As which new container.
    pub new: &'a str,
}

/// A name for a snapshot that is there while an operation runs.
pub fn temporary_snapshot(operation: &str) -> String {
    format!("osctl-{operation}-{}", unique())
}

/// How far all of a transfer is.
struct Meter<'a> {
    watch: Watch<'a>,
    done: Cell<u64>,
    total: u64,
}

impl Meter<'_> {
    fn add(&self, bytes: u64) {
        let done = self.done.get().saturating_add(bytes);
        self.done.set(done);
        // The total is an estimate.
        self.watch.progress(done, Some(self.total.max(done)));
    }
}

/// One stream: a dataset, the snapshot that it starts from, and its own.
type Part = (String, Option<String>, String);

impl Transfer<'_> {
    /// Whether the source can be kept as it is at a moment, and be used while that is copied.
    pub fn has_snapshots(&self) -> bool {
        self.from.backend() == "zfs"
    }

    /// Whether changes can be sent after a first copy.
    pub fn has_streams(&self) -> bool {
        self.has_snapshots() && self.to.backend() == "zfs"
    }

    /// Whether it can be done at all.
    ///
    /// # Errors
    /// `Unsupported` for datasets below the container's own, where there are none.
    pub fn check(&self) -> Result<()> {
        if self.has_snapshots() && !self.has_streams() && self.from.datasets(self.id)?.len() > 1 {
            return Err(Error::Unsupported(
                "a pool in a directory has no datasets in containers: move them into its root first",
            ));
        }
        Ok(())
    }

    /// Makes the new data: as they are in a snapshot, or now, of what stands still.
    ///
    /// # Errors
    /// `Exists` where there are data already, which stay as they are; otherwise none are left.
    pub fn copy(&self, snapshot: Option<&str>, along: Along, watch: Watch<'_>) -> Result<()> {
        if self.to.exists(self.new)? {
            return Err(Error::Exists(self.new.to_owned()));
        }
        let copied = match snapshot {
            Some(snapshot) if self.has_streams() => self.send(None, snapshot, along, watch),
            _ => self.copy_files(snapshot, watch),
        };
        self.or_nothing(copied)
    }

    /// Adds to new data, which have one snapshot already, what is in another one.
    pub fn update(
        &self,
        after: &str,
        snapshot: &str,
        along: Along,
        watch: Watch<'_>,
    ) -> Result<()> {
        let sent = self.send(Some(after), snapshot, along, watch);
        self.or_nothing(sent)
    }

    /// Notes of the snapshots that came along which part of a schedule made them, as streams do not
    /// tell.
    pub fn keep_schedules(&self) -> Result<()> {
        if !self.has_streams() {
            return Ok(());
        }
        let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for snapshot in self.from.snapshots(self.id)? {
            if let Some(part) = snapshot.schedule {
                parts.entry(part).or_default().push(snapshot.name);
            }
        }
        parts
            .iter()
            .try_for_each(|(part, names)| self.to.note_schedule(self.new, names, part))
    }

    /// New data that are not what they should be go; those that are not new are somebody's.
    fn or_nothing(&self, result: Result<()>) -> Result<()> {
        if result.is_err() && self.to.is_new(self.new).unwrap_or(false) {
            // The first error is the one that counts; should this fail, the next start does it.
            let _ = self.to.trash(self.new);
        }
        result
    }

    fn copy_files(&self, snapshot: Option<&str>, watch: Watch<'_>) -> Result<()> {
        let tree = match snapshot {
            Some(snapshot) => self.from.open_snapshot(self.id, "", snapshot)?,
            None => self.from.open_rootfs(self.id)?,
        };
        self.to.create(self.new, &mut |new| {
            Ok(copy_tree(&tree, new, watch).map(drop)?)
        })
    }

    fn send(&self, after: Option<&str>, last: &str, along: Along, watch: Watch<'_>) -> Result<()> {
        let parts = self.parts(after, last, along)?;
        let mut total = 0u64;
        for (dataset, from, to) in &parts {
            let size = self
                .from
                .send_size(self.id, dataset, from.as_deref(), to, Form::Compact)?;
            total = total.saturating_add(size);
        }
        let meter = Meter {
            watch,
            done: Cell::new(0),
            total,
        };
        parts.iter().try_for_each(|part| self.stream(part, &meter))
    }

    /// The streams that it takes, parents before children.
    fn parts(&self, after: Option<&str>, last: &str, along: Along) -> Result<Vec<Part>> {
        let names: Vec<String> = self
            .from
            .snapshots(self.id)?
            .into_iter()
            .map(|s| s.name)
            .collect();
        let at = |name: &str| names.iter().position(|n| n == name);
        let begin = after.and_then(at);
        let wanted = names.iter().enumerate().filter(|(i, name)| {
            let user = along == Along::Snapshots && !name.starts_with(super::snapshots::TEMPORARY);
            *name == last || (user && begin.is_none_or(|begin| *i > begin))
        });
        let wanted: Vec<&String> = wanted.map(|(_, name)| name).collect();
        let mut parts = Vec::new();
        for dataset in self.from.datasets(self.id)? {
            // A dataset that is younger than a snapshot has no part in it.
            let mut from = match after {
                Some(name) if self.has(&dataset, name)? => Some(name.to_owned()),
                _ => None,
            };
            for name in &wanted {
                if *name != last && !self.has(&dataset, name)? {
                    continue;
                }
                parts.push((
                    dataset.clone(),
                    from.replace((*name).clone()),
                    (*name).clone(),
                ));
            }
        }
        Ok(parts)
    }

    /// Whether a dataset has a snapshot. One that is left out for an error would be lost with the
    /// original.
    fn has(&self, dataset: &str, name: &str) -> Result<bool> {
        let size = self
            .from
            .send_size(self.id, dataset, None, name, Form::Compact);
        match size {
            Ok(_) => Ok(true),
            Err(Error::NoSnapshot { .. } | Error::NotFound(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Sends one stream from one to the other, both at the same time.
    fn stream(&self, (dataset, from, to): &Part, meter: &Meter<'_>) -> Result<()> {
        let pipe = || io::pipe().map_err(|e| Error::io("make", "a pipe", e));
        let ((sent, sending), (receiving, received)) = (pipe()?, pipe()?);
        let Transfer {
            from: source,
            id,
            to: target,
            new,
        } = *self;
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                source.send(
                    id,
                    dataset,
                    from.as_deref(),
                    to,
                    Form::Compact,
                    sending.as_fd(),
                )
            });
            let receiver =
                scope.spawn(move || target.receive(new, dataset, receiving.as_fd()).map(drop));
            let relayed = {
                // Both ends are closed after that.
                let (mut sent, mut received) = (sent, received);
                relay(&mut sent, &mut received, meter.watch, &mut |n| meter.add(n))
            };
            let panicked = |_| Err(Error::io("send", id, "its thread failed"));
            let sent = sender.join().unwrap_or_else(panicked);
            let received = receiver.join().unwrap_or_else(panicked);
            match relayed {
                Err(Broken::Cancelled) => Err(Error::Cancelled),
                // A stream that ends early is the sender's doing.
                Ok(_) => sent.and(received),
                Err(Broken::Read(e) | Broken::Write(e)) => {
                    received.and(Err(Error::io("hand on", "a stream", e)))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeStorage;
    use super::super::snapshots::Snapshots;
    use super::*;

    #[test]
    fn a_snapshot_is_left_out_only_where_it_is_not() {
        let fake = FakeStorage::new();
        fake.create("a", &mut |_| Ok(())).unwrap();
        fake.complete("a").unwrap();
        for name in ["old", "last"] {
            fake.snapshot("a", name, None).unwrap();
        }
        let transfer = Transfer {
            from: &fake,
            id: "a",
            to: &fake,
            new: "b",
        };
        let parts = transfer.parts(None, "last", Along::Snapshots).unwrap();
        let names: Vec<&str> = parts.iter().map(|(_, _, name)| name.as_str()).collect();
        assert_eq!(names, ["old", "last"]);
        assert!(!transfer.has("", "none").unwrap());
        fake.fail("send_size", "out of memory");
        let parts = transfer.parts(None, "last", Along::Snapshots);
        assert!(matches!(parts, Err(Error::Io { .. })), "{parts:?}");
    }
}
