//! Maps of sparse files in archives: which parts of a file the archive holds.

use std::io::Read;

use tar::{GnuExtSparseHeader, GnuSparseHeader};

use super::pax::decimal;

/// Most parts that a map may have.
const MAX_PARTS: usize = 1 << 20;

/// The parts of a file that are not holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    /// Offset and length, ascending, not overlapping, within the size.
    pub(super) parts: Vec<(u64, u64)>,
    /// Size of the file with its holes.
    pub(super) size: u64,
}

impl Map {
    /// Takes parts as they are found; the error says what is wrong with them.
    pub(super) fn checked(parts: Vec<(u64, u64)>, size: u64) -> Result<Map, &'static str> {
        let mut end = 0;
        for (offset, length) in &parts {
            if *offset < end {
                return Err("parts of a sparse file overlap");
            }
            end = offset
                .checked_add(*length)
                .filter(|end| *end <= size)
                .ok_or("a part of a sparse file lies beyond its end")?;
        }
        Ok(Map { parts, size })
    }

    /// Bytes that the archive holds.
    pub(super) fn stored(&self) -> u64 {
        // Can't overflow: the parts lie within the size.
        self.parts.iter().map(|(_, length)| length).sum()
    }
}

fn add(parts: &mut Vec<(u64, u64)>, offset: u64, length: u64) -> Result<(), &'static str> {
    if parts.len() >= MAX_PARTS {
        return Err("a sparse file has too many parts");
    }
    parts.push((offset, length));
    Ok(())
}

/// Adds the parts that a header of GNU's old form lists.
pub(super) fn add_gnu(
    parts: &mut Vec<(u64, u64)>,
    headers: &[GnuSparseHeader],
) -> Result<(), &'static str> {
    for header in headers.iter().filter(|h| !h.is_empty()) {
        let bad = |_| "a sparse map has a number that is none";
        add(
            parts,
            header.offset().map_err(bad)?,
            header.length().map_err(bad)?,
        )?;
    }
    Ok(())
}

/// Adds the parts of one more block of GNU's old form. True when another one follows.
pub(super) fn add_gnu_block(
    parts: &mut Vec<(u64, u64)>,
    block: &[u8; 512],
) -> Result<bool, &'static str> {
    let mut header = GnuExtSparseHeader::new();
    header.as_mut_bytes().copy_from_slice(block);
    add_gnu(parts, header.sparse())?;
    Ok(header.is_extended())
}

/// The parts of pax form 0.1: `offset,length,offset,length…`.
pub(super) fn from_list(text: &[u8]) -> Result<Vec<(u64, u64)>, &'static str> {
    const BAD: &str = "a sparse map is no list of numbers";
    let mut parts = Vec::new();
    let mut numbers = text.split(|b| *b == b',').map(decimal);
    while let Some(offset) = numbers.next() {
        let length = numbers.next().flatten().ok_or(BAD)?;
        add(&mut parts, offset.ok_or(BAD)?, length)?;
    }
    Ok(parts)
}

/// The parts of pax form 1.0, which stand before the data in blocks of 512 bytes; `left` is what
/// remains of the member and is reduced by what was read.
pub(super) fn from_data(
    data: &mut dyn Read,
    left: &mut u64,
) -> std::io::Result<Result<Vec<(u64, u64)>, &'static str>> {
    let mut numbers = Vec::new();
    let mut digits: Vec<u8> = Vec::new();
    let mut wanted = None;
    while wanted.is_none_or(|n| numbers.len() < n) {
        if *left < 512 {
            return Ok(Err("a sparse map is cut short"));
        }
        let mut block = [0u8; 512];
        data.read_exact(&mut block)?;
        *left -= 512;
        for byte in block {
            if byte != b'\n' {
                digits.push(byte);
                if digits.len() > 20 {
                    return Ok(Err("a sparse map has a number that is none"));
                }
                continue;
            }
            let Some(number) = decimal(&digits) else {
                return Ok(Err("a sparse map has a number that is none"));
            };
            digits.clear();
            match wanted {
                None => match usize::try_from(number) {
                    Ok(n) if n <= MAX_PARTS => wanted = Some(n * 2),
                    _ => return Ok(Err("a sparse file has too many parts")),
                },
                Some(_) => numbers.push(number),
            }
            if wanted.is_some_and(|n| numbers.len() >= n) {
                // The rest of the block is padding.
                break;
            }
        }
    }
    Ok(Ok(numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect()))
}

/// The map of pax form 1.0, padded to whole blocks.
pub(super) fn to_data(parts: &[(u64, u64)]) -> Vec<u8> {
    let mut text = format!("{}\n", parts.len());
    for (offset, length) in parts {
        text.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_1_0_round_trips() {
        for parts in [
            vec![],
            vec![(0, 1)],
            (0..500u64).map(|i| (i * 1_000_000, 7)).collect(),
        ] {
            let bytes = to_data(&parts);
            let mut left = bytes.len() as u64 + 3;
            let got = from_data(&mut &*bytes, &mut left).unwrap().unwrap();
            assert_eq!((got, left), (parts, 3));
        }
    }

    #[test]
    fn bad_maps_are_refused() {
        for bad in ["x\n", "-1\n", "99999999999\n", "\n", "1\n1\nx\n"] {
            let mut bytes = bad.as_bytes().to_vec();
            bytes.resize(512, 0);
            assert!(from_data(&mut &*bytes, &mut 512).unwrap().is_err(), "{bad}");
        }
        let digits = vec![b'1'; 2048];
        assert!(from_data(&mut &*digits, &mut 2048).unwrap().is_err());
        assert!(from_data(&mut &b"5\n1"[..], &mut 3).unwrap().is_err());
        assert_eq!(from_list(b"0,5,10,1"), Ok(vec![(0, 5), (10, 1)]));
        for bad in ["", "1", "1,2,3", "1,x", "1,,2"] {
            assert!(from_list(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Map::checked(vec![(0, 5), (4, 1)], 10).is_err());
        assert!(Map::checked(vec![(0, 11)], 10).is_err());
        assert!(Map::checked(vec![(u64::MAX, 2)], u64::MAX).is_err());
        assert_eq!(
            Map::checked(vec![(0, 5), (5, 5), (10, 0)], 10)
                .unwrap()
                .stored(),
            10
        );
    }
}
