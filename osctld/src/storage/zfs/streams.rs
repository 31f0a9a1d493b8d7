//! Streams of a container's datasets, and containers that are made of streams.
//!
//! A stream is somebody else's word. Only data that are being made are received into, under the
//! name that the caller gives, whatever the stream calls itself. What a compound stream says of
//! properties is thrown away; nothing is mounted.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use osctl_linux::zfs::record::{Begin, RAW, REDACTED, RESUMING};
use osctl_linux::zfs::{Force, From, Receive, Record, Resume, Send};

use super::{ZfsStorage, failed, program, unmounted};
use crate::storage::snapshots::check_name;
use crate::storage::{Error, Form, Result, Storage, check_id};

/// Most bytes of names and properties in a compound stream: what 10,000 snapshots need.
const MAX_HEADER: u32 = 64 << 20;

fn form(form: Form) -> Send {
    match form {
        Form::Plain => Send::PLAIN,
        Form::Compact => Send::LARGE_BLOCKS.and(Send::COMPRESSED).and(Send::EMBEDDED),
    }
}

fn refused(what: &str, problem: impl Into<String>) -> Error {
    Error::Stream {
        what: what.to_owned(),
        problem: problem.into(),
    }
}

/// The snapshot that a stream is of, when it is one that is received.
fn snapshot_of<'a>(begin: &'a Begin, what: &str) -> Result<&'a str> {
    let no = |problem: &str| Err(refused(what, problem));
    if !begin.file_system {
        return no("is not of a file system");
    }
    if begin.features & RAW != 0 {
        return no("is encrypted with a key of its own");
    }
    if begin.features & (REDACTED | RESUMING) != 0 || begin.payload != 0 {
        return no("is a part only");
    }
    let name = begin.name.rsplit_once('@').map(|(_, snapshot)| snapshot);
    match name {
        Some(name) if check_name(name).is_ok() => Ok(name),
        _ => no("has no good name of a snapshot"),
    }
}

impl ZfsStorage {
    fn source(&self, id: &str, dataset: &str, snapshots: &[&str]) -> Result<String> {
        snapshots.iter().try_for_each(|name| check_name(name))?;
        let source = self.base.part(id, dataset)?;
        match self.zfs()?.exists(&source) {
            Ok(true) => Ok(source),
            Ok(false) => Err(Error::NotFound(id.to_owned())),
            Err(e) => Err(failed("look for", source)(e)),
        }
    }

    pub(super) fn write_stream(
        &self,
        (id, dataset): (&str, &str),
        (from, to): (Option<&str>, &str),
        how: Form,
        out: BorrowedFd<'_>,
    ) -> Result<()> {
        let names: Vec<&str> = from.into_iter().chain([to]).collect();
        let source = self.source(id, dataset, &names)?;
        let from = from.map(|name| format!("{source}@{name}"));
        let sent = self.zfs()?.send(
            &format!("{source}@{to}"),
            from.as_deref().map_or(From::Nothing, From::Source),
            out,
            form(how),
            Resume::default(),
        );
        sent.map_err(failed("send", format!("data of container {id}")))
    }

    /// Writes all snapshots after one up to another: the library has no such stream.
    pub(super) fn write_streams(
        &self,
        (id, dataset): (&str, &str),
        (from, to): (&str, &str),
        how: Form,
        out: BorrowedFd<'_>,
    ) -> Result<()> {
        let source = self.source(id, dataset, &[from, to])?;
        let (from, to) = (format!("{source}@{from}"), format!("{source}@{to}"));
        let mut args = vec!["send"];
        if how == Form::Compact {
            args.push("-Lce");
        }
        args.extend(["-I", &from, &to]);
        let out = out.try_clone_to_owned();
        let out = out.map_err(|e| Error::io("write", "a stream", e))?;
        program::zfs_to(self.base.pool(), &args, out)
    }

    pub(super) fn stream_size(
        &self,
        (id, dataset): (&str, &str),
        (from, to): (Option<&str>, &str),
        how: Form,
    ) -> Result<u64> {
        let names: Vec<&str> = from.into_iter().chain([to]).collect();
        let source = self.source(id, dataset, &names)?;
        let from = from.map(|name| format!("{source}@{name}"));
        let from = from.as_deref().map_or(From::Nothing, From::Source);
        let bytes = self
            .zfs()?
            .send_space(&format!("{source}@{to}"), from, form(how));
        bytes.map_err(|e| match e.is(Errno::ENOENT) {
            true => Error::NoSnapshot {
                id: id.to_owned(),
                name: to.to_owned(),
            },
            false => failed("measure", format!("data of container {id}"))(e),
        })
    }

    pub(super) fn read_stream(
        &self,
        id: &str,
        dataset: &str,
        input: BorrowedFd<'_>,
    ) -> Result<Vec<String>> {
        let target = self.base.part(id, dataset)?;
        check_id(id)?;
        let exists = self.exists(id)?;
        match (exists, dataset.is_empty()) {
            // What is complete is never written to.
            (true, _) if !self.is_marked(id)? => return Err(Error::Exists(id.to_owned())),
            (false, false) => return Err(Error::NotFound(id.to_owned())),
            _ => {}
        }
        self.mark(id)?;
        let part = self.zfs()?.exists(&target);
        let was_there = part.map_err(failed("look for", &target))?;
        let input = input.try_clone_to_owned();
        let input = input.map_err(|e| Error::io("read", "a stream", e))?;
        let mut reader = Reader {
            storage: self,
            input: File::from(input),
            what: format!("data of container {id}"),
            target: &target,
            sender: None,
            made: Vec::new(),
        };
        let received = reader.run();
        if received.is_err() && !was_there {
            // The first error is the one that counts; should this fail, the next start does it.
            match exists {
                true => drop(self.discard_dataset(&target, id)),
                false => drop(self.trash(id).or_else(|_| self.unmark(id))),
            }
        }
        received.map(|()| reader.made)
    }

    fn discard_dataset(&self, dataset: &str, id: &str) -> Result<()> {
        match self.zfs()?.rename(dataset, &self.base.trashed(id)) {
            Err(e) if !e.is(Errno::ENOENT) => Err(failed("discard", dataset)(e)),
            _ => Ok(()),
        }
    }
}

/// One call's stream, on the way into a dataset.
struct Reader<'a> {
    storage: &'a ZfsStorage,
    input: File,
    /// What the stream is said to be, for messages.
    what: String,
    target: &'a str,
    /// The dataset that the stream is of, where it comes from.
    sender: Option<String>,
    /// Snapshots that were received.
    made: Vec<String>,
}

impl Reader<'_> {
    fn record(&mut self) -> Result<Option<Record>> {
        match Record::read(&mut self.input) {
            Ok(record) => Ok(record),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.truncated()),
            Err(e) => Err(Error::io("read", "a stream", e)),
        }
    }

    fn truncated(&self) -> Error {
        refused(&self.what, "ends too early")
    }

    fn run(&mut self) -> Result<()> {
        let Some(first) = self.record()? else {
            return Err(self.truncated());
        };
        match first.begin() {
            Some(begin) if begin.compound => self.compound(&begin),
            _ => {
                self.one(&first)?;
                // What comes after it is not ours.
                Ok(())
            }
        }
    }

    fn compound(&mut self, begin: &Begin) -> Result<()> {
        if begin.payload > MAX_HEADER {
            return Err(refused(&self.what, "has too large a header"));
        }
        let header = u64::from(begin.payload);
        let skipped = io::copy(&mut (&mut self.input).take(header), &mut io::sink());
        if skipped.map_err(|e| Error::io("read", "a stream", e))? != header {
            return Err(self.truncated());
        }
        match self.record()? {
            Some(end) if end.is_end() => {}
            Some(_) => return Err(refused(&self.what, "has a header without an end")),
            None => return Err(self.truncated()),
        }
        loop {
            let record = self.record()?.ok_or_else(|| self.truncated())?;
            if record.is_end() {
                return match self.made.is_empty() {
                    true => Err(refused(&self.what, "has nothing in it")),
                    false => Ok(()),
                };
            }
            self.one(&record)?;
        }
    }

    /// Receives the stream of one snapshot.
    fn one(&mut self, record: &Record) -> Result<()> {
        let Some(begin) = record.begin().filter(|begin| !begin.compound) else {
            return Err(refused(&self.what, "is no stream of ZFS"));
        };
        let name = snapshot_of(&begin, &self.what)?;
        let sender = begin.name.rsplit_once('@').map_or("", |(sender, _)| sender);
        match &self.sender {
            Some(first) if first != sender => {
                return Err(refused(&self.what, "holds more than one dataset"));
            }
            _ => self.sender = Some(sender.to_owned()),
        }
        let whole = !begin.incremental;
        let properties = unmounted();
        let how = Receive {
            begin: Some(record),
            properties: if whole { &properties } else { &[] },
            origin: None,
            force: Force::No,
            raw: false,
            resumable: false,
        };
        let snapshot = format!("{}@{name}", self.target);
        let received =
            self.storage
                .zfs()?
                .receive(&snapshot, std::os::fd::AsFd::as_fd(&self.input), &how);
        received.map_err(failed("receive", &self.what))?;
        self.made.push(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_file_systems_are_received() {
        let good = Begin {
            compound: false,
            features: 4 | 1 << 22,
            file_system: true,
            incremental: false,
            clone: false,
            name: "tank/ct/a@osctl-copy".into(),
            payload: 0,
        };
        assert_eq!(snapshot_of(&good, "x").unwrap(), "osctl-copy");
        let bad = |change: fn(&mut Begin)| {
            let mut begin = good.clone();
            change(&mut begin);
            snapshot_of(&begin, "x").unwrap_err().to_string()
        };
        assert!(bad(|b| b.file_system = false).contains("not of a file system"));
        assert!(bad(|b| b.features |= RAW).contains("encrypted"));
        assert!(bad(|b| b.features |= REDACTED).contains("part"));
        assert!(bad(|b| b.features |= RESUMING).contains("part"));
        assert!(bad(|b| b.payload = 8).contains("part"));
        for name in [
            "",
            "tank/ct/a",
            "tank/ct/a@",
            "a@b/c",
            "a@b c",
            "a@-x",
            "a@..",
        ] {
            let mut begin = good.clone();
            begin.name = name.into();
            let error = snapshot_of(&begin, "x").unwrap_err().to_string();
            assert!(error.contains("no good name"), "{name}: {error}");
        }
    }
}
