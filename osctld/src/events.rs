//! The broadcast of events: one hub, any number of subscribers, each with a bounded queue.
//!
//! A subscriber that reads too slowly loses the oldest events and is told how many; it never
//! makes anybody wait.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use osctl_api::container::State;
use osctl_api::daemon::{Event, EventKind};
use osctl_api::names::Name;
use osctl_api::net::IfName;
use tokio::sync::Notify;

use crate::sync::Mutex;

/// Most events that wait for one subscriber.
pub const QUEUE: usize = 1024;

/// An object was added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Added.
    Add,
    /// Removed.
    Remove,
}

/// What happened to a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetifChange<'a> {
    /// It was added to the configuration.
    Add,
    /// It was removed from the configuration.
    Remove,
    /// It has another name in the container.
    Rename(&'a IfName),
    /// Its link is there; with the name of its other end on the host.
    Up(&'a IfName),
    /// Its link is gone.
    Down(&'a IfName),
}

/// Where events are published.
#[derive(Debug, Default)]
pub struct Hub {
    subscribers: Mutex<Vec<Weak<Queue>>>,
}

#[derive(Debug)]
struct Queue {
    kinds: Vec<EventKind>,
    waiting: Mutex<Waiting>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    lost: u64,
}

/// A subscription; it ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
}

impl Hub {
    /// Subscribes to events of these kinds, or to all kinds when there are none.
    pub fn subscribe(&self, kinds: &[EventKind]) -> Subscription {
        let queue = Arc::new(Queue {
            kinds: kinds.to_vec(),
            waiting: Mutex::default(),
            notify: Notify::new(),
        });
        self.subscribers.lock().push(Arc::downgrade(&queue));
        Subscription { queue }
    }

    /// Tells every subscriber. Never waits.
    pub fn publish(&self, event: Event) {
        let event = Arc::new(event);
        self.subscribers.lock().retain(|weak| {
            let Some(queue) = weak.upgrade() else {
                return false;
            };
            queue.push(&event);
            true
        });
    }

    /// A container changed its state.
    pub fn state(&self, pool: &Name, id: &Name, state: State) {
        self.publish(Event {
            pool: Some(pool.clone()),
            id: Some(id.to_string()),
            state: Some(state),
            ..event(EventKind::State)
        });
    }

    /// An object was added or removed: `pool`, `id-range`, `user`, `group` or `container`.
    pub fn db(&self, object: &str, pool: &Name, id: impl ToString, change: Change) {
        let action = match change {
            Change::Add => "add",
            Change::Remove => "remove",
        };
        self.publish(Event {
            pool: Some(pool.clone()),
            id: Some(id.to_string()),
            object: Some(object.to_owned()),
            action: Some(action.to_owned()),
            ..event(EventKind::Db)
        });
    }

    /// The init of a container was started.
    pub fn init_pid(&self, pool: &Name, id: &Name, pid: u32) {
        self.publish(Event {
            pool: Some(pool.clone()),
            id: Some(id.to_string()),
            init_pid: Some(pid),
            ..event(EventKind::CtInitPid)
        });
    }

    /// Something happened to interface `name` of a container.
    pub fn netif(&self, pool: &Name, id: &Name, name: &IfName, change: NetifChange<'_>) {
        let (action, new_name, veth) = match change {
            NetifChange::Add => ("add", None, None),
            NetifChange::Remove => ("remove", None, None),
            NetifChange::Rename(new) => ("rename", Some(new), None),
            NetifChange::Up(veth) => ("up", None, Some(veth)),
            NetifChange::Down(veth) => ("down", None, Some(veth)),
        };
        self.publish(Event {
            pool: Some(pool.clone()),
            id: Some(id.to_string()),
            action: Some(action.to_owned()),
            name: Some(name.clone()),
            new_name: new_name.cloned(),
            veth: veth.cloned(),
            ..event(EventKind::CtNetif)
        });
    }
}

/// An event of a kind that tells nothing else.
pub fn event(kind: EventKind) -> Event {
    Event {
        kind,
        pool: None,
        id: None,
        state: None,
        object: None,
        action: None,
        method: None,
        init_pid: None,
        name: None,
        new_name: None,
        veth: None,
        lost: None,
    }
}

impl Queue {
    fn push(&self, event: &Arc<Event>) {
        if !self.kinds.is_empty() && !self.kinds.contains(&event.kind) {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.events.len() == QUEUE {
            waiting.events.pop_front();
            waiting.lost += 1;
        }
        waiting.events.push_back(event.clone());
        drop(waiting);
        self.notify.notify_one();
    }

    fn pop(&self) -> Option<Event> {
        let mut waiting = self.waiting.lock();
        let shared = waiting.events.pop_front()?;
        let lost = std::mem::take(&mut waiting.lost);
        drop(waiting);
        let mut event = Arc::unwrap_or_clone(shared);
        event.lost = (lost > 0).then_some(lost);
        Some(event)
    }
}

impl Subscription {
    /// The next event; waits until there is one. Can be cancelled without loss.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.queue.pop() {
                return event;
            }
            self.queue.notify.notified().await;
        }
    }

    /// The next event, if it has happened already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: u32) -> Event {
        Event {
            init_pid: Some(n),
            ..event(EventKind::CtInitPid)
        }
    }

    #[tokio::test]
    async fn a_slow_reader_loses_the_oldest_and_is_told() {
        let hub = Hub::default();
        let mut slow = hub.subscribe(&[]);
        let mut quick = hub.subscribe(&[]);
        let total = QUEUE as u32 + 10;
        for n in 0..total {
            hub.publish(numbered(n));
            assert_eq!(quick.next().await.init_pid, Some(n));
        }
        let first = slow.next().await;
        assert_eq!((first.lost, first.init_pid), (Some(10), Some(10)));
        for n in 11..total {
            let e = slow.next().await;
            assert_eq!((e.lost, e.init_pid), (None, Some(n)));
        }
        assert!(slow.try_next().is_none());
    }

    #[tokio::test]
    async fn only_kinds_that_were_asked_for() {
        let hub = Hub::default();
        let mut s = hub.subscribe(&[EventKind::Shutdown]);
        hub.publish(numbered(1));
        hub.publish(event(EventKind::Shutdown));
        assert_eq!(s.next().await.kind, EventKind::Shutdown);
        assert!(s.try_next().is_none());
        drop(s);
        hub.publish(numbered(2));
        assert!(hub.subscribers.lock().is_empty());
    }
}
