//! How fast an operation copies: as fast as it can, or at the rate that was asked for.

use std::time::{Duration, Instant};

use osctl_api::size::LEAST_RATE;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::handlers::Cancel;
use crate::storage::{Throttle, Watch};

/// The most bytes per second that an operation copies.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace(Option<u64>);

impl Pace {
    /// As fast as it can.
    pub const FREE: Pace = Pace(None);

    /// At a rate, if one is asked for.
    ///
    /// # Errors
    /// `InvalidArgument` for one that would never end.
    pub fn new(rate: Option<u64>) -> Result<Pace, Error> {
        match rate {
            Some(rate) if rate < LEAST_RATE => Err(Error::invalid(format!(
                "a limit of {rate} bytes a second is too low: it begins at {LEAST_RATE}"
            ))),
            rate => Ok(Pace(rate)),
        }
    }

    /// Does a job at this pace, on a thread that may block. Where it waits, it ends when the job is
    /// cancelled.
    pub fn keep<T>(self, cancel: &Cancel, watch: Watch<'_>, job: impl FnOnce(Watch<'_>) -> T) -> T {
        let Some(rate) = self.0 else {
            return job(watch);
        };
        let (began, runtime) = (Instant::now(), Handle::current());
        let now = || began.elapsed();
        let wait = |time: Duration| {
            // Which of the two it was, the job finds out by itself.
            let _ =
                runtime.block_on(async { tokio::time::timeout(time, cancel.cancelled()).await });
        };
        let throttle = Throttle::new(rate, &now, &wait);
        job(watch.throttled(&throttle))
    }
}
