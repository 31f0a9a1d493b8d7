//! Making a user: where its map comes from, and the check that it overlaps no other.
//!
//! Order: ids are reserved for the user's name first, then the user is written. A reservation
//! whose user was never written is freed when the pool is imported.

use std::sync::Arc;

use osctl_api::names::Name;
use osctl_api::user as api;

use super::{Config, Maps, User};
use crate::blocking::blocking;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::events::Change;
use crate::failpoint;
use crate::id_range::{self, Blocks, IdRange, Span, occupied};
use crate::pool::Pool;

/// A user to be made.
#[derive(Debug, Clone)]
pub struct New {
    /// Name.
    pub name: Name,
    /// Id range to allocate from; `default` when absent.
    pub id_range: Option<Name>,
    /// The block to use.
    pub block_index: Option<u32>,
    /// The maps, rather than one that spans what was allocated.
    pub maps: Option<Maps>,
    /// Whether it stays when its last container is deleted.
    pub standalone: bool,
    /// Whether it is made for a container that was given none.
    pub for_container: bool,
}

impl From<api::New> for New {
    fn from(p: api::New) -> New {
        let maps = if !p.map.is_empty() {
            Some(Maps {
                uid: p.map.clone(),
                gid: p.map,
            })
        } else if !p.map_uid.is_empty() || !p.map_gid.is_empty() {
            Some(Maps {
                uid: p.map_uid,
                gid: p.map_gid,
            })
        } else {
            None
        };
        New {
            name: p.user.name,
            id_range: p.id_range,
            block_index: p.id_range_block_index,
            maps,
            standalone: !p.no_standalone,
            for_container: false,
        }
    }
}

/// Where the ids of a new user are from.
struct Ids {
    maps: Maps,
    range: Option<Name>,
    /// Whether they were reserved for it just now.
    reserved: bool,
}

/// Makes a user.
///
/// # Errors
/// `AlreadyExists`; `NotFound` for the id range; `InvalidArgument` for maps; `InvalidState` when
/// its ids are in use or none are left; `Backend`.
pub async fn create(daemon: &Daemon, pool: &Arc<Pool>, new: New) -> Result<Arc<User>> {
    let _ids = daemon.ids.lock().await;
    if pool.has_user_document(&new.name) {
        let message = format!("user {}:{} exists already", pool.name, new.name);
        return Err(Error::exists(message));
    }
    let ids = find_ids(daemon, pool, &new)
        .await
        .map_err(|e| e.context(format!("cannot make user {}:{}", pool.name, new.name)))?;
    failpoint!("user.reserved");
    let reserved = ids.reserved;
    let user = match write(pool, &new, ids).await {
        Ok(user) => user,
        Err(e) => {
            if reserved {
                give_back(pool, &new.name).await;
            }
            return Err(e);
        }
    };
    failpoint!("user.written");
    pool.users.write().insert(user.name.clone(), user.clone());
    daemon
        .events
        .db("user", &pool.name, &user.name, Change::Add);
    Ok(user)
}

/// Frees what was reserved for a user that could not be written; unless it was, after all, as far
/// as the disk knows: then the next import tells.
async fn give_back(pool: &Arc<Pool>, name: &Name) {
    let (task_pool, key) = (pool.clone(), name.to_string());
    let absent = blocking(move || Ok(matches!(task_pool.conf.users.load(&key), Ok(None)))).await;
    let freed = match absent {
        Ok(true) => id_range::free_of_user(pool, name).await,
        _ => Err(Error::internal("its document may be on the disk")),
    };
    if let Err(e) = freed {
        tracing::error!("ids of user {name} stay allocated: {}", e.chain());
    }
}

async fn write(pool: &Arc<Pool>, new: &New, ids: Ids) -> Result<Arc<User>> {
    let config = Config {
        uid_map: ids.maps.uid,
        gid_map: ids.maps.gid,
        standalone: new.standalone,
        for_container: new.for_container,
        id_range: ids.range,
        attrs: Default::default(),
    };
    let (pool, name) = (pool.clone(), new.name.clone());
    blocking(move || {
        let stored = pool.conf.users.create(name.as_str(), config);
        let stored = stored
            .map_err(|e| Error::store(format!("cannot write user {}:{name}", pool.name), e))?;
        User::loaded(&pool.name, &name, stored).map(Arc::new)
    })
    .await
}

async fn find_ids(daemon: &Daemon, pool: &Arc<Pool>, new: &New) -> Result<Ids> {
    if let Some(maps) = &new.maps {
        maps.check()?;
        refuse_overlap(daemon, maps)?;
    }
    match (&new.maps, new.block_index) {
        (None, None) => allocate(daemon, pool, new, Blocks::FirstFit).await,
        (None, Some(index)) => at_block(daemon, pool, new, index).await,
        (Some(maps), None) if new.id_range.is_none() => by_hand(daemon, maps),
        (Some(_), None) => Err(Error::invalid(
            "a map within an id range needs the index of a block of it",
        )),
        (Some(maps), Some(index)) => {
            let range = range(pool, new)?;
            let span = block(&range, index)?;
            let outside = |s: Span| s.first < span.first || s.last > span.last;
            if let Some(bad) = maps.host_spans().find(|s| outside(*s)) {
                return Err(Error::invalid(format!(
                    "ids {} to {} are outside of the allocation, which is {} to {}",
                    bad.first, bad.last, span.first, span.last
                )));
            }
            let mut ids = at_block(daemon, pool, new, index).await?;
            ids.maps = maps.clone();
            Ok(ids)
        }
    }
}

/// A map given by hand must stay clear of all users and of all that is allocated.
fn by_hand(daemon: &Daemon, maps: &Maps) -> Result<Ids> {
    let allocated = occupied::allocated(daemon);
    if let Some(span) = maps.host_spans().find_map(|s| allocated.overlap(s)) {
        return Err(Error::state(format!(
            "ids {} to {} are allocated from an id range",
            span.first, span.last
        ))
        .hint("name the block with --id-range-block-index to use what is allocated"));
    }
    Ok(Ids {
        maps: maps.clone(),
        range: None,
        reserved: false,
    })
}

fn refuse_overlap(daemon: &Daemon, maps: &Maps) -> Result<()> {
    for pool in daemon.all_pools() {
        for other in pool.users.read().values() {
            if let Some(overlap) = maps.overlap(other.maps()) {
                return Err(Error::state(format!(
                    "{overlap} overlap those of user {}",
                    other.label()
                )));
            }
        }
    }
    Ok(())
}

fn range(pool: &Pool, new: &New) -> Result<Arc<IdRange>> {
    let name = new
        .id_range
        .as_ref()
        .map_or(id_range::DEFAULT, Name::as_str);
    let found = pool.id_ranges.read().get(name).cloned();
    found.ok_or_else(|| Error::not_found(format!("there is no id range {}:{name}", pool.name)))
}

/// The ids of the allocation that holds a block, or of the block alone when it is free.
fn block(range: &IdRange, index: u32) -> Result<Span> {
    range.with_table(|t| {
        let row = t.row_at(index)?;
        Ok(match row.kind {
            osctl_api::id_range::BlockType::Allocated => Span {
                first: row.first_id,
                last: row.last_id,
            },
            osctl_api::id_range::BlockType::Free => t.span(index, 1),
        })
    })
}

/// Uses the allocation that holds a block, or allocates the block.
async fn at_block(daemon: &Daemon, pool: &Arc<Pool>, new: &New, index: u32) -> Result<Ids> {
    let range = range(pool, new)?;
    let maps = Maps::whole(block(&range, index)?);
    if range.with_table(|t| t.allocation_at(index, 1).is_none()) {
        return allocate(daemon, pool, new, Blocks::At(index)).await;
    }
    if new.maps.is_none() {
        refuse_overlap(daemon, &maps)?;
    }
    Ok(Ids {
        maps,
        range: Some(range.name.clone()),
        reserved: false,
    })
}

async fn allocate(daemon: &Daemon, pool: &Arc<Pool>, new: &New, blocks: Blocks) -> Result<Ids> {
    let range = range(pool, new)?;
    let owner = Some(new.name.clone());
    let row = id_range::allocate(daemon, pool, &range, 1, blocks, owner, true).await?;
    Ok(Ids {
        maps: Maps::whole(Span {
            first: row.first_id,
            last: row.last_id,
        }),
        range: Some(range.name.clone()),
        reserved: true,
    })
}
