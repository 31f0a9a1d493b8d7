//! Containers: one object each, with what is wanted, what is seen, and who holds it.
//!
//! Reads come from what is in memory and never wait. An operation takes the container's lock under
//! a name; another one that comes meanwhile is refused as `Busy` and told that name. Killing needs
//! no lock: it must get through whatever else hangs.

pub mod config;
pub mod firewall;
pub mod init_system;
pub mod mount;
pub mod net_state;
pub mod netif;
pub mod plan;
mod portable;
pub mod verdict;

mod adopt;
mod all;
mod assets;
mod boot;
mod change;
mod condemn;
mod copy;
mod create;
mod datasets;
mod delete;
mod enter;
mod export;
mod hold;
mod hooks;
mod import;
mod import_data;
mod info;
mod interruption;
mod io_limit;
mod launch;
mod lifecycle;
mod logins;
mod lxcfs;
mod mount_change;
mod mount_source;
mod netif_change;
mod netif_live;
mod netifs;
mod pace;
mod pipes;
mod processes;
mod registry;
mod reinstall;
mod relocate;
mod rollback;
mod room;
mod schedule;
mod settings;
mod snapshots;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use osctl_api::container::State;
use osctl_api::names::{GroupPath, Name};
use tokio::sync::watch as channel;

use self::config::Config;
use self::plan::Mode;
use self::verdict::{Request, Verdict};
use crate::blocking::{blocking, lengthy};
use crate::cgroup::Node;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::pool::Pool;
use crate::supervisor::Link;
use crate::sync::Mutex;

pub use adopt::load_all;
pub use all::{Autostart, StopAll, loaded, release_all, stop_all};
pub use condemn::Waiting;
pub use copy::Audience;
pub use create::create;
pub use hold::Hold;
pub use import::import;
pub use info::{list, show};
pub use netifs::{ensure_all_netifs, filter_adopted, keep_all_traffic};
pub use pace::Pace;
pub use processes::{chosen, list as processes, lookup as lookup_pids};
pub use settings::controller;
pub use snapshots::{Newer, keep_schedules, list_snapshots};

/// A container.
#[derive(Debug)]
pub struct Container {
    /// Name of its pool.
    pub pool: Name,
    /// Id.
    pub id: Name,
    home: Weak<Pool>,
    daemon: Weak<Daemon>,
    locks: hold::Locks,
    /// Somebody asked for it to stop: a reboot of the guest is not to bring it back.
    stopping: channel::Sender<bool>,
    seen: Mutex<Seen>,
    state: channel::Sender<State>,
    /// Held while another configuration takes the place of what there is.
    saving: tokio::sync::Mutex<()>,
    /// Held while its lxcfs mounts are looked at and changed: two at once would mount twice.
    repairing: tokio::sync::Mutex<()>,
}

/// What is known of a container right now.
#[derive(Debug)]
struct Seen {
    config: Arc<Config>,
    generation: u64,
    run: Option<Arc<Run>>,
    error: Option<String>,
    last_exit: Option<String>,
    /// Who stopped it goes on with it: an ephemeral one is not deleted for that.
    goes_on: bool,
    /// The run, or the last one, was for one command only.
    brief: bool,
    deleted: bool,
    /// It is deleted as soon as its pool answers.
    condemned: bool,
    /// Its deletion has begun, and something of it could not be removed.
    half_deleted: bool,
    /// The daemon let go of it: what happens to it from now on is not its business.
    released: bool,
    /// What is to be done about it once its pool is active.
    pending: Option<Pending>,
    /// Its interfaces, while it runs.
    netifs: Option<netifs::Netifs>,
    /// Mounts that it has besides those of its configuration, until it stops.
    registered: Vec<mount::Mount>,
}

/// What was left to be done about a container that ended while no daemon looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// It asked for a reboot.
    Reboot,
    /// It was stopped for an operation that would have started it again.
    Restart,
    /// It is ephemeral.
    Delete,
}

/// A container that runs.
#[derive(Debug)]
pub struct Run {
    /// Connection to its supervisor.
    pub link: Arc<Link>,
    /// Process id of its init on the host.
    pub init_pid: u32,
    /// When init was started, seconds since 1970-01-01 00:00 UTC.
    pub started_at: i64,
    /// What was not as the specification asked.
    pub warnings: Vec<String>,
    /// What was started.
    pub mode: Mode,
    /// The AppArmor label that it was started with.
    pub apparmor: Option<String>,
}

impl Container {
    fn new(
        daemon: &Arc<Daemon>,
        pool: &Arc<Pool>,
        id: Name,
        config: Config,
        generation: u64,
        state: State,
    ) -> Arc<Container> {
        Arc::new(Container {
            pool: pool.name.clone(),
            id,
            home: Arc::downgrade(pool),
            daemon: Arc::downgrade(daemon),
            locks: hold::Locks::default(),
            stopping: channel::Sender::new(false),
            seen: Mutex::new(Seen {
                config: Arc::new(config),
                generation,
                run: None,
                error: None,
                last_exit: None,
                goes_on: false,
                brief: false,
                deleted: false,
                condemned: false,
                half_deleted: false,
                released: false,
                pending: None,
                netifs: None,
                registered: Vec::new(),
            }),
            state: channel::Sender::new(state),
            saving: tokio::sync::Mutex::default(),
            repairing: tokio::sync::Mutex::default(),
        })
    }

    /// `pool:id`.
    pub fn label(&self) -> String {
        format!("{}:{}", self.pool, self.id)
    }

    /// Its configuration.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.seen.lock().config)
    }

    /// Its state.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Its state, to be waited for.
    pub fn watch_state(&self) -> channel::Receiver<State> {
        self.state.subscribe()
    }

    /// The user whose id map it has.
    pub fn user(&self) -> Name {
        self.config().user.clone()
    }

    /// The group it is in.
    pub fn group(&self) -> GroupPath {
        self.config().group.clone()
    }

    /// Whether any process of it may run.
    pub fn is_active(&self) -> bool {
        !matches!(self.state(), State::Stopped | State::Staged | State::Error)
    }

    /// The run, while it runs.
    pub fn run(&self) -> Option<Arc<Run>> {
        self.seen.lock().run.clone()
    }

    /// The daemon and the pool it belongs to.
    ///
    /// # Errors
    /// `Unavailable` while the pool is going away.
    fn home(&self) -> Result<(Arc<Daemon>, Arc<Pool>), Error> {
        match (self.daemon.upgrade(), self.home.upgrade()) {
            (Some(daemon), Some(pool)) => Ok((daemon, pool)),
            _ => Err(Error::unavailable(format!(
                "pool {} is being exported",
                self.pool
            ))),
        }
    }

    /// Whether `request` is legal now.
    ///
    /// # Errors
    /// `InvalidState` when it isn't.
    fn judge(&self, request: Request, what: &str) -> Result<Verdict, Error> {
        let state = self.state();
        // Whatever state it looks to be in: what is left of it goes at the next start of the daemon.
        if request != Request::ForceDelete && self.seen.lock().half_deleted {
            return Err(Error::state(format!(
                "cannot {what} container {}: its deletion has begun",
                self.label()
            ))
            .hint("`osctl ct del --force` goes on with it"));
        }
        match verdict::verdict(state, request) {
            Verdict::Refuse => {
                let cause = self.seen.lock().error.clone();
                let mut message =
                    format!("cannot {what} container {}: it is {state}", self.label());
                if let Some(cause) = cause {
                    message.push_str(&format!(" ({cause})"));
                }
                let error = Error::state(message);
                Err(match verdict::hint(state, request) {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
            verdict => Ok(verdict),
        }
    }

    /// The run of a container that can be entered.
    ///
    /// # Errors
    /// `InvalidState` when it doesn't run.
    fn entered(&self, what: &str) -> Result<Arc<Run>, Error> {
        self.judge(Request::Enter, what)?;
        self.run().ok_or_else(|| {
            Error::state(format!(
                "cannot {what} container {}: it is stopping",
                self.label()
            ))
        })
    }

    fn set_state(&self, state: State) {
        if self.state.send_replace(state) != state
            && let Some(daemon) = self.daemon.upgrade()
        {
            daemon.events.state(&self.pool, &self.id, state);
        }
    }

    /// Puts it into state `error`; only recovery and forced deletion are legal then.
    fn fail(&self, cause: &Error) {
        let cause = cause.chain();
        tracing::error!(container = %self.label(), %cause, "container is in state error");
        self.seen.lock().error = Some(cause);
        self.set_state(State::Error);
    }

    fn node(&self) -> Result<Node, Error> {
        node(&self.pool, &self.config(), &self.id)
    }

    /// What holds its data on the host. An id is always a name that storage takes.
    fn dataset(&self, pool: &Pool) -> PathBuf {
        pool.storage.dataset(self.id.as_str()).unwrap_or_default()
    }

    /// The root file system that it runs from, or would, on the host, to be looked into. Blocks.
    fn mounted_rootfs(&self, pool: &Pool) -> Result<PathBuf, Error> {
        let mounted = pool.storage.ensure_mounted(&self.data());
        mounted.map_err(|e| {
            let cannot = format!("cannot mount the root file system of {}", self.label());
            Error::backend(cannot, e)
        })?;
        Ok(self.rootfs(pool))
    }

    /// The root file system that it runs from, or would, on the host.
    fn rootfs(&self, pool: &Pool) -> PathBuf {
        pool.storage.rootfs(&self.data()).unwrap_or_default()
    }
}

/// The cgroup of a container.
fn node(pool: &Name, config: &Config, id: &Name) -> Result<Node, Error> {
    let mut node =
        Node::pool(pool.as_str()).map_err(|e| Error::backend("cannot name a cgroup", e))?;
    for component in config.group.components() {
        node = node
            .group(component)
            .map_err(|e| Error::backend("cannot name a cgroup", e))?;
    }
    node.container(id.as_str())
        .map_err(|e| Error::backend("cannot name a cgroup", e))
}

/// The file whose existence tells that a container was started since the host was booted.
pub fn started_marker(daemon: &Daemon, container: &Container) -> PathBuf {
    crate::autostart::started_dir(daemon, &container.pool).join(container.id.as_str())
}
