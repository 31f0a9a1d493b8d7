//! Values of netifs that users give: gateways, patterns of hardware addresses, one or all of them.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::names::{InvalidName, invalid, string_newtype};
use crate::net::HwAddr;

/// What a netif is connected to.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A port of a bridge of the host.
    Bridge,
    /// Point to point: the host routes addresses to the container.
    Routed,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Bridge => "bridge",
            Kind::Routed => "routed",
        })
    }
}

/// Version of IP: 4 or 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// That of an address.
    pub fn of(ip: std::net::IpAddr) -> IpVersion {
        match ip {
            std::net::IpAddr::V4(_) => IpVersion::V4,
            std::net::IpAddr::V6(_) => IpVersion::V6,
        }
    }
}

impl From<IpVersion> for u8 {
    fn from(v: IpVersion) -> u8 {
        match v {
            IpVersion::V4 => 4,
            IpVersion::V6 => 6,
        }
    }
}

impl TryFrom<u8> for IpVersion {
    type Error = InvalidName;
    fn try_from(n: u8) -> Result<IpVersion, InvalidName> {
        n.to_string().parse()
    }
}

impl FromStr for IpVersion {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<IpVersion, InvalidName> {
        match s {
            "4" => Ok(IpVersion::V4),
            "6" => Ok(IpVersion::V6),
            _ => Err(invalid("version of IP", s, "use 4 or 6")),
        }
    }
}

impl JsonSchema for IpVersion {
    fn schema_name() -> Cow<'static, str> {
        "IpVersion".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 4, "maximum": 6 })
    }
}

macro_rules! gateway {
    ($name:ident, $address:ty, $schema:literal, $version:literal, $rule:literal, $usable:expr) => {
        #[doc = concat!("Next hop of IPv", $version, " for everything: `auto`, `none` or an address.")]
        #[derive(
            Debug,
            Clone,
            Copy,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            Serialize,
            Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub enum $name {
            /// The first address of the bridge.
            #[default]
            Auto,
            /// No default route.
            None,
            /// This one.
            Address($address),
        }

        impl $name {
            fn to_text(self) -> Cow<'static, str> {
                match self {
                    $name::Auto => "auto".into(),
                    $name::None => "none".into(),
                    $name::Address(ip) => ip.to_string().into(),
                }
            }
            /// Whether it is left open.
            pub fn is_auto(&self) -> bool {
                *self == $name::Auto
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(s: &str) -> Result<$name, InvalidName> {
                let usable: fn($address) -> bool = $usable;
                match s {
                    "auto" => Ok($name::Auto),
                    "none" => Ok($name::None),
                    _ => match s.parse() {
                        Ok(ip) if usable(ip) => Ok($name::Address(ip)),
                        _ => Err(invalid("gateway", s, $rule)),
                    },
                }
            }
        }

        string_newtype!($name, $schema);
    };
}

gateway!(
    GatewayV4,
    Ipv4Addr,
    "GatewayV4",
    "4",
    "use 'auto', 'none' or an address of one host such as 192.0.2.1",
    |ip| {
        !(ip.is_unspecified()
            || ip.is_multicast()
            || ip.is_loopback()
            || ip.is_broadcast()
            || ip.octets()[0] == 0)
    }
);
gateway!(
    GatewayV6,
    Ipv6Addr,
    "GatewayV6",
    "6",
    "use 'auto', 'none' or an address of one host such as 2001:db8::1 or fe80::1",
    |ip| {
        !(ip.is_unspecified()
            || ip.is_multicast()
            || ip.is_loopback()
            || ip.to_ipv4_mapped().is_some())
    }
);

/// A hardware address whose digits `x` are drawn at random: `52:54:00:xx:xx:xx`; `-` draws all of
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HwAddrPattern {
    fixed: [u8; 6],
    /// Bits that are fixed.
    mask: [u8; 6],
}

const PATTERN_RULE: &str = "use six bytes such as 52:54:00:12:34:56, with 'x' for digits to draw, \
                            or '-'; neither all zero nor a group address";

impl HwAddrPattern {
    /// Draws everything, but that it is a locally administered address of one interface.
    pub const RANDOM: HwAddrPattern = HwAddrPattern {
        fixed: [2, 0, 0, 0, 0, 0],
        mask: [3, 0, 0, 0, 0, 0],
    };

    /// The address that it makes of random bytes.
    pub fn draw(self, random: [u8; 6]) -> HwAddr {
        let filled = |with: [u8; 6]| {
            let mut octets = self.fixed;
            for ((octet, with), mask) in octets.iter_mut().zip(with).zip(self.mask) {
                *octet |= with & !mask;
            }
            octets
        };
        let mut octets = filled(random);
        if octets == [0; 6] {
            // The parser sees to it that not everything is fixed then.
            octets = filled([0x13; 6]);
        }
        match HwAddr::from_octets(octets) {
            Some(address) => address,
            None => unreachable!("a pattern fits addresses of one interface only"),
        }
    }

    fn to_text(self) -> Cow<'static, str> {
        if self == HwAddrPattern::RANDOM {
            return "-".into();
        }
        let digit = |fixed: u8, mask: u8| match mask & 15 {
            15 => char::from_digit(u32::from(fixed & 15), 16).unwrap_or('0'),
            _ => 'x',
        };
        let mut text = String::with_capacity(17);
        for (i, (fixed, mask)) in self.fixed.into_iter().zip(self.mask).enumerate() {
            if i > 0 {
                text.push(':');
            }
            text.push(digit(fixed >> 4, mask >> 4));
            text.push(digit(fixed, mask));
        }
        text.into()
    }
}

impl From<HwAddr> for HwAddrPattern {
    fn from(address: HwAddr) -> HwAddrPattern {
        HwAddrPattern {
            fixed: address.octets(),
            mask: [0xff; 6],
        }
    }
}

impl FromStr for HwAddrPattern {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<HwAddrPattern, InvalidName> {
        if s == "-" {
            return Ok(HwAddrPattern::RANDOM);
        }
        let refused = || invalid("hardware address", s, PATTERN_RULE);
        let bytes = s.as_bytes();
        if bytes.len() != 17 {
            return Err(refused());
        }
        let mut pattern = HwAddrPattern {
            fixed: [0; 6],
            mask: [0; 6],
        };
        let mut digits = 0;
        for (i, byte) in bytes.iter().enumerate() {
            if i % 3 == 2 {
                if *byte != b':' {
                    return Err(refused());
                }
                continue;
            }
            let (octet, shift) = (digits / 2, 4 - 4 * (digits % 2));
            digits += 1;
            if matches!(byte, b'x' | b'X') {
                continue;
            }
            let digit = char::from(*byte).to_digit(16).ok_or_else(refused)?;
            pattern.fixed[octet] |= u8::try_from(digit).map_err(|_| refused())? << shift;
            pattern.mask[octet] |= 15 << shift;
        }
        if pattern.mask[0] & 15 == 0 {
            // What is drawn is nobody's but ours, and no group.
            let ours = if pattern.mask[0] == 0 { 2 } else { 0 };
            pattern.fixed[0] |= ours;
            pattern.mask[0] |= 1 | ours;
        }
        let all_fixed = pattern.mask == [0xff; 6];
        if pattern.fixed[0] & 1 == 1 || (all_fixed && pattern.fixed == [0; 6]) {
            return Err(refused());
        }
        Ok(pattern)
    }
}

string_newtype!(HwAddrPattern, "HwAddrPattern");

/// One of several things, or `all` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(
    try_from = "String",
    into = "String",
    bound(
        serialize = "T: Clone + fmt::Display",
        deserialize = "T: FromStr<Err = InvalidName>"
    )
)]
pub enum Chosen<T> {
    /// All of them.
    All,
    /// This one.
    One(T),
}

impl<T: fmt::Display> fmt::Display for Chosen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chosen::All => f.pad("all"),
            Chosen::One(one) => one.fmt(f),
        }
    }
}

impl<T: fmt::Display> From<Chosen<T>> for String {
    fn from(chosen: Chosen<T>) -> String {
        chosen.to_string()
    }
}

impl<T: FromStr<Err = InvalidName>> FromStr for Chosen<T> {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Chosen<T>, InvalidName> {
        match s {
            "all" => Ok(Chosen::All),
            _ => s.parse().map(Chosen::One),
        }
    }
}

impl<T: FromStr<Err = InvalidName>> TryFrom<String> for Chosen<T> {
    type Error = InvalidName;
    fn try_from(s: String) -> Result<Chosen<T>, InvalidName> {
        s.parse()
    }
}

impl<T> JsonSchema for Chosen<T> {
    fn schema_name() -> Cow<'static, str> {
        "Chosen".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Address;

    #[test]
    fn gateways() {
        for s in ["auto", "none", "192.0.2.1", "255.255.255.254"] {
            assert_eq!(s.parse::<GatewayV4>().unwrap().to_string(), s);
        }
        for s in ["auto", "none", "2001:db8::1", "fe80::1"] {
            assert_eq!(s.parse::<GatewayV6>().unwrap().to_string(), s);
        }
        let bad = [
            "",
            "Auto",
            "0.0.0.0",
            "0.0.0.1",
            "127.0.0.1",
            "224.0.0.1",
            "192.0.2.1/24",
        ];
        for s in bad
            .into_iter()
            .chain(["192.0.2.01", "fe80::1", "192.0.2.1\n", " none"])
        {
            assert!(s.parse::<GatewayV4>().is_err(), "{s:?} was accepted");
        }
        for s in [
            "",
            "::",
            "::1",
            "ff02::1",
            "::ffff:192.0.2.1",
            "192.0.2.1",
            "fe80::1%eth0",
        ] {
            assert!(s.parse::<GatewayV6>().is_err(), "{s:?} was accepted");
        }
    }

    #[test]
    fn patterns_are_shown_as_they_were_given() {
        for s in [
            "-",
            "52:54:00:xx:xx:xx",
            "52:54:00:12:34:56",
            "x2:54:00:1x:x4:56",
        ] {
            assert_eq!(s.parse::<HwAddrPattern>().unwrap().to_string(), s);
        }
        for s in [
            "",
            "x",
            "52:54:00:xx:xx",
            "52:54:00:xx:xx:xx:xx",
            "52-54-00-xx-xx-xx",
            "52:54:00:xy:xx:xx",
            "53:54:00:xx:xx:xx",
            "x1:xx:xx:xx:xx:xx",
            "00:00:00:00:00:00",
            "52:54:00:é:x:x",
            "52:54:00:xx:xx:x\n",
        ] {
            assert!(s.parse::<HwAddrPattern>().is_err(), "{s:?} was accepted");
        }
    }

    #[test]
    fn patterns_make_addresses_that_can_be() {
        for s in [
            "-",
            "xx:xx:xx:xx:xx:xx",
            "5x:54:00:xx:xx:xx",
            "x0:00:00:00:00:00",
            "00:00:00:00:00:x0",
            "0x:00:00:00:00:00",
            "00:00:x0:00:00:00",
        ] {
            let pattern: HwAddrPattern = s.parse().unwrap();
            for random in [[0; 6], [0xff; 6], [0x5a, 0xa5, 1, 2, 3, 0x80]] {
                let made = pattern.draw(random).to_string();
                let fits =
                    s.len() != 17 || s.chars().zip(made.chars()).all(|(p, m)| p == 'x' || p == m);
                assert!(fits, "{made} does not fit {s}");
            }
        }
        let drawn = HwAddrPattern::RANDOM.draw([0; 6]);
        assert_eq!(drawn.octets()[0] & 3, 2);
    }

    #[test]
    fn one_or_all() {
        assert_eq!("all".parse(), Ok(Chosen::<Address>::All));
        let one: Chosen<Address> = "192.0.2.5/24".parse().unwrap();
        assert_eq!(one.to_string(), "192.0.2.5/24");
        assert!("every".parse::<Chosen<Address>>().is_err());
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(json, "\"192.0.2.5/24\"");
        assert_eq!(serde_json::from_str::<Chosen<Address>>(&json).unwrap(), one);
    }
}
