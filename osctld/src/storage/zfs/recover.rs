//! What a crash or a power cut left half done.

use std::collections::BTreeSet;

use super::ZfsStorage;
use super::containers::MARKS;
use super::mounts;
use super::names::{CT, REPOSITORY, STAGING};
use super::snapshots::MOUNTS;
use crate::storage::{Error, Note, Result, Storage, check_id, text};

impl ZfsStorage {
    pub(super) fn tidy_up(&self, known: &dyn Fn(&str) -> bool) -> Vec<Note> {
        let mut notes = Vec::new();
        if let Err(e) = self.detach_strays() {
            notes.push(Note::Odd(text(&e)));
        }
        for parent in [CT, REPOSITORY] {
            let names = self.children(parent).unwrap_or_else(|e| {
                notes.push(Note::Odd(text(&e)));
                Vec::new()
            });
            for name in names {
                let note = match name.strip_prefix(STAGING) {
                    Some(id) => self
                        .discard(&format!("{parent}/{name}"), id)
                        .map(|_| Some(Note::Done(format!("discarded {name}: it was being made")))),
                    None if parent == CT && check_id(&name).is_ok() => {
                        self.recover_container(&name, known(&name))
                    }
                    None => Ok(None),
                };
                notes.extend(note.unwrap_or_else(|e| Some(Note::Odd(text(&e)))));
            }
        }
        notes.extend(self.finish_rollbacks());
        match self.forget_temporary() {
            Ok(0) => {}
            Ok(n) => notes.push(Note::Done(format!(
                "destroyed {n} temporary snapshots: their operations did not end"
            ))),
            Err(e) => notes.push(Note::Odd(text(&e))),
        }
        if let Err(e) = self.forget_marks() {
            notes.push(Note::Odd(text(&e)));
        }
        notes
    }

    fn recover_container(&self, id: &str, known: bool) -> Result<Option<Note>> {
        match (known, self.is_marked(id)?) {
            (true, true) => self.unmark(id).map(|()| None),
            (true, false) => Ok(None),
            (false, true) => {
                self.trash(id)?;
                Ok(Some(Note::Done(format!(
                    "discarded data of container {id}, which was being made"
                ))))
            }
            (false, false) => Ok(Some(Note::Odd(format!(
                "data of container {id} have no configuration; left alone"
            )))),
        }
    }

    /// Removes the marks of containers that never came to be.
    fn forget_marks(&self) -> Result<()> {
        let failed = |e| Error::io("list", MARKS, e);
        for entry in self.root()?.read_dir(MARKS).map_err(failed)? {
            let name = entry.map_err(failed)?.name;
            let Some(id) = name.to_str().filter(|id| check_id(id).is_ok()) else {
                continue;
            };
            if !self.exists(id)? {
                self.unmark(id)?;
            }
        }
        Ok(())
    }

    /// Takes out of the file tree what was renamed while it was mounted: it is not where its name
    /// says.
    fn detach_strays(&self) -> Result<()> {
        let below: BTreeSet<String> = [CT, REPOSITORY].map(|d| format!("{d}/")).into();
        for mount in mounts::all()? {
            let Some(relative) = self.base.relative(&mount.dataset) else {
                continue;
            };
            let place = mount.path.strip_prefix(&self.path).ok();
            let is_ours = place.is_some_and(|p| below.iter().any(|d| p.starts_with(d)));
            if is_ours && place != Some(place_of(relative).as_ref()) {
                mounts::detach(&mount.path)?;
            }
        }
        Ok(())
    }
}

/// Where a dataset or snapshot belongs, all relative to the pool.
fn place_of(relative: &str) -> String {
    match relative.strip_prefix("ct/") {
        Some(snapshot) if snapshot.contains('@') => format!("{MOUNTS}/{snapshot}"),
        _ => relative.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(place_of("ct/web1"), "ct/web1");
        assert_eq!(place_of("repository/0f"), "repository/0f");
        assert_eq!(place_of("ct/web1@a"), "ct/.snapshots/web1@a");
        assert_eq!(place_of("ct/web1/data@a"), "ct/.snapshots/web1/data@a");
    }
}
