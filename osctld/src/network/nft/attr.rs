//! Netlink attributes: written and read, and nothing of what they mean.

const HEADER: usize = 4;
const NESTED: u16 = 1 << 15;

/// Attributes one after another, each padded to four bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Attrs(Vec<u8>);

impl Attrs {
    pub(super) fn new() -> Attrs {
        Attrs::default()
    }

    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Attrs {
        let at = self.begin(kind);
        self.0.extend_from_slice(value);
        self.end(at);
        self
    }

    /// A number in the order of the network, as all of nf_tables has them.
    pub(super) fn u32(&mut self, kind: u16, value: u32) -> &mut Attrs {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn u64(&mut self, kind: u16, value: u64) -> &mut Attrs {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Attrs {
        let at = self.begin(kind);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.end(at);
        self
    }

    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Attrs)) -> &mut Attrs {
        let at = self.begin(kind | NESTED);
        fill(self);
        self.end(at);
        self
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn begin(&mut self, kind: u16) -> usize {
        let at = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    // Nothing that is written here comes near 64 KiB: elements of sets are split by who writes them.
    fn end(&mut self, at: usize) {
        let len = u16::try_from(self.0.len() - at).unwrap_or(u16::MAX);
        self.0[at..at + 2].copy_from_slice(&len.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The attributes in `bytes`, by kind; it ends at the first that is no attribute.
pub(super) fn each(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = bytes.get(HEADER..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The attribute of `kind` in `bytes`.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    each(bytes).find(|(k, _)| *k == kind).map(|(_, v)| v)
}

/// The text of an attribute, without its NUL.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

/// The number in an attribute.
pub(super) fn number_u64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut attrs = Attrs::new();
        attrs
            .text(1, "ab")
            .u32(2, 7)
            .nested(3, |a| _ = a.bytes(9, &[1, 2, 3, 4, 5]))
            .u64(4, 1 << 40);
        let bytes = attrs.as_slice();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(text(find(bytes, 1).unwrap()), Some("ab"));
        assert_eq!(find(bytes, 2).unwrap(), [0, 0, 0, 7]);
        assert_eq!(find(find(bytes, 3).unwrap(), 9).unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(number_u64(find(bytes, 4).unwrap()), Some(1 << 40));
        assert_eq!(find(bytes, 5), None);
    }

    #[test]
    fn what_is_no_attribute_ends_it() {
        for bytes in [
            &[][..],
            &[1],
            &[0, 0, 0, 0],
            &[3, 0, 0, 0],
            &[9, 0, 0, 0, 1],
        ] {
            assert_eq!(each(bytes).count(), 0, "{bytes:?}");
        }
    }
}
