//! What belongs to a pool on the host.

use std::path::PathBuf;

use osctl_api::daemon::Asset;

use super::Pool;
use crate::assets::{Kind, check};
use crate::cgroup::Node;
use crate::daemon::Daemon;

impl Pool {
    /// What belongs to the pool on the host. Blocks.
    pub fn assets(&self, daemon: &Daemon) -> Vec<Asset> {
        let private = Some(0o700);
        let mut assets = vec![check(Kind::Directory, &self.path, private, "the pool")];
        for (dir, purpose) in [
            ("ct", "data of containers"),
            ("conf", "configuration"),
            ("conf/pool", "settings of the pool"),
            ("conf/id-range", "id ranges"),
            ("conf/user", "users"),
            ("conf/group", "groups"),
            ("conf/ct", "containers"),
            ("hook", "hooks"),
            ("log", "logs"),
            ("log/ct", "logs of containers"),
            ("repository", "repositories"),
            ("trash", "data that is being removed"),
        ] {
            let path = self.path.join(dir);
            assets.push(check(Kind::Directory, &path, private, purpose));
        }
        let run_dir = daemon.pool_run_dir(&self.name);
        assets.push(check(Kind::Directory, &run_dir, private, "run directory"));
        for path in self.cgroups(daemon) {
            assets.push(check(Kind::Cgroup, &path, None, "containers of the pool"));
        }
        assets
    }

    fn cgroups(&self, daemon: &Daemon) -> Vec<PathBuf> {
        let Ok(node) = Node::pool(self.name.as_str()) else {
            return Vec::new();
        };
        let mut paths = daemon.cgroups.v1_paths(&node);
        paths.extend(daemon.cgroups.v2_path(&node));
        paths
    }
}
