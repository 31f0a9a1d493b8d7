//! What belongs to the daemon on the host, and whether all is well with it.

use std::sync::Arc;

use osctl_api::container::State;
use osctl_api::daemon::{Asset, Sick};

use super::Daemon;
use crate::assets::{self, Kind, check};
use crate::blocking::blocking;
use crate::container::Container;
use crate::error::Result;
use crate::pool::Pool;

impl Daemon {
    /// What belongs to the daemon on the host. Blocks.
    pub fn assets(&self) -> Vec<Asset> {
        let run = &self.config.run_dir;
        let state = &self.config.state_dir;
        let mut assets = vec![
            check(Kind::Directory, run, None, "run directory"),
            check(
                Kind::File,
                &run.join("osctld.lock"),
                Some(0o600),
                "lock of the daemon",
            ),
            check(
                Kind::Socket,
                &run.join("osctld.sock"),
                Some(0o660),
                "socket of the daemon",
            ),
            check(
                Kind::Directory,
                &run.join("pools"),
                Some(0o700),
                "run directories of pools",
            ),
            check(Kind::Directory, state, None, "state directory"),
            check(
                Kind::File,
                &self.config.runtime,
                None,
                "program that runs containers",
            ),
        ];
        let list = state.join("pools.json");
        if list.exists() {
            assets.push(check(
                Kind::File,
                &list,
                Some(0o600),
                "list of installed pools",
            ));
        }
        assets
    }

    /// What is not well with the daemon, with these pools and with their containers.
    ///
    /// # Errors
    /// `Internal`.
    pub async fn sick(self: &Arc<Daemon>, pools: Vec<Arc<Pool>>) -> Result<Vec<Sick>> {
        let mut problems: Vec<String> = self.import_problems().into_values().collect();
        if let Err(e) = self.installed.list().await {
            problems.push(e.chain());
        }
        let daemon = self.clone();
        blocking(move || {
            let mut sick = vec![Sick {
                kind: "osctld".to_owned(),
                pool: None,
                id: None,
                assets: assets::invalid(daemon.assets()),
                problems,
            }];
            for pool in &pools {
                sick.push(Sick {
                    kind: "pool".to_owned(),
                    pool: Some(pool.name.clone()),
                    id: Some(pool.name.to_string()),
                    assets: assets::invalid(pool.assets(&daemon)),
                    problems: pool.problems().iter().map(|p| p.to_string()).collect(),
                });
                let containers = pool.containers();
                // One that is being made has not everything yet.
                let made = containers.iter().filter(|c| c.state() != State::Staged);
                sick.extend(made.map(|c| daemon.sick_container(pool, c)));
            }
            sick.retain(|s| !s.assets.is_empty() || !s.problems.is_empty());
            Ok(sick)
        })
        .await
    }

    fn sick_container(&self, pool: &Pool, container: &Container) -> Sick {
        Sick {
            kind: "container".to_owned(),
            pool: Some(pool.name.clone()),
            id: Some(container.id.to_string()),
            assets: assets::invalid(container.assets(self, pool)),
            problems: container.info(self, pool, None).error.into_iter().collect(),
        }
    }
}
