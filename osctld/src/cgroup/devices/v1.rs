//! Device rules by the v1 `devices` controller.

use std::path::Path;

use super::{Access, DeviceRule, rule};
use crate::cgroup::{Result, file};

/// Makes the list of a cgroup exactly these rules, which are merged.
pub(super) fn set(dir: &Path, wanted: &[DeviceRule]) -> Result<()> {
    let (allow, deny) = (dir.join("devices.allow"), dir.join("devices.deny"));
    if wanted.iter().any(DeviceRule::is_everything) {
        return file::write(&allow, "a");
    }
    let now = current(&file::read(&dir.join("devices.list"))?);
    let now = match now.iter().any(DeviceRule::is_everything) {
        // A new cgroup: nothing runs in it yet, so there is no window to avoid. (A running
        // container had everything until now and loses it.)
        true => {
            file::write(&deny, "a")?;
            Vec::new()
        }
        false => now,
    };
    for rule in difference(wanted, &now) {
        file::write(&allow, &rule.to_string())?;
    }
    for rule in difference(&now, wanted) {
        file::write(&deny, &rule.to_string())?;
    }
    Ok(())
}

/// The rules in force. The kernel prints only what it was given, in its own notation.
fn current(list: &str) -> Vec<DeviceRule> {
    let rules: Vec<_> = list.lines().filter_map(|l| l.parse().ok()).collect();
    rule::merged(&rules)
}

/// What the first list grants and the second does not, per set of devices: the kernel adds to
/// and takes from the entry with exactly the same numbers.
fn difference(a: &[DeviceRule], b: &[DeviceRule]) -> Vec<DeviceRule> {
    let left = |rule: &DeviceRule| {
        let same = b.iter().find(|r| r.same_devices(rule));
        let access = rule
            .access
            .without(same.map_or(Access::default(), |s| s.access));
        DeviceRule { access, ..*rule }
    };
    let rules = a.iter().map(left);
    rules.filter(|r| !r.access.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences() {
        let old = current("b *:* m\nc *:* m\nc 1:3 rwm\nc 1:5 r\n");
        let new = current("c *:* m\nc 1:3 r\nc 1:5 rw\n");
        let text = |rules: Vec<DeviceRule>| rules.iter().map(|r| r.to_string()).collect::<Vec<_>>();
        assert_eq!(text(difference(&new, &old)), ["c 1:5 w"]);
        assert_eq!(text(difference(&old, &new)), ["b *:* m", "c 1:3 wm"]);
        assert!(difference(&old, &old).is_empty());
    }
}
