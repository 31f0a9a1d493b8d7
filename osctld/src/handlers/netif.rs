//! Methods of network interfaces of containers.

use std::sync::Arc;

use osctl_api::daemon::Done;
use osctl_api::names::{Name, Ref};
use osctl_api::net::IfName;
use osctl_api::netif as api;

use super::{Context, Handle};
use crate::blocking::blocking;
use crate::container::Container;
use crate::container::netif::{KeepRoute, Netif, Routed};
use crate::error::{Error, Result};

/// The containers that are meant: one, or all of a pool, or all.
fn chosen(cx: &Context, id: Option<Ref>, pool: Option<&Name>) -> Result<Vec<Arc<Container>>> {
    match id {
        Some(id) => Ok(vec![cx.container(&id.on(pool))?]),
        None => {
            let all = cx.daemon.containers().into_iter();
            Ok(all.filter(|c| pool.is_none_or(|p| c.pool == *p)).collect())
        }
    }
}

/// Something of the interfaces of these containers, in order.
fn rows<T>(
    containers: &[Arc<Container>],
    name: Option<&IfName>,
    of: impl Fn(&Container, &Netif) -> Vec<T>,
) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    for container in containers {
        let config = container.config();
        if let (Some(name), [_]) = (name, containers)
            && config.netifs.iter().all(|n| n.name != *name)
        {
            return Err(Error::not_found(format!(
                "container {} has no interface {name}",
                container.label()
            )));
        }
        let meant = config
            .netifs
            .iter()
            .filter(|n| name.is_none_or(|m| n.name == *m));
        rows.extend(meant.flat_map(|netif| of(container, netif)));
    }
    Ok(rows)
}

impl Handle for api::List {
    async fn handle(self, cx: &mut Context) -> Result<api::Netifs> {
        let containers = chosen(cx, self.id, self.pool.as_ref())?;
        let daemon = Arc::clone(&cx.daemon);
        let (kind, link) = (self.kind, self.link);
        blocking(move || {
            let mut netifs = Vec::new();
            for container in containers {
                netifs.extend(container.netif_infos(&daemon));
            }
            netifs.retain(|n| kind.is_none_or(|k| n.kind == k));
            netifs.retain(|n| link.is_none() || n.link == link);
            Ok(api::Netifs { netifs })
        })
        .await
    }
}

impl Handle for api::IpList {
    async fn handle(self, cx: &mut Context) -> Result<api::IpRows> {
        let containers = chosen(cx, self.id, self.pool.as_ref())?;
        let addresses = rows(&containers, self.name.as_ref(), |container, netif| {
            let row = |&addr: &osctl_api::net::Address| api::IpRow {
                pool: container.pool.clone(),
                ctid: container.id.clone(),
                netif: netif.name.clone(),
                addr,
                version: version(addr.ip()),
            };
            netif.addresses.iter().map(row).collect()
        })?;
        Ok(api::IpRows {
            addresses: addresses
                .into_iter()
                .filter(|r| self.version.is_none_or(|v| r.version == v))
                .collect(),
        })
    }
}

impl Handle for api::RouteList {
    async fn handle(self, cx: &mut Context) -> Result<api::RouteRows> {
        let containers = chosen(cx, self.id, self.pool.as_ref())?;
        let routes = rows(&containers, self.name.as_ref(), |container, netif| {
            let row = |route: &api::Route| api::RouteRow {
                pool: container.pool.clone(),
                ctid: container.id.clone(),
                netif: netif.name.clone(),
                addr: route.network,
                via: route.via,
                version: version(route.network.net().addr()),
            };
            netif.routes().iter().map(row).collect()
        })?;
        Ok(api::RouteRows {
            routes: routes
                .into_iter()
                .filter(|r| self.version.is_none_or(|v| r.version == v))
                .collect(),
        })
    }
}

fn version(ip: std::net::IpAddr) -> api::Version {
    match ip.is_ipv4() {
        true => api::Version::V4,
        false => api::Version::V6,
    }
}

impl Handle for api::New {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        let exists = || {
            let (label, name) = (container.label(), &self.name);
            Error::exists(format!("container {label} has an interface {name} already"))
        };
        let new = Netif::new(self.name.clone(), self.kind, self.bridge, self.options)?;
        container
            .change_netifs("ct netif new", |c| {
                if c.netif(&new.name).is_ok() {
                    return Err(exists());
                }
                c.netifs.push(new);
                Ok(())
            })
            .await?;
        Ok(Done {})
    }
}

impl Handle for api::Rename {
    async fn handle(self, cx: &mut Context) -> Result<Done> {
        let container = cx.container(&self.id)?;
        container
            .change_netifs("ct netif rename", |c| {
                if self.name != self.new_name && c.netif(&self.new_name).is_ok() {
                    let name = &self.new_name;
                    return Err(Error::exists(format!(
                        "the container has an interface {name} already"
                    )));
                }
                c.netif(&self.name)?.name = self.new_name;
                Ok(())
            })
            .await?;
        Ok(Done {})
    }
}

/// A method that changes one interface of one container.
macro_rules! change {
    ($($params:ty, $operation:literal: |$me:ident, $config:ident| $call:expr;)*) => {
        $(impl Handle for $params {
            async fn handle(self, cx: &mut Context) -> Result<Done> {
                let container = cx.container(&self.id)?;
                let $me = self;
                container.change_netifs($operation, |$config| $call).await?;
                Ok(Done {})
            }
        })*
    };
}

change! {
    api::Delete, "ct netif del": |me, c| {
        c.netif(&me.name)?;
        c.netifs.retain(|n| n.name != me.name);
        Ok(())
    };
    api::Set, "ct netif set": |me, c| c.netif(&me.name)?.set(me.bridge, me.options);
    api::IpAdd, "ct netif ip add": |me, c| {
        let routed = match (me.no_route, me.route_as) {
            (_, Some(network)) => Routed::As(network),
            (true, None) => Routed::No,
            (false, None) => Routed::Itself,
        };
        c.netif(&me.name)?.add_address(me.addr, routed)
    };
    api::IpDelete, "ct netif ip del": |me, c| {
        let keep = if me.keep_route { KeepRoute::Yes } else { KeepRoute::No };
        c.netif(&me.name)?.remove_addresses(me.addr, me.version, keep)
    };
    api::RouteAdd, "ct netif route add": |me, c| {
        let route = api::Route { network: me.addr, via: me.via };
        c.netif(&me.name)?.add_route(route)
    };
    api::RouteDelete, "ct netif route del": |me, c| {
        c.netif(&me.name)?.remove_routes(me.addr, me.version)
    };
}
