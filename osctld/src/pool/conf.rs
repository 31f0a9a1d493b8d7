//! The documents of a pool: where they are, and the pool's own settings.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::{Document, Objects};
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
    /// Opens the documents of the pool at `path`.
    pub(super) fn open(path: &Path) -> store::Result<Conf> {
        let conf = path.join("conf");
        Ok(Conf {
            pool: Objects::open(conf.join("pool"))?,
            id_ranges: Objects::open(conf.join("id-range"))?,
            users: Objects::open(conf.join("user"))?,
            groups: Objects::open(conf.join("group"))?,
            containers: Objects::open(conf.join("ct"))?,
            address_sets: Objects::open(conf.join("firewall-set"))?,
            net: Objects::open(conf.join("net"))?,
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
