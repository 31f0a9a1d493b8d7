//! Starting: what is made on the host for a run, handing it to a supervisor, and taking over a run.
//!
//! What ends a run, and what is removed after it, is in `lifecycle`.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use osctl_api::container::State;
use osctl_runtime::spec::{SPEC_FILE, Spec};
use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::timeout;

use super::config::Config;
use super::lifecycle::remove_run_dir;
use super::netifs::Planned;
use super::plan::{self, Facts, Mode};
use super::verdict::{Request, Verdict};
use super::{Container, Hold, Run, blocking, started_marker, watch};
use crate::cgroup::Owner;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::failpoint;
use crate::lxcfs::Found;
use crate::pool::Pool;
use crate::security::apparmor::Nesting;
use crate::security::seccomp::Profile;
use crate::supervisor::{self, Event, Events, Link};

/// How long a supervisor may take to bring init up.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What is started, besides what the specification says.
#[derive(Debug)]
pub(super) struct Start {
    /// Its own init or ours.
    pub(super) mode: Mode,
    /// The interfaces that it gets before init runs; with some, the specification has it held.
    pub(super) netifs: Planned,
    /// The label of its processes.
    pub(super) apparmor: Option<String>,
}

impl Container {
    /// Starts it; returns when its init runs.
    ///
    /// # Errors
    /// `InvalidState`, `Busy`, or why it did not start; then it is stopped again.
    pub async fn start(self: &Arc<Self>, mode: Mode) -> Result<(), Error> {
        let request = match mode {
            Mode::Boot => Request::Start,
            Mode::Run => Request::Run,
        };
        self.settle().await;
        if self.judge(request, "start")? == Verdict::Nothing {
            return self.wait_started().await;
        }
        let hold = self.hold_power("ct start")?;
        if self.judge(request, "start")? == Verdict::Nothing {
            drop(hold);
            return self.wait_started().await;
        }
        self.start_held(mode, &hold).await
    }

    /// Waits for a start that is under way already.
    async fn wait_started(&self) -> Result<(), Error> {
        let mut states = self.watch_state();
        let state = states.wait_for(|s| *s != State::Starting).await.map(|s| *s);
        match state {
            Ok(State::Running | State::Frozen) => Ok(()),
            _ => Err(Error::state(format!(
                "container {} did not start",
                self.label()
            ))),
        }
    }

    /// Starts it under a lock that is held already.
    pub(super) async fn start_held(self: &Arc<Self>, mode: Mode, hold: &Hold) -> Result<(), Error> {
        self.end_boot().await?;
        if mode == Mode::Boot {
            let (_daemon, pool) = self.home()?;
            self.prepare_impermanent(&pool).await?;
        }
        self.start_noted(mode, hold).await
    }

    /// Starts it from what its configuration says that it runs from.
    pub(super) async fn start_noted(
        self: &Arc<Self>,
        mode: Mode,
        _hold: &Hold,
    ) -> Result<(), Error> {
        let (daemon, pool) = self.home()?;
        let _gate = match self.may_start(&daemon, &pool) {
            Ok(gate) => gate,
            Err(refused) => {
                if let Err(e) = self.end_boot().await {
                    tracing::warn!(container = %self.label(), error = %e.chain(), "what it was to run from stays until it is started");
                }
                return Err(refused);
            }
        };
        {
            self.stopping.send_replace(false);
            let mut seen = self.seen.lock();
            seen.goes_on = false;
            seen.error = None;
            seen.registered.clear();
        }
        self.set_state(State::Starting);
        match self.launch(&daemon, &pool, mode).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = error.context(format!("container {} did not start", self.label()));
                let cleaned = match self.clean_up(&daemon).await {
                    Ok(()) => self.end_boot().await,
                    left => left,
                };
                match cleaned {
                    Ok(()) => self.set_state(State::Stopped),
                    Err(left) => self.fail(&left),
                }
                Err(error)
            }
        }
    }

    fn may_start(&self, daemon: &Daemon, pool: &Pool) -> Result<OwnedRwLockReadGuard<()>, Error> {
        let gate = pool.enter()?;
        if daemon.is_shutting_down() {
            let refused = format!(
                "container {} can't be started: the host is shutting down",
                self.label()
            );
            return Err(Error::unavailable(refused));
        }
        self.check_stays()?;
        self.check_reinstalled()?;
        Ok(gate)
    }

    async fn launch(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        pool: &Arc<Pool>,
        mode: Mode,
    ) -> Result<(), Error> {
        self.renew_leases(daemon).await?;
        let lxcfs = daemon.lxcfs.subscribe();
        let (spec, netifs) = {
            let (this, daemon, pool) = (Arc::clone(self), Arc::clone(daemon), Arc::clone(pool));
            blocking(move || this.prepare(&daemon, &pool, mode)).await?
        };
        let start = Start {
            mode,
            netifs,
            apparmor: spec.apparmor.clone(),
        };
        failpoint!("start.prepared");
        // While the one is done, the other one's process gets on with its work.
        let (launched, prepared) = tokio::join!(
            supervisor::launch(&daemon.runtime, &spec),
            self.prepare_netifs(daemon, &start.netifs)
        );
        let (link, events) = launched?;
        prepared?;
        let run = self.await_init(daemon, link, events, start).await?;
        failpoint!("start.running");
        self.set_running(daemon, run);
        // Who looked for containers to be repaired meanwhile did not find this one running.
        if lxcfs.has_changed().unwrap_or(false) {
            self.repair_lxcfs(daemon).await;
        }
        Ok(())
    }

    /// Makes everything on the host that the runtime expects, and the specification.
    fn prepare(&self, daemon: &Daemon, pool: &Pool, mode: Mode) -> Result<(Spec, Planned), Error> {
        let config = self.config().in_force();
        let user = pool.user(&config.user).ok_or_else(|| {
            Error::state(format!(
                "user {} of container {} is missing",
                config.user,
                self.label()
            ))
        })?;
        user.check_usable()?;
        // Refused when the pool was imported, perhaps, and free by now.
        self.claim_addresses(daemon)?;
        self.apply_firewall(daemon, &config.firewall)?;
        let rootfs = self.mounted_rootfs(pool)?;
        let (uid_map, gid_map) = (user.uid_map(), user.gid_map());
        let owner = Owner {
            uid: root_of(&uid_map).ok_or_else(|| no_root(&config.user))?,
            gid: root_of(&gid_map).ok_or_else(|| no_root(&config.user))?,
        };
        let run_dir = daemon.container_run_dir(&self.pool, &self.id);
        reset_run_dir(&run_dir)?;
        failpoint!("start.run_dir");
        note_started(&started_marker(daemon, self))?;
        let node = self.node()?;
        if !node
            .parent()
            .is_some_and(|group| daemon.cgroups.exists(&group))
        {
            crate::group::ensure_cgroup(daemon, pool, &config.group)?;
        }
        let failed = |e| Error::backend(format!("cannot make the cgroup of {}", self.label()), e);
        let cgroups = daemon
            .cgroups
            .ensure_container(&node, owner)
            .map_err(failed)?;
        failpoint!("start.cgroup");
        self.apply_limits(&daemon.cgroups, &config)?;
        let seccomp = seccomp(&config)?;
        let apparmor = self.confine(daemon, &config)?;
        failpoint!("start.apparmor");
        let (netifs, network_files) = self.plan_netifs(daemon, pool, &config, mode)?;
        let lxcfs = match mode {
            Mode::Boot => daemon.lxcfs.borrow().clone(),
            Mode::Run => None,
        };
        let facts = Facts {
            hold: !netifs.is_empty(),
            network_files,
            label: self.label(),
            id: self.id.as_str(),
            rootfs,
            run_dir: run_dir.clone(),
            log: pool.container_log(&self.id),
            log_max: daemon.config.console.log_max_bytes,
            uid_map: &uid_map,
            gid_map: &gid_map,
            cgroups,
            most_files: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .maximum
                .unwrap_or(u64::MAX),
            apparmor,
            seccomp,
            lxcfs: lxcfs.as_ref().map(Found::mounts).unwrap_or_default(),
            mounts: {
                let mut mounts = self.plan_mounts(daemon, pool, &config)?;
                mounts.extend(self.mounts_of_own(daemon, pool)?);
                mounts
            },
        };
        let spec = plan::spec(&config, facts, mode)?;
        note_spec(&run_dir, &spec)?;
        Ok((spec, netifs))
    }

    /// Gives the kernel its profile; returns its label, on a host that has AppArmor.
    fn confine(&self, daemon: &Daemon, config: &Config) -> Result<Option<String>, Error> {
        let nesting = match config.nesting {
            true => Nesting::Yes,
            false => Nesting::No,
        };
        let (pool, id) = (self.pool.as_str(), self.id.as_str());
        daemon.apparmor.confine(pool, id, nesting).map_err(|e| {
            Error::backend("its AppArmor profile can't be loaded", e)
                .hint("with `apparmor = \"off\"` in osctld.toml containers run without profiles")
        })
    }

    /// Waits until init runs.
    pub(super) async fn await_init(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        link: Arc<Link>,
        mut events: Events,
        start: Start,
    ) -> Result<(Run, Events), Error> {
        let netifs = &start.netifs;
        let waited = timeout(START_LIMIT, async {
            loop {
                match events.recv().await {
                    Some(Event::Started {
                        pid,
                        warnings,
                        started_at,
                    }) => return Ok((pid, warnings, started_at)),
                    Some(Event::Created(netns)) if !netifs.is_empty() => {
                        self.bring_up_netifs(daemon, netifs, netns).await?;
                        link.proceed().await?;
                    }
                    Some(Event::Created(_)) => {}
                    Some(Event::Failed { step, error }) => {
                        return Err(Error::backend(format!("step {step:?} failed"), error));
                    }
                    Some(Event::Exited(record)) => {
                        return Err(Error::backend(
                            "it ended at once",
                            watch::describe(&record.how),
                        ));
                    }
                    None => {
                        return Err(Error::backend(
                            "its supervisor ended without a word",
                            "it may have been killed, or be of another version",
                        ));
                    }
                }
            }
        });
        let (init_pid, warnings, started_at) = match waited.await {
            Ok(started) => started?,
            Err(_) => {
                // Whatever it hangs in, it must not come up later.
                let _ = link.kill().await;
                return Err(Error::timeout(format!(
                    "its init did not run within {} s",
                    START_LIMIT.as_secs()
                )));
            }
        };
        // As a daemon that comes later will be told.
        let started_at = started_at.and_then(|t| i64::try_from(t).ok());
        Ok((
            Run {
                link,
                init_pid,
                started_at: started_at.unwrap_or_else(now),
                warnings,
                mode: start.mode,
                apparmor: start.apparmor,
            },
            events,
        ))
    }

    /// Takes over a run, new or adopted, and watches it.
    pub(super) fn set_running(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        (run, events): (Run, Events),
    ) {
        let run = Arc::new(run);
        for warning in &run.warnings {
            tracing::warn!(container = %self.label(), %warning, "started with a warning");
        }
        let init_pid = run.init_pid;
        {
            let mut seen = self.seen.lock();
            seen.brief = run.mode == Mode::Run;
            seen.run = Some(run);
        }
        daemon.events.init_pid(&self.pool, &self.id, init_pid);
        self.set_state(State::Running);
        tokio::spawn(watch::watch(Arc::clone(self), events));
    }
}

/// The seccomp programs of a container; the default ones are compiled once.
pub(super) fn seccomp(config: &Config) -> Result<Vec<Vec<u64>>, Error> {
    static DEFAULT: OnceLock<Vec<Vec<u64>>> = OnceLock::new();
    let profile = config.seccomp_profile()?;
    if let (Profile::Default, Some(programs)) = (&profile, DEFAULT.get()) {
        return Ok(programs.clone());
    }
    let programs = profile
        .programs()
        .map_err(|e| Error::invalid_with("the seccomp profile can't be used", e))?;
    if profile == Profile::Default {
        return Ok(DEFAULT.get_or_init(|| programs).clone());
    }
    Ok(programs)
}

/// Seconds since 1970-01-01 00:00 UTC.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since
        .ok()
        .and_then(|d| i64::try_from(d.as_secs()).ok())
        .unwrap_or(0)
}

fn root_of(map: &[osctl_api::user::Mapping]) -> Option<u32> {
    map.iter().find(|m| m.ns_id == 0).map(|m| m.host_id)
}

fn no_root(user: &osctl_api::names::Name) -> Error {
    Error::invalid(format!(
        "user {user} maps no id 0: a container needs a root"
    ))
}

/// An empty directory of root's for the supervisor.
fn reset_run_dir(dir: &std::path::Path) -> Result<(), Error> {
    remove_run_dir(dir)?;
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Error::backend(format!("cannot make {}", dir.display()), e))
}

/// Keeps the specification beside the supervisor's socket, for the next daemon and for people.
fn note_spec(run_dir: &std::path::Path, spec: &Spec) -> Result<(), Error> {
    let failed = |e| Error::backend("cannot keep the specification", e);
    let bytes = serde_json::to_vec(spec).map_err(|e| failed(e.into()))?;
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(run_dir.join(SPEC_FILE))
        .map_err(failed)?;
    file.write_all(&bytes).map_err(failed)
}

/// Notes that a container was started since the host was booted.
fn note_started(marker: &std::path::Path) -> Result<(), Error> {
    let failed = |e| Error::backend(format!("cannot make {}", marker.display()), e);
    if let Some(dir) = marker.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    std::fs::File::create(marker).map(drop).map_err(failed)
}
