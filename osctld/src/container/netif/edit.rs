//! What becomes of an interface when users give it addresses and routes, or take them.

use osctl_api::net::{Address, Network};
use osctl_api::netif::{Addresses, Networks, Route, Version};

use super::{Link, Netif, invalid};
use crate::error::Error;

/// What is routed along with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// Nothing.
    No,
    /// The address' network.
    Itself,
    /// This network.
    As(Network),
}

/// Whether the route to an address outlives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepRoute {
    /// It goes with it.
    No,
    /// It stays.
    Yes,
}

impl Netif {
    /// Gives it an address, and routes it when that is wanted of a routed interface: `route_as`, or
    /// the address' network, unless a route has it already.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument`.
    pub fn add_address(&mut self, address: Address, routed: Routed) -> Result<(), Error> {
        if self.addresses.iter().any(|a| a.ip() == address.ip()) {
            return Err(Error::exists(format!(
                "interface {} has address {} already",
                self.name,
                address.ip()
            )));
        }
        self.addresses.push(address);
        let network = match (&self.link, routed) {
            (Link::Bridge(_), Routed::As(_)) => {
                return Err(invalid(
                    &self.name,
                    "nothing is routed to an interface on a bridge",
                ));
            }
            (Link::Bridge(_), _) | (_, Routed::No) => None,
            (_, Routed::Itself) => Some(address.network()),
            (_, Routed::As(network)) => Some(network),
        };
        if let (Some(network), Link::Routed { routes }) = (network, &mut self.link) {
            let has = |r: &Route| r.network.net().contains(&network.net());
            if !routes.iter().any(has) {
                routes.push(Route { network, via: None });
            }
        }
        self.check()
    }

    /// Takes addresses from it, with the routes to them and through them.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_addresses(
        &mut self,
        which: Addresses,
        version: Option<Version>,
        routes_too: KeepRoute,
    ) -> Result<(), Error> {
        let goes = |a: &Address| match which {
            Addresses::All => version.is_none_or(|v| v.is_of(a.ip())),
            // Its prefix need not be said again.
            Addresses::One(one) => {
                one == *a
                    || (one.ip() == a.ip() && one.net().prefix_len() == one.net().max_prefix_len())
            }
        };
        let gone: Vec<Address> = self.addresses.iter().copied().filter(goes).collect();
        if let (Addresses::One(one), true) = (which, gone.is_empty()) {
            return Err(Error::not_found(format!(
                "interface {} has no address {one}",
                self.name
            )));
        }
        self.addresses.retain(|a| !goes(a));
        if let Link::Routed { routes } = &mut self.link {
            routes.retain(|r| {
                let through = gone.iter().any(|a| r.via == Some(a.ip()));
                let to = routes_too == KeepRoute::No
                    && gone
                        .iter()
                        .any(|a| r.network == a.network() || r.network == Network::host(a.ip()));
                !through && !to
            });
        }
        Ok(())
    }

    /// Routes a network to it.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument`.
    pub fn add_route(&mut self, route: Route) -> Result<(), Error> {
        let name = self.name.clone();
        let Link::Routed { routes } = &mut self.link else {
            return Err(invalid(
                &name,
                "nothing is routed to an interface on a bridge",
            ));
        };
        if routes.iter().any(|r| r.network == route.network) {
            return Err(Error::exists(format!(
                "{} is routed to interface {name} already",
                route.network
            )));
        }
        routes.push(route);
        self.check()
    }

    /// Takes routes from it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_routes(
        &mut self,
        which: Networks,
        version: Option<Version>,
    ) -> Result<(), Error> {
        let goes = |r: &Route| match which {
            Networks::All => version.is_none_or(|v| v.is_of(r.network.net().addr())),
            Networks::One(network) => r.network == network,
        };
        if let Networks::One(network) = which
            && !self.routes().iter().any(goes)
        {
            return Err(Error::not_found(format!(
                "{network} is not routed to interface {}",
                self.name
            )));
        }
        if let Link::Routed { routes } = &mut self.link {
            routes.retain(|r| !goes(r));
        }
        Ok(())
    }
}
