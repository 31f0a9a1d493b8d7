//! How fast a job may move bytes: a bucket that fills at a rate. Which clock it goes by, and how it
//! is waited for, is up to whoever makes it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a job that was idle may do at once is what it may do in this time.
const BURST: Duration = Duration::from_millis(100);
/// At the rate, a job looks up about this often.
const STEPS_PER_SECOND: u64 = 10;
/// Nobody asks for less at a time.
const LEAST_PORTION: u64 = 4 << 10;

/// A rate that one job keeps, on all of its threads together.
pub struct Throttle<'a> {
    /// Bytes per second.
    rate: u64,
    now: &'a (dyn Fn() -> Duration + Sync),
    wait: &'a (dyn Fn(Duration) + Sync),
    /// When everything that was done so far would have been done at the rate.
    paid: Mutex<Duration>,
}

impl<'a> Throttle<'a> {
    /// A rate in bytes per second. `now` is any clock that does not go back; `wait` returns after a
    /// time on that clock, or earlier when the job is to stop.
    pub fn new(
        rate: u64,
        now: &'a (dyn Fn() -> Duration + Sync),
        wait: &'a (dyn Fn(Duration) + Sync),
    ) -> Throttle<'a> {
        Throttle {
            rate: rate.max(1),
            now,
            wait,
            paid: Mutex::new(now()),
        }
    }

    /// Waits for as long as these bytes, which were moved just now, take at the rate.
    pub(super) fn spend(&self, bytes: u64) {
        let now = (self.now)();
        let wait = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let nanos = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(self.rate));
            let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            *paid = (*paid).max(now.saturating_sub(BURST)).saturating_add(takes);
            paid.saturating_sub(now)
        };
        if !wait.is_zero() {
            (self.wait)(wait);
        }
    }

    /// The most bytes that are worth moving at a time.
    pub(super) fn portion(&self) -> u64 {
        (self.rate / STEPS_PER_SECOND).max(LEAST_PORTION)
    }
}

impl std::fmt::Debug for Throttle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// What a job did to a clock that only its waiting moves: the time that it took.
    pub fn timed(rate: u64, job: impl FnOnce(&Throttle<'_>, &dyn Fn(Duration))) -> Duration {
        let clock = AtomicU64::new(0);
        let now = || Duration::from_nanos(clock.load(Ordering::SeqCst));
        let pass = |time: Duration| {
            clock.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
        };
        job(&Throttle::new(rate, &now, &pass), &pass);
        now()
    }

    #[test]
    fn what_is_moved_takes_its_time() {
        let took = timed(1 << 20, |throttle, _| {
            (0..160).for_each(|_| throttle.spend(64 << 10));
        });
        assert_eq!(took, Duration::from_secs(10));
        // However little at a time, and however much.
        let took = timed(1000, |throttle, _| {
            (0..5000).for_each(|_| throttle.spend(1))
        });
        assert_eq!(took, Duration::from_secs(5));
        let took = timed(1000, |throttle, _| throttle.spend(60_000));
        assert_eq!(took, Duration::from_secs(60));
        assert_eq!(timed(1000, |throttle, _| throttle.spend(0)), Duration::ZERO);
    }

    #[test]
    fn waiting_elsewhere_is_no_credit_to_speak_of() {
        let hour = Duration::from_secs(3600);
        let took = timed(1000, |throttle, pass| {
            pass(hour);
            throttle.spend(10_000);
        });
        assert_eq!(took, hour + Duration::from_secs(10) - BURST);
        // A source that is slower than the rate is not waited for on top.
        let took = timed(1000, |throttle, pass| {
            for _ in 0..10 {
                pass(Duration::from_secs(1));
                throttle.spend(100);
            }
        });
        assert_eq!(took, Duration::from_secs(10));
    }

    #[test]
    fn numbers_at_the_edge() {
        let took = timed(1, |throttle, _| throttle.spend(u64::MAX));
        assert_eq!(took, Duration::from_nanos(u64::MAX));
        assert!(timed(u64::MAX, |t, _| t.spend(1 << 40)) < Duration::from_micros(1));
        timed(1, |t, _| assert_eq!(t.portion(), LEAST_PORTION));
        timed(10 << 20, |t, _| assert_eq!(t.portion(), 1 << 20));
    }
}
