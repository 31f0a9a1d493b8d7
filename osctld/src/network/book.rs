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
    /// Replaces what a container claims; returns what it claimed before, for the case that the
    /// change is not kept after all.
    ///
    /// # Errors
    /// What belongs to somebody else; then everything is as it was.
    pub fn claim(&self, owner: &Owner, claims: Vec<Claim>) -> Result<Vec<Claim>, Conflict> {
        let mut pages = self.0.lock();
        pages.check(owner, &claims)?;
        let before = pages.remove(owner);
        pages.add(owner, claims);
        Ok(before)
    }

    /// Forgets what a container claims.
    pub fn release(&self, owner: &Owner) {
        self.0.lock().remove(owner);
    }

    /// Forgets what the containers of a pool claim.
    pub fn release_pool(&self, pool: &str) {
        let mut pages = self.0.lock();
        let of_pool = |(name, _): &&(String, String)| name == pool;
        let gone: Vec<(String, String)> = pages.claims.keys().filter(of_pool).cloned().collect();
        for (pool, container) in gone {
            pages.remove(&Owner { pool, container });
        }
    }

    /// What a container claims is another one's from now on.
    pub fn rename(&self, old: &Owner, new: &Owner) {
        let mut pages = self.0.lock();
        let claims = pages.remove(old);
        pages.add(new, claims);
    }

    /// An address of `subnet` that nobody has, for an interface: the same one every time, unless
    /// somebody else has that. `None` when there is none left, or after many that are taken.
    pub fn free_address(&self, subnet: Ipv4Net, owner: &Owner, netif: &IfName) -> Option<Ipv4Addr> {
        let pages = self.0.lock();
        let size = u64::from(u32::from(subnet.broadcast()) - u32::from(subnet.network())) + 1;
        // Neither the network's own addresses nor the first, which is the bridge's.
        let hosts = size.checked_sub(3).filter(|n| *n > 0)?;
        let hash = Sha256::digest(format!("{owner}/{netif}"));
        let seed = hash[..8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        (0..hosts).find_map(|n| {
            let offset = u32::try_from(2 + (seed.wrapping_add(n)) % hosts).ok()?;
            let ip = Ipv4Addr::from(u32::from(subnet.network()) + offset);
            let nobody = Owner {
                pool: String::new(),
                container: String::new(),
            };
            pages
                .other(&nobody, IpNet::from(IpAddr::V4(ip)))
                .is_none()
                .then_some(ip)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(container: &str) -> Owner {
        Owner {
            pool: "tank".into(),
            container: container.into(),
        }
    }

    fn claim(netif: &str, networks: &[&str]) -> Claim {
        Claim {
            netif: netif.parse().unwrap(),
            networks: networks.iter().map(|n| n.parse().unwrap()).collect(),
            port: None,
        }
    }

    #[test]
    fn what_belongs_to_another_container_is_refused_and_named() {
        let book = Book::default();
        book.claim(
            &owner("a"),
            vec![claim("eth0", &["192.0.2.5", "2001:db8:1::/48"])],
        )
        .unwrap();
        book.claim(&owner("b"), vec![claim("eth1", &["198.51.100.0/24"])])
            .unwrap();
        for (wanted, told) in [
            (
                "192.0.2.5",
                "192.0.2.5 can't be used: it belongs to tank:a eth0",
            ),
            (
                "192.0.2.0/24",
                "192.0.2.0/24 can't be used: 192.0.2.5 belongs to tank:a eth0",
            ),
            (
                "2001:db8:1:2::3",
                "2001:db8:1:2::3 can't be used: 2001:db8:1::/48 belongs to tank:a eth0",
            ),
            (
                "2001:db8::/32",
                "2001:db8::/32 can't be used: 2001:db8:1::/48 belongs to tank:a eth0",
            ),
            (
                "198.51.100.255",
                "198.51.100.255 can't be used: 198.51.100.0/24 belongs to tank:b eth1",
            ),
        ] {
            let refused = book
                .claim(&owner("c"), vec![claim("eth0", &[wanted])])
                .unwrap_err();
            assert_eq!(refused.to_string(), told);
        }
        for free in [
            "192.0.2.4",
            "192.0.2.6/31",
            "2001:db8:2::/48",
            "198.51.101.0/24",
            "::c000:205",
        ] {
            book.claim(&owner("c"), vec![claim("eth0", &[free])])
                .unwrap();
        }
    }

    #[test]
    fn a_container_may_overlap_itself_and_what_it_gives_up_is_free() {
        let book = Book::default();
        let wide = claim("eth0", &["192.0.2.0/24"]);
        let narrow = claim("eth1", &["192.0.2.7", "192.0.2.0/24"]);
        book.claim(&owner("a"), vec![wide.clone(), narrow]).unwrap();
        let before = book
            .claim(&owner("a"), vec![claim("eth0", &["192.0.2.7"])])
            .unwrap();
        assert_eq!(before.len(), 2);
        book.claim(&owner("b"), vec![claim("eth0", &["192.0.2.8"])])
            .unwrap();
        assert!(book.claim(&owner("a"), before).is_err());
        book.release(&owner("b"));
        book.release(&owner("a"));
        book.claim(&owner("c"), vec![wide]).unwrap();
    }

    #[test]
    fn a_refused_claim_changes_nothing() {
        let book = Book::default();
        book.claim(&owner("a"), vec![claim("eth0", &["192.0.2.5"])])
            .unwrap();
        book.claim(&owner("b"), vec![claim("eth0", &["192.0.2.6"])])
            .unwrap();
        book.claim(
            &owner("b"),
            vec![claim("eth0", &["192.0.2.7", "192.0.2.5"])],
        )
        .unwrap_err();
        book.claim(&owner("c"), vec![claim("eth0", &["192.0.2.7"])])
            .unwrap();
        book.claim(&owner("c"), vec![claim("eth0", &["192.0.2.6"])])
            .unwrap_err();
    }

    #[test]
    fn a_hardware_address_is_there_once_on_a_bridge() {
        let book = Book::default();
        let port = |link: &str| Claim {
            port: Some((link.parse().unwrap(), "52:54:00:00:00:01".parse().unwrap())),
            ..claim("eth0", &[])
        };
        book.claim(&owner("a"), vec![port("br0")]).unwrap();
        let refused = book.claim(&owner("b"), vec![port("br0")]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "52:54:00:00:00:01 can't be used: on br0 it belongs to tank:a eth0"
        );
        book.claim(&owner("b"), vec![port("br1")]).unwrap();
        book.release(&owner("a"));
        book.claim(&owner("c"), vec![port("br0")]).unwrap();
    }

    #[test]
    fn addresses_are_handed_out_until_there_are_none() {
        let book = Book::default();
        let subnet: Ipv4Net = "10.0.0.0/29".parse().unwrap();
        let eth0: IfName = "eth0".parse().unwrap();
        let mut given = Vec::new();
        for n in 0..5 {
            let owner = owner(&format!("ct{n}"));
            let ip = book.free_address(subnet, &owner, &eth0).unwrap();
            assert_eq!(book.free_address(subnet, &owner, &eth0), Some(ip));
            book.claim(&owner, vec![claim("eth0", &[&ip.to_string()])])
                .unwrap();
            given.push(ip);
        }
        given.sort_unstable();
        let all: Vec<Ipv4Addr> = (2..7).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
        assert_eq!(given, all);
        assert_eq!(book.free_address(subnet, &owner("more"), &eth0), None);
    }
}
