//! Loading the containers of a pool that is imported: finding those that run, finishing or undoing
//! what a crash interrupted, and removing what is left of those that ended meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use osctl_api::container::State;
use osctl_api::names::Name;
use osctl_linux::beneath::{Mounts, Root, Symlinks};
use osctl_runtime::control::{ExitRecord, How, State as Stage};
use osctl_runtime::spec::{EXIT_FILE, Init, SPEC_FILE, Spec};
use tokio::time::timeout;

use super::change::Taken;
use super::config::Config;
use super::delete::{Marked, settle_deletion};
use super::launch::Start;
use super::lifecycle::KILL_LIMIT;
use super::mount_change::registered;
use super::netifs::Planned;
use super::plan::Mode;
use super::verdict::Request;
use super::{Container, Pending, Run, blocking, boot, change, reinstall, relocate, watch};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::group::{self, Parents};
use crate::network::link::Ours;
use crate::pool::Pool;
use crate::storage::Note;
use crate::store::Loaded;
use crate::supervisor::{self, Events, Link, unsigned};

/// How long a supervisor may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Largest specification, bytes.
const MAX_SPEC: u64 = 1024 * 1024;
/// Largest exit record, bytes.
const MAX_RECORD: u64 = 64 * 1024;

/// Loads all containers of `pool`. What can't be loaded becomes a problem of the pool and is left
/// as it is, running or not.
pub async fn load_all(daemon: &Arc<Daemon>, pool: &Arc<Pool>) {
    let loaded = {
        let pool = Arc::clone(pool);
        let run_dir = daemon.pool_run_dir(&pool.name);
        blocking(move || Ok(recover(&pool, &run_dir))).await
    };
    let Ok((configs, broken)) = loaded.inspect_err(|e| pool.add_problem("containers", e.chain()))
    else {
        return;
    };
    let mut tasks = tokio::task::JoinSet::new();
    for (id, config, generation) in configs {
        let container = Container::new(daemon, pool, id, config, generation, State::Stopped);
        if pool.add_container(&container).is_ok() {
            // One that comes from another pool gets its addresses when it is gone there.
            let moved = container.config().came_from.is_some();
            for conflict in container.claim_possible(daemon) {
                if moved {
                    break;
                }
                pool.add_problem(format!("container {}", container.id), conflict.to_string());
            }
            let daemon = Arc::clone(daemon);
            tasks.spawn(async move { container.adopt(&daemon).await });
        }
    }
    while tasks.join_next().await.is_some() {}
    make_groups(daemon, pool).await;
    pool.set_loaded();
    relocate::settle(daemon).await;
    sweep(daemon, pool, &broken).await;
    // Whose users those are that can't be read is not known.
    if broken.is_empty() {
        pool.drop_users_without_containers(daemon).await;
    }
}

/// Makes the groups of containers that were made of archives whose groups were yet to be made.
async fn make_groups(daemon: &Arc<Daemon>, pool: &Arc<Pool>) {
    for group in pool.containers().iter().map(|c| c.group()) {
        if !pool.has_group(&group)
            && let Err(e) = group::create(daemon, pool, &group, Parents::Make).await
        {
            pool.add_problem(format!("group {group}"), e.chain());
        }
    }
}

type Found = (Vec<(Name, Config, u64)>, BTreeSet<String>);

/// Reads all configurations, and finishes or undoes what was interrupted. Returns also the ids of
/// those that can't be read.
fn recover(pool: &Pool, run_dir: &Path) -> Found {
    let mut configs: Vec<(Name, Config, u64)> = Vec::new();
    let mut broken = BTreeSet::new();
    let all = match pool.conf.containers.load_all() {
        Ok(all) => all,
        Err(e) => {
            pool.add_problem("conf/ct", crate::error::chain(&e));
            return (configs, broken);
        }
    };
    let condemned = condemned(pool, run_dir);
    // One that runs, or ended after the last daemon did, has a directory.
    let may_run = |id: &Name| run_dir.join("ct").join(id.as_str()).exists();
    for Loaded {
        key,
        deleting,
        object,
    } in all
    {
        let Ok(id) = key.parse::<Name>() else {
            pool.add_problem("conf/ct", format!("{key:?} is no id of a container"));
            continue;
        };
        let generation = object.as_ref().ok().map(|stored| stored.generation);
        let condemned = condemned.get(&key).copied();
        let is_condemned = match deleting {
            true => condemned.is_some() && condemned == generation,
            false => is_condemned(pool, &id, (condemned, generation)),
        };
        if deleting || is_condemned {
            // The live one of an id comes first.
            if broken.contains(&key) {
                continue;
            }
            let outlived = deleting && configs.iter().any(|(live, ..)| *live == id);
            let marked = match outlived {
                true => Marked::Outlived,
                false if !is_condemned && may_run(&id) => Marked::Runs,
                false => Marked::Alone,
            };
            let config = object.as_ref().ok().map(|stored| &stored.value);
            if let Err(e) = settle_deletion(pool, &id, marked, config) {
                pool.add_problem(
                    format!("container {id}"),
                    format!("cannot finish its deletion: {}", e.chain()),
                );
                // What is known of it otherwise is loaded.
                if !outlived {
                    broken.insert(key);
                }
                continue;
            }
            if marked != Marked::Runs {
                continue;
            }
        }
        match object
            .map_err(|e| crate::error::chain(&e))
            .and_then(|stored| {
                stored.value.check().map_err(|e| e.chain())?;
                Ok(stored)
            }) {
            Ok(stored) => configs.push((id, stored.value, stored.generation)),
            Err(e) => {
                pool.add_problem(format!("container {id}"), e);
                broken.insert(key);
            }
        }
    }
    // What was to be deleted is marked now, or can't be.
    condemned.keys().for_each(|id| pool.condemned.forget(id));
    change::finish_renames(pool, &mut configs);
    reinstall::finish_replacements(pool, &mut configs, may_run);
    boot::settle_boots(pool, &mut configs, may_run);
    // Also what an operation could not finish: datasets of the container may be in it.
    let others = configs.iter().flat_map(|(_, c, _)| c.other_data());
    let known: BTreeSet<&str> = configs
        .iter()
        .map(|(id, ..)| id.as_str())
        .chain(others)
        .chain(broken.iter().map(String::as_str))
        .collect();
    pool.recover_hooks(|id| known.contains(id.as_str()));
    for note in pool.storage.recover(&|id: &str| known.contains(id)) {
        match note {
            Note::Done(what) => tracing::info!(pool = %pool.name, "{what}"),
            Note::Odd(what) => pool.add_problem("data", what),
        }
    }
    (configs, broken)
}

/// What an earlier daemon was to delete when the pool answers, with the generations of it.
fn condemned(pool: &Pool, run_dir: &Path) -> BTreeMap<String, u64> {
    let loaded = pool.condemned.load(&run_dir.join("deleted"));
    loaded.unwrap_or_else(|e| {
        pool.add_problem("deleted containers", e.chain());
        BTreeMap::new()
    })
}

/// Whether a container is one of those, by its generation then and now; if so, it is marked.
fn is_condemned(
    pool: &Pool,
    id: &Name,
    (condemned, generation): (Option<u64>, Option<u64>),
) -> bool {
    let problem = match (condemned, generation) {
        (None, _) => return false,
        (then, now) if then == now => match pool.mark_container_deleted(id) {
            Ok(()) => return true,
            Err(e) => e.chain(),
        },
        _ => "it was deleted while the pool did not answer, but was changed since then".to_owned(),
    };
    pool.add_problem(format!("container {id}"), problem);
    false
}

/// Removes cgroups and runtime state of containers that are not known.
async fn sweep(daemon: &Arc<Daemon>, pool: &Arc<Pool>, broken: &BTreeSet<String>) {
    let known: BTreeSet<String> = pool
        .containers()
        .iter()
        .map(|c| c.id.to_string())
        .chain(broken.iter().cloned())
        .collect();
    let running: BTreeSet<String> = pool
        .containers()
        .iter()
        .filter(|c| c.state() != State::Stopped)
        .map(|c| c.id.to_string())
        .chain(broken.iter().cloned())
        .collect();
    // Of these it is known what they are to have.
    let adopted: BTreeSet<String> = pool
        .containers()
        .iter()
        .filter(|c| matches!(c.state(), State::Running | State::Frozen))
        .map(|c| c.id.to_string())
        .collect();
    let (daemon, pool) = (Arc::clone(daemon), Arc::clone(pool));
    let swept = blocking(move || {
        let nodes = daemon.cgroups.containers(pool.name.as_str());
        for node in nodes.map_err(|e| Error::backend("cannot list cgroups", e))? {
            if node.container_id().is_some_and(|id| running.contains(id)) {
                continue;
            }
            tracing::warn!(cgroup = %node, "removing the cgroup of a container that is no more");
            if let Err(e) = daemon.cgroups.remove_container(&node, KILL_LIMIT) {
                pool.add_problem(format!("cgroup {node}"), crate::error::chain(&e));
            }
        }
        let runs = |id: &str| running.contains(id);
        let is_wanted = |link: &Ours| {
            let id = link.owner.container.as_str();
            let expected = || daemon.network.is_expected(&link.host_name);
            runs(id) && (!adopted.contains(id) || expected())
        };
        if let Err(e) = daemon.network.sweep(pool.name.as_str(), is_wanted) {
            pool.add_problem("network", e.chain());
        }
        if let Err(e) = daemon
            .apparmor
            .sweep(pool.name.as_str(), runs, |id| known.contains(id))
        {
            pool.add_problem("AppArmor", crate::error::chain(&e));
        }
        let dir = daemon.pool_run_dir(&pool.name).join("ct");
        let Ok(entries) = std::fs::read_dir(&dir) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|id| known.contains(id))
            {
                super::lifecycle::remove_run_dir(&entry.path())?;
            }
        }
        Ok(())
    });
    if let Err(e) = swept.await {
        tracing::error!(error = %e.chain(), "cannot remove what is left of containers that are no more");
    }
}

impl Container {
    /// Finds out whether it runs, and takes it over.
    async fn adopt(self: &Arc<Self>, daemon: &Arc<Daemon>) {
        let adopted = self.try_adopt(daemon).await;
        if let Err(error) = adopted.and_then(|()| self.check_reinstalled()) {
            self.fail(&error);
        }
        if self.was_interrupted(daemon) && self.state() == State::Stopped {
            self.seen.lock().pending = Some(Pending::Restart);
        }
    }

    async fn try_adopt(self: &Arc<Self>, daemon: &Arc<Daemon>) -> Result<(), Error> {
        let run_dir = daemon.container_run_dir(&self.pool, &self.id);
        if !run_dir.exists() {
            return self.check_data().await;
        }
        let Some((link, events)) = supervisor::adopt(&run_dir).await? else {
            return self.ended_unseen(daemon).await;
        };
        let (status, netns) = match timeout(ANSWER_LIMIT, link.inspect()).await {
            Ok(Ok(status)) => status,
            // It went away while it was being asked.
            Ok(Err(e)) if e.code() == osctl_api::Code::Unavailable => {
                return self.ended_unseen(daemon).await;
            }
            Ok(Err(e)) => return Err(e),
            Err(_) => return Err(Error::timeout("its supervisor does not answer")),
        };
        let run = match (status.state, status.pid) {
            (Stage::Running, Some(pid)) => {
                let started_at = status
                    .started_at
                    .and_then(|t| i64::try_from(t).ok())
                    .unwrap_or(0);
                (
                    Run {
                        link,
                        init_pid: unsigned(pid),
                        started_at,
                        warnings: status.warnings,
                        mode: mode_of(&run_dir),
                        apparmor: noted_spec(&run_dir).and_then(|spec| spec.apparmor),
                    },
                    events,
                )
            }
            // It was being started when the last daemon ended: what became of that is seen now.
            _ => match self.finish_start(daemon, link, events).await {
                Ok(run) => run,
                Err(_) => return self.ended_unseen(daemon).await,
            },
        };
        match registered(&run_dir) {
            Ok(mounts) => self.seen.lock().registered = mounts,
            Err(e) => tracing::warn!(container = %self.label(), "{}", e.chain()),
        }
        if let Some(netns) = netns {
            self.adopt_netifs(daemon, netns).await?;
        }
        self.set_running(daemon, run);
        let frozen = daemon.cgroups.is_frozen(&self.node()?).unwrap_or(false);
        if frozen {
            self.set_state(State::Frozen);
        }
        Ok(())
    }

    /// Sees what becomes of a container that was being started when the last daemon ended. One that
    /// waits for its network waits for a daemon that is no more: it ends.
    async fn finish_start(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        link: Arc<Link>,
        events: Events,
    ) -> Result<(Run, Events), Error> {
        let run_dir = daemon.container_run_dir(&self.pool, &self.id);
        if noted_spec(&run_dir).is_none_or(|spec| spec.hold) {
            link.kill().await?;
        }
        let start = Start {
            mode: mode_of(&run_dir),
            netifs: Planned::none(),
            apparmor: noted_spec(&run_dir).and_then(|spec| spec.apparmor),
        };
        self.await_init(daemon, link, events, start).await
    }

    /// A container without data can't be used, only deleted.
    async fn check_data(self: &Arc<Self>) -> Result<(), Error> {
        let (_daemon, pool) = self.home()?;
        let this = Arc::clone(self);
        let exists = blocking(move || {
            pool.storage.exists(this.id.as_str()).map_err(|e| {
                let cannot = format!("cannot look at the data of {}", this.label());
                Error::backend(cannot, e)
            })
        });
        match exists.await? {
            true => self.finish_rollback().await,
            false => Err(Error::state(format!(
                "the data of container {} are missing",
                self.label()
            ))),
        }
    }

    /// It ended while no daemon looked: cleans up, and notes what is to be done about it.
    async fn ended_unseen(self: &Arc<Self>, daemon: &Arc<Daemon>) -> Result<(), Error> {
        let run_dir = daemon.container_run_dir(&self.pool, &self.id);
        let (record, mode) = (exit_record(&run_dir), mode_of(&run_dir));
        self.clean_up(daemon).await?;
        let of_image = self.runs_image();
        self.end_boot().await?;
        let mut seen = self.seen.lock();
        seen.last_exit = Some(match &record {
            Some(record) => watch::describe(&record.how),
            None => "its supervisor was killed".to_owned(),
        });
        seen.pending = match record {
            Some(ExitRecord {
                how: How::Reboot, ..
            }) => Some(Pending::Reboot),
            _ if seen.config.ephemeral && mode == Mode::Boot && !of_image => Some(Pending::Delete),
            _ => None,
        };
        Ok(())
    }
}

impl Container {
    /// Finds out anew what state it is in: connects to its supervisor if there is one, else cleans
    /// up what is left.
    ///
    /// # Errors
    /// What stands in the way; then it stays in state `error`.
    pub async fn recover_state(self: &Arc<Self>) -> Result<(), Error> {
        let _hold = self.hold("ct recover state")?;
        self.judge(Request::Recover, "recover")?;
        if self.run().is_some() {
            return Ok(());
        }
        let (daemon, _pool) = self.home()?;
        let runs = daemon.container_run_dir(&self.pool, &self.id).exists();
        self.seen.lock().error = None;
        self.set_state(State::Stopped);
        let recovered = async {
            if !runs {
                self.undo_rename(Taken::Perhaps).await?;
                self.finish_reinstallation().await?;
            }
            self.try_adopt(&daemon).await
        };
        recovered.await.inspect_err(|e| self.fail(e))
    }

    /// Removes what is left of it on the host, while it doesn't run.
    ///
    /// # Errors
    /// `InvalidState` when it runs; what can't be removed.
    pub async fn recover_cleanup(self: &Arc<Self>) -> Result<(), Error> {
        let _hold = self.hold("ct recover cleanup")?;
        if self.run().is_some() {
            return Err(
                Error::state(format!("container {} runs", self.label())).hint("stop it first")
            );
        }
        self.judge(Request::Recover, "clean up after")?;
        let (daemon, _pool) = self.home()?;
        self.clean_up(&daemon).await?;
        self.end_boot().await?;
        self.undo_rename(Taken::Perhaps).await?;
        self.finish_reinstallation().await?;
        self.finish_rollback().await?;
        self.seen.lock().error = None;
        self.set_state(State::Stopped);
        Ok(())
    }
}

/// The specification of a container, as the daemon that started it noted it.
fn noted_spec(run_dir: &Path) -> Option<Spec> {
    let root = Root::open_tree(run_dir, Symlinks::Refuse, Mounts::Refuse).ok()?;
    let bytes = root.read(SPEC_FILE, MAX_SPEC).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// What was started in a container.
fn mode_of(run_dir: &Path) -> Mode {
    match noted_spec(run_dir) {
        Some(Spec {
            init: Init::Pause, ..
        }) => Mode::Run,
        _ => Mode::Boot,
    }
}

/// What a supervisor left behind as its last word.
fn exit_record(run_dir: &Path) -> Option<ExitRecord> {
    let root = Root::open_tree(run_dir, Symlinks::Refuse, Mounts::Refuse).ok()?;
    let bytes = root
        .read(std::path::Path::new(EXIT_FILE), MAX_RECORD)
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}
