//! Numbers for people: bytes, spans of time, points in time, percent.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const UNITS: [(u64, &str); 5] = [
    (1 << 50, "P"),
    (1 << 40, "T"),
    (1 << 30, "G"),
    (1 << 20, "M"),
    (1 << 10, "K"),
];

/// Bytes as `1.5G`; fewer than 1024 as they are.
pub fn bytes(n: u64) -> String {
    for (i, (size, suffix)) in UNITS.iter().enumerate() {
        // 1048575 bytes would be 1024.0K: the unit above says it better
        let rounds_up = n as f64 / *size as f64 >= 1.0 - 0.05 / 1024.0;
        if rounds_up && (n >= *size || i > 0) {
            return format!("{:.1}{suffix}", n as f64 / *size as f64);
        }
    }
    n.to_string()
}

/// A span of time in its two largest units, as `1d2h`, `3h5m`, `4m10s`, `12s`.
pub fn seconds(n: u64) -> String {
    let (days, hours, minutes, secs) = (n / 86400, n / 3600 % 24, n / 60 % 60, n % 60);
    let two = |a: u64, x: &str, b: u64, y: &str| {
        if b == 0 {
            format!("{a}{x}")
        } else {
            format!("{a}{x}{b}{y}")
        }
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, _) => two(minutes, "m", secs, "s"),
        (0, _, _) => two(hours, "h", minutes, "m"),
        _ => two(days, "d", hours, "h"),
    }
}

/// Microseconds as a span of time; less than a minute with one decimal.
pub fn micros(n: u64) -> String {
    if n < 59_950_000 {
        let tenths = (n + 50_000) / 100_000;
        format!("{}.{}s", tenths / 10, tenths % 10)
    } else {
        seconds((n + 500_000) / 1_000_000)
    }
}

/// A point in time, seconds since 1970, in local time.
pub fn time(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(t) => t
            .to_zoned(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => seconds.to_string(),
    }
}

/// Bits per second, in powers of 1000.
pub fn rate(bits: u64) -> String {
    osctl_api::net::Rate::from_bits(bits).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_humanised() {
        for (n, want) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            (1024 * 1024 - 1, "1.0M"),
            (5 << 30, "5.0G"),
            (3 << 40, "3.0T"),
            (u64::MAX, "16384.0P"),
        ] {
            assert_eq!(bytes(n), want, "{n}");
        }
    }

    #[test]
    fn spans_have_two_units() {
        for (n, want) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m1s"),
            (3600, "1h"),
            (3661, "1h1m"),
            (93_600, "1d2h"),
            (86_400 * 400, "400d"),
        ] {
            assert_eq!(seconds(n), want, "{n}");
        }
        assert_eq!(micros(0), "0.0s");
        assert_eq!(micros(1_250_000), "1.3s");
        assert_eq!(micros(59_949_999), "59.9s");
        assert_eq!(micros(59_960_000), "1m");
        assert_eq!(micros(93_600_000_000), "1d2h");
        let _ = micros(u64::MAX - 600_000);
    }

    #[test]
    fn points_in_time_never_fail() {
        assert_eq!(time(0).len(), 19);
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
    }
}
