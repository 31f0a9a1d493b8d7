//! Who has which address: what interfaces of all containers of all pools claim, so that no two of
//! them have the same. Pure: what is really configured in the kernel is somebody else's business.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use osctl_api::net::{HwAddr, IfName, Network};
use sha2::{Digest, Sha256};

use super::Owner;
use crate::sync::Mutex;

/// What an interface claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Name of the interface.
    pub netif: IfName,
    /// Addresses and routed networks.
    pub networks: Vec<Network>,
    /// The bridge that it is on with its hardware address, which nobody else may have there.
    pub port: Option<(IfName, HwAddr)>,
}

/// Something belongs to somebody else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} can't be used: {taken} belongs to {owner} {netif}")]
pub struct Conflict {
    wanted: String,
    taken: String,
    owner: Owner,
    netif: IfName,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    owner: Owner,
    netif: IfName,
}

#[derive(Debug, Default)]
struct Pages {
    /// By first address and length. What one container has may overlap.
    networks: BTreeMap<(bool, u128, u8), Vec<Holder>>,
    ports: BTreeMap<(IfName, HwAddr), Holder>,
    claims: BTreeMap<(String, String), Vec<Claim>>,
}

/// The claims of all containers.
#[derive(Debug, Default)]
pub struct Book(Mutex<Pages>);

fn first(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn key(net: IpNet) -> (bool, u128, u8) {
    (net.addr().is_ipv6(), first(net.network()), net.prefix_len())
}

fn shown((v6, first, len): (bool, u128, u8)) -> String {
    let ip = match v6 {
        true => IpAddr::from(first.to_be_bytes()),
        false => Ipv4Addr::from(u32::try_from(first).unwrap_or(u32::MAX)).into(),
    };
    let full = if v6 { 128 } else { 32 };
    match len == full {
        true => ip.to_string(),
        false => format!("{ip}/{len}"),
    }
}

impl Pages {
    /// Whoever but `owner` has something of `net`, and what that is.
    fn other(&self, owner: &Owner, net: IpNet) -> Option<(String, &Holder)> {
        let (v6, start, len) = key(net);
        let not_own = |(key, holders): (&(bool, u128, u8), &'_ Vec<Holder>)| {
            let at = holders.iter().position(|h| h.owner != *owner)?;
            Some((*key, at))
        };
        let end = first(net.broadcast());
        let within = self
            .networks
            .range((v6, start, len)..=(v6, end, 128))
            .find_map(not_own);
        let around = || {
            (0..len).find_map(|shorter| {
                let wider = IpNet::new(net.addr(), shorter).ok()?.trunc();
                self.networks.get_key_value(&key(wider)).and_then(not_own)
            })
        };
        let (key, at) = within.or_else(around)?;
        Some((shown(key), &self.networks[&key][at]))
    }

    fn check(&self, owner: &Owner, claims: &[Claim]) -> Result<(), Conflict> {
        for claim in claims {
            for network in &claim.networks {
                if let Some((taken, holder)) = self.other(owner, network.net()) {
                    return Err(conflict(shown(key(network.net())), taken, holder));
                }
            }
            if let Some(port) = &claim.port
                && let Some(holder) = self.ports.get(port)
                && holder.owner != *owner
            {
                let taken = format!("on {} it", port.0);
                return Err(conflict(port.1.to_string(), taken, holder));
            }
        }
        Ok(())
    }

    fn remove(&mut self, owner: &Owner) -> Vec<Claim> {
        let claims = self
            .claims
            .remove(&(owner.pool.clone(), owner.container.clone()));
        let claims = claims.unwrap_or_default();
        for claim in &claims {
            for network in &claim.networks {
                let key = key(network.net());
                if let Some(holders) = self.networks.get_mut(&key) {
                    holders.retain(|h| h.owner != *owner);
                    if holders.is_empty() {
                        self.networks.remove(&key);
                    }
                }
            }
            if let Some(port) = &claim.port
                && self.ports.get(port).is_some_and(|h| h.owner == *owner)
            {
                self.ports.remove(port);
            }
        }
        claims
    }

    fn add(&mut self, owner: &Owner, claims: Vec<Claim>) {
        for claim in &claims {
            let holder = Holder {
                owner: owner.clone(),
                netif: claim.netif.clone(),
            };
            for network in &claim.networks {
                let holders = self.networks.entry(key(network.net())).or_default();
                holders.push(holder.clone());
            }
            if let Some(port) = &claim.port {
                self.ports.entry(port.clone()).or_insert(holder);
            }
        }
        if !claims.is_empty() {
            let key = (owner.pool.clone(), owner.container.clone());
            self.claims.insert(key, claims);
        }
    }
}

fn conflict(wanted: String, taken: String, holder: &Holder) -> Conflict {
    let taken = match taken == wanted {
        true => "it".to_owned(),
        false => taken,
    };
    Conflict {
        wanted,
        taken,
        owner: holder.owner.clone(),
        netif: holder.netif.clone(),
    }
}

impl Book {
    /// Replaces what a container claims.
    ///
    /// # Errors
    /// What belongs to somebody else; then everything is as it was.
    pub fn claim(&self, owner: &Owner, claims: Vec<Claim>) -> Result<(), Conflict> {
        let mut pages = self.0.lock();
        pages.check(owner, &claims)?;
        pages.remove(owner);
        pages.add(owner, claims);
        Ok(())
    }

    /// Claims something beside what a container claims already, which it may go back to.
    ///
    /// # Errors
    /// As [`Book::claim`].
    pub fn claim_more(&self, owner: &Owner, claims: Vec<Claim>) -> Result<(), Conflict> {
        let mut pages = self.0.lock();
        pages.check(owner, &claims)?;
        let mut all = pages.remove(owner);
        all.extend(claims);
        pages.add(owner, all);
        Ok(())
    }

    /// Replaces what a container claims by those of `claims` that don't belong to somebody else,
    /// and says which do.
    pub fn claim_possible(&self, owner: &Owner, mut claims: Vec<Claim>) -> Vec<Conflict> {
        let mut pages = self.0.lock();
        let mut conflicts = Vec::new();
        claims.retain(|claim| {
            let checked = pages.check(owner, std::slice::from_ref(claim));
            checked.map_err(|c| conflicts.push(c)).is_ok()
        });
        pages.remove(owner);
        pages.add(owner, claims);
        conflicts
    }

    /// Forgets what a container claims.
    pub fn release(&self, owner: &Owner) {
        self.0.lock().remove(owner);
    }

    /// Forgets what the containers of a pool claim, but for those that go on running.
    pub fn release_pool(&self, pool: &str, runs: impl Fn(&Owner) -> bool) {
        let mut pages = self.0.lock();
        let of_pool = |(name, _): &&(String, String)| name == pool;
        let all: Vec<(String, String)> = pages.claims.keys().filter(of_pool).cloned().collect();
        for (pool, container) in all {
            let owner = Owner { pool, container };
            if !runs(&owner) {
                pages.remove(&owner);
            }
        }
    }

    /// What a container claims is another one's from now on.
    pub fn rename(&self, old: &Owner, new: &Owner) {
        let mut pages = self.0.lock();
        let claims = pages.remove(old);
        pages.add(new, claims);
    }

    /// An address that nobody has, of the network of `bridge`, which is its own address there, for
    /// an interface: the same one every time, unless somebody else has that. `None` when there is
    /// none left.
    pub fn free_address(&self, bridge: Ipv4Net, owner: &Owner, netif: &IfName) -> Option<Ipv4Addr> {
        let pages = self.0.lock();
        let first = u32::from(bridge.network());
        let size = u64::from(u32::from(bridge.broadcast()) - first) + 1;
        // All but the network's own two.
        let hosts = size.checked_sub(2).filter(|n| *n > 0)?;
        let hash = Sha256::digest(format!("{owner}/{netif}"));
        let seed = hash[..8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let nobody = Owner {
            pool: String::new(),
            container: String::new(),
        };
        (0..hosts).find_map(|n| {
            let offset = u32::try_from(1 + seed.wrapping_add(n) % hosts).ok()?;
            let ip = Ipv4Addr::from(first + offset);
            let is_free = || pages.other(&nobody, IpAddr::V4(ip).into()).is_none();
            (ip != bridge.addr() && is_free()).then_some(ip)
        })
    }
}

#[cfg(test)]
mod tests;
