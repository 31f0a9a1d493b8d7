//! Processors and memory nodes of v1 cpusets.
//!
//! A v2 child follows its parent by itself. A v1 child has a set of its own that must lie within
//! its parent's, so a group cannot be narrowed before everything below it, and nothing below it
//! follows when it is widened.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::{Error, Result, file};

/// No machine has more processors.
const MAX_CPU: u32 = 1 << 16;

/// Writes `value` to a `cpuset.cpus` or `cpuset.mems`; cgroups below that had the same set as
/// this one get the new set too, others lose what is no longer in it.
pub(super) fn set(path: &Path, value: &str) -> Result<()> {
    let old = file::read(path)?;
    let below = below(path);
    let mut written = file::write(path, value);
    if is_busy(&written) {
        // Narrowing: the children first.
        for child in &below {
            let theirs = file::read(child)?;
            if theirs.trim() == old.trim() {
                set(child, value)?;
            } else {
                set(child, &within(child, &theirs, value)?)?;
            }
        }
        written = file::write(path, value);
    }
    written?;
    let follows = |c: &&PathBuf| file::read(c).is_ok_and(|t| t.trim() == old.trim());
    below.iter().filter(follows).try_for_each(|c| set(c, value))
}

fn is_busy(result: &Result<()>) -> bool {
    let errno = result.as_ref().err().and_then(Error::raw_os_error);
    errno == Some(Errno::BUSY.raw_os_error())
}

/// The same file in each child of the cgroup.
fn below(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.map(|e| e.path().join(name));
    files.filter(|f| f.is_file()).collect()
}

/// What a child keeps of its own set.
fn within(child: &Path, theirs: &str, allowed: &str) -> Result<String> {
    let kept: Vec<_> = match (parse(theirs), parse(allowed)) {
        (Some(a), Some(b)) => a.intersection(&b).map(u32::to_string).collect(),
        _ => Vec::new(),
    };
    if kept.is_empty() {
        return Err(Error::Value {
            name: child.display().to_string(),
            value: allowed.chars().take(80).collect(),
            reason: "nothing would be left of the cgroup's own set",
        });
    }
    Ok(kept.join(","))
}

/// Reads a list such as `0-3,8`.
fn parse(list: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last > MAX_CPU {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse("0-2,8\n"), Some(BTreeSet::from([0, 1, 2, 8])));
        assert_eq!(parse("x"), None);
        assert_eq!(parse("0-4000000000"), None);
        let child = Path::new("/x");
        assert_eq!(within(child, "0-3", "2-5").unwrap(), "2,3");
        assert!(within(child, "0-1", "2-5").is_err());
    }
}
