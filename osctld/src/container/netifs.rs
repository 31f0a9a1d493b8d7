//! Network interfaces in the life of a container: they come before its init runs, are recognised by
//! a daemon that is started anew, and go when it ends.
//!
//! What is wanted of them is the configuration's business (`netif`), how the kernel is told is that
//! of `crate::network`, and what changes while it runs that of `netif_live`.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use osctl_api::net::IfName;
use osctl_runtime::spec::FileOp;

use super::config::Config;
use super::net_state::{Count, NetState, Seen};
use super::plan::Mode;
use super::{Container, blocking, netif};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::events::NetifChange;
use crate::failpoint;
use crate::guest::network as guest;
use crate::guest::tree::Tree;
use crate::network::{Owner, Setup, Wanted};
use crate::pool::Pool;
use crate::store::Stored;

/// The interfaces that a container gets when it starts.
#[derive(Debug)]
pub(super) struct Planned {
    wanted: Vec<Wanted>,
    setup: Setup,
}

impl Planned {
    /// For a container that gets none, or has them.
    pub(super) fn none() -> Planned {
        Planned {
            wanted: Vec::new(),
            setup: Setup::Guest,
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }
}

/// The interfaces that a running container has.
#[derive(Debug, Clone)]
pub(super) struct Netifs {
    /// Its network namespace. Held here, it keeps links until they have been counted and removed
    /// in order, whatever has ended already.
    pub(super) netns: Arc<OwnedFd>,
    /// The interfaces, as they are in the kernel.
    pub(super) wanted: Vec<Wanted>,
}

/// What became of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// It is there.
    Up,
    /// It is gone.
    Down,
}

impl Container {
    /// What is wanted of its interfaces, by its configuration. Blocks.
    pub fn wanted_netifs(&self, daemon: &Daemon, config: &Config) -> Vec<Wanted> {
        wanted(daemon, &self.owner(), &config.netifs)
    }

    /// Of those on the default bridge. Blocks.
    pub fn wanted_on_bridge(&self, daemon: &Daemon) -> Vec<Wanted> {
        let mut netifs = self.config().netifs.clone();
        netifs.retain(|n| n.bridge().is_some_and(|b| daemon.bridge.is(&b.link)));
        wanted(daemon, &self.owner(), &netifs)
    }

    /// As [`Container::wanted_netifs`], for whoever must not block.
    pub(super) async fn ask_wanted(
        &self,
        daemon: &Arc<Daemon>,
        config: &Config,
    ) -> Result<Vec<Wanted>, Error> {
        if config.netifs.is_empty() {
            return Ok(Vec::new());
        }
        let (daemon, owner, netifs) = (Arc::clone(daemon), self.owner(), config.netifs.clone());
        blocking(move || Ok(wanted(&daemon, &owner, &netifs))).await
    }

    /// The interfaces that it has while it runs.
    pub(super) fn netifs(&self) -> Option<Netifs> {
        self.seen.lock().netifs.clone()
    }

    /// What interfaces it is to get, and what is written into the guest for them. Blocks.
    ///
    /// # Errors
    /// Why it can't get them.
    pub(super) fn plan_netifs(
        &self,
        daemon: &Daemon,
        pool: &Pool,
        config: &Config,
        mode: Mode,
    ) -> Result<(Planned, Vec<FileOp>), Error> {
        let wanted = self.wanted_netifs(daemon, config);
        let written = self.plan_network_files(pool, config, &wanted)?;
        let setup = match (mode, written.backend) {
            (Mode::Boot, Some(_)) => Setup::Guest,
            _ => Setup::Direct,
        };
        Ok((Planned { wanted, setup }, written.files))
    }

    /// What is written into the guest for its network, and what it will do with it. Notes what there
    /// will be of ours in it, so that it can be removed one day. Blocks.
    ///
    /// # Errors
    /// `Backend` when that can't be noted.
    pub(super) fn plan_network_files(
        &self,
        pool: &Pool,
        config: &Config,
        wanted: &[Wanted],
    ) -> Result<guest::Plan, Error> {
        let mut state = pool.load_net_state(&self.id)?;
        // An image that it runs from has none of what was written into its own files.
        let of_image = config.runs_image();
        if of_image {
            state.value.files.clear();
        }
        if wanted.is_empty() && state.value == NetState::default() {
            return Ok(guest::Plan {
                backend: None,
                files: Vec::new(),
                written: Vec::new(),
            });
        }
        let tree = Tree::open(&self.mounted_rootfs(pool)?)
            .map_err(|e| Error::backend("cannot open the root file system", e))?;
        let netifs: Vec<guest::Netif> = wanted.iter().map(guest::Netif::from).collect();
        let plan = guest::plan(
            &tree,
            &guest::Wish {
                distribution: &config.distribution,
                netifs: &netifs,
                resolvers: &config.dns_resolvers,
                previously_written: &state.value.files,
            },
        );
        let mut value = state.value.clone();
        value.files.clone_from(&plan.written);
        // Another interface of the name of one that was deleted is counted anew.
        value.retain(|name| wanted.iter().any(|w| w.name == *name));
        if value != state.value && !of_image {
            state.value = value;
            pool.save_net_state(&self.id, &mut state)?;
        }
        Ok(plan)
    }

    /// Does for its interfaces what can be done before there is a namespace.
    ///
    /// # Errors
    /// What could not be done.
    pub(super) async fn prepare_netifs(
        &self,
        daemon: &Arc<Daemon>,
        planned: &Planned,
    ) -> Result<(), Error> {
        if planned.is_empty() {
            return Ok(());
        }
        let (network, wanted) = (Arc::clone(daemon), planned.wanted.clone());
        let on_bridge = self.is_on_bridge(daemon);
        blocking(move || {
            if on_bridge {
                network.ensure_bridge()?;
            }
            network.network.prepare(&wanted)
        })
        .await
    }

    /// Makes its interfaces in the namespace of a container whose init waits. What is made is
    /// removed by [`Container::take_down_netifs`], also when this fails.
    ///
    /// # Errors
    /// What could not be made.
    pub(super) async fn bring_up_netifs(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        Planned { wanted, setup }: &Planned,
        netns: OwnedFd,
    ) -> Result<(), Error> {
        let netns = Arc::new(netns);
        self.seen.lock().netifs = Some(Netifs {
            netns: Arc::clone(&netns),
            wanted: wanted.clone(),
        });
        let (network, wanted_too, setup) = (Arc::clone(daemon), wanted.clone(), *setup);
        blocking(move || network.network.attach(&wanted_too, setup, netns.as_fd())).await?;
        failpoint!("netif.attached");
        self.tell_netifs(daemon, wanted, Became::Up);
        Ok(())
    }

    /// Recognises the interfaces of a container that ran before this daemon did; they are looked
    /// after by [`ensure_all_netifs`] once those of all containers are known.
    ///
    /// # Errors
    /// `Internal`.
    pub(super) async fn adopt_netifs(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        netns: OwnedFd,
    ) -> Result<(), Error> {
        let (this, task_daemon) = (Arc::clone(self), Arc::clone(daemon));
        let wanted = blocking(move || {
            let config = this.config();
            if let Err(e) = this.apply_firewall(&task_daemon, &config.firewall) {
                tracing::error!(container = %this.label(), error = %e.chain(), "its firewall can't be applied");
            }
            Ok(this.wanted_netifs(&task_daemon, &config))
        });
        let wanted = wanted.await?;
        if !wanted.is_empty() {
            daemon.network.adopt(&wanted);
            let netns = Arc::new(netns);
            self.seen.lock().netifs = Some(Netifs { netns, wanted });
        }
        Ok(())
    }

    async fn ensure_netifs(&self, daemon: &Arc<Daemon>) {
        let Some(netifs) = self.netifs() else {
            return;
        };
        let daemon = Arc::clone(daemon);
        let ensured = blocking(move || daemon.network.ensure(&netifs.wanted, netifs.netns.as_fd()));
        if let Err(e) = ensured.await {
            let error = e.chain();
            tracing::error!(container = %self.label(), %error, "its network is not as it should be");
        }
    }

    /// Counts and removes its interfaces: what ran behind them has ended, or is about to.
    ///
    /// # Errors
    /// What could not be removed.
    pub(super) async fn take_down_netifs(&self, daemon: &Arc<Daemon>) -> Result<(), Error> {
        // Whoever changes them finds none from here on.
        let known = self.seen.lock().netifs.take();
        let wanted = match &known {
            Some(netifs) => netifs.wanted.clone(),
            // Of a run that nobody saw the end of.
            None => self.ask_wanted(daemon, &self.config()).await?,
        };
        if wanted.is_empty() {
            return Ok(());
        }
        self.keep_traffic(daemon, &wanted).await;
        let (network, gone) = (Arc::clone(daemon), wanted.clone());
        blocking(move || network.network.detach(&gone)).await?;
        failpoint!("netif.detached");
        if known.is_some() {
            self.tell_netifs(daemon, &wanted, Became::Down);
        }
        Ok(())
    }

    /// Tells who listens what became of links.
    pub(super) fn tell_netifs<'w>(
        &self,
        daemon: &Daemon,
        netifs: impl IntoIterator<Item = &'w Wanted>,
        became: Became,
    ) {
        for netif in netifs {
            let change = match became {
                Became::Up => NetifChange::Up(&netif.host_name),
                Became::Down => NetifChange::Down(&netif.host_name),
            };
            daemon
                .events
                .netif(&self.pool, &self.id, &netif.name, change);
        }
    }

    /// Notes what its interfaces have counted so far. That it can't be kept stops nothing.
    pub(super) async fn keep_traffic(&self, daemon: &Arc<Daemon>, netifs: &[Wanted]) {
        let Ok((_daemon, pool)) = self.home() else {
            return;
        };
        let (daemon, id, netifs) = (Arc::clone(daemon), self.id.clone(), netifs.to_vec());
        let kept = blocking(move || {
            let before = pool.load_net_state(&id)?;
            let mut traffic = counted(&daemon, before.clone(), &netifs)?;
            if traffic.value == before.value {
                return Ok(());
            }
            pool.save_net_state(&id, &mut traffic)
        });
        if let Err(e) = kept.await {
            tracing::warn!(container = %self.label(), error = %e.chain(), "traffic is not counted");
        }
    }

    /// What was counted for an interface follows it to its new name.
    pub(super) async fn rename_traffic(&self, old: &IfName, new: &IfName) {
        let Ok((_daemon, pool)) = self.home() else {
            return;
        };
        let (id, old, new) = (self.id.clone(), old.clone(), new.clone());
        let kept = blocking(move || {
            let mut traffic = pool.load_net_state(&id)?;
            traffic.value.rename(&old, &new);
            pool.save_net_state(&id, &mut traffic)
        });
        if let Err(e) = kept.await {
            tracing::warn!(container = %self.label(), error = %e.chain(), "traffic is counted anew");
        }
    }

    /// What went through its interfaces so far, by their names. Blocks.
    ///
    /// # Errors
    /// `Unavailable` while its pool is going away; `Backend`.
    pub fn traffic(&self, daemon: &Daemon) -> Result<BTreeMap<IfName, Count>, Error> {
        let (_daemon, pool) = self.home()?;
        let wanted = self.netifs().map(|n| n.wanted).unwrap_or_default();
        let traffic = counted(daemon, pool.load_net_state(&self.id)?, &wanted)?;
        Ok(traffic.value.totals())
    }
}

/// What is wanted of interfaces.
fn wanted(daemon: &Daemon, owner: &Owner, netifs: &[netif::Netif]) -> Vec<Wanted> {
    let wanted = |netif: &netif::Netif| {
        let bridge = netif.bridge().map(|b| daemon.bridge_facts(&b.link));
        netif.wanted(&daemon.network.root, owner, &bridge.unwrap_or_default())
    };
    netifs.iter().map(wanted).collect()
}

/// What was counted before, with what links count now.
fn counted(
    daemon: &Daemon,
    mut traffic: Stored<NetState>,
    netifs: &[Wanted],
) -> Result<Stored<NetState>, Error> {
    for (name, counted) in daemon.network.count(netifs)? {
        let (index, count) = (counted.index, counted.counters.into());
        traffic.value.note(&name, Seen { index, count });
    }
    Ok(traffic)
}

/// Filters the interfaces of all containers that were found running: in one step, so that none of
/// them is unfiltered for a moment.
pub async fn filter_adopted(daemon: &Arc<Daemon>) {
    let network = Arc::clone(daemon);
    if let Err(e) = blocking(move || network.network.refilter()).await {
        tracing::error!(error = %e.chain(), "the filters of containers that run stay as they were");
    }
}

/// Makes sure that the containers of a pool that were found running have their interfaces.
pub async fn ensure_all_netifs(daemon: &Arc<Daemon>, pool: &Pool) {
    let mut ensuring = tokio::task::JoinSet::new();
    for container in pool.containers() {
        if container.netifs().is_some() {
            let daemon = Arc::clone(daemon);
            ensuring.spawn(async move { container.ensure_netifs(&daemon).await });
        }
    }
    while ensuring.join_next().await.is_some() {}
}

/// Keeps what the interfaces of all containers have counted, for a daemon that ends: of those that
/// end before there is another one, more is not known.
pub async fn keep_all_traffic(daemon: &Arc<Daemon>) {
    let mut keeping = tokio::task::JoinSet::new();
    for container in daemon.containers() {
        let Some(netifs) = container.netifs() else {
            continue;
        };
        let daemon = Arc::clone(daemon);
        keeping.spawn(async move { container.keep_traffic(&daemon, &netifs.wanted).await });
    }
    while keeping.join_next().await.is_some() {}
}
