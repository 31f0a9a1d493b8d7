//! What a container shows of its own limits in `/proc`, kept right while it runs.

use std::sync::Arc;

use osctl_runtime::control::Action;

use super::plan::Mode;
use super::{Container, blocking};
use crate::daemon::Daemon;
use crate::lxcfs;
use crate::supervisor::finish_soon;

/// Most of a container's mounts that is read, bytes.
const MAX_MOUNTINFO: u64 = 4 << 20;

impl Container {
    /// Has it show what the lxcfs that runs now says, or the kernel's own files without one.
    pub async fn repair_lxcfs(self: &Arc<Self>, daemon: &Daemon) {
        let Some(run) = self.run().filter(|run| run.mode == Mode::Boot) else {
            return;
        };
        let _repairing = self.repairing.lock().await;
        let pid = run.init_pid;
        let read = blocking(move || {
            use std::io::Read;
            let mut text = String::new();
            // One that has ended has none.
            let file = std::fs::File::open(format!("/proc/{pid}/mountinfo"));
            drop(file.map(|f| f.take(MAX_MOUNTINFO).read_to_string(&mut text)));
            Ok(text)
        });
        let Ok(mountinfo) = read.await else {
            return;
        };
        if mountinfo.is_empty() {
            return;
        }
        let now = daemon.lxcfs.borrow().clone();
        let (stale, missing) = lxcfs::repair(&mountinfo, now.as_ref());
        let stale = stale.into_iter().map(|target| Action::Unmount { target });
        let actions: Vec<Action> = stale
            .chain(missing.into_iter().map(Action::Mount))
            .collect();
        for action in actions {
            let done = match run.link.enter(action, &[]).await {
                Ok(session) => finish_soon(session).await.map(drop),
                Err(e) => Err(e),
            };
            if let Err(e) = done {
                tracing::warn!(container = %self.label(), "lxcfs: {}", e.chain());
            }
        }
    }
}
