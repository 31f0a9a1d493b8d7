//! Which networks the default bridge has: chosen once so that nothing of the host overlaps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use osctl_api::net::Address;

/// The second octet of the first network that is tried: few use what is around it.
const FIRST: u8 = 139;
/// Length of the prefix: room for 4093 containers.
const LENGTH: u8 = 20;

/// Addresses of the bridge, with the lengths of their prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Networks {
    /// Its IPv4 address.
    pub v4: Address,
    /// Its IPv6 address.
    pub v6: Address,
}

/// A free private IPv4 network (RFC 1918); the address is the bridge's. `None` when the host uses
/// all that are tried.
pub fn choose_v4(used: &[IpNet]) -> Option<Address> {
    (0..=255u8).find_map(|n| {
        let base = Ipv4Addr::new(10, FIRST.wrapping_add(n), 16, 0);
        let net = Ipv4Net::new(base, LENGTH).ok()?;
        let taken = |other: &IpNet| match other {
            // The default route is no use of a network.
            IpNet::V4(other) => {
                other.prefix_len() > 0 && (other.contains(&net) || net.contains(&other.trunc()))
            }
            IpNet::V6(_) => false,
        };
        if used.iter().any(taken) {
            return None;
        }
        address(IpAddr::V4(Ipv4Addr::from(u32::from(base) + 1)), LENGTH)
    })
}

/// A network of local addresses (RFC 4193) of 40 random bits; the address is the bridge's.
pub fn make_v6(random: [u8; 5]) -> Option<Address> {
    let [a, b, c, d, e] = random;
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    let ip = Ipv6Addr::new(pair(0xfd, a), pair(b, c), pair(d, e), 0, 0, 0, 0, 1);
    address(IpAddr::V6(ip), 64)
}

fn address(ip: IpAddr, length: u8) -> Option<Address> {
    Address::try_from(IpNet::new(ip, length).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_the_host_are_left_alone() {
        let chosen = |used: &[&str]| {
            let used: Vec<IpNet> = used.iter().map(|n| n.parse().unwrap()).collect();
            choose_v4(&used).map(|a| a.to_string())
        };
        assert_eq!(chosen(&[]).unwrap(), "10.139.16.1/20");
        assert_eq!(
            chosen(&["0.0.0.0/0", "::/0", "192.168.1.5/24"]).unwrap(),
            "10.139.16.1/20"
        );
        assert_eq!(chosen(&["10.139.17.9/32"]).unwrap(), "10.140.16.1/20");
        assert_eq!(chosen(&["10.128.0.1/11"]).unwrap(), "10.160.16.1/20");
        assert_eq!(chosen(&["10.0.0.0/8"]), None);
    }

    #[test]
    fn local_addresses_of_ipv6_are_made_of_random_bits() {
        let made = make_v6([1, 2, 3, 4, 5]).unwrap();
        assert_eq!(made.to_string(), "fd01:203:405::1/64");
    }
}
