//! Values of the network that users give, parsed at the border: interface names, hardware
//! addresses, addresses with their prefixes, networks, rates.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::names::{InvalidName, invalid, string_newtype};

/// Longest name of a network interface, bytes: IFNAMSIZ without its NUL (netdevice(7)).
pub const MAX_IF_NAME: usize = 15;
/// Highest rate, bits per second.
pub const MAX_RATE: u64 = 1 << 50;

/// Name of a network interface: 1 to 15 letters, digits, `_`, `-` and `.`, starting with a letter
/// or a digit, and none of those that the kernel keeps for itself (`lo`, `all`, `default`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromStr for IfName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<IfName, InvalidName> {
        const RULE: &str = "use 1 to 15 letters, digits, '_', '-' and '.', starting with a letter \
                            or a digit, and not 'lo', 'all' or 'default'";
        let good = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        let starts = s.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let kept = matches!(s, "lo" | "all" | "default");
        if starts && s.len() <= MAX_IF_NAME && s.bytes().all(good) && !kept {
            Ok(IfName(s.to_owned()))
        } else {
            Err(invalid("interface name", s, RULE))
        }
    }
}

string_newtype!(IfName, "IfName");

/// Hardware (MAC) address of one interface, written `52:54:00:12:34:56`: neither zero nor a group
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HwAddr([u8; 6]);

const HWADDR_RULE: &str =
    "use six bytes such as 52:54:00:12:34:56, neither all zero nor a group address";

impl HwAddr {
    /// The address from its bytes; `None` when it is zero or a group address.
    pub fn from_octets(octets: [u8; 6]) -> Option<HwAddr> {
        (octets != [0; 6] && octets[0] & 1 == 0).then_some(HwAddr(octets))
    }
    /// Its bytes.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
    /// The interface identifier that stateless configuration makes of it, as an address of `prefix`
    /// (its upper 64 bits): modified EUI-64 (RFC 4291, appendix A).
    pub fn eui64(self, prefix: Ipv6Addr) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let mut octets = prefix.octets();
        octets[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        octets.into()
    }
    /// The link-local address that it makes.
    pub fn link_local(self) -> Ipv6Addr {
        self.eui64(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0))
    }
    fn to_text(self) -> Cow<'static, str> {
        let [a, b, c, d, e, f] = self.0;
        Cow::Owned(format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))
    }
}

impl FromStr for HwAddr {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<HwAddr, InvalidName> {
        let refused = || invalid("hardware address", s, HWADDR_RULE);
        let mut octets = [0; 6];
        let mut parts = s.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(refused)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(refused());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        match parts.next() {
            None => HwAddr::from_octets(octets).ok_or_else(refused),
            Some(_) => Err(refused()),
        }
    }
}

string_newtype!(HwAddr, "HwAddr");

/// An address with the length of its network's prefix: `192.0.2.5/24`, `2001:db8::5/64`; without a
/// length it is the longest. Neither unspecified, multicast, broadcast nor loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(IpNet);

impl Address {
    /// The address with its prefix length.
    pub fn net(self) -> IpNet {
        self.0
    }
    /// The address alone.
    pub fn ip(self) -> IpAddr {
        self.0.addr()
    }
    /// The network that it is in.
    pub fn network(self) -> Network {
        Network(self.0.trunc())
    }
    fn to_text(self) -> Cow<'static, str> {
        Cow::Owned(self.0.to_string())
    }
}

impl TryFrom<IpNet> for Address {
    type Error = InvalidName;
    fn try_from(net: IpNet) -> Result<Address, InvalidName> {
        const RULE: &str = "use an address of one host such as 192.0.2.5/24 or 2001:db8::5/64";
        let usable = match net.addr() {
            IpAddr::V4(ip) => {
                !(ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_loopback()
                    || ip.is_broadcast()
                    || ip.octets()[0] == 0)
            }
            IpAddr::V6(ip) => {
                !(ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_loopback()
                    || ip.to_ipv4_mapped().is_some())
            }
        };
        // The first and last addresses of an IPv4 network belong to nobody (RFC 3021: but of /31).
        let edge = match net {
            IpNet::V4(n) if n.prefix_len() < 31 => {
                n.addr() == n.network() || n.addr() == n.broadcast()
            }
            _ => false,
        };
        if usable && !edge && net.prefix_len() > 0 {
            Ok(Address(net))
        } else {
            Err(invalid("address", &net.to_string(), RULE))
        }
    }
}

impl FromStr for Address {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Address, InvalidName> {
        parse_net(s)
            .ok_or_else(|| {
                invalid(
                    "address",
                    s,
                    "use an address such as 192.0.2.5/24 or 2001:db8::5/64",
                )
            })?
            .try_into()
    }
}

string_newtype!(Address, "Address");

/// A network: `192.0.2.0/24`, `2001:db8::/64`; an address without a length is that host alone. Bits
/// below the prefix are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    /// The network.
    pub fn net(self) -> IpNet {
        self.0
    }
    /// That host alone.
    pub fn host(ip: IpAddr) -> Network {
        Network(ip.into())
    }
    fn to_text(self) -> Cow<'static, str> {
        Cow::Owned(self.0.to_string())
    }
}

impl FromStr for Network {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Network, InvalidName> {
        const RULE: &str =
            "use a network such as 192.0.2.0/24 or 2001:db8::/64, without bits below its prefix";
        parse_net(s)
            .filter(|net| net.trunc() == *net)
            .map(Network)
            .ok_or_else(|| invalid("network", s, RULE))
    }
}

string_newtype!(Network, "Network");

// The address is left to the standard library: it refuses leading zeros, which others take for octal.
fn parse_net(s: &str) -> Option<IpNet> {
    let Some((ip, len)) = s.split_once('/') else {
        return s.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let decimal = !len.is_empty() && len.len() <= 3 && len.bytes().all(|b| b.is_ascii_digit());
    let len = decimal.then(|| len.parse().ok())??;
    IpNet::new(ip.parse().ok()?, len).ok()
}

/// A rate in bits per second, written with `k`, `m`, `g` or `t` for powers of 1000; `0` and
/// `unlimited` are no limit.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Rate(u64);

impl Rate {
    /// No limit.
    pub const UNLIMITED: Rate = Rate(0);
    /// This many bits per second; 0 is no limit.
    pub fn from_bits(bits: u64) -> Rate {
        Rate(bits)
    }
    /// Bits per second; `None` without a limit.
    pub fn bits(self) -> Option<u64> {
        (self.0 != 0).then_some(self.0)
    }
    /// Whether there is no limit.
    pub fn is_unlimited(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.pad("unlimited");
        }
        let units = [
            (1_000_000_000_000, "t"),
            (1_000_000_000, "g"),
            (1_000_000, "m"),
            (1000, "k"),
        ];
        match units.iter().find(|(n, _)| self.0.is_multiple_of(*n)) {
            Some((n, unit)) => f.pad(&format!("{}{unit}", self.0 / n)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

impl FromStr for Rate {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Rate, InvalidName> {
        const RULE: &str =
            "use bits per second such as 10m, at least 8k and at most 1125t, or 'unlimited'";
        if matches!(s, "unlimited" | "0") {
            return Ok(Rate::UNLIMITED);
        }
        let refused = || invalid("rate", s, RULE);
        let (digits, unit) = match s.char_indices().last().ok_or_else(refused)? {
            (at, 'k' | 'K') => (&s[..at], 1000),
            (at, 'm' | 'M') => (&s[..at], 1_000_000),
            (at, 'g' | 'G') => (&s[..at], 1_000_000_000),
            (at, 't' | 'T') => (&s[..at], 1_000_000_000_000),
            _ => (s, 1),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused());
        }
        let bits = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
        match bits {
            Some(n) if (8_000..=MAX_RATE).contains(&n) => Ok(Rate(n)),
            _ => Err(refused()),
        }
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good<T: FromStr<Err = InvalidName> + fmt::Display>(s: &str, shown: &str) {
        assert_eq!(s.parse::<T>().unwrap().to_string(), shown);
    }

    fn bad<T: FromStr<Err = InvalidName> + fmt::Debug>(all: &[&str]) {
        for s in all {
            assert!(s.parse::<T>().is_err(), "{s:?} was accepted");
        }
    }

    #[test]
    fn interface_names() {
        for s in ["eth0", "e", "a.b-c_d", "0", "123456789012345"] {
            good::<IfName>(s, s);
        }
        bad::<IfName>(&[
            "",
            ".",
            "..",
            "-a",
            "_a",
            "a/b",
            "a:b",
            "a b",
            "a%d",
            "a\n",
            "lo",
            "all",
            "default",
            "1234567890123456",
            "é",
        ]);
    }

    #[test]
    fn hardware_addresses() {
        good::<HwAddr>("52:54:00:Ab:cd:0E", "52:54:00:ab:cd:0e");
        bad::<HwAddr>(&[
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "00:00:00:00:00:00",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "+2:54:00:12:34:56",
            "5:54:00:12:34:56",
            "xx:54:00:12:34:56",
        ]);
        let hw: HwAddr = "52:54:00:12:34:56".parse().unwrap();
        assert_eq!(hw.link_local().to_string(), "fe80::5054:ff:fe12:3456");
    }

    #[test]
    fn addresses() {
        good::<Address>("192.0.2.5/24", "192.0.2.5/24");
        good::<Address>("192.0.2.5", "192.0.2.5/32");
        good::<Address>("192.0.2.0/31", "192.0.2.0/31");
        good::<Address>("192.0.2.0/32", "192.0.2.0/32");
        good::<Address>("2001:DB8::5/64", "2001:db8::5/64");
        bad::<Address>(&[
            "",
            "192.0.2.0/24",
            "192.0.2.255/24",
            "192.0.2.5/33",
            "192.0.2.5/0",
            "0.0.0.0/32",
            "0.1.2.3/32",
            "255.255.255.255",
            "224.0.0.1/32",
            "127.0.0.1/8",
            "::/128",
            "::1",
            "ff02::1/64",
            "::ffff:192.0.2.1/128",
            "192.0.2.5/",
            "192.0.2.5/+2",
            "1.2.3/24",
            "fe80::1%eth0/64",
            "192.0.2.05/24",
        ]);
    }

    #[test]
    fn networks() {
        good::<Network>("192.0.2.0/24", "192.0.2.0/24");
        good::<Network>("2001:db8::1", "2001:db8::1/128");
        bad::<Network>(&["", "192.0.2.1/24", "2001:db8::1/64", "x"]);
    }

    #[test]
    fn rates() {
        good::<Rate>("10m", "10m");
        good::<Rate>("1500K", "1500k");
        good::<Rate>("2000000", "2m");
        good::<Rate>("8192", "8192");
        good::<Rate>("unlimited", "unlimited");
        good::<Rate>("0", "unlimited");
        bad::<Rate>(&[
            "",
            "m",
            "-1m",
            "+1m",
            "1.5m",
            "7k",
            "99999999t",
            "10mbit",
            "m10",
            "é",
        ]);
    }
}
