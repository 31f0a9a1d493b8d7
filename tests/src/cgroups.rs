//! The cgroup trees of this host, as seen from the outside.

use std::fs;
use std::path::{Path, PathBuf};

use crate::wait;

/// Mount points of all cgroup file systems: v2 first.
pub fn mounts() -> Vec<PathBuf> {
    let mut v2 = Vec::new();
    let mut v1 = Vec::new();
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        let (left, right) = line.split_once(" - ").unwrap();
        let at = PathBuf::from(left.split(' ').nth(4).unwrap());
        match right.split(' ').next().unwrap() {
            "cgroup2" => v2.push(at),
            "cgroup" => v1.push(at),
            _ => {}
        }
    }
    v2.extend(v1);
    v2
}

/// All directories below `dir`, deepest first, `dir` last; none when it isn't there.
pub fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(tree(&entry.path()));
        }
    }
    found.push(dir.to_owned());
    found
}

/// The directories of the cgroup `root` in all hierarchies that have it.
pub fn roots(root: &str) -> Vec<PathBuf> {
    let all = mounts().into_iter().map(|m| m.join(root));
    all.filter(|d| d.exists()).collect()
}

/// Process ids in the cgroup `root` and below, in any hierarchy.
pub fn pids(root: &str) -> Vec<u32> {
    let mut pids: Vec<u32> = roots(root)
        .iter()
        .flat_map(|d| tree(d))
        .filter_map(|d| fs::read_to_string(d.join("cgroup.procs")).ok())
        .flat_map(|t| t.lines().filter_map(|l| l.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Directories of containers below the cgroup `root`, as `ID (path)`.
pub fn containers(root: &str) -> Vec<(String, PathBuf)> {
    roots(root)
        .iter()
        .flat_map(|d| tree(d))
        .filter_map(|d| {
            let id = d.file_name()?.to_str()?.strip_prefix("ct.")?.to_owned();
            Some((id, d))
        })
        .collect()
}

/// Kills everything in the cgroup `root` and removes it from all hierarchies.
pub fn remove(root: &str) {
    for dir in roots(root) {
        for dir in tree(&dir) {
            let _ = fs::write(dir.join("cgroup.freeze"), "0");
            let _ = fs::write(dir.join("freezer.state"), "THAWED");
        }
    }
    let gone = wait::find(wait::SOON, || {
        for pid in pids(root) {
            crate::processes::kill(pid);
        }
        crate::processes::reap_orphans();
        let left = roots(root)
            .iter()
            .flat_map(|d| tree(d))
            .filter(|d| fs::remove_dir(d).is_err() && d.exists())
            .count();
        (left == 0).then_some(())
    });
    if gone.is_none() {
        println!("cannot remove the cgroup {root}");
    }
}

/// The value of a file of the container's cgroup in the hierarchy that has it.
pub fn read(root: &str, id: &str, file: &str) -> Option<String> {
    let name = format!("ct.{id}");
    roots(root)
        .iter()
        .flat_map(|d| tree(d))
        .filter(|d| d.file_name().is_some_and(|n| *n == *name))
        .find_map(|d| fs::read_to_string(d.join(file)).ok())
        .map(|text| text.trim_end().to_owned())
}
