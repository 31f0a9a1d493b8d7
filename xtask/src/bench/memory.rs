//! Memory of processes, in MiB.

use std::fs;

use crate::error::{Error, FileContext as _, Result};

/// What would be free if the process ended: its private pages.
pub fn private(pid: u32) -> Result<f64> {
    sum(
        &format!("/proc/{pid}/smaps_rollup"),
        &["Private_Clean:", "Private_Dirty:"],
    )
}

/// All resident pages.
pub fn resident(pid: u32) -> Result<f64> {
    sum(&format!("/proc/{pid}/status"), &["VmRSS:"])
}

/// The process that `pid` is a child of.
pub fn parent(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).of("read", &path)?;
    field(&text, "PPid:").ok_or_else(|| Error::Other(format!("{path} names no parent")))
}

fn sum(path: &str, keys: &[&str]) -> Result<f64> {
    let text = fs::read_to_string(path).of("read", path)?;
    let mut kib = 0;
    for key in keys {
        kib += field(&text, key).ok_or_else(|| Error::Other(format!("{path} has no {key}")))?;
    }
    Ok(f64::from(kib) / 1024.0)
}

fn field(text: &str, key: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_parent() {
        let pid = std::process::id();
        let (private, resident) = (private(pid).unwrap(), resident(pid).unwrap());
        assert!(private > 0.1 && private <= resident, "{private} {resident}");
        assert_eq!(parent(pid).unwrap(), std::os::unix::process::parent_id());
        assert!(super::resident(u32::MAX).is_err());
    }
}
