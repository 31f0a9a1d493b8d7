//! Snapshots by schedule: one timer, to when the first of them is due, by the host's clock.
//!
//! Each pool has rounds of its own: one that waits for its disks in the middle of a snapshot keeps no
//! other one waiting.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io::{ErrorKind, Result};
use std::sync::Arc;

use osctl_api::names::Name;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;
use tokio::task::{Id, JoinSet};

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
    let mut rounds = Rounds::default();
    loop {
        tokio::select! {
            () = daemon.schedules.notified() => rounds.begin_all(&daemon),
            woken = timer.wait(rounds.next()) => {
                if let Err(e) = woken {
                    tracing::error!("snapshots by schedule wait for the next change: {e}");
                    daemon.schedules.notified().await;
                }
                rounds.begin_all(&daemon);
            }
            () = rounds.ended() => {}
        }
    }
}

/// What is done for each pool.
#[derive(Default)]
struct Rounds {
    of: BTreeMap<Name, Round>,
    tasks: JoinSet<Option<i64>>,
    pools: HashMap<Id, Name>,
}

/// How far a pool is.
enum Round {
    /// It goes on; and once it has ended, another one is to begin.
    Goes { again: bool },
    /// It has ended, and the next one is due then.
    Due(Option<i64>),
}

impl Rounds {
    fn begin_all(&mut self, daemon: &Daemon) {
        let pools = daemon.all_pools();
        self.of.retain(|name, round| {
            matches!(round, Round::Goes { .. }) || pools.iter().any(|pool| pool.name == *name)
        });
        for pool in pools {
            let name = pool.name.clone();
            self.begin(&name, container::keep_schedules(pool));
        }
    }

    /// Begins a round, unless the one before goes on.
    fn begin(&mut self, pool: &Name, round: impl Future<Output = Option<i64>> + Send + 'static) {
        if let Some(Round::Goes { again }) = self.of.get_mut(pool.as_str()) {
            if !*again {
                tracing::info!(%pool, "snapshots by schedule wait for those that are being made");
            }
            *again = true;
            return;
        }
        let task = self.tasks.spawn(round);
        self.pools.insert(task.id(), pool.clone());
        self.of.insert(pool.clone(), Round::Goes { again: false });
    }

    /// Waits until one has ended; for ever, when none goes.
    async fn ended(&mut self) {
        let (id, due) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, due))) => (id, due),
            Some(Err(e)) => {
                tracing::error!("snapshots by schedule ended unexpectedly: {e}");
                (e.id(), None)
            }
            None => return std::future::pending().await,
        };
        let Some(pool) = self.pools.remove(&id) else {
            return;
        };
        let due = match self.of.get(pool.as_str()) {
            // At once.
            Some(Round::Goes { again: true }) => Some(0),
            _ => due,
        };
        self.of.insert(pool, Round::Due(due));
    }

    /// When the first one is due.
    fn next(&self) -> Option<i64> {
        let due = self.of.values().filter_map(|round| match round {
            Round::Due(due) => *due,
            Round::Goes { .. } => None,
        });
        due.min()
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

    #[tokio::test]
    async fn a_pool_that_waits_keeps_no_other_one_waiting() {
        let (stuck, good) = ("stuck".parse().unwrap(), "good".parse().unwrap());
        let mut rounds = Rounds::default();
        let (let_go, waiting) = tokio::sync::oneshot::channel::<()>();
        rounds.begin(&stuck, async {
            let _ = waiting.await;
            Some(3)
        });
        for due in [7, 9] {
            rounds.begin(&good, async move { Some(due) });
            rounds.begin(&stuck, async { panic!("the one before has not ended") });
            rounds.ended().await;
            assert_eq!(rounds.next(), Some(due));
        }
        let early = tokio::time::timeout(Duration::from_millis(50), rounds.ended()).await;
        assert!(early.is_err());
        // What was not begun is made up for at once.
        let_go.send(()).unwrap();
        rounds.ended().await;
        assert_eq!(rounds.next(), Some(0));
        rounds.begin(&stuck, async { Some(11) });
        rounds.ended().await;
        assert_eq!(rounds.next(), Some(9));
    }
}
