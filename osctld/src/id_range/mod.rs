//! An id range: blocks of host ids from which id maps are allocated.
//!
//! It owns the range's document. Which ids are taken by users and by other ranges is looked up in
//! [`occupied`], under one lock for the whole daemon: [`crate::daemon::Daemon::ids`].

pub mod occupied;
mod spans;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use osctl_api::id_range as api;
use osctl_api::names::{AttrName, Name};

pub use spans::{Span, Spans};
pub use table::{Allocation, HIGHEST_ID, LOWEST_ID, Table};

use crate::blocking::blocking;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::events::Change;
use crate::failpoint;
use crate::pool::Pool;
use crate::store::{Document, Stored};
use crate::sync::RwLock;

/// Name of the id range that is made on every new pool.
pub const DEFAULT: &str = "default";
/// Its first id.
const DEFAULT_START: u32 = 1_000_000;
/// Ids in its blocks.
const DEFAULT_BLOCK: u32 = 65_536;
/// Its number of blocks.
const DEFAULT_COUNT: u32 = 16_384;

impl Document for Table {
    const KIND: &'static str = "id range";
    const VERSION: u32 = 1;
}

/// An id range.
#[derive(Debug)]
pub struct IdRange {
    /// Pool it is on.
    pub pool: Name,
    /// Name.
    pub name: Name,
    table: RwLock<Arc<Stored<Table>>>,
}

/// The table of the id range that every new pool has.
///
/// # Errors
/// None that happen.
pub fn default_table() -> Result<Table> {
    Table::new(DEFAULT_START, DEFAULT_BLOCK, DEFAULT_COUNT)
}

impl IdRange {
    /// A range whose document was read.
    ///
    /// # Errors
    /// `InvalidArgument` when it can't be.
    pub fn loaded(pool: &Name, name: &Name, stored: Stored<Table>) -> Result<IdRange> {
        stored.value.check()?;
        Ok(IdRange {
            pool: pool.clone(),
            name: name.clone(),
            table: RwLock::new(Arc::new(stored)),
        })
    }

    /// Its table as it is now.
    pub fn table(&self) -> Table {
        self.table.read().value.clone()
    }

    /// Reads its table.
    pub fn with_table<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.table.read().value)
    }

    /// The range as clients see it.
    pub fn info(&self) -> api::IdRange {
        self.with_table(|t| {
            let allocated = t.allocated();
            api::IdRange {
                pool: self.pool.clone(),
                name: self.name.clone(),
                start_id: t.start_id,
                last_id: t.last_id(),
                block_size: t.block_size,
                block_count: t.block_count,
                allocated,
                free: t.block_count - allocated,
                attrs: t.attrs.clone(),
            }
        })
    }

    /// Changes the table, on the disk first. The caller holds the lock of ids.
    ///
    /// # Errors
    /// Those of `change`; `Backend` when it can't be written, and then nothing has changed.
    pub async fn change<T: Send + 'static>(
        self: &Arc<IdRange>,
        pool: &Arc<Pool>,
        change: impl FnOnce(&mut Table) -> Result<T>,
    ) -> Result<T> {
        let mut stored = Stored::clone(&self.table.read());
        let result = change(&mut stored.value)?;
        let (range, pool) = (self.clone(), pool.clone());
        blocking(move || {
            let saved = pool.conf.id_ranges.save(range.name.as_str(), &mut stored);
            saved.map_err(|e| {
                Error::store(
                    format!("cannot write id range {}:{}", range.pool, range.name),
                    e,
                )
            })?;
            *range.table.write() = Arc::new(stored);
            Ok(())
        })
        .await?;
        Ok(result)
    }
}

/// Makes an id range.
///
/// # Errors
/// `AlreadyExists`; `InvalidArgument`; `Backend`.
pub async fn create(
    daemon: &Daemon,
    pool: &Arc<Pool>,
    name: &Name,
    table: Table,
) -> Result<Arc<IdRange>> {
    let _ids = daemon.ids.lock().await;
    if pool.id_ranges.read().contains_key(name.as_str()) {
        let message = format!("id range {}:{name} exists already", pool.name);
        return Err(Error::exists(message));
    }
    let (task_pool, task_name) = (pool.clone(), name.clone());
    let range = blocking(move || {
        let stored = task_pool.conf.id_ranges.create(task_name.as_str(), table);
        let stored = stored.map_err(|e| {
            Error::store(
                format!("cannot make id range {}:{task_name}", task_pool.name),
                e,
            )
        })?;
        IdRange::loaded(&task_pool.name, &task_name, stored).map(Arc::new)
    })
    .await?;
    pool.id_ranges.write().insert(name.clone(), range.clone());
    daemon.events.db("id-range", &pool.name, name, Change::Add);
    Ok(range)
}

/// Deletes an id range from which nothing is allocated.
///
/// # Errors
/// `InvalidState` when something is; `Backend`.
pub async fn delete(daemon: &Daemon, pool: &Arc<Pool>, range: &Arc<IdRange>) -> Result<()> {
    let _ids = daemon.ids.lock().await;
    let allocated = range.with_table(Table::allocated);
    if allocated > 0 {
        return Err(Error::state(format!(
            "{allocated} blocks of id range {}:{} are allocated",
            range.pool, range.name
        ))
        .hint("see `osctl id-range table ls`, and free them or delete their users"));
    }
    let (task_pool, key) = (pool.clone(), range.name.to_string());
    blocking(move || {
        let store = &task_pool.conf.id_ranges;
        store
            .mark_deleting(&key)
            .and_then(|()| store.forget(&key))
            .map_err(|e| {
                Error::store(
                    format!("cannot delete id range {}:{key}", task_pool.name),
                    e,
                )
            })
    })
    .await?;
    pool.id_ranges.write().remove(range.name.as_str());
    daemon
        .events
        .db("id-range", &pool.name, &range.name, Change::Remove);
    Ok(())
}

/// Which blocks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// The first consecutive ones that are free.
    FirstFit,
    /// Those from this block on.
    At(u32),
}

/// Allocates `count` blocks. The caller holds the lock of ids.
///
/// # Errors
/// `InvalidState` when they can't be had; `InvalidArgument` when there are no such blocks;
/// `Backend`.
pub(crate) async fn allocate(
    daemon: &Daemon,
    pool: &Arc<Pool>,
    range: &Arc<IdRange>,
    count: u32,
    blocks: Blocks,
    owner: Option<Name>,
    for_user: bool,
) -> Result<api::Blocks> {
    let elsewhere = occupied::outside_of(daemon, range);
    let allocated = range
        .change(pool, |table| {
            let block_index = match blocks {
                Blocks::FirstFit => table.first_fit(count, &elsewhere)?,
                Blocks::At(index) => {
                    table.check_free(index, count, &elsewhere)?;
                    index
                }
            };
            let allocation = Allocation {
                block_index,
                block_count: count,
                owner,
                for_user,
            };
            let row = table.row(&allocation);
            table.insert(allocation);
            Ok(row)
        })
        .await
        .map_err(|e| {
            e.context(format!(
                "cannot allocate from id range {}:{}",
                range.pool, range.name
            ))
        })?;
    failpoint!("id-range.allocated");
    Ok(allocated)
}

/// Which allocations are to be freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freed {
    /// The one that starts at this block.
    At(u32),
    /// All of this owner.
    Owner(Name),
}

/// Frees allocations that no user's map lies in.
///
/// # Errors
/// `NotFound` when there are none; `InvalidState` when a user has them; `Backend`.
pub async fn free(
    daemon: &Daemon,
    pool: &Arc<Pool>,
    range: &Arc<IdRange>,
    which: Freed,
) -> Result<()> {
    let _ids = daemon.ids.lock().await;
    let users = occupied::by_users_of(pool);
    range
        .change(pool, |table| {
            let wanted = |a: &Allocation| match &which {
                Freed::At(index) => a.block_index == *index,
                Freed::Owner(owner) => a.owner.as_ref() == Some(owner),
            };
            let before = table.allocations.len();
            if let Some((a, span)) = table
                .allocations
                .iter()
                .filter(|a| wanted(a))
                .find_map(|a| Some((a, users.overlap(table.span(a.block_index, a.block_count))?)))
            {
                return Err(Error::state(format!(
                    "a user has ids {} to {} of the allocation at block {}",
                    span.first, span.last, a.block_index
                ))
                .hint("delete the user, which frees what was allocated for it"));
            }
            table.allocations.retain(|a| !wanted(a));
            if table.allocations.len() == before {
                return Err(Error::not_found(match &which {
                    Freed::At(index) => format!("no allocation starts at block {index}"),
                    Freed::Owner(owner) => format!("nothing is allocated for {owner}"),
                }));
            }
            Ok(())
        })
        .await
        .map_err(|e| {
            e.context(format!(
                "cannot free blocks of id range {}:{}",
                range.pool, range.name
            ))
        })
}

/// Frees what was allocated for a user that is no more. The caller holds the lock of ids.
///
/// # Errors
/// `Backend`.
pub(crate) async fn free_of_user(pool: &Arc<Pool>, user: &Name) -> Result<()> {
    let ranges: Vec<Arc<IdRange>> = pool.id_ranges.read().values().cloned().collect();
    for range in ranges {
        if range.with_table(|t| t.allocations.iter().any(|a| a.is_of_user(user))) {
            range
                .change(pool, |table| {
                    table.allocations.retain(|a| !a.is_of_user(user));
                    Ok(())
                })
                .await?;
        }
    }
    Ok(())
}

/// Sets and removes user attributes.
///
/// # Errors
/// `InvalidArgument`; `Backend`.
pub async fn change_attrs(
    daemon: &Daemon,
    pool: &Arc<Pool>,
    range: &Arc<IdRange>,
    set: BTreeMap<AttrName, String>,
    unset: Vec<AttrName>,
) -> Result<()> {
    let _ids = daemon.ids.lock().await;
    range
        .change(pool, |table| {
            crate::attrs::change(&mut table.attrs, set, &unset)
        })
        .await
}
