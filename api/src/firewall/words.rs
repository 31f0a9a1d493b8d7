//! The words of a rule: each type's text and how it is read.

use std::fmt;
use std::str::FromStr;

use super::{Direction, Peer, Ports, Protocol, State, Verdict};

pub(super) fn shortened(s: &str, most: usize) -> String {
    let mut shown: String = s.chars().take(most).collect();
    if shown.len() < s.len() {
        shown.push('…');
    }
    shown
}

macro_rules! words {
    ($type:ty, $what:literal, $($value:path => $word:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($value => $word),+ })
            }
        }
        impl FromStr for $type {
            type Err = String;
            fn from_str(s: &str) -> Result<$type, String> {
                match s {
                    $($word => Ok($value),)+
                    _ => Err(format!(
                        concat!("{:?} is no ", $what, ": use one of {}"),
                        shortened(s, 32),
                        [$($word),+].join(", ")
                    )),
                }
            }
        }
    };
}

words!(Verdict, "verdict", Verdict::Allow => "allow", Verdict::Deny => "deny",
    Verdict::Reject => "reject");
words!(Direction, "direction", Direction::In => "in", Direction::Out => "out");
words!(State, "state", State::New => "new", State::Established => "established",
    State::Related => "related", State::Invalid => "invalid");

impl Protocol {
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// SCTP.
    pub const SCTP: Protocol = Protocol(132);
    /// ICMP of IPv4.
    pub const ICMP: Protocol = Protocol(1);
    /// ICMP of IPv6.
    pub const ICMPV6: Protocol = Protocol(58);

    const NAMES: [(u8, &'static str); 8] = [
        (6, "tcp"),
        (17, "udp"),
        (132, "sctp"),
        (1, "icmp"),
        (58, "icmpv6"),
        (50, "esp"),
        (51, "ah"),
        (47, "gre"),
    ];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Protocol::NAMES.iter().find(|(n, _)| *n == self.0) {
            Some((_, name)) => f.pad(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;
    fn from_str(s: &str) -> Result<Protocol, String> {
        let named = Protocol::NAMES.iter().find(|(_, name)| *name == s);
        let number = || number::<u8>(s);
        named
            .map(|(n, _)| *n)
            .or_else(number)
            .map(Protocol)
            .ok_or_else(|| {
                let names = Protocol::NAMES.map(|(_, name)| name).join(", ");
                format!(
                    "{:?} is no protocol: use one of {names}, or a number up to 255",
                    shortened(s, 32)
                )
            })
    }
}

// Decimal digits and nothing else: `parse` takes a sign.
fn number<T: FromStr>(s: &str) -> Option<T> {
    let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| s.parse().ok())?
}

impl Ports {
    /// Ports `first` to `last`; `None` when the first is 0 or above the last.
    pub fn new(first: u16, last: u16) -> Option<Ports> {
        (first > 0 && first <= last).then_some(Ports { first, last })
    }
    /// The first.
    pub fn first(self) -> u16 {
        self.first
    }
    /// The last.
    pub fn last(self) -> u16 {
        self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.first != self.last {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

impl FromStr for Ports {
    type Err = String;
    fn from_str(s: &str) -> Result<Ports, String> {
        let (first, last) = s.split_once('-').unwrap_or((s, s));
        number(first)
            .zip(number(last))
            .and_then(|(first, last)| Ports::new(first, last))
            .ok_or_else(|| {
                format!(
                    "{:?} is no port: use 1 to 65535, or the first and the last such as 80-90",
                    shortened(s, 32)
                )
            })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Network(network) => {
                let net = network.net();
                match net.prefix_len() == net.max_prefix_len() {
                    true => write!(f, "{}", net.addr()),
                    false => write!(f, "{net}"),
                }
            }
            Peer::Set(name) => write!(f, "@{name}"),
        }
    }
}

impl FromStr for Peer {
    type Err = String;
    fn from_str(s: &str) -> Result<Peer, String> {
        let peer = match s.strip_prefix('@') {
            Some(name) => name.parse().map(Peer::Set),
            None => s.parse().map(Peer::Network),
        };
        peer.map_err(|e| e.to_string())
    }
}
