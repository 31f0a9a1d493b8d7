//! All that an interface takes, in the right order: what may go through it is known before it is
//! up, and it is down before that is forgotten.
//!
//! It remembers which interfaces there should be, so that one that vanishes is told from one that
//! was removed.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use ipnet::IpNet;
use osctl_api::net::{IfName, Network as Prefix};

use super::filter::{Filtered, Filters, Others};
use super::firewall::Firewall;
use super::inside;
use super::link::{Ensured, Host, Ours};
use super::stats::Counters;
use super::{Attachment, Link, Owner, Wanted, message, setting};
use crate::error::{Error, Result, chain};
use crate::failpoint;
use crate::sync::Mutex;

/// Who gives an interface its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The guest, from its own files.
    Guest,
    /// We do, before init runs.
    Direct,
}

/// The network of the containers of one daemon. All of it blocks.
#[derive(Debug)]
pub struct Network {
    /// Name of the daemon's cgroup, which tells its interfaces from those of other daemons.
    pub root: String,
    host: Host,
    /// Or why there can't be any.
    filters: std::result::Result<Filters, String>,
    forwards: AtomicBool,
    there: Mutex<HashMap<IfName, Wanted>>,
    firewalls: Mutex<HashMap<Owner, Firewall>>,
}

/// What a link has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Index of the host's end, which tells links apart.
    pub index: u32,
    /// As the container sees it.
    pub counters: Counters,
}

pub(super) fn failed(e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::backend("the network of the container can't be made", e)
}

impl Network {
    /// The network of the calling thread's namespace.
    ///
    /// # Errors
    /// `Backend` when the kernel can't be asked.
    pub fn open(root: &str) -> Result<Network> {
        let unusable = |e| Error::backend("cannot use the network of this host", e);
        Ok(Network {
            root: root.to_owned(),
            host: Host::open(root).map_err(unusable)?,
            filters: Filters::open(root).map_err(|e| chain(&e)),
            forwards: AtomicBool::new(false),
            there: Mutex::default(),
            firewalls: Mutex::default(),
        })
    }

    /// The host's side of the links.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What goes through the links.
    ///
    /// # Errors
    /// `Backend` on a host that can't filter: no container gets an interface there.
    pub fn filters(&self) -> Result<&Filters> {
        let cannot = |why: &String| Error::backend("this host can't filter", why.clone());
        self.filters.as_ref().map_err(cannot)
    }

    /// Gives a container a firewall, or none: at once on the interfaces that it has, and on those
    /// that it gets.
    ///
    /// # Errors
    /// What the kernel refuses; then it is as it was.
    pub fn set_firewall(&self, owner: &Owner, firewall: Option<Firewall>) -> Result<()> {
        let there: Vec<Wanted> = {
            let there = self.there.lock();
            let own = there.values().filter(|w| w.owner == *owner);
            own.cloned().collect()
        };
        let put = |firewall: Option<Firewall>| {
            let mut all = self.firewalls.lock();
            match firewall {
                Some(firewall) => all.insert(owner.clone(), firewall),
                None => all.remove(owner),
            }
        };
        let before = put(firewall);
        let filtered = self.filter(&there);
        if filtered.is_err() {
            put(before);
            if let Err(e) = self.filter(&there) {
                tracing::error!(container = %owner, error = %e.chain(), "its firewall is not what it was");
            }
        }
        filtered
    }

    /// Makes a named set of addresses, which firewalls use, what it is wanted to be; without
    /// addresses (which is not the same as with none) there is none of that name.
    ///
    /// # Errors
    /// `Backend` when the kernel refuses it, also when a firewall uses one that goes.
    pub fn put_address_set(&self, name: &str, addresses: Option<&[Prefix]>) -> Result<()> {
        let Ok(filters) = &self.filters else {
            return Ok(());
        };
        let put = match addresses {
            Some(addresses) => filters.set(name, addresses),
            None => filters.remove_set(name),
        };
        put.map_err(|e| Error::backend("the set of addresses can't be changed", e))
    }

    /// Does what can be done before the container's namespace is there: says what may go through
    /// its interfaces. After an error, or when it is not to be, [`Network::detach`] takes it back.
    ///
    /// # Errors
    /// What could not be done.
    pub fn prepare(&self, netifs: &[Wanted]) -> Result<()> {
        self.expect(netifs);
        self.filter(netifs)?;
        failpoint!("netif.filtered");
        Ok(())
    }

    /// Makes interfaces that were prepared, in the namespace of a container. After an error
    /// [`Network::detach`] removes what was made.
    ///
    /// # Errors
    /// What could not be made.
    pub fn attach(&self, netifs: &[Wanted], setup: Setup, netns: BorrowedFd<'_>) -> Result<()> {
        for wanted in netifs {
            let made = self.host.create(wanted, netns).map_err(failed)?;
            failpoint!("netif.linked");
            if setup == Setup::Direct {
                inside::configure(netns, made.inside_index, wanted).map_err(failed)?;
            }
            self.host.raise(wanted).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes note of the interfaces of a container that runs already; [`Network::refilter`] comes
    /// next, once they are all known, and [`Network::ensure`] after it.
    pub fn adopt(&self, netifs: &[Wanted]) {
        self.expect(netifs);
    }

    /// Makes the filters exactly those of the interfaces that are known, all at once.
    ///
    /// # Errors
    /// `Backend` when the kernel refuses them; then they are as they were.
    pub fn refilter(&self) -> Result<()> {
        if self.filters.is_err() && self.there.lock().is_empty() {
            return Ok(());
        }
        let all = || {
            let firewalls = self.firewalls.lock();
            let there = self.there.lock();
            let filtered = |wanted: &Wanted| Filtered {
                wanted: wanted.clone(),
                firewall: firewalls.get(&wanted.owner).cloned(),
            };
            there.values().map(filtered).collect()
        };
        let others = match self.strangers()?.as_slice() {
            [] => Others::Go,
            strangers => {
                let names = strangers.join(", ");
                tracing::warn!("not looked after, and filtered as before: {names}");
                Others::Stay
            }
        };
        self.filters()?.rebuild(others, all).map_err(failed)
    }

    /// The interfaces with our mark whose containers are not known, because their pool or their
    /// configuration can't be read: they may run.
    fn strangers(&self) -> Result<Vec<String>> {
        let ours = self.host.list_ours().map_err(failed)?;
        let there = self.there.lock();
        let unknown = ours
            .iter()
            .filter(|o| o.index.is_some() && !there.contains_key(&o.host_name));
        Ok(unknown
            .map(|o| format!("{} {}", o.owner, o.netif))
            .collect())
    }

    /// Makes the filters again what they were, when somebody else has changed them.
    ///
    /// # Errors
    /// `Backend` when the kernel refuses them.
    pub fn restore_filters(&self) -> Result<()> {
        self.filters()?.restore().map_err(failed)
    }

    /// Forgets the firewalls of a pool's containers, which are looked after no more.
    pub fn forget_firewalls(&self, pool: &str) {
        self.firewalls.lock().retain(|owner, _| owner.pool != pool);
    }

    /// Makes sure that a running container has its interfaces, which are filtered already. Nothing
    /// is interrupted that is as it should be; what is missing is made and configured.
    ///
    /// # Errors
    /// What could not be made; the rest was tried.
    pub fn ensure(&self, netifs: &[Wanted], netns: BorrowedFd<'_>) -> Result<()> {
        let mut result = self.forward(netifs);
        for wanted in netifs {
            let done = self.restore(wanted, netns).map(|was_gone| {
                if was_gone {
                    let whose = format!("{} {}", wanted.owner, wanted.name);
                    tracing::warn!("{whose} was gone: it is made again");
                }
            });
            result = result.and(done);
        }
        result
    }

    /// Makes sure that a running container has an interface; says whether it had to be made.
    ///
    /// # Errors
    /// What could not be made.
    pub fn restore(&self, wanted: &Wanted, netns: BorrowedFd<'_>) -> Result<bool> {
        match self.host.ensure(wanted, netns).map_err(failed)? {
            Ensured::Kept(_) => Ok(false),
            Ensured::Created(made) => {
                inside::configure(netns, made.inside_index, wanted).map_err(failed)?;
                Ok(true)
            }
        }
    }

    /// Removes interfaces; those that are not there are fine.
    ///
    /// # Errors
    /// What could not be removed; the rest was tried.
    pub fn detach(&self, netifs: &[Wanted]) -> Result<()> {
        let mut result = Ok(());
        let mut gone = Vec::new();
        for wanted in netifs {
            // First, so that it is not brought back.
            self.forget(&wanted.host_name);
            match self.host.delete(&wanted.host_name) {
                Ok(_) => gone.push(wanted.clone()),
                // As long as it is there, it is filtered.
                Err(e) => {
                    self.expect(std::slice::from_ref(wanted));
                    result = result.and(Err(failed(e)));
                }
            }
        }
        failpoint!("netif.unlinked");
        result.and(self.unfilter(&gone))
    }

    /// What links count, by the name of the interface; those that are not there are left out.
    ///
    /// # Errors
    /// `Backend` when the kernel can't be asked.
    pub fn count(&self, netifs: &[Wanted]) -> Result<Vec<(IfName, Counted)>> {
        let mut counted = Vec::new();
        for wanted in netifs {
            let link = message::named(wanted.host_name.as_str());
            let found = self.host.link_with(link).map_err(failed)?;
            counted.extend(found.map(|link| {
                let (index, counters) = (link.index, link.counters.from_the_other_end());
                (wanted.name.clone(), Counted { index, counters })
            }));
        }
        Ok(counted)
    }

    /// The addresses of an interface of the host; none when it is not there.
    pub fn addresses_of(&self, name: &IfName) -> Vec<IpNet> {
        let found = self.host.link(name.as_str()).ok().flatten();
        let all = |link: Link| message::addresses_of(&mut self.host.lock(), link.index).ok();
        found.and_then(all).unwrap_or_default()
    }

    /// Removes what has our mark and belongs to a container of `pool`, unless it is wanted.
    ///
    /// # Errors
    /// What could not be removed; the rest was tried.
    pub fn sweep(&self, pool: &str, is_wanted: impl Fn(&Ours) -> bool) -> Result<()> {
        let mut result = Ok(());
        for ours in self.host.list_ours().map_err(failed)? {
            if ours.owner.pool != pool || is_wanted(&ours) {
                continue;
            }
            tracing::warn!(link = %ours.host_name, container = %ours.owner, "removing a link that nobody wants");
            let deleted = self.host.delete(&ours.host_name).map(drop);
            result = result.and(deleted.map_err(failed));
        }
        result
    }

    /// Whether there should be a host's end of this name.
    pub fn is_expected(&self, host_name: &IfName) -> bool {
        self.there.lock().contains_key(host_name)
    }

    /// Whether a container should have interfaces now.
    pub fn has(&self, owner: &Owner) -> bool {
        self.there.lock().values().any(|w| w.owner == *owner)
    }

    /// The interfaces that there should be.
    pub fn there(&self) -> Vec<Wanted> {
        self.there.lock().values().cloned().collect()
    }

    /// Forgets an interface that is gone, with its container, which nobody looks after.
    ///
    /// # Errors
    /// What could not be removed of it.
    pub fn let_go(&self, host_name: &IfName) -> Result<()> {
        let gone = self.there.lock().get(host_name).cloned();
        gone.map_or(Ok(()), |gone| self.detach(&[gone]))
    }

    /// All host's ends that there should be, and whose they are.
    pub fn all_expected(&self) -> Vec<(IfName, Owner)> {
        let there = self.there.lock();
        let both = there.iter().map(|(n, w)| (n.clone(), w.owner.clone()));
        both.collect()
    }

    pub(super) fn filter(&self, netifs: &[Wanted]) -> Result<()> {
        self.forward(netifs)?;
        for wanted in netifs {
            let firewall = self.firewalls.lock().get(&wanted.owner).cloned();
            let added = self.filters()?.add(wanted, firewall.as_ref());
            added.map_err(failed)?;
        }
        Ok(())
    }

    /// Lets the host pass packets on, where that takes it.
    fn forward(&self, netifs: &[Wanted]) -> Result<()> {
        if netifs
            .iter()
            .any(|w| matches!(w.attachment, Attachment::Routed { .. }))
            && !self.forwards.load(Ordering::Relaxed)
        {
            for change in setting::ensure_forwarding().map_err(failed)? {
                tracing::info!("routed interfaces need it: {change}");
            }
            self.forwards.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn unfilter(&self, netifs: &[Wanted]) -> Result<()> {
        let Ok(filters) = &self.filters else {
            return Ok(());
        };
        let mut result = Ok(());
        for wanted in netifs {
            let removed = filters.remove(&wanted.host_name);
            result = result.and(removed.map_err(failed));
        }
        result
    }

    /// It is not to be there any more.
    pub(super) fn forget(&self, host_name: &IfName) {
        self.there.lock().remove(host_name);
    }

    pub(super) fn expect(&self, netifs: &[Wanted]) {
        let mut there = self.there.lock();
        for wanted in netifs {
            there.insert(wanted.host_name.clone(), wanted.clone());
        }
    }
}
