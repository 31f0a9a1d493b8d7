//! Typed limits, as the parameters that carry them out under v1 and v2.
//!
//! A limit expands to parameters of both versions, so that a stored configuration works on any
//! host; [`Tree::apply`](super::Tree::apply) writes those that the running host understands.

use super::{Error, Param, Result, Version};

/// Bounds that the kernel sets on the period.
const PERIOD_US: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;

/// The least quota that the kernel accepts.
const MIN_QUOTA_US: u64 = 1_000;

/// Processor time, in percent of one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuLimit {
    percent: u32,
    period_us: u64,
}

impl CpuLimit {
    /// The period used if none is asked for: 100 ms.
    pub const DEFAULT_PERIOD_US: u64 = 100_000;

    /// A limit: 150 is one and a half processors. The period is in microseconds.
    pub fn new(percent: u32, period_us: u64) -> Result<CpuLimit> {
        let limit = CpuLimit { percent, period_us };
        if !PERIOD_US.contains(&period_us) {
            let reason = "the period is from 1000 to 1000000 microseconds";
            return Err(invalid("cpu-limit", period_us, reason));
        }
        if limit.quota_us() < MIN_QUOTA_US {
            let reason = "less than 1000 microseconds per period";
            return Err(invalid("cpu-limit", percent, reason));
        }
        Ok(limit)
    }

    /// Microseconds of processor time per period.
    pub fn quota_us(&self) -> u64 {
        u64::from(self.percent) * self.period_us / 100
    }

    /// The parameters of this limit.
    pub fn params(&self) -> Vec<Param> {
        let (quota, period) = (self.quota_us(), self.period_us);
        vec![
            Param::known(Version::V2, "cpu.max", format!("{quota} {period}")),
            Param::known(Version::V1, "cpu.cfs_period_us", period.to_string()),
            Param::known(Version::V1, "cpu.cfs_quota_us", quota.to_string()),
        ]
    }
}

/// Memory and swap, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    memory: u64,
    swap: u64,
}

impl MemoryLimit {
    /// A limit; without swap, nothing may be swapped out.
    pub fn new(memory: u64, swap: Option<u64>) -> Result<MemoryLimit> {
        let swap = swap.unwrap_or(0);
        let sum = memory.checked_add(swap).filter(|s| *s <= i64::MAX as u64);
        if memory == 0 || sum.is_none() {
            return Err(invalid("memory-limit", memory, "out of range"));
        }
        Ok(MemoryLimit { memory, swap })
    }

    /// The parameters of this limit. v1 limits the sum of memory and swap, v2 each.
    pub fn params(&self) -> Vec<Param> {
        let MemoryLimit { memory, swap } = *self;
        let sum = memory + swap;
        vec![
            Param::known(Version::V2, "memory.max", memory.to_string()),
            Param::known(Version::V2, "memory.swap.max", swap.to_string()),
            Param::known(Version::V1, "memory.limit_in_bytes", memory.to_string()),
            Param::known(Version::V1, "memory.memsw.limit_in_bytes", sum.to_string()),
        ]
    }
}

/// What is read from and written to one disk per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskRates {
    /// Bytes that are read.
    pub read_bps: Option<u64>,
    /// Bytes that are written.
    pub write_bps: Option<u64>,
    /// Operations that read.
    pub read_iops: Option<u64>,
    /// Operations that write.
    pub write_iops: Option<u64>,
}

impl DiskRates {
    /// The parameters of these limits, for the disk with these numbers.
    pub fn params(&self, disk: impl std::fmt::Display) -> Vec<Param> {
        let DiskRates {
            read_bps,
            write_bps,
            read_iops,
            write_iops,
        } = *self;
        let text =
            |n: Option<u64>, none: &str| n.map_or_else(|| none.to_owned(), |n| n.to_string());
        let max = |n| text(n, "max");
        let v2 = format!(
            "{disk} rbps={} wbps={} riops={} wiops={}",
            max(read_bps),
            max(write_bps),
            max(read_iops),
            max(write_iops)
        );
        let v1 = [
            ("read_bps", read_bps),
            ("write_bps", write_bps),
            ("read_iops", read_iops),
            ("write_iops", write_iops),
        ];
        let v1 = v1.map(|(name, rate)| {
            let name = format!("blkio.throttle.{name}_device");
            Param::known(Version::V1, &name, format!("{disk} {}", text(rate, "0")))
        });
        [Param::known(Version::V2, "io.max", v2)]
            .into_iter()
            .chain(v1)
            .collect()
    }
}

impl Param {
    /// At most this many processes and threads.
    pub fn pids_max(count: u64) -> Vec<Param> {
        let both = [Version::V1, Version::V2];
        both.map(|v| Param::known(v, "pids.max", count.to_string()))
            .into()
    }

    /// Only these processors, as a list such as `0-3,8`.
    pub fn cpuset_cpus(list: &str) -> Result<Vec<Param>> {
        let legal = |c: char| c.is_ascii_digit() || matches!(c, ',' | '-');
        if list.is_empty() || !list.chars().all(legal) {
            return Err(invalid("cpuset", list, "not a list of processors"));
        }
        let both = [Version::V1, Version::V2];
        Ok(both
            .map(|v| Param::known(v, "cpuset.cpus", list.to_owned()))
            .into())
    }

    /// Share of disk time relative to the usual 100, from 1 to 10000 (v1: at most 1000).
    pub fn io_weight(weight: u32) -> Result<Vec<Param>> {
        if !(1..=10_000).contains(&weight) {
            return Err(invalid("io-weight", weight, "from 1 to 10000"));
        }
        let v1 = weight.min(1_000).to_string();
        Ok(vec![
            Param::known(Version::V2, "io.weight", weight.to_string()),
            Param::known(Version::V1, "blkio.bfq.weight", v1),
        ])
    }
}

fn invalid(name: &str, value: impl ToString, reason: &'static str) -> Error {
    Error::Value {
        name: name.into(),
        value: value.to_string().chars().take(80).collect(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(params: &[Param]) -> Vec<String> {
        let text = |p: &Param| format!("{} {}={}", p.version.number(), p.name, p.value.join(";"));
        params.iter().map(text).collect()
    }

    #[test]
    fn cpu() {
        let limit = CpuLimit::new(150, CpuLimit::DEFAULT_PERIOD_US).unwrap();
        assert_eq!(
            texts(&limit.params()),
            [
                "2 cpu.max=150000 100000",
                "1 cpu.cfs_period_us=100000",
                "1 cpu.cfs_quota_us=150000"
            ]
        );
        for (percent, period) in [(0, 100_000), (10, 999), (10, 1_000_001), (1, 10_000)] {
            assert!(
                CpuLimit::new(percent, period).is_err(),
                "{percent} {period}"
            );
        }
        assert!(CpuLimit::new(u32::MAX, 1_000_000).is_ok());
    }

    #[test]
    fn memory() {
        let limit = MemoryLimit::new(1 << 30, Some(1 << 20)).unwrap();
        assert_eq!(
            texts(&limit.params()),
            [
                "2 memory.max=1073741824",
                "2 memory.swap.max=1048576",
                "1 memory.limit_in_bytes=1073741824",
                "1 memory.memsw.limit_in_bytes=1074790400"
            ]
        );
        let no_swap = MemoryLimit::new(4096, None).unwrap();
        assert_eq!(no_swap.params()[1].value, ["0"]);
        assert_eq!(no_swap.params()[3].value, ["4096"]);
        assert!(MemoryLimit::new(0, None).is_err());
        assert!(MemoryLimit::new(u64::MAX, Some(1)).is_err());
    }

    #[test]
    fn disks() {
        let rates = DiskRates {
            write_bps: Some(1 << 20),
            read_iops: Some(50),
            ..DiskRates::default()
        };
        assert_eq!(
            texts(&rates.params("8:16")),
            [
                "2 io.max=8:16 rbps=max wbps=1048576 riops=50 wiops=max",
                "1 blkio.throttle.read_bps_device=8:16 0",
                "1 blkio.throttle.write_bps_device=8:16 1048576",
                "1 blkio.throttle.read_iops_device=8:16 50",
                "1 blkio.throttle.write_iops_device=8:16 0",
            ]
        );
    }

    #[test]
    fn others() {
        assert_eq!(texts(&Param::pids_max(5)), ["1 pids.max=5", "2 pids.max=5"]);
        assert!(Param::cpuset_cpus("0-3,8").is_ok());
        assert!(Param::cpuset_cpus("0\n").is_err());
        assert!(Param::io_weight(0).is_err());
        assert_eq!(
            texts(&Param::io_weight(5000).unwrap()),
            ["2 io.weight=5000", "1 blkio.bfq.weight=1000"]
        );
    }
}
