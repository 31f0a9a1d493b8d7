//! Which connections there are, and who has to go when there are too many: the one that has been
//! idle for longest, of the user who has most. So nobody can keep others out by holding idle
//! connections, and nobody can keep root out at all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::sync::Mutex;

/// Most connections at a time.
pub const MAX_CONNECTIONS: usize = 512;
/// Most of them of others than root.
const MAX_OF_OTHERS: usize = 384;

/// The connections that there are.
#[derive(Debug, Default)]
pub(super) struct Registry {
    inner: Mutex<Inner>,
    closed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Counts connections and moments of becoming idle.
    clock: u64,
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    uid: u32,
    /// When it became idle; `None` while a call is carried out.
    idle_since: Option<u64>,
    evict: Arc<Notify>,
    evicted: bool,
}

/// A connection's place; dropping it gives it up.
#[derive(Debug)]
pub(super) struct Slot {
    registry: Arc<Registry>,
    id: u64,
    evict: Arc<Notify>,
}

impl Registry {
    /// A place for a connection of `uid`, which may cost an idle one its own; `None` when all are
    /// busy.
    pub(super) fn enter(self: &Arc<Registry>, uid: u32) -> Option<Slot> {
        let mut inner = self.inner.lock();
        let all = inner.staying(|_| true).count();
        let others = inner.staying(|uid| uid != 0).count();
        let admitted = if uid != 0 && others >= MAX_OF_OTHERS {
            inner.evict(|uid| uid != 0)
        } else {
            all < MAX_CONNECTIONS || inner.evict(|_| true)
        };
        if !admitted {
            return None;
        }
        inner.clock += 1;
        let id = inner.clock;
        let evict = Arc::new(Notify::new());
        inner.connections.insert(
            id,
            Connection {
                uid,
                idle_since: Some(id),
                evict: evict.clone(),
                evicted: false,
            },
        );
        Some(Slot {
            registry: self.clone(),
            id,
            evict,
        })
    }

    /// Makes an idle connection go, if there is one.
    pub(super) fn make_room(&self) {
        self.inner.lock().evict(|_| true);
    }

    /// Waits until all connections have gone.
    pub(super) async fn drained(&self) {
        loop {
            let closed = self.closed.notified();
            if self.inner.lock().connections.is_empty() {
                return;
            }
            closed.await;
        }
    }

    /// Waits until a connection has gone.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }
}

impl Inner {
    /// Connections that were not told to go, of users that `of` tells.
    fn staying(&self, of: fn(u32) -> bool) -> impl Iterator<Item = &Connection> {
        let stays = move |c: &&Connection| !c.evicted && of(c.uid);
        self.connections.values().filter(stays)
    }

    fn evict(&mut self, of: fn(u32) -> bool) -> bool {
        let mut held: HashMap<u32, usize> = HashMap::new();
        for c in self.staying(of) {
            *held.entry(c.uid).or_default() += 1;
        }
        let victim = self
            .connections
            .values_mut()
            .filter(|c| !c.evicted)
            .filter_map(|c| Some((held.get(&c.uid)?, c.idle_since?, c)))
            .max_by_key(|(held, idle, _)| (**held, std::cmp::Reverse(*idle)));
        match victim {
            Some((_, _, c)) => {
                c.evicted = true;
                c.evict.notify_one();
                true
            }
            None => false,
        }
    }
}

impl Slot {
    /// A call is carried out: the connection stays.
    pub(super) fn busy(&self) {
        if let Some(c) = self.registry.inner.lock().connections.get_mut(&self.id) {
            c.idle_since = None;
        }
    }

    /// No call is carried out.
    pub(super) fn idle(&self) {
        let mut inner = self.registry.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        if let Some(c) = inner.connections.get_mut(&self.id) {
            c.idle_since = Some(now);
        }
    }

    /// Waits until this connection has to go.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.registry.inner.lock().connections.remove(&self.id);
        self.registry.closed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_connection_of_the_greediest_goes() {
        let registry = Arc::new(Registry::default());
        let modest = registry.enter(1).unwrap();
        let mut greedy: Vec<Slot> = (1..MAX_OF_OTHERS)
            .map(|_| registry.enter(2).unwrap())
            .collect();
        greedy[0].busy();
        let new = registry.enter(3).unwrap();
        greedy[1].evicted().await;
        new.busy();
        modest.busy();
        for slot in &greedy {
            slot.busy();
        }
        assert!(registry.enter(4).is_none());
        greedy.remove(1);
        // An evicted one had no place to give any more.
        assert!(registry.enter(4).is_none());
        greedy.remove(0);
        assert!(registry.enter(4).is_some());
    }

    #[tokio::test]
    async fn root_gets_in_though_others_are_busy() {
        let registry = Arc::new(Registry::default());
        let others: Vec<Slot> = std::iter::from_fn(|| registry.enter(2)).take(600).collect();
        assert_eq!(others.len(), 600);
        others.iter().for_each(Slot::busy);
        assert!(registry.enter(2).is_none());
        let root: Vec<Slot> = (MAX_OF_OTHERS..MAX_CONNECTIONS)
            .map(|_| registry.enter(0).unwrap())
            .collect();
        assert!(registry.enter(0).is_some(), "an idle one of root goes");
        root[0].evicted().await;
    }
}
