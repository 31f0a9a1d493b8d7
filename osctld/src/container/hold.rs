//! Who holds a container.
//!
//! An operation takes all of it, under a name. One that only reads what stands still lends the power
//! to start and stop it, so that the guest can be rebooted and stopped meanwhile; nothing else.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::Container;
use crate::error::Error;
use crate::sync::Mutex;

/// The locks of a container. Who has both took `all` first.
#[derive(Debug, Default)]
pub(super) struct Locks {
    all: Lock,
    /// To start and stop it.
    power: Lock,
}

#[derive(Debug, Default)]
struct Lock {
    lock: Arc<tokio::sync::Mutex<()>>,
    holder: Arc<Mutex<Option<&'static str>>>,
}

/// Holds one lock until it is dropped.
#[derive(Debug)]
struct Held {
    holder: Arc<Mutex<Option<&'static str>>>,
    _guard: OwnedMutexGuard<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.holder.lock() = None;
    }
}

impl Lock {
    fn held(&self, name: &'static str, guard: OwnedMutexGuard<()>) -> Held {
        *self.holder.lock() = Some(name);
        Held {
            holder: Arc::clone(&self.holder),
            _guard: guard,
        }
    }

    /// Takes it, or tells who has it.
    fn take(&self, name: &'static str) -> Result<Held, &'static str> {
        match Arc::clone(&self.lock).try_lock_owned() {
            Ok(guard) => Ok(self.held(name, guard)),
            Err(_) => Err(self.holder.lock().unwrap_or("another operation")),
        }
    }

    async fn wait(&self, name: &'static str) -> Held {
        let guard = Arc::clone(&self.lock).lock_owned().await;
        self.held(name, guard)
    }
}

/// Holds a container until it is dropped.
#[derive(Debug)]
pub struct Hold {
    pub(super) container: Arc<Container>,
    name: &'static str,
    // In this order: who waits for both takes the other one first.
    power: Mutex<Option<Held>>,
    _all: Option<Held>,
}

impl Hold {
    /// Lets it be started and stopped, until the power is taken back.
    pub(super) fn lend_power(&self) {
        *self.power.lock() = None;
    }

    /// Waits until nobody is starting or stopping it, and keeps others from it again.
    pub(super) async fn take_power_back(&self) {
        let power = self.container.locks.power.wait(self.name).await;
        *self.power.lock() = Some(power);
    }
}

impl Container {
    /// Takes the container for the operation `name`.
    ///
    /// # Errors
    /// `Busy` naming the operation that holds it; `NotFound` when it was deleted.
    pub fn hold(self: &Arc<Self>, name: &'static str) -> Result<Hold, Error> {
        let all = self.locks.all.take(name).map_err(|e| self.busy(e))?;
        let power = self.locks.power.take(name).map_err(|e| self.busy(e))?;
        self.check_there()?;
        Ok(self.holding(name, power, Some(all)))
    }

    /// Takes the container for the operation `name`, waiting for its turn.
    ///
    /// # Errors
    /// `NotFound` when it was deleted meanwhile.
    pub async fn hold_wait(self: &Arc<Self>, name: &'static str) -> Result<Hold, Error> {
        let hold = self.hold_deleted(name).await;
        self.check_there()?;
        Ok(hold)
    }

    /// The same, also when it was deleted.
    pub(super) async fn hold_deleted(self: &Arc<Self>, name: &'static str) -> Hold {
        let all = self.locks.all.wait(name).await;
        let power = self.locks.power.wait(name).await;
        self.holding(name, power, Some(all))
    }

    /// Takes what it takes to start or stop it, for the operation `name`.
    ///
    /// # Errors
    /// As [`Container::hold`].
    pub(super) fn hold_power(self: &Arc<Self>, name: &'static str) -> Result<Hold, Error> {
        let power = self.locks.power.take(name).map_err(|e| self.busy(e))?;
        self.check_there()?;
        Ok(self.holding(name, power, None))
    }

    /// The same, waiting for its turn.
    ///
    /// # Errors
    /// As [`Container::hold_wait`].
    pub(super) async fn hold_power_wait(
        self: &Arc<Self>,
        name: &'static str,
    ) -> Result<Hold, Error> {
        let power = self.locks.power.wait(name).await;
        self.check_there()?;
        Ok(self.holding(name, power, None))
    }

    fn holding(self: &Arc<Self>, name: &'static str, power: Held, all: Option<Held>) -> Hold {
        Hold {
            container: Arc::clone(self),
            name,
            power: Mutex::new(Some(power)),
            _all: all,
        }
    }

    fn busy(&self, holder: &'static str) -> Error {
        Error::busy(format!("container {} is held by `{holder}`", self.label()))
    }

    fn check_there(&self) -> Result<(), Error> {
        let seen = self.seen.lock();
        if seen.deleted || seen.condemned {
            return Err(Error::not_found(format!(
                "container {} does not exist",
                self.label()
            )));
        }
        Ok(())
    }
}
