//! Limit of what a container reads from and writes to the disk of its pool.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most that a container reads from and writes to the disk of its pool; what is absent is not
/// limited.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::Args,
)]
#[group(required = true, multiple = true)]
pub struct IoLimit {
    /// Bytes read per second, with suffix k, m or g for multiples of 1024
    #[arg(long = "read", value_name = "RATE", value_parser = crate::size::parse_rate)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bps: Option<u64>,
    /// Bytes written per second
    #[arg(long = "write", value_name = "RATE", value_parser = crate::size::parse_rate)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_bps: Option<u64>,
    /// Operations per second that read
    #[arg(long = "read-ops", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_iops: Option<u32>,
    /// Operations per second that write
    #[arg(long = "write-ops", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_iops: Option<u32>,
}

impl IoLimit {
    /// Why it can't be, if so.
    pub fn problem(&self) -> Option<&'static str> {
        let (bps, iops) = (
            [self.read_bps, self.write_bps],
            [self.read_iops, self.write_iops],
        );
        let low = |rate: &u64| *rate < crate::size::LEAST_RATE;
        if bps.iter().flatten().any(low) {
            return Some("it takes at least 1024 bytes per second");
        }
        if iops.contains(&Some(0)) {
            return Some("it takes at least one operation per second");
        }
        let empty = bps.iter().all(Option::is_none) && iops.iter().all(Option::is_none);
        empty.then_some("it limits nothing")
    }
}

impl std::fmt::Display for IoLimit {
    /// As the kernel tells limits of disks: `rbps=1048576 wbps=max riops=max wiops=max`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |n: Option<u64>| n.map_or_else(|| "max".to_owned(), |n| n.to_string());
        write!(
            f,
            "rbps={} wbps={} riops={} wiops={}",
            text(self.read_bps),
            text(self.write_bps),
            text(self.read_iops.map(u64::from)),
            text(self.write_iops.map(u64::from)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_nothing_or_all_is_none() {
        let none = IoLimit::default();
        assert!(none.problem().is_some());
        let write_bps = |rate| IoLimit {
            write_bps: Some(rate),
            ..none
        };
        assert!(write_bps(1023).problem().is_some());
        assert_eq!(write_bps(1024).problem(), None);
        assert_eq!(
            write_bps(1024).to_string(),
            "rbps=max wbps=1024 riops=max wiops=max"
        );
        let read_iops = |n| IoLimit {
            read_iops: Some(n),
            ..none
        };
        assert!(read_iops(0).problem().is_some());
        assert_eq!(read_iops(1).problem(), None);
    }
}
