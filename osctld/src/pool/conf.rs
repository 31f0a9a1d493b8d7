//! The documents of a pool: where they are, and the pool's own settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::storage::Storage;
use crate::store::{Document, Objects, Waits};
use crate::{address_set, container, group, id_range, store, user};

/// Key of the pool's settings.
pub(super) const SETTINGS: &str = "config";
/// How many containers autostart starts at the same time, unless set otherwise.
const PARALLEL_START: u32 = 2;
/// How many containers are stopped at the same time, unless set otherwise.
const PARALLEL_STOP: u32 = 4;
/// Most containers that may be started or stopped at the same time.
const MOST_PARALLEL: u32 = 1000;

/// The documents of a pool's objects.
#[derive(Debug)]
pub struct Conf {
    /// Settings of the pool.
    pub pool: Objects<Settings>,
    /// Id ranges.
    pub id_ranges: Objects<id_range::Table>,
    /// Users.
    pub users: Objects<user::Config>,
    /// Groups.
    pub groups: Objects<group::Config>,
    /// Containers.
    pub containers: Objects<container::config::Config>,
    /// Address sets of firewalls.
    pub address_sets: Objects<address_set::Config>,
    /// What is remembered of the network of containers.
    pub net: Objects<container::net_state::NetState>,
}

impl Conf {
    /// Opens the documents of the pool of `storage`. None of them is touched while that does not
    /// answer.
    pub(super) fn open(storage: &Arc<dyn Storage>) -> store::Result<Conf> {
        let conf = storage.path().join("conf");
        let storage = Arc::clone(storage);
        let waits = Waits::new(move || storage.trouble());
        Ok(Conf {
            pool: Objects::open_on(conf.join("pool"), waits.clone())?,
            id_ranges: Objects::open_on(conf.join("id-range"), waits.clone())?,
            users: Objects::open_on(conf.join("user"), waits.clone())?,
            groups: Objects::open_on(conf.join("group"), waits.clone())?,
            containers: Objects::open_on(conf.join("ct"), waits.clone())?,
            address_sets: Objects::open_on(conf.join("firewall-set"), waits.clone())?,
            net: Objects::open_on(conf.join("net"), waits)?,
        })
    }
}

/// Settings of a pool as they are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How many containers autostart starts at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_start: Option<u32>,
    /// How many containers are stopped at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_stop: Option<u32>,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

impl Document for Settings {
    const KIND: &'static str = "pool settings";
    const VERSION: u32 = 1;
}

impl Settings {
    pub(super) fn parallel_start(&self) -> u32 {
        self.parallel_start.unwrap_or(PARALLEL_START)
    }

    pub(super) fn parallel_stop(&self) -> u32 {
        self.parallel_stop.unwrap_or(PARALLEL_STOP)
    }

    /// Checks the values, wherever they come from.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [
            ("parallel-start", self.parallel_start),
            ("parallel-stop", self.parallel_stop),
        ] {
            if value.is_some_and(|v| !(1..=MOST_PARALLEL).contains(&v)) {
                return Err(Error::invalid(format!(
                    "{name} is at least 1 and at most {MOST_PARALLEL}"
                )));
            }
        }
        Ok(())
    }
}
