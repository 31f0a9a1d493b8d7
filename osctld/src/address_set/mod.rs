//! Named sets of addresses, which the rules of firewalls use: kept with a pool, for its containers.

use std::sync::Arc;

use osctl_api::firewall::AddressSet;
use osctl_api::names::Name;
use osctl_api::net::Network;
use serde::{Deserialize, Serialize};

use crate::blocking::blocking;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::events::Change;
use crate::pool::Pool;
use crate::store::{Document, Stored};

/// Most addresses of a set.
const MAX_ADDRESSES: usize = 4096;
/// Most sets of a pool.
const MAX_SETS: usize = 1024;

/// A set as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The addresses, in order, each once.
    #[serde(default)]
    pub addresses: Vec<Network>,
}

impl Document for Config {
    const KIND: &'static str = "address set";
    const VERSION: u32 = 1;
}

/// The name by which the kernel knows a set: those of pools are apart.
pub fn kernel_name(pool: &Name, set: &Name) -> String {
    format!("{pool}.{set}")
}

fn label(pool: &Pool, name: &Name) -> String {
    format!("address set {}:@{name}", pool.name)
}

fn missing(pool: &Pool, name: &Name) -> Error {
    Error::not_found(format!("{} does not exist", label(pool, name)))
}

impl Pool {
    /// Whether it has an address set of this name. Blocks.
    pub fn has_address_set(&self, name: &Name) -> bool {
        matches!(self.conf.address_sets.load(name.as_str()), Ok(Some(_)))
    }

    fn load_address_set(&self, name: &Name) -> Result<Stored<Config>> {
        let loaded = self.conf.address_sets.load(name.as_str());
        loaded
            .map_err(|e| Error::store(format!("cannot read {}", label(self, name)), e))?
            .ok_or_else(|| missing(self, name))
    }

    fn forget_address_set(&self, name: &Name) -> Result<()> {
        let sets = &self.conf.address_sets;
        sets.mark_deleting(name.as_str())
            .and_then(|()| sets.forget(name.as_str()))
            .map_err(|e| Error::store(format!("cannot delete {}", label(self, name)), e))
    }

    /// Containers whose firewalls use a set.
    fn address_set_users(&self, name: &Name) -> Vec<Name> {
        let uses = |config: &crate::container::config::Config| {
            config
                .firewall
                .rules
                .iter()
                .any(|r| r.sets().any(|s| s == name))
        };
        let containers = self.containers().into_iter();
        containers
            .filter(|c| uses(&c.config()))
            .map(|c| c.id.clone())
            .collect()
    }

    fn address_set_info(&self, name: Name, config: Config) -> AddressSet {
        AddressSet {
            pool: self.name.clone(),
            used_by: self.address_set_users(&name),
            name,
            addresses: config.addresses,
        }
    }
}

/// In order, each once, and not too many.
fn checked(mut addresses: Vec<Network>) -> Result<Vec<Network>> {
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.len() > MAX_ADDRESSES {
        return Err(Error::invalid(format!(
            "{} addresses in a set are too many: at most {MAX_ADDRESSES}",
            addresses.len()
        )));
    }
    Ok(addresses)
}

/// Makes a set.
///
/// # Errors
/// `AlreadyExists`, `InvalidArgument`, `Backend`.
pub async fn create(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    name: Name,
    addresses: Vec<Network>,
) -> Result<()> {
    let _changing = pool.address_sets.lock().await;
    let config = Config {
        addresses: checked(addresses)?,
    };
    let (task_daemon, task_pool) = (Arc::clone(daemon), Arc::clone(pool));
    let (task_name, network) = (name.clone(), config.addresses.clone());
    blocking(move || {
        let (pool, name) = (task_pool, task_name);
        if pool.has_address_set(&name) {
            return Err(Error::exists(format!(
                "{} exists already",
                label(&pool, &name)
            )));
        }
        let all = pool.conf.address_sets.load_all();
        if all.is_ok_and(|all| all.len() >= MAX_SETS) {
            return Err(Error::invalid(format!(
                "a pool has at most {MAX_SETS} address sets"
            )));
        }
        let made = pool.conf.address_sets.create(name.as_str(), config);
        made.map_err(|e| Error::store(format!("cannot make {}", label(&pool, &name)), e))?;
        let put = task_daemon
            .network
            .put_address_set(&kernel_name(&pool.name, &name), Some(&network));
        if put.is_err() {
            drop(pool.forget_address_set(&name));
        }
        put
    })
    .await?;
    daemon
        .events
        .db("address-set", &pool.name, &name, Change::Add);
    Ok(())
}

/// Deletes a set that no firewall uses.
///
/// # Errors
/// `NotFound`; `InvalidState` when one does; `Backend`.
pub async fn delete(daemon: &Arc<Daemon>, pool: &Arc<Pool>, name: Name) -> Result<()> {
    let _changing = pool.address_sets.lock().await;
    let (task_daemon, task_pool, task_name) = (Arc::clone(daemon), Arc::clone(pool), name.clone());
    blocking(move || {
        let (pool, name) = (task_pool, task_name);
        pool.load_address_set(&name)?;
        if let Some(user) = pool.address_set_users(&name).first() {
            return Err(Error::state(format!(
                "{} is used by the firewall of container {}:{user}",
                label(&pool, &name),
                pool.name
            )));
        }
        pool.forget_address_set(&name)?;
        task_daemon
            .network
            .put_address_set(&kernel_name(&pool.name, &name), None)
    })
    .await?;
    daemon
        .events
        .db("address-set", &pool.name, &name, Change::Remove);
    Ok(())
}

/// Changes a set; all firewalls that use it know at once.
///
/// # Errors
/// `NotFound`, those of `change`, `InvalidArgument`, `Backend`; then it is as it was.
pub async fn change(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    name: Name,
    change: impl FnOnce(&mut Vec<Network>) -> Result<()> + Send + 'static,
) -> Result<()> {
    let _changing = pool.address_sets.lock().await;
    let (daemon, pool) = (Arc::clone(daemon), Arc::clone(pool));
    blocking(move || {
        let mut stored = pool.load_address_set(&name)?;
        let before = stored.value.addresses.clone();
        change(&mut stored.value.addresses)?;
        stored.value.addresses = checked(std::mem::take(&mut stored.value.addresses))?;
        let kernel = kernel_name(&pool.name, &name);
        let put = |addresses: &[Network]| daemon.network.put_address_set(&kernel, Some(addresses));
        put(&stored.value.addresses)?;
        let saved = pool.conf.address_sets.save(name.as_str(), &mut stored);
        saved.map_err(|e| {
            drop(put(&before));
            Error::store(format!("cannot write {}", label(&pool, &name)), e)
        })
    })
    .await
}

/// A set as clients see it.
///
/// # Errors
/// `NotFound`, `Backend`.
pub async fn show(pool: &Arc<Pool>, name: Name) -> Result<AddressSet> {
    let pool = Arc::clone(pool);
    blocking(move || {
        let stored = pool.load_address_set(&name)?;
        Ok(pool.address_set_info(name, stored.value))
    })
    .await
}

/// The sets of a pool that can be read, by name. Blocks.
pub fn all(pool: &Pool) -> Vec<(Name, Config)> {
    let loaded = match pool.conf.address_sets.load_all() {
        Ok(loaded) => loaded,
        Err(e) => {
            pool.add_problem("conf/firewall-set", crate::error::chain(&e));
            return Vec::new();
        }
    };
    let mut sets = Vec::new();
    for set in loaded {
        if set.deleting {
            // A crash left it so; nothing uses it.
            drop(pool.conf.address_sets.forget(&set.key));
            continue;
        }
        let read = set
            .object
            .map_err(|e| crate::error::chain(&e))
            .and_then(|stored| {
                let addresses = checked(stored.value.addresses).map_err(|e| e.chain())?;
                let name = set.key.parse::<Name>().map_err(|e| e.to_string())?;
                Ok((name, Config { addresses }))
            });
        match read {
            Ok(found) => sets.push(found),
            Err(e) => pool.add_problem(format!("address set {}", set.key), e),
        }
    }
    sets.sort_by(|a, b| a.0.cmp(&b.0));
    sets
}

/// All sets of a pool as clients see them. Blocks.
pub fn list(pool: &Pool) -> Vec<AddressSet> {
    let sets = all(pool).into_iter();
    sets.map(|(name, config)| pool.address_set_info(name, config))
        .collect()
}

/// Makes the sets of a pool that is imported known to the kernel. Blocks.
pub fn load(daemon: &Daemon, pool: &Pool) {
    for (name, config) in all(pool) {
        let kernel = kernel_name(&pool.name, &name);
        if let Err(e) = daemon
            .network
            .put_address_set(&kernel, Some(&config.addresses))
        {
            pool.add_problem(format!("address set {name}"), e.chain());
        }
    }
}

/// Forgets the sets of a pool that is exported. Blocks.
pub fn unload(daemon: &Daemon, pool: &Pool) {
    for (name, _) in all(pool) {
        // One that is used by a container that goes on running stays with it.
        let kernel = kernel_name(&pool.name, &name);
        if let Err(e) = daemon.network.put_address_set(&kernel, None) {
            tracing::debug!("{}: {}", label(pool, &name), e.chain());
        }
    }
}
