//! Sizes and rates as people write them: `512`, `512k`, `1.5g`.

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use a number of bytes, with suffix k, m, g or t for multiples of 1024")]
pub struct InvalidSize;

/// Bytes from `512`, `512k`, `1.5g`.
///
/// # Errors
/// When it is no size, or one of more than 2^63 bytes.
pub fn parse(text: &str) -> Result<u64, InvalidSize> {
    let shift = match text.bytes().last() {
        Some(b'k' | b'K') => 10,
        Some(b'm' | b'M') => 20,
        Some(b'g' | b'G') => 30,
        Some(b't' | b'T') => 40,
        Some(b'0'..=b'9') => 0,
        _ => return Err(InvalidSize),
    };
    let number = if shift == 0 {
        text
    } else {
        &text[..text.len() - 1]
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((w, f)) if shift > 0 && !f.is_empty() => (w, f),
        Some(_) => return Err(InvalidSize),
        None => (number, ""),
    };
    let digits = |s: &str| s.len() <= 19 && s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(InvalidSize);
    }
    let whole: u128 = whole.parse().map_err(|_| InvalidSize)?;
    let scale = 10u128.pow(fraction.len() as u32);
    let fraction: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().map_err(|_| InvalidSize)?
    };
    let total = (whole << shift) + (fraction << shift) / scale;
    match u64::try_from(total) {
        Ok(n) if n <= i64::MAX as u64 => Ok(n),
        _ => Err(InvalidSize),
    }
}

/// The least rate that anything is slowed down to, bytes per second.
pub const LEAST_RATE: u64 = 1024;

/// Why a text is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use bytes per second, at least 1k, with suffix k, m or g for multiples of 1024")]
pub struct InvalidRate;

/// Bytes per second from `512k`, `1.5g`.
///
/// # Errors
/// When it is no size, or less than [`LEAST_RATE`].
pub fn parse_rate(text: &str) -> Result<u64, InvalidRate> {
    let rate = parse(text).map_err(|_| InvalidRate)?;
    (rate >= LEAST_RATE).then_some(rate).ok_or(InvalidRate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_parsed() {
        assert_eq!(parse_rate("1k"), Ok(1024));
        assert_eq!(parse_rate("1.5m"), Ok(3 << 19));
        for bad in ["0", "1023", "0.9k", "fast", "10mbit", "-1m"] {
            assert_eq!(parse_rate(bad), Err(InvalidRate), "{bad}");
        }
    }

    #[test]
    fn sizes_are_parsed() {
        for (text, want) in [
            ("0", 0),
            ("512", 512),
            ("1k", 1024),
            ("2M", 2 << 20),
            ("3g", 3 << 30),
            ("1T", 1 << 40),
            ("1.5g", 3 << 29),
        ] {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        for bad in [
            "",
            "k",
            "-1",
            "+1",
            "1.5",
            "1x",
            "1kb",
            " 1",
            "1 k",
            "1.k",
            ".5k",
            "9999999999999999999",
            "9999999t",
            "1e3",
            "0x10",
            "١k",
        ] {
            assert!(parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
