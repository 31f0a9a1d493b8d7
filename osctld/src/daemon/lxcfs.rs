//! Having containers show what the lxcfs of this host says, whenever it comes, goes or is another.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::Daemon;
use super::bridge::watched;
use crate::lxcfs::Found;

/// How long it may take to answer before it counts as one that does not.
const PATIENCE: Duration = Duration::from_secs(5);
/// After how long one is asked again.
const AGAIN: Duration = Duration::from_secs(30);
/// How many containers are repaired at the same time.
const AT_ONCE: usize = 8;

/// Looks after it as long as the daemon lives.
pub(super) async fn watch(daemon: Arc<Daemon>) {
    if daemon.config.lxcfs.path.as_os_str().is_empty() {
        return;
    }
    // A change of the host's mounts is told as an error that is none; proc_pid_mounts(5).
    let mounts = File::open("/proc/self/mountinfo").and_then(|file| watched(file.into()));
    let mounts = match mounts {
        Ok(mounts) => mounts,
        Err(e) => return tracing::error!("lxcfs is not looked after: {e}"),
    };
    let mut looking = None;
    loop {
        let (found, process) = look(&daemon, &mut looking).await;
        let serves = found.is_some();
        let differs = daemon.lxcfs.send_if_modified(|now| {
            let differs = *now != found;
            *now = found;
            differs
        });
        if differs {
            let text = if serves { "serves" } else { "does not serve" };
            tracing::info!("lxcfs {text} containers");
            repair_all(&daemon).await;
        }
        tokio::select! {
            () = changed(&mounts) => {}
            () = ended(process) => {}
            // Nothing tells of one that hangs, nor of one that goes on: a look now and then does. All
            // that read such a file in a container wait for it meanwhile.
            () = sleep(AGAIN) => {}
        }
    }
}

type Seen = (Option<Found>, Option<OwnedFd>);

/// The one that answers, and what tells of its end. Who waits for one that does not answer goes on
/// waiting the next time: threads would pile up.
async fn look(daemon: &Daemon, looking: &mut Option<JoinHandle<Seen>>) -> Seen {
    let settings = daemon.config.lxcfs.clone();
    // First the process: else its end could come between.
    let look = || {
        spawn_blocking(move || {
            let process = settings.process();
            (settings.look(), process)
        })
    };
    let current = looking.get_or_insert_with(look);
    match timeout(PATIENCE, current).await {
        Ok(seen) => {
            *looking = None;
            seen.unwrap_or_default()
        }
        Err(_) => {
            tracing::warn!("lxcfs does not answer");
            (None, None)
        }
    }
}

async fn changed(mounts: &UnixStream) {
    if mounts.ready(Interest::ERROR).await.is_ok() {
        // So much is seen: the next change is another one.
        let seen = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        drop(mounts.try_io(Interest::ERROR, seen));
    }
}

async fn ended(process: Option<OwnedFd>) {
    match process.map(watched) {
        Some(Ok(process)) => drop(process.readable().await),
        _ => std::future::pending().await,
    }
}

/// Has all containers that run show what is served now.
pub(super) async fn repair_all(daemon: &Arc<Daemon>) {
    let mut repairing = JoinSet::new();
    for container in daemon.containers() {
        if repairing.len() >= AT_ONCE {
            repairing.join_next().await;
        }
        let daemon = Arc::clone(daemon);
        repairing.spawn(async move { container.repair_lxcfs(&daemon).await });
    }
    while repairing.join_next().await.is_some() {}
}
