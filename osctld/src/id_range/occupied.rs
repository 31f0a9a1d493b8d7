//! Which host ids are taken, over all imported pools.

use std::sync::Arc;

use super::{IdRange, Spans, Table};
use crate::daemon::Daemon;
use crate::pool::Pool;

/// Ids that are taken by users, and by allocations of other ranges than `range`.
pub fn outside_of(daemon: &Daemon, range: &Arc<IdRange>) -> Spans {
    let mut taken = Vec::new();
    for pool in daemon.all_pools() {
        add_users(&pool, &mut taken);
        for other in pool.id_ranges.read().values() {
            if !Arc::ptr_eq(other, range) {
                other.with_table(|t: &Table| taken.extend(t.spans()));
            }
        }
    }
    Spans::new(taken)
}

/// Ids that are allocated from any range of any pool.
pub fn allocated(daemon: &Daemon) -> Spans {
    let mut taken = Vec::new();
    for pool in daemon.all_pools() {
        for range in pool.id_ranges.read().values() {
            range.with_table(|t| taken.extend(t.spans()));
        }
    }
    Spans::new(taken)
}

/// Ids that users of a pool have.
pub fn by_users_of(pool: &Pool) -> Spans {
    let mut taken = Vec::new();
    add_users(pool, &mut taken);
    Spans::new(taken)
}

fn add_users(pool: &Pool, taken: &mut Vec<super::Span>) {
    for user in pool.users.read().values() {
        taken.extend(user.maps().host_spans());
    }
}
