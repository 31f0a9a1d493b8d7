//! What was done to pools: one JSON line each, in a file on the pool.

/// Seconds since 1970-01-01 00:00 UTC.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
