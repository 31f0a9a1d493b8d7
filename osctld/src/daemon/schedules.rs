//! Snapshots by schedule: one timer, to when the first of them is due, by the host's clock.

use std::io::{ErrorKind, Result};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

use super::Daemon;
use crate::container;

/// Keeps the schedules until the daemon stops.
pub(super) async fn keep(daemon: Arc<Daemon>) {
    let timer = match Timer::new() {
        Ok(timer) => timer,
        Err(e) => {
            tracing::error!("no snapshots by schedule: there is no timer: {e}");
            return;
        }
    };
    loop {
        daemon.schedules.notified().await;
        loop {
            let next = container::keep_schedules(&daemon).await;
            tokio::select! {
                () = daemon.schedules.notified() => {}
                woken = timer.wait(next) => if let Err(e) = woken {
                    tracing::error!("snapshots by schedule wait for the next change: {e}");
                    break;
                },
            }
        }
    }
}

/// Wakes at a time of the host's clock, and whenever that is set.
struct Timer(
    /// It is read like a pipe.
    Receiver,
);

impl Timer {
    fn new() -> Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Realtime, flags)?;
        Receiver::from_owned_fd_unchecked(fd).map(Timer)
    }

    /// Waits for a time, in seconds since 1970; for ever when there is none.
    async fn wait(&self, at: Option<i64>) -> Result<()> {
        let Some(at) = at else {
            return std::future::pending().await;
        };
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval: zero,
            // Zero would be never.
            it_value: Timespec {
                tv_sec: at.max(1),
                tv_nsec: 0,
            },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(&self.0, flags, &spec) {
            Ok(_) => {}
            // The clock was set since the timer was read last.
            Err(Errno::CANCELED) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut [0; 8]) {
                Ok(_) => return Ok(()),
                // The clock is set.
                Err(e) if Errno::from_io_error(&e) == Some(Errno::CANCELED) => return Ok(()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_timer_wakes_at_a_time_and_not_before() {
        let timer = Timer::new().unwrap();
        let now = jiff::Timestamp::now().as_second();
        tokio::time::timeout(Duration::from_secs(10), timer.wait(Some(now - 5)))
            .await
            .unwrap()
            .unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), timer.wait(Some(now + 3600)));
        assert!(early.await.is_err());
        let never = tokio::time::timeout(Duration::from_millis(50), timer.wait(None));
        assert!(never.await.is_err());
        // It is set anew.
        timer.wait(Some(0)).await.unwrap();
    }
}
