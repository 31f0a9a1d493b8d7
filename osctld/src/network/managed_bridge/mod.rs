//! The default bridge: a private network for containers that asks nothing of the host's own.
//!
//! It owns the bridge itself, its addresses, the translation of addresses, and dnsmasq on it. It
//! does not know containers: whoever does says which interfaces there are ([`Client`]).

mod bridge_link;
mod config;
mod dnsmasq;
mod subnet;

use std::path::PathBuf;

use ipnet::IpNet;
use osctl_api::net::{Address, IfName};

pub use config::Client;
pub use dnsmasq::{Running, Service};
pub use subnet::Networks;

use self::bridge_link::Removed;
use self::dnsmasq::Dnsmasq;
use super::link::Host;
use super::nat::Nat;
use super::netlink;
use crate::error::{Error, Result, chain};
use crate::store::{Document, Objects, Stored};
use crate::sync::Mutex;

/// Key of the document in the state directory.
const KEY: &str = "bridge";

/// What the daemon's configuration says of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name; there is none when this is absent.
    pub name: Option<IfName>,
    /// Its IPv4 address; one that is free when absent.
    pub v4: Option<Address>,
    /// Its IPv6 address; a random local one when absent.
    pub v6: Option<Address>,
    /// Whether what leaves it gets the host's addresses.
    pub nat: bool,
    /// Domain of the names of containers.
    pub domain: String,
}

impl Document for Networks {
    const KIND: &'static str = "networks of the default bridge";
    const VERSION: u32 = 1;
}

/// The default bridge. All of it blocks.
#[derive(Debug)]
pub struct ManagedBridge {
    settings: Settings,
    /// Name of the daemon's cgroup, which marks the bridge as this daemon's.
    root: String,
    store: Objects<Networks>,
    dnsmasq: Dnsmasq,
    /// Translation of addresses, or why there can't be any.
    nat: std::result::Result<Nat, String>,
    /// Of its own, because who only wants to know them is not to wait for a change.
    networks: Mutex<Option<Networks>>,
    state: Mutex<State>,
    changing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    is_up: bool,
}

fn cannot(what: &str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::backend(format!("cannot {what} the default bridge"), e)
}

fn untranslated(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::backend("cannot translate addresses of the default bridge", e)
}

impl ManagedBridge {
    /// Of a daemon with these directories, in the network namespace of the calling thread; nothing
    /// is made yet.
    ///
    /// # Errors
    /// `Backend` when the state directory can't be used.
    pub fn open(
        settings: Settings,
        root: &str,
        state_dir: &std::path::Path,
        run_dir: PathBuf,
    ) -> Result<ManagedBridge> {
        Ok(ManagedBridge {
            nat: Nat::open(root).map_err(|e| chain(&e)),
            settings,
            root: root.to_owned(),
            store: Objects::open(state_dir).map_err(|e| cannot("read the networks of", e))?,
            dnsmasq: Dnsmasq::new(run_dir),
            networks: Mutex::default(),
            state: Mutex::default(),
            changing: Mutex::default(),
        })
    }

    /// Whether this is its name.
    pub fn is(&self, link: &IfName) -> bool {
        self.settings.name.as_ref() == Some(link)
    }

    /// Its networks: chosen once, then always the same.
    ///
    /// # Errors
    /// `Backend` when they can't be chosen or kept.
    pub fn networks(&self, host: &Host) -> Result<Networks> {
        let mut known = self.networks.lock();
        if let Some(networks) = *known {
            return Ok(networks);
        }
        let kept = self
            .store
            .load(KEY)
            .map_err(|e| cannot("read the networks of", e))?;
        let networks = match &kept {
            Some(kept) => self.configured(kept.value),
            None => self.choose(host)?,
        };
        if kept.as_ref().is_none_or(|k| k.value != networks) {
            let mut stored = kept.unwrap_or_else(|| Stored::new(networks));
            stored.value = networks;
            self.store
                .save(KEY, &mut stored)
                .map_err(|e| cannot("keep the networks of", e))?;
        }
        *known = Some(networks);
        Ok(networks)
    }

    fn configured(&self, kept: Networks) -> Networks {
        Networks {
            v4: self.settings.v4.unwrap_or(kept.v4),
            v6: self.settings.v6.unwrap_or(kept.v6),
        }
    }

    fn choose(&self, host: &Host) -> Result<Networks> {
        let used: Vec<IpNet> = bridge_link::used_networks(host).map_err(|e| cannot("place", e))?;
        let free = |chosen: Option<Address>| {
            chosen.ok_or_else(|| {
                Error::state("no private network is free for the default bridge")
                    .hint("set `bridge_ipv4` in the section [network] of the configuration")
            })
        };
        let v4 = match self.settings.v4 {
            Some(v4) => v4,
            None => free(subnet::choose_v4(&used))?,
        };
        let v6 = match self.settings.v6 {
            Some(v6) => v6,
            None => {
                let mut random = [0; 5];
                rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
                    .map_err(|e| cannot("choose the network of", e))?;
                free(subnet::make_v6(random))?
            }
        };
        Ok(Networks { v4, v6 })
    }

    /// Held from looking who is on it until that is so: else who looked first might come last.
    pub fn changing(&self) -> impl Drop + '_ {
        self.changing.lock()
    }

    /// Makes sure that it is there, with its addresses, and serves.
    ///
    /// # Errors
    /// `AlreadyExists` when somebody else has an interface of that name; `Backend`. That dnsmasq
    /// does not run is only logged: what containers need most works without.
    pub fn ensure(&self, host: &Host, clients: &[Client]) -> Result<()> {
        let Some(name) = &self.settings.name else {
            return Ok(());
        };
        let networks = self.networks(host)?;
        let mut state = self.state.lock();
        bridge_link::ensure(host, name, &self.mark(), &networks)?;
        for changed in super::setting::ensure_forwarding().map_err(|e| cannot("forward from", e))? {
            tracing::info!("the default bridge needs it: {changed}");
        }
        self.translate(name, &networks)?;
        state.is_up = true;
        let domain = &self.settings.domain;
        let addresses = (networks.v4, host.ipv6.then_some(networks.v6));
        if let Err(e) = self.dnsmasq.serve(name, addresses, domain, clients) {
            tracing::warn!("nothing answers on bridge {name}: {}", e.chain());
        }
        Ok(())
    }

    fn translate(&self, name: &IfName, networks: &Networks) -> Result<()> {
        match &self.nat {
            Ok(nat) if self.settings.nat => {
                let subnets = [networks.v4.network(), networks.v6.network()];
                nat.ensure(name, &subnets).map_err(untranslated)
            }
            // What an earlier daemon was told is not so any more.
            Ok(nat) => nat.remove().map_err(untranslated),
            Err(why) if self.settings.nat => Err(untranslated(why.clone())),
            Err(_) => Ok(()),
        }
    }

    /// Says who is on it now, when it is there.
    ///
    /// # Errors
    /// `Backend` when that can't be written.
    pub fn update(&self, clients: &[Client]) -> Result<()> {
        let state = self.state.lock();
        if !state.is_up {
            return Ok(());
        }
        self.dnsmasq.update(&self.settings.domain, clients)
    }

    /// Removes it, with all that goes with it, if it is this daemon's and nobody uses it.
    ///
    /// # Errors
    /// `Backend`; the rest was tried.
    pub fn remove(&self, host: &Host) -> Result<()> {
        let Some(name) = &self.settings.name else {
            return Ok(());
        };
        let mut state = self.state.lock();
        let removed = bridge_link::remove(host, name, &self.mark());
        if matches!(removed, Ok(Removed::Used)) {
            return Ok(());
        }
        state.is_up = false;
        removed.map(drop).and(self.end_services())
    }

    /// Removes what earlier daemons made under other names, unless it is used.
    ///
    /// # Errors
    /// `Backend`.
    pub fn remove_earlier(&self, host: &Host) -> Result<()> {
        let _state = self.state.lock();
        let name = self.settings.name.as_ref();
        match bridge_link::remove_others(host, name, &self.mark())? {
            // With another one they are told what is so now.
            Removed::Gone if name.is_none() => self.end_services(),
            _ => Ok(()),
        }
    }

    fn end_services(&self) -> Result<()> {
        let stopped = self.dnsmasq.stop();
        let nat = self.nat().map_or(Ok(()), Nat::remove);
        stopped.and(nat.map_err(untranslated))
    }

    /// Its translation of addresses, where the kernel can do that.
    pub fn nat(&self) -> Option<&Nat> {
        self.nat.as_ref().ok()
    }

    /// Makes the translation again what it was, when somebody else has changed it.
    ///
    /// # Errors
    /// `Backend`.
    pub fn restore_nat(&self) -> Result<()> {
        let restored = self.nat().map_or(Ok(()), Nat::restore);
        restored.map_err(untranslated)
    }

    /// What answers on it, to be watched.
    pub fn service(&self) -> tokio::sync::watch::Receiver<Service> {
        self.dnsmasq.service()
    }

    /// Notes that this dnsmasq has ended, unless there is another one by now; says what it said
    /// last.
    pub fn note_end(&self, ended: &Running) -> Option<String> {
        let _state = self.state.lock();
        self.dnsmasq.note_end(ended)
    }

    /// Starts dnsmasq again, which has ended or could not be started.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn revive(&self) -> Result<()> {
        let _state = self.state.lock();
        let failed = matches!(*self.dnsmasq.service().borrow(), Service::Failed);
        match failed {
            true => self.dnsmasq.revive(),
            false => Ok(()),
        }
    }

    /// Why nothing answers on it, if it is there.
    pub fn problem(&self) -> Option<String> {
        self.state.lock().is_up.then(|| self.dnsmasq.problem())?
    }

    fn mark(&self) -> String {
        format!("osctl/{}", self.root)
    }
}

impl From<netlink::Error> for Error {
    fn from(e: netlink::Error) -> Error {
        Error::backend("cannot change the network of this host", e)
    }
}
