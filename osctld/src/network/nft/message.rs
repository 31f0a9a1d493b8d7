//! What messages are made of: their headers, and the attributes of sets and elements.

use osctl_api::net::IfName;

use super::attr::Attrs;
use super::encode;
use super::rule::Verdict;
use super::set::{Kind, Range, Shape};
use super::{Table, Value};

const SET_INTERVAL: u32 = 4;
const SET_MAP: u32 = 8;
const SET_CONCAT: u32 = 0x80;
const DATA_VERDICT: u32 = 0xffff_ff00;
const INTERVAL_END: u32 = 1;
const HEADER: usize = 16;

// As libnftnl writes it: kind 0 is the order of a key's bytes, its length, 1 for the host's.
const HOST_ORDER: [u8; 6] = {
    let one = 1u32.to_ne_bytes();
    [0, 4, one[0], one[1], one[2], one[3]]
};

/// The two headers before the attributes of a message.
pub(super) fn message_header(
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    attrs: usize,
) -> [u8; HEADER + 4] {
    let mut header = [0; HEADER + 4];
    let len = u32::try_from(HEADER + 4 + attrs).unwrap_or(u32::MAX);
    header[..4].copy_from_slice(&len.to_ne_bytes());
    header[4..6].copy_from_slice(&kind.to_ne_bytes());
    header[6..8].copy_from_slice(&flags.to_ne_bytes());
    header[8..12].copy_from_slice(&sequence.to_ne_bytes());
    header[16] = family;
    header[18..20].copy_from_slice(&resource.to_be_bytes());
    header
}

/// A set of that kind; `id` is its number in the batch.
pub(super) fn set(table: &Table, name: &str, kind: Kind, flags: u32, id: u32) -> Attrs {
    let shape = match kind.shape {
        Shape::Values => 0,
        Shape::Intervals => SET_INTERVAL,
        Shape::PairIntervals => SET_INTERVAL | SET_CONCAT,
        Shape::Verdicts => SET_MAP,
    };
    let mut attrs = in_table(table, 2, name);
    attrs
        .u32(3, flags | shape)
        .u32(4, kind.key_type)
        .u32(5, u32::try_from(kind.key_len).unwrap_or(16));
    if kind.shape == Shape::Verdicts {
        attrs.u32(6, DATA_VERDICT).u32(7, 0);
    }
    if let (Some(parts), Shape::PairIntervals) = (kind.parts, kind.shape) {
        attrs.nested(9, |description| {
            description.nested(2, |list| {
                for len in parts.map(|len| u32::try_from(len).unwrap_or(16)) {
                    list.nested(1, |part| _ = part.u32(1, len));
                }
            });
        });
    }
    attrs.u32(10, id);
    if kind.is_text() {
        // For people: without it their program takes names for numbers of the network's order.
        attrs.bytes(13, &HOST_ORDER);
    }
    attrs
}

/// The name of a table, and of something in it.
pub(super) fn in_table(table: &Table, kind: u16, name: &str) -> Attrs {
    let mut attrs = Attrs::new();
    attrs.text(1, &table.name).text(kind, name);
    attrs
}

/// What a step does, for errors.
pub(super) fn of(what: &str, name: &str, table: &Table) -> String {
    format!("{what} {name} of table {table}")
}

/// The elements that a range is.
pub(super) fn element(list: &mut Attrs, kind: Kind, range: &Range) {
    let begins = |e: &mut Attrs| _ = e.nested(1, |key| _ = key.bytes(1, range.first()));
    list.nested(1, |e| {
        begins(e);
        if kind.shape == Shape::PairIntervals {
            e.nested(10, |key| _ = key.bytes(1, range.last()));
        }
    });
    if let (Shape::Intervals, Some(end)) = (kind.shape, range.end()) {
        list.nested(1, |e| {
            e.nested(1, |key| _ = key.bytes(1, &end));
            e.u32(3, INTERVAL_END);
        });
    }
}

/// An interface in a set, or in a map with what becomes of its packets.
pub(super) fn interface_element(
    table: &Table,
    set: &str,
    name: &IfName,
    to: Option<&Verdict>,
) -> Attrs {
    let mut attrs = in_table(table, 2, set);
    attrs.nested(3, |list| {
        list.nested(1, |e| {
            e.nested(1, |k| _ = k.bytes(1, &name.octets()));
            if let Some(to) = to {
                e.nested(2, |d| encode::verdict(d, to));
            }
        });
    });
    attrs
}

/// A comment as libnftnl writes it: kind 0, its length, its text with NUL.
pub(super) fn user_comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}
