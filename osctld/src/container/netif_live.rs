//! Changing the interfaces of a container that runs: links, filters, addresses, and the guest's own
//! files, so that they agree after its next boot too.

use std::os::fd::AsFd;
use std::sync::Arc;

use osctl_api::net::IfName;

use super::config::Config;
use super::netifs::{Became, Netifs};
use super::plan::Mode;
use super::{Container, Run, blocking};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::failpoint;
use crate::network::{Change, Wanted, changes};

impl Container {
    /// Makes the interfaces of a running container what a configuration wants. The caller holds it.
    ///
    /// After an error some steps have been taken: the same call with the configuration as it was
    /// takes them back.
    ///
    /// # Errors
    /// The step that failed.
    pub(super) async fn apply_netifs(
        self: &Arc<Self>,
        run: &Run,
        config: &Config,
    ) -> Result<(), Error> {
        let (daemon, _pool) = self.home()?;
        let after = self.ask_wanted(&daemon, config).await?;
        let has = match self.netifs() {
            Some(has) => has,
            None if after.is_empty() => return Ok(()),
            None => Netifs {
                netns: Arc::new(run.link.netns().await?),
                wanted: Vec::new(),
            },
        };
        let steps = changes(&has.wanted, &after);
        if steps.is_empty() {
            return Ok(());
        }
        {
            let mut seen = self.seen.lock();
            if seen.run.is_none() {
                return Err(self.has_ended());
            }
            seen.netifs.get_or_insert(has);
        }
        for step in steps {
            self.take_step(&daemon, step).await?;
            failpoint!("netif.changed");
        }
        if run.mode == Mode::Boot {
            let written = self.write_network_files(run).await;
            if let Err(e) = written {
                let error = e.chain();
                tracing::warn!(container = %self.label(), %error, "the guest's own files are written at its next start");
            }
        }
        Ok(())
    }

    /// Writes the guest's own files anew, for its next boot: what it has now was set by us.
    pub(super) async fn write_network_files(self: &Arc<Self>, run: &Run) -> Result<(), Error> {
        let (_daemon, pool) = self.home()?;
        let this = Arc::clone(self);
        let wanted = self.netifs().map(|n| n.wanted).unwrap_or_default();
        let plan =
            blocking(move || this.plan_network_files(&pool, &this.config().in_force(), &wanted));
        let files = plan.await?.files;
        if files.is_empty() {
            return Ok(());
        }
        self.write_files(&run.link, files).await
    }

    async fn take_step(self: &Arc<Self>, daemon: &Arc<Daemon>, step: Change) -> Result<(), Error> {
        let has = self.netifs().ok_or_else(|| self.has_ended())?;
        if let Change::Remove(netif) | Change::Rename { before: netif, .. } = &step {
            self.keep_traffic(daemon, std::slice::from_ref(netif)).await;
        }
        let (network, taken) = (Arc::clone(daemon), step.clone());
        let netns = Arc::clone(&has.netns);
        blocking(move || network.network.change(&taken, netns.as_fd())).await?;
        let goes_on = match &mut self.seen.lock().netifs {
            Some(has) => {
                note(&mut has.wanted, &step);
                true
            }
            None => false,
        };
        if !goes_on {
            // It ended meanwhile: what was removed then is not what there is now.
            if let Some(left) = step.after().cloned() {
                let network = Arc::clone(daemon);
                blocking(move || network.network.detach(&[left])).await?;
            }
            return Err(self.has_ended());
        }
        match &step {
            Change::Remove(w) => self.tell_netifs(daemon, [w], Became::Down),
            Change::Add(w) => self.tell_netifs(daemon, [w], Became::Up),
            Change::Rename { before, after } => {
                self.rename_traffic(&before.name, &after.name).await;
                self.tell_netifs(daemon, [before], Became::Down);
                self.tell_netifs(daemon, [after], Became::Up);
            }
            Change::Update { .. } => {}
        }
        Ok(())
    }

    fn has_ended(&self) -> Error {
        Error::state(format!("container {} has ended", self.label()))
    }

    /// Brings back an interface whose link somebody removed while its container goes on; by the
    /// name of the host's end.
    pub async fn restore_netif(self: &Arc<Self>, daemon: &Arc<Daemon>, host_name: &IfName) {
        let Ok(_hold) = self.hold_power_wait("netif restore").await else {
            return;
        };
        let (Some(run), Some(has)) = (self.run(), self.netifs()) else {
            return;
        };
        let lost = has.wanted.iter().find(|w| w.host_name == *host_name);
        // It was removed on purpose meanwhile, or went with the container.
        let Some(lost) = lost.filter(|_| daemon.network.is_expected(host_name)) else {
            return;
        };
        if run.link.status().await.is_err() {
            return;
        }
        let (network, again) = (Arc::clone(daemon), lost.clone());
        let netns = Arc::clone(&has.netns);
        match blocking(move || network.network.restore(&again, netns.as_fd())).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!(container = %self.label(), netif = %lost.name, "somebody removed its link: it was made again");
                self.tell_netifs(daemon, [lost], Became::Down);
                self.tell_netifs(daemon, [lost], Became::Up);
            }
            Err(e) => {
                let error = e.chain();
                tracing::error!(container = %self.label(), netif = %lost.name, %error, "somebody removed its link, which can't be made again");
                self.tell_netifs(daemon, [lost], Became::Down);
            }
        }
    }
}

/// What there is after a step.
fn note(wanted: &mut Vec<Wanted>, step: &Change) {
    let (gone, new) = (step.before(), step.after());
    let at = gone.and_then(|gone| wanted.iter().position(|w| w.name == gone.name));
    match (at, new) {
        (Some(at), Some(new)) => wanted[at] = new.clone(),
        (Some(at), None) => drop(wanted.remove(at)),
        (None, Some(new)) => wanted.push(new.clone()),
        (None, None) => {}
    }
}
