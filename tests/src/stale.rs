//! What tests have left that were killed before they could clean up.

use std::fs;
use std::path::Path;

use crate::{cgroups, leaks, processes};

/// How the names of hosts' directories begin.
pub const PREFIX: &str = "osctl-t";
/// Who a host belongs to: process id and start.
const OWNER: &str = "owner";

/// Notes that the host in `dir` is this process'.
pub fn claim(dir: &Path) {
    let pid = std::process::id();
    let start = processes::Stat::of(pid).map_or(0, |s| s.start);
    fs::write(dir.join(OWNER), format!("{pid} {start}")).unwrap();
}

/// Removes the hosts whose owners are gone.
pub fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| n.starts_with(PREFIX)) else {
            continue;
        };
        let Ok(owner) = fs::read_to_string(entry.path().join(OWNER)) else {
            continue;
        };
        let Some((pid, start)) = owner.split_once(' ') else {
            continue;
        };
        let now = pid.parse().ok().and_then(processes::Stat::of);
        if now.is_some_and(|s| s.start.to_string() == start) {
            continue;
        }
        println!("removing what is left of {name}");
        for pid in processes::all() {
            let inside = entry.path().join("");
            if processes::cmdline(pid).contains(&inside.display().to_string()) {
                processes::kill(pid);
            }
        }
        cgroups::remove(name);
        leaks::unmount_below(&entry.path());
        let _ = fs::remove_dir_all(entry.path());
    }
}
