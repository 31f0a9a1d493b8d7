//! Sets: of what they are, and ranges of values as the kernel wants them.

use std::net::IpAddr;

use osctl_api::net::{IfName, Network};

use super::field::Value;

/// Of what a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub(super) key_type: u32,
    pub(super) key_len: usize,
    pub(super) shape: Shape,
    // Of a key of two parts: their lengths.
    pub(super) parts: Option<[usize; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Values,
    Intervals,
    PairIntervals,
    Verdicts,
}

impl Kind {
    /// Single values.
    pub fn values<T: Value>() -> Kind {
        Kind::of::<T>(Shape::Values)
    }

    /// Ranges of values.
    pub fn intervals<T: Value>() -> Kind {
        Kind::of::<T>(Shape::Intervals)
    }

    /// Pairs of values.
    pub fn pairs<A: Value, B: Value>() -> Kind {
        Kind::of_pairs::<A, B>(Shape::Values)
    }

    /// Pairs of values and ranges.
    pub fn pair_intervals<A: Value, B: Value>() -> Kind {
        Kind::of_pairs::<A, B>(Shape::PairIntervals)
    }

    /// A verdict for each value.
    pub fn verdicts<T: Value>() -> Kind {
        Kind::of::<T>(Shape::Verdicts)
    }

    pub(super) fn is_text(self) -> bool {
        self.key_type == IfName::TYPE
    }

    fn of<T: Value>(shape: Shape) -> Kind {
        Kind {
            key_type: T::TYPE,
            key_len: T::LEN,
            shape,
            parts: None,
        }
    }

    // As the nft program names types of keys of parts: six bits each.
    fn of_pairs<A: Value, B: Value>(shape: Shape) -> Kind {
        Kind {
            key_type: A::TYPE << 6 | B::TYPE,
            key_len: A::LEN.next_multiple_of(4) + B::LEN.next_multiple_of(4),
            shape,
            parts: Some([A::LEN, B::LEN]),
        }
    }
}

/// Values from the first to the last, as bytes in the order of the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Range {
    /// From `first` to `last`.
    pub fn new<T: Value>(first: &T, last: &T) -> Range {
        Range {
            first: first.octets(),
            last: last.octets(),
        }
    }

    /// That value alone.
    pub fn single<T: Value>(value: &T) -> Range {
        Range::new(value, value)
    }

    /// The addresses of a network.
    pub fn network(network: Network) -> Range {
        let octets = |ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        Range {
            first: octets(network.net().network()),
            last: octets(network.net().broadcast()),
        }
    }

    /// The same together with another value before it.
    #[must_use]
    pub fn with<T: Value>(&self, before: &T) -> Range {
        let pair = |value: &[u8]| {
            let mut key = before.octets();
            key.resize(key.len().next_multiple_of(4), 0);
            key.extend_from_slice(value);
            key.resize(key.len().next_multiple_of(4), 0);
            key
        };
        Range {
            first: pair(&self.first),
            last: pair(&self.last),
        }
    }

    /// Its last value.
    pub(super) fn last(&self) -> &[u8] {
        &self.last
    }

    /// Its first value.
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    /// Whether it is one value only.
    pub fn is_single(&self) -> bool {
        self.first == self.last
    }

    /// The value after the last one; `None` when there is none.
    pub(super) fn end(&self) -> Option<Vec<u8>> {
        let mut end = self.last.clone();
        for byte in end.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return Some(end);
            }
        }
        None
    }
}

/// The same values in as few ranges as possible, in order: no two overlap or touch. All must be of
/// one length.
pub fn ranges_of(all: impl IntoIterator<Item = Range>) -> Vec<Range> {
    let mut all: Vec<Range> = all.into_iter().collect();
    all.sort_unstable();
    let mut joined: Vec<Range> = Vec::with_capacity(all.len());
    for range in all {
        match joined.last_mut() {
            Some(before) if before.end().is_none_or(|end| range.first <= end) => {
                if range.last > before.last {
                    before.last = range.last;
                }
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(all: &[(u16, u16)]) -> Vec<Range> {
        ranges_of(all.iter().map(|(a, b)| Range::new(a, b)))
    }

    #[test]
    fn ranges_are_joined() {
        let range = |a: u16, b: u16| Range::new(&a, &b);
        assert_eq!(joined(&[]), []);
        assert_eq!(joined(&[(5, 6), (1, 4)]), [range(1, 6)]);
        assert_eq!(
            joined(&[(1, 9), (2, 3), (11, 11)]),
            [range(1, 9), range(11, 11)]
        );
        assert_eq!(joined(&[(1, 65535), (65535, 65535)]), [range(1, 65535)]);
        assert_eq!(range(255, 255).end(), Some(vec![1, 0]));
        assert_eq!(range(0, 65535).end(), None);
        let all = Range::network("0.0.0.0/0".parse().unwrap());
        assert_eq!((all.first(), all.end()), (&[0; 4][..], None));
    }
}
