//! What a cgroup uses now: a few small reads, cheap enough for a thousand containers a second.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use super::{Node, Tree, events::field};

/// v1 reports "no limit" as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

/// What a cgroup and everything below it uses. `None`: the host does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Bytes of memory, under v1 with swap where the kernel counts that.
    pub memory: Option<u64>,
    /// The cgroup's own limit of it, bytes.
    pub memory_limit: Option<u64>,
    /// `memory` in percent of the limit, or of the host's memory if there is none.
    pub memory_pct: Option<f64>,
    /// Processor time since the cgroup was made, microseconds.
    pub cpu_us: Option<u64>,
    /// Part of it in user mode.
    pub cpu_user_us: Option<u64>,
    /// Part of it in the kernel.
    pub cpu_system_us: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Transfers from and to block devices.
    pub io: Option<Io>,
}

/// Bytes read from and written to all block devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

/// Reads statistics; keeps its buffers from one cgroup to the next.
#[derive(Debug)]
pub struct Sampler {
    path: String,
    text: Vec<u8>,
    host_memory: Option<u64>,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler::new()
    }
}

impl Sampler {
    /// A sampler for any number of cgroups.
    pub fn new() -> Sampler {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
        let total = total.and_then(|t| t.split_whitespace().next()?.parse::<u64>().ok());
        Sampler {
            path: String::new(),
            text: Vec::new(),
            host_memory: total.map(|kib| kib.saturating_mul(1024)),
        }
    }

    /// The statistics of a cgroup; of one that does not exist, all are `None`.
    pub fn stats(&mut self, tree: &Tree, node: &Node) -> Stats {
        let mut stats = Stats::default();
        self.memory(tree, node, &mut stats);
        self.cpu(tree, node, &mut stats);
        let pids = tree.v1_path("pids", node).or_else(|| tree.v2_path(node));
        stats.pids = pids.and_then(|dir| self.number(&dir, "pids.current"));
        stats.io = self.io(tree, node);
        stats
    }

    fn memory(&mut self, tree: &Tree, node: &Node, stats: &mut Stats) {
        let (used, limit, kills);
        if let Some(dir) = tree.v1_path("memory", node) {
            let with_swap = self.number(&dir, "memory.memsw.usage_in_bytes");
            if with_swap.is_some() {
                used = with_swap;
                limit = self.number(&dir, "memory.memsw.limit_in_bytes");
            } else {
                used = self.number(&dir, "memory.usage_in_bytes");
                limit = self.number(&dir, "memory.limit_in_bytes");
            }
            kills = self.field(&dir, "memory.oom_control", "oom_kill");
        } else if let Some(dir) = tree.v2_path(node) {
            used = self.number(&dir, "memory.current");
            limit = self.number(&dir, "memory.max");
            kills = self.field(&dir, "memory.events", "oom_kill");
        } else {
            return;
        }
        stats.memory = used;
        stats.memory_limit = limit.filter(|l| *l < NO_LIMIT);
        stats.oom_kills = kills;
        let whole = stats.memory_limit.or(self.host_memory).filter(|w| *w > 0);
        stats.memory_pct = match (used, whole) {
            (Some(used), Some(whole)) => Some(used as f64 * 100.0 / whole as f64),
            _ => None,
        };
    }

    /// v2 counts processor time even where the `cpu` controller is under v1, in one file.
    fn cpu(&mut self, tree: &Tree, node: &Node, stats: &mut Stats) {
        if let Some(text) = tree.v2_path(node).and_then(|d| self.read(&d, "cpu.stat")) {
            let number = |key| field(text, key)?.parse().ok();
            stats.cpu_us = number("usage_usec");
            stats.cpu_user_us = number("user_usec");
            stats.cpu_system_us = number("system_usec");
        } else if let Some(dir) = tree.v1_path("cpuacct", node) {
            let mut micros = |name| self.number(&dir, name).map(|nanos| nanos / 1000);
            stats.cpu_us = micros("cpuacct.usage");
            stats.cpu_user_us = micros("cpuacct.usage_user");
            stats.cpu_system_us = micros("cpuacct.usage_sys");
        }
    }

    fn io(&mut self, tree: &Tree, node: &Node) -> Option<Io> {
        if let Some(dir) = tree.v1_path("blkio", node) {
            let text = self.read(&dir, "blkio.throttle.io_service_bytes_recursive")?;
            return Some(io_v1(text));
        }
        tree.v2_path(node)
            .and_then(|dir| self.read(&dir, "io.stat"))
            .map(io_v2)
    }

    fn number(&mut self, dir: &Path, name: &str) -> Option<u64> {
        self.read(dir, name)?.trim_end().parse().ok()
    }

    fn field(&mut self, dir: &Path, name: &str, key: &str) -> Option<u64> {
        field(self.read(dir, name)?, key)?.parse().ok()
    }

    fn read(&mut self, dir: &Path, name: &str) -> Option<&str> {
        self.path.clear();
        self.path.push_str(dir.to_str()?);
        self.path.push('/');
        self.path.push_str(name);
        self.text.clear();
        let file = File::open(&self.path).ok()?;
        file.take(1 << 20).read_to_end(&mut self.text).ok()?;
        std::str::from_utf8(&self.text).ok()
    }
}

/// `8:0 Read 4096` lines, with a `Total` per device and at the end.
fn io_v1(text: &str) -> Io {
    let mut io = Io::default();
    for line in text.lines() {
        let mut words = line.split(' ').skip(1);
        let (kind, bytes) = (
            words.next(),
            words.next().and_then(|w| w.parse::<u64>().ok()),
        );
        match (kind, bytes) {
            (Some("Read"), Some(bytes)) => io.read = io.read.saturating_add(bytes),
            (Some("Write"), Some(bytes)) => io.written = io.written.saturating_add(bytes),
            _ => {}
        }
    }
    io
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 …` lines.
fn io_v2(text: &str) -> Io {
    let mut io = Io::default();
    for (key, value) in text.split_whitespace().filter_map(|w| w.split_once('=')) {
        let bytes = value.parse::<u64>().unwrap_or(0);
        match key {
            "rbytes" => io.read = io.read.saturating_add(bytes),
            "wbytes" => io.written = io.written.saturating_add(bytes),
            _ => {}
        }
    }
    io
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io() {
        let v1 = "8:0 Read 10\n8:0 Write 5\n8:0 Total 15\n8:16 Read 1\nTotal 16\n";
        assert_eq!(
            io_v1(v1),
            Io {
                read: 11,
                written: 5
            }
        );
        let v2 = "8:0 rbytes=10 wbytes=5 rios=1\n8:16 rbytes=1 wbytes=x\n254:0\n";
        assert_eq!(
            io_v2(v2),
            Io {
                read: 11,
                written: 5
            }
        );
        assert_eq!(io_v1(""), Io::default());
    }
}
