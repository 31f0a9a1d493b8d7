//! Room for what is kept on a pool for a while only: containers have theirs before that.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::fstatvfs;

use crate::error::Error;

/// What stays free for containers: this part of the pool, within these bounds, bytes.
const PART: u64 = 20;
const LEAST: u64 = 64 << 20;
const MOST: u64 = 4 << 30;

/// Where something is kept for a while.
#[derive(Debug)]
pub(super) struct Room(OwnedFd);

impl Room {
    /// Where an open file is.
    ///
    /// # Errors
    /// `Backend` when no more files can be opened.
    pub(super) fn of(file: &File) -> Result<Room, Error> {
        let same = file.try_clone();
        same.map(|file| Room(file.into()))
            .map_err(|e| Error::backend("cannot keep the archive", e))
    }

    /// Refuses to go on when containers would get short of space.
    ///
    /// # Errors
    /// `Backend`.
    pub(super) fn check(&self) -> Result<(), Error> {
        let told = fstatvfs(&self.0);
        let told = told.map_err(|e| Error::backend("cannot tell how much space is left", e))?;
        let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
        let (free, all) = (bytes(told.f_bavail), bytes(told.f_blocks));
        match free < margin(all) {
            true => Err(Error::backend(
                "an archive that goes through a pipe is kept on the pool until it is complete",
                std::io::Error::other(format!(
                    "of {} MiB that are left there, {} MiB stay free for containers",
                    free >> 20,
                    margin(all) >> 20
                )),
            )
            .hint("use a file instead of a pipe, or make room on the pool")),
            false => Ok(()),
        }
    }
}

fn margin(all: u64) -> u64 {
    (all / PART).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_free() {
        for (all, margin) in [(0, 64 << 20), (10 << 30, 512 << 20), (10 << 40, 4 << 30)] {
            assert_eq!(super::margin(all), margin, "{all}");
        }
    }

    #[test]
    fn room_is_told_of_where_the_file_is() {
        let none = Room::of(&File::open("/proc/self/status").unwrap()).unwrap();
        let error = none.check().unwrap_err();
        assert!(error.chain().contains("of 0 MiB"), "{}", error.chain());
    }
}
