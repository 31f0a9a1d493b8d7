//! Changing the network interfaces of a container: claimed, kept, then applied to what runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use osctl_api::net::{IfName, Network};

use super::config::Config;
use super::netif::{self, BridgeFacts, Managed, Netif};
use super::verdict::Request;
use super::{Container, Run, blocking};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::events::NetifChange;
use crate::network::book::{Claim, Conflict};
use crate::network::{Gateways, Owner};

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Error {
        Error::exists(conflict.to_string())
    }
}

impl Daemon {
    /// The networks of the default bridge, if that is it.
    fn managed_bridge(&self, link: &IfName) -> Option<Managed> {
        if !self.bridge.is(link) {
            return None;
        }
        let networks = self.bridge.networks(self.network.host());
        match networks {
            Ok(networks) => Some(Managed {
                v4: networks.v4,
                v6: networks.v6,
            }),
            Err(e) => {
                tracing::error!("the default bridge has no networks: {}", e.chain());
                None
            }
        }
    }

    /// Tells the default bridge of a change, if it is about it.
    pub(super) async fn update_bridge_later(self: &Arc<Self>, before: &[Netif], after: &[Netif]) {
        let on = |n: &&Netif| n.bridge().is_some_and(|b| self.bridge.is(&b.link));
        if before.iter().filter(on).eq(after.iter().filter(on)) {
            return;
        }
        let daemon = Arc::clone(self);
        let updated = blocking(move || {
            daemon.update_bridge();
            Ok(())
        });
        // It says itself what it could not do.
        drop(updated.await);
    }

    /// What a bridge of this host is like. Blocks.
    pub fn bridge_facts(&self, link: &IfName) -> BridgeFacts {
        if let Some(managed) = self.managed_bridge(link) {
            let gateways = Gateways {
                v4: match managed.v4.ip() {
                    IpAddr::V4(ip) => Some(ip),
                    IpAddr::V6(_) => None,
                },
                v6: match managed.v6.ip() {
                    IpAddr::V6(ip) => Some(ip),
                    IpAddr::V4(_) => None,
                },
            };
            return BridgeFacts {
                gateways,
                managed: Some(managed),
            };
        }
        let addresses = self.network.addresses_of(link);
        let first_v6 = |wanted: fn(&Ipv6Addr) -> bool| {
            addresses.iter().find_map(|net| match net.addr() {
                IpAddr::V6(ip) => wanted(&ip).then_some(ip),
                IpAddr::V4(_) => None,
            })
        };
        let global = first_v6(|ip| !ip.is_unicast_link_local());
        BridgeFacts {
            gateways: Gateways {
                v4: addresses.iter().find_map(|net| match net.addr() {
                    IpAddr::V4(ip) => Some(ip),
                    IpAddr::V6(_) => None,
                }),
                v6: global.or_else(|| first_v6(Ipv6Addr::is_unicast_link_local)),
            },
            managed: None,
        }
    }
}

impl Container {
    /// Whose its interfaces are.
    pub fn owner(&self) -> Owner {
        Owner {
            pool: self.pool.to_string(),
            container: self.id.to_string(),
        }
    }

    /// Whether it has an interface on the default bridge.
    pub fn is_on_bridge(&self, daemon: &Daemon) -> bool {
        let config = self.config();
        let mut bridges = config.netifs.iter().filter_map(Netif::bridge);
        bridges.any(|b| daemon.bridge.is(&b.link))
    }

    /// Claims all addresses of its interfaces, also again.
    ///
    /// # Errors
    /// `AlreadyExists` when another container has one of them.
    pub(super) fn claim_addresses(&self, daemon: &Daemon) -> Result<(), Error> {
        let owner = self.owner();
        let claims = claims(daemon, &owner, &self.config().netifs);
        Ok(daemon.book.claim(&owner, claims)?)
    }

    /// Claims the addresses of those of its interfaces that share none with another container, of
    /// a container that was loaded. Says what is not claimed.
    pub(super) fn claim_possible(&self, daemon: &Daemon) -> Vec<Conflict> {
        let owner = self.owner();
        let claims = claims(daemon, &owner, &self.config().netifs);
        daemon.book.claim_possible(&owner, claims)
    }

    /// Changes its interfaces by `change`, keeps them, and applies that to what runs.
    ///
    /// # Errors
    /// Those of `change`; `InvalidArgument`; `AlreadyExists` when another container has an address;
    /// `Backend`. Then all is as it was.
    pub async fn change_netifs(
        self: &Arc<Self>,
        operation: &'static str,
        change: impl FnOnce(&mut Config) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.judge(Request::Configure, "configure")?;
        let _hold = self.hold(operation)?;
        let (daemon, _pool) = self.home()?;
        let changed = self.change_held(&daemon, change).await;
        // Until here it had the addresses of before and after: nobody gets what it may go back to.
        self.claim_possible(&daemon);
        changed
    }

    async fn change_held(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        change: impl FnOnce(&mut Config) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (before, after) = self.keep_netifs(daemon, change).await?;
        if let Some(run) = self.run()
            && let Err(error) = self.apply_with_bridge(daemon, &run, &after).await
        {
            let error = self.undo_netifs(daemon, &run, &before, error).await;
            // It may have been made for what is not to be.
            daemon
                .update_bridge_later(&after.netifs, &self.config().netifs)
                .await;
            return Err(error);
        }
        self.tell_changes(daemon, &before.netifs, &after.netifs);
        daemon
            .update_bridge_later(&before.netifs, &after.netifs)
            .await;
        Ok(())
    }

    /// Applies a configuration to what runs, on the default bridge if it says so.
    async fn apply_with_bridge(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        run: &Run,
        config: &Config,
    ) -> Result<(), Error> {
        if self.is_on_bridge(daemon) {
            let daemon = Arc::clone(daemon);
            blocking(move || daemon.ensure_bridge()).await?;
        }
        self.apply_netifs(run, config).await
    }

    /// Goes back to `before`, since what runs could not be changed.
    async fn undo_netifs(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        run: &Run,
        before: &Arc<Config>,
        error: Error,
    ) -> Error {
        let back = |config: &mut Config| {
            config.netifs.clone_from(&before.netifs);
            Ok(())
        };
        let undone = match self.keep_netifs(daemon, back).await {
            Ok((_, now)) => self.apply_netifs(run, &now).await,
            Err(e) => Err(e),
        };
        match undone {
            Ok(()) => error,
            Err(e) => {
                let cause = e.chain();
                tracing::error!(container = %self.label(), %cause, "its network is half changed");
                error.hint("its network may be half changed: restart the container")
            }
        }
    }

    /// Changes the configuration, with the addresses claimed first beside those it had.
    async fn keep_netifs(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        change: impl FnOnce(&mut Config) -> Result<(), Error>,
    ) -> Result<(Arc<Config>, Arc<Config>), Error> {
        let owner = self.owner();
        self.reconfigure(|config| {
            change(config)?;
            lease_addresses(daemon, &owner, &mut config.netifs)?;
            netif::check_all(&config.netifs)?;
            let claims = claims(daemon, &owner, &config.netifs);
            Ok(daemon.book.claim_more(&owner, claims)?)
        })
        .await
    }

    /// Gives it addresses of the default bridge as that is now: what the daemon is told of it may be
    /// something else than when they were given.
    ///
    /// # Errors
    /// As [`Container::change_netifs`].
    pub(super) async fn renew_leases(self: &Arc<Self>, daemon: &Arc<Daemon>) -> Result<(), Error> {
        if self.is_on_bridge(daemon) {
            self.keep_netifs(daemon, |_| Ok(())).await?;
        }
        Ok(())
    }

    fn tell_changes(&self, daemon: &Daemon, before: &[Netif], after: &[Netif]) {
        let tell = |name: &IfName, change| daemon.events.netif(&self.pool, &self.id, name, change);
        let missing =
            |netif: &&Netif, others: &[Netif]| others.iter().all(|o| o.name != netif.name);
        let gone: Vec<&Netif> = before.iter().filter(|n| missing(n, after)).collect();
        let new: Vec<&Netif> = after.iter().filter(|n| missing(n, before)).collect();
        if let ([old], [now]) = (gone.as_slice(), new.as_slice())
            && old.hwaddr == now.hwaddr
        {
            tell(&old.name, NetifChange::Rename(&now.name));
            return;
        }
        for netif in gone {
            tell(&netif.name, NetifChange::Remove);
        }
        for netif in new {
            tell(&netif.name, NetifChange::Add);
        }
    }
}

/// What the interfaces of a container claim.
fn claims(daemon: &Daemon, owner: &Owner, netifs: &[Netif]) -> Vec<Claim> {
    let claim = |netif: &Netif| {
        let managed = netif.bridge().and_then(|b| daemon.managed_bridge(&b.link));
        let facts = BridgeFacts {
            managed,
            ..BridgeFacts::default()
        };
        let wanted = netif.wanted(&daemon.network.root, owner, &facts);
        let networks: Vec<Network> = wanted.own_networks();
        Claim {
            netif: netif.name.clone(),
            networks,
            port: netif.bridge().map(|b| (b.link.clone(), netif.hwaddr)),
        }
    };
    netifs.iter().map(claim).collect()
}

/// Chooses addresses for interfaces that ask for them on the default bridge.
fn lease_addresses(daemon: &Daemon, owner: &Owner, netifs: &mut [Netif]) -> Result<(), Error> {
    for netif in netifs {
        let name = netif.name.clone();
        let netif::Link::Bridge(bridged) = &mut netif.link else {
            continue;
        };
        let Some(managed) = daemon.managed_bridge(&bridged.link) else {
            bridged.lease = None;
            continue;
        };
        let own = [managed.v4.ip(), managed.v6.ip()];
        if let Some(own) = netif.addresses.iter().find(|a| own.contains(&a.ip())) {
            let (ip, link) = (own.ip(), &bridged.link);
            let message = format!("interface {name}: {ip} is the address of bridge {link} itself");
            return Err(Error::invalid(message));
        }
        let ipnet::IpNet::V4(subnet) = managed.v4.net() else {
            continue;
        };
        let fits = |ip: Ipv4Addr| subnet.contains(&ip);
        if bridged.dhcp && !bridged.lease.is_some_and(fits) {
            let free = daemon.book.free_address(subnet, owner, &name);
            bridged.lease = Some(free.ok_or_else(|| {
                Error::state(format!("bridge {} has no free address left", bridged.link))
            })?);
        }
    }
    Ok(())
}
