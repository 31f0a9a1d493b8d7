//! What a machine is, before there is one.

use std::io::Read;
use std::path::PathBuf;

/// Where a machine has its root from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// A disk, before all others.
    Disk,
    /// The network: stage 1 downloads it.
    Network,
    /// The network, as all else: the firmware boots it.
    Netboot(Netboot),
}

/// How a machine boots of which nothing is given to the emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Netboot {
    /// Known by its address; the root comes by HTTP.
    Http,
    /// Known by the name that it gets by DHCP; everything comes by TFTP.
    Tftp,
}

/// Where a machine has its serial console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// In a file that tests can look at.
    File,
    /// On the terminal of this process, with QEMU's own commands behind Ctrl-A.
    Terminal,
}

/// What a machine is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the host.
    pub name: String,
    /// Memory in MiB.
    pub memory: u32,
    /// Where the root comes from.
    pub root: Root,
    /// Sizes of empty disks in MiB: `/dev/vdb` and so on, `/dev/vda` without a
    /// root on a disk.
    pub disks: Vec<u64>,
    /// Size in MiB of an NVMe disk that is blank at first, on which the host
    /// makes its pool `tank`. Such a host is booted for each test.
    pub pool: Option<u64>,
    /// What the host's `eth1` is on. `eth0` leads to a network of the machine's
    /// own, with an address by DHCP.
    pub wire: Option<Wire>,
    /// Where its console is.
    pub console: Console,
    /// Words to add to the kernel's command line.
    pub append: String,
    /// A path of this machine's store that a host has, with all that it refers
    /// to, before it is prepared.
    pub closure: Option<PathBuf>,
    /// A script of bash that is done before a host is [ready]: once, however
    /// many tests start from there.
    ///
    /// [ready]: super::Machine::ready
    pub prepare: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            name: "lab".to_owned(),
            memory: 2048,
            root: Root::Disk,
            disks: Vec::new(),
            pool: None,
            wire: None,
            console: Console::File,
            append: String::new(),
            closure: None,
            prepare: String::new(),
        }
    }
}

impl Settings {
    /// The address of the host's `eth1`: no two names have the same.
    pub fn mac(&self) -> String {
        let [a, b, c, _] = hash(&self.name);
        format!("52:54:01:{a:02x}:{b:02x}:{c:02x}")
    }

    /// An address of 172.31.0.0/16 that goes with the name.
    pub fn address(&self) -> String {
        let [a, b, ..] = hash(&self.name);
        format!("172.31.{a}.{}", b.clamp(1, 254))
    }

    /// What tells states apart: all but what each host is given anew.
    pub(super) fn anonymous(&self) -> Settings {
        Settings {
            name: Settings::default().name,
            wire: None,
            console: Console::File,
            ..self.clone()
        }
    }
}

/// FNV-1a, which spreads names well enough.
fn hash(name: &str) -> [u8; 4] {
    name.bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
        .to_be_bytes()
}

/// An Ethernet between machines, without any other participant.
#[derive(Debug, Clone)]
pub struct Wire(String);

impl Wire {
    /// One that no other test is on.
    pub fn new() -> Wire {
        let mut random = [0; 5];
        let mut source = std::fs::File::open("/dev/urandom").unwrap();
        source.read_exact(&mut random).unwrap();
        Wire::of(random)
    }

    /// The one of this name, for all who know it.
    pub fn named(name: &str) -> Wire {
        let [a, b, c, d] = hash(name);
        Wire::of([a, b, c, d, 0])
    }

    /// A multicast group of this machine's loopback is one wire.
    fn of([a, b, c, d, e]: [u8; 5]) -> Wire {
        let port = 20_000 + u16::from_le_bytes([d, e]) % 40_000;
        Wire(format!("239.{a}.{b}.{c}:{port}"))
    }

    /// Its group and port.
    pub fn group(&self) -> &str {
        &self.0
    }
}

impl Default for Wire {
    fn default() -> Wire {
        Wire::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_differ() {
        let named = |name: &str| Settings {
            name: name.to_owned(),
            ..Settings::default()
        };
        assert_ne!(named("a").mac(), named("b").mac());
        assert_eq!(named("a").mac().len(), 17);
        assert_ne!(Wire::new().group(), Wire::new().group());
    }
}
