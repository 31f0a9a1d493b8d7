//! What belongs to a container on the host, and whether it is as it should be.

use osctl_api::daemon::Asset;

use super::Container;
use crate::assets::{Kind, check};
use crate::daemon::Daemon;
use crate::pool::Pool;

impl Container {
    /// Its assets. Blocks.
    pub fn assets(&self, daemon: &Daemon, pool: &Pool) -> Vec<Asset> {
        // When it can't be, the checks tell what is missing.
        let _ = self.mounted_rootfs(pool);
        let conf = pool.path.join("conf/ct").join(format!("{}.json", self.id));
        let mut assets = vec![
            check(
                Kind::Directory,
                &self.dataset(pool),
                Some(0o700),
                "data of the container",
            ),
            check(
                Kind::Directory,
                &self.rootfs(pool),
                None,
                "root file system",
            ),
            check(Kind::File, &conf, Some(0o600), "configuration"),
        ];
        if self.run().is_some() {
            let log = pool.container_log(&self.id);
            let run_dir = daemon.container_run_dir(&self.pool, &self.id);
            let socket = run_dir.join("supervisor.sock");
            assets.push(check(Kind::File, &log, Some(0o600), "console log"));
            assets.push(check(
                Kind::Directory,
                &run_dir,
                Some(0o700),
                "runtime state",
            ));
            assets.push(check(Kind::Socket, &socket, None, "supervisor"));
            for path in self
                .node()
                .map(|n| daemon.cgroups.paths(&n))
                .unwrap_or_default()
            {
                assets.push(check(Kind::Cgroup, &path, None, "processes and limits"));
            }
        }
        assets
    }
}
