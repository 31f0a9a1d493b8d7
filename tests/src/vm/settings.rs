//! What a machine is, before there is one.

use std::io::Read;

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
    /// Words to add to the kernel's command line.
    pub append: String,
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
            append: String::new(),
            prepare: String::new(),
        }
    }
}

impl Settings {
    /// The address of the host's `eth1`: no two names have the same.
    pub fn mac(&self) -> String {
        // FNV-1a, which spreads names over three bytes well enough.
        let hash = self.name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let [a, b, c, _] = hash.to_be_bytes();
        format!("52:54:01:{a:02x}:{b:02x}:{c:02x}")
    }
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
        let [a, b, c, d, e] = random;
        // A multicast group of this machine's loopback is one wire.
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
