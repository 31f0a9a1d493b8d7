//! Whatever is done in whichever order, and whatever is interrupted: no id is given away twice.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Maps, New, create, delete};
use crate::config::{Config, Overrides};
use crate::container::Autostart;
use crate::daemon::Daemon;
use crate::id_range::{self, Blocks, Span, Table};
use crate::pool::{self, Export, Pool};

const POOLS: [&str; 2] = ["one", "two"];

#[derive(Debug, Clone)]
enum Step {
    Allocate {
        pool: usize,
        user: u8,
    },
    At {
        pool: usize,
        user: u8,
        index: u32,
    },
    ByHand {
        pool: usize,
        user: u8,
        first: u32,
        count: u32,
    },
    Manual {
        pool: usize,
        count: u32,
    },
    Delete {
        pool: usize,
        user: u8,
    },
    /// Ids are reserved for a user, and the daemon dies before the user is written.
    Interrupted {
        pool: usize,
        user: u8,
    },
    /// The pool is exported and imported, which is what a restart of the daemon comes to.
    Reload {
        pool: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let pool = 0..POOLS.len();
    let user = 0u8..6;
    prop_oneof![
        4 => (pool.clone(), user.clone()).prop_map(|(pool, user)| Step::Allocate { pool, user }),
        2 => (pool.clone(), user.clone(), 0u32..10)
            .prop_map(|(pool, user, index)| Step::At { pool, user, index }),
        2 => (pool.clone(), user.clone(), 900_000u32..1_500_000, 1u32..100_000)
            .prop_map(|(pool, user, first, count)| Step::ByHand { pool, user, first, count }),
        1 => (pool.clone(), 1u32..3).prop_map(|(pool, count)| Step::Manual { pool, count }),
        3 => (pool.clone(), user.clone()).prop_map(|(pool, user)| Step::Delete { pool, user }),
        1 => (pool.clone(), user).prop_map(|(pool, user)| Step::Interrupted { pool, user }),
        2 => pool.prop_map(|pool| Step::Reload { pool }),
    ]
}

struct World {
    daemon: Arc<Daemon>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        // No container is run: any file will do for the program that runs them.
        let file = dir.path().join("osctld.toml");
        std::fs::write(&file, format!("runtime = '{}'", file.display())).unwrap();
        let over = Overrides {
            run_dir: Some(dir.path().join("run")),
            file: Some(file),
            ..Overrides::default()
        };
        let daemon = Daemon::new(Config::load(&over).unwrap()).unwrap();
        for name in POOLS {
            let path = dir.path().join(name).display().to_string();
            let name = name.parse().unwrap();
            pool::install(&daemon, &name, pool::Place::Directory(path), None)
                .await
                .unwrap();
        }
        World { daemon, _dir: dir }
    }

    fn pool(&self, index: usize) -> Arc<Pool> {
        self.daemon.pool(&POOLS[index].parse().unwrap()).unwrap()
    }

    async fn make(&self, pool: usize, user: u8, block_index: Option<u32>, maps: Option<Maps>) {
        let new = New {
            name: format!("u{user}").parse().unwrap(),
            id_range: None,
            block_index,
            maps,
            standalone: true,
            for_container: false,
        };
        // What can't be made is refused; that nothing comes of it is checked afterwards.
        let _ = create(&self.daemon, &self.pool(pool), new).await;
    }

    async fn allocate(&self, pool: usize, count: u32, owner: Option<u8>) {
        let pool = self.pool(pool);
        let owner = owner.map(|u| format!("u{u}").parse().unwrap());
        let for_user = owner.is_some();
        if owner.as_ref().is_some_and(|o| pool.has_user_document(o)) {
            return;
        }
        let range = pool.id_range(&id_range::DEFAULT.parse().unwrap()).unwrap();
        let _ids = self.daemon.ids.lock().await;
        let blocks = Blocks::FirstFit;
        id_range::allocate(&self.daemon, &pool, &range, count, blocks, owner, for_user)
            .await
            .unwrap();
    }

    async fn reload(&self, pool: usize) {
        let name = POOLS[pool].parse().unwrap();
        let how = Export {
            force: false,
            stop: None,
        };
        pool::export(&self.daemon, &name, how).await.unwrap();
        let pool = pool::import(&self.daemon, &name, Autostart::No, None)
            .await
            .unwrap();
        assert!(pool.problems().is_empty(), "{:?}", pool.problems());
        for range in pool.id_ranges.read().values() {
            for a in range.table().allocations.iter().filter(|a| a.for_user) {
                let owner = a.owner.as_ref().unwrap();
                assert!(pool.user(owner).is_some(), "ids of {owner} were leaked");
            }
        }
    }

    async fn take(&self, step: Step) {
        match step {
            Step::Allocate { pool, user } => self.make(pool, user, None, None).await,
            Step::At { pool, user, index } => self.make(pool, user, Some(index), None).await,
            Step::ByHand {
                pool,
                user,
                first,
                count,
            } => {
                let maps = Maps::whole(Span {
                    first,
                    last: first + count - 1,
                });
                self.make(pool, user, None, Some(maps)).await;
            }
            Step::Manual { pool, count } => self.allocate(pool, count, None).await,
            Step::Delete { pool, user } => {
                let pool = self.pool(pool);
                let name = format!("u{user}").parse().unwrap();
                if let Some(user) = pool.user(&name) {
                    delete(&self.daemon, &pool, &user).await.unwrap();
                }
            }
            Step::Interrupted { pool, user } => self.allocate(pool, 1, Some(user)).await,
            Step::Reload { pool } => self.reload(pool).await,
        }
    }

    fn check(&self) {
        let pools = self.daemon.all_pools();
        let users: Vec<_> = pools
            .iter()
            .flat_map(|p| p.users.read().values().cloned().collect::<Vec<_>>())
            .collect();
        for (i, a) in users.iter().enumerate() {
            assert_eq!(a.conflict(), None);
            for b in &users[i + 1..] {
                let overlap = a.maps().overlap(b.maps());
                assert_eq!(overlap, None, "{} and {}", a.label(), b.label());
            }
        }
        for pool in &pools {
            for range in pool.id_ranges.read().values() {
                range.with_table(Table::check).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn no_id_is_given_away_twice(steps in proptest::collection::vec(step(), 1..30)) {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return Ok(());
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            for step in steps {
                world.take(step).await;
                world.check();
            }
            for pool in 0..POOLS.len() {
                world.reload(pool).await;
                world.check();
            }
            for name in POOLS {
                let how = Export { force: true, stop: Some(crate::container::StopAll {
                    message: None,
                    progress: crate::handlers::ProgressSender::none(),
                    cancel: crate::handlers::Cancel::never(),
                }) };
                pool::export(&world.daemon, &name.parse().unwrap(), how).await.unwrap();
            }
        });
    }
}
