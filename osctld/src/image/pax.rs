//! Extended header records of pax archives (POSIX.1-2017, "pax Header Block"), in and out.
//!
//! A value may hold any byte, so that records are told apart by their length only.

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Splits a header block into its records; the error says what is wrong with it.
pub(super) fn records(mut block: &[u8]) -> Result<Vec<Record<'_>>, &'static str> {
    let mut all = Vec::new();
    // Some writers pad the block with NULs.
    while !block.is_empty() && block.iter().any(|b| *b != 0) {
        let digits = block
            .iter()
            .take(20)
            .take_while(|b| b.is_ascii_digit())
            .count();
        let length = decimal(&block[..digits]).ok_or("a pax record has no length")?;
        let length = usize::try_from(length).map_err(|_| "a pax record is too long")?;
        if length <= digits + 1 || length > block.len() || block.get(digits) != Some(&b' ') {
            return Err("a pax record has a wrong length");
        }
        let (record, rest) = block.split_at(length);
        let Some((b'\n', record)) = record[digits + 1..].split_last() else {
            return Err("a pax record does not end with a newline");
        };
        let Some(equals) = record.iter().position(|b| *b == b'=') else {
            return Err("a pax record has no value");
        };
        all.push(Record {
            key: &record[..equals],
            value: &record[equals + 1..],
        });
        block = rest;
    }
    Ok(all)
}

/// Appends one record.
pub(super) fn push(block: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    block.extend(length.to_string().bytes());
    block.push(b' ');
    block.extend(key);
    block.push(b'=');
    block.extend(value);
    block.push(b'\n');
}

/// A number of decimal digits only.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Time of a record: seconds, negative ones too, with any number of decimals.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |b| *b == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or(b"0");
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = fraction
        .iter()
        .copied()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0u32, |n, d| n * 10 + u32::from(d - b'0'));
    Some(match (negative, nanos) {
        (false, _) => (whole, nanos),
        (true, 0) => (-whole, 0),
        // -1.25 is a quarter of a second before -1: 0.75 after -2.
        (true, _) => (-whole - 1, 1_000_000_000 - nanos),
    })
}

/// The reverse of [`time`].
pub(super) fn format_time(sec: i64, nsec: u32) -> String {
    match (sec, nsec) {
        (_, 0) => sec.to_string(),
        (0.., _) => format!("{sec}.{nsec:09}"),
        _ => {
            let sec = i128::from(sec) + 1;
            format!("-{}.{:09}", -sec, 1_000_000_000 - nsec.min(999_999_999))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_whatever_the_value() {
        let mut block = Vec::new();
        let long = vec![b'\n'; 100_000];
        let wanted: [(&[u8], &[u8]); 6] = [
            (b"path", b"a/b"),
            (b"SCHILY.xattr.user.x", b"a=b\nc\0\xff"),
            (b"k", b""),
            (b"k", b"1234"),
            (b"k", b"12345"),
            (b"long", &long),
        ];
        for (key, value) in wanted {
            push(&mut block, key, value);
        }
        assert!(block.starts_with(b"12 path=a/b\n"));
        block.extend([0; 7]);
        let got = records(&block).unwrap();
        assert_eq!(
            got.iter().map(|r| (r.key, r.value)).collect::<Vec<_>>(),
            wanted
        );
    }

    #[test]
    fn bad_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"12 path=a/b",
            b"13 path=a/b\n",
            b"0 =\n",
            b"3 a\n",
            b"8 path=a\n",
            b"99999999999999999999999 a=b\n",
            b"18446744073709551615 a=b\n",
            b"-5 a=b\n",
            b"+6 a=b\n",
            b"6a=b  \n",
            b"6 abc\n",
        ] {
            assert!(records(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times() {
        for (text, value) in [
            ("0", (0, 0)),
            ("1234567890.123456789", (1_234_567_890, 123_456_789)),
            ("1.5", (1, 500_000_000)),
            ("-1", (-1, 0)),
            ("-1.25", (-2, 750_000_000)),
            ("-0.25", (-1, 750_000_000)),
        ] {
            assert_eq!(time(text.as_bytes()), Some(value), "{text}");
            assert_eq!(
                time(format_time(value.0, value.1).as_bytes()),
                Some(value),
                "{text}"
            );
        }
        assert_eq!(time(b"1.1234567899999"), Some((1, 123_456_789)));
        for bad in [
            "",
            "-",
            "x",
            "1.x",
            "--1",
            "99999999999999999999",
            "1e3",
            " 1",
        ] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }
}
