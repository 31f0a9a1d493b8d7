//! What is in the files is what was wanted, and nothing else: for any values there can be.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use osctl_runtime::spec::FileAction;
use proptest::prelude::*;

use super::{planned, tree, wish};
use crate::guest::network::{Netif, Uplink};
use crate::network::Gateways;

fn address() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 1..=32_u8).prop_map(|(ip, len)| (Ipv4Addr::from(ip).into(), len));
    let v6 = (any::<u128>(), 1..=128_u8).prop_map(|(ip, len)| (Ipv6Addr::from(ip).into(), len));
    prop_oneof![v4, v6].prop_map(|(ip, len): (IpAddr, u8)| IpNet::new(ip, len).unwrap())
}

fn uplink() -> impl Strategy<Value = Uplink> {
    let gateways = (any::<Option<u32>>(), any::<Option<u128>>()).prop_map(|(v4, v6)| {
        Uplink::Static(Gateways {
            v4: v4.map(Ipv4Addr::from),
            v6: v6.map(Ipv6Addr::from),
        })
    });
    prop_oneof![
        Just(Uplink::Dhcp { dns: Vec::new() }),
        gateways,
        Just(Uplink::Routed)
    ]
}

fn netif() -> impl Strategy<Value = Netif> {
    let names = "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}";
    let hwaddr = any::<[u8; 5]>();
    let addresses = proptest::collection::btree_set(address(), 0..5);
    let mtu = proptest::option::of(68..65536_u32);
    (names, hwaddr, addresses, uplink(), mtu).prop_filter_map(
        "a name that is kept",
        |(name, [b, c, d, e, f], nets, uplink, mtu)| {
            Some(Netif {
                name: name.parse().ok()?,
                hwaddr: osctl_api::net::HwAddr::from_octets([2, b, c, d, e, f])?,
                mtu,
                addresses: nets.into_iter().collect(),
                uplink,
            })
        },
    )
}

/// The words of a file, without the marks around them.
fn words(text: &str) -> Vec<&str> {
    let between = |c: char| c.is_whitespace() || "'\"();,=".contains(c);
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .flat_map(|l| l.split(between))
        .filter(|w| !w.is_empty())
        .collect()
}

fn ini(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut sections = Vec::new();
    for line in text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            sections.push((name.to_owned(), BTreeMap::new()));
        } else {
            let (key, value) = line.split_once('=').unwrap();
            let section = &mut sections.last_mut().unwrap().1;
            section.insert(key.to_owned(), value.to_owned());
        }
    }
    sections
}

fn written(name: &str, netif: &Netif) -> Vec<(String, String)> {
    let wanted = (vec![netif.clone()], Vec::new());
    let distribution = name.split('-').next().unwrap();
    let plan = planned(&tree(name), &wish(distribution, &wanted, &[]));
    let files = plan.files.into_iter().filter_map(|op| match op.action {
        FileAction::Write { content } | FileAction::Block { content, .. } => {
            Some((op.path.to_str().unwrap().to_owned(), content))
        }
        _ => None,
    });
    files.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_address_is_a_word_of_its_own_in_every_form(netif in netif()) {
        for name in ["alpine-ng", "debian-networkd", "debian-nm", "arch-netctl", "gentoo",
                     "opensuse", "slackware", "void", "nixos"] {
            let files = written(name, &netif);
            let all: Vec<&str> = files.iter().flat_map(|(_, text)| words(text)).collect();
            for address in &netif.addresses {
                let text = address.to_string();
                prop_assert!(all.contains(&text.as_str()), "{name}: {text} in {files:#?}");
            }
            for (path, text) in &files {
                // No path can be made of a name, and none is longer than it looks.
                prop_assert!(path.starts_with('/') && !path.contains("/.."), "{path}");
                prop_assert!(text.is_ascii() && !text.contains('\0'));
            }
        }
    }

    #[test]
    fn networkd_and_networkmanager_read_what_was_wanted(netif in netif()) {
        let (_, text) = &written("debian-networkd", &netif)[0];
        let sections = ini(text);
        let values = |section: &str, key: &str| -> Vec<String> {
            let of = sections.iter().filter(|(name, _)| name == section);
            of.filter_map(|(_, all)| all.get(key).cloned()).collect()
        };
        prop_assert_eq!(values("Match", "Name"), [netif.name.as_str()]);
        let mtu: Vec<String> = netif.mtu.iter().map(ToString::to_string).collect();
        prop_assert_eq!(values("Link", "MTUBytes"), mtu);
        let mut addresses: Vec<IpNet> =
            values("Address", "Address").iter().map(|a| a.parse().unwrap()).collect();
        addresses.sort_unstable();
        let mut wanted = netif.addresses.clone();
        wanted.sort_unstable();
        prop_assert_eq!(addresses, wanted);
        let gateways: Vec<IpAddr> =
            values("Route", "Gateway").iter().map(|a| a.parse().unwrap()).collect();
        let hops: Vec<IpAddr> = netif.hops(0).iter().filter_map(|h| h.via).collect();
        prop_assert_eq!(&gateways, &hops);

        let (_, text) = &written("debian-nm", &netif)[0];
        let sections: BTreeMap<_, _> = ini(text).into_iter().collect();
        prop_assert_eq!(sections["connection"]["interface-name"].as_str(), netif.name.as_str());
        let addresses = ["ipv4", "ipv6"].iter().flat_map(|s| &sections[*s]);
        let addresses = addresses.filter(|(key, _)| key.starts_with("address"));
        prop_assert_eq!(addresses.count(), netif.addresses.len());
        let gateways: Vec<IpAddr> = ["ipv4", "ipv6"]
            .iter()
            .filter_map(|s| sections[*s].get("gateway").map(|g| g.parse().unwrap()))
            .collect();
        prop_assert_eq!(gateways, hops);
    }

    #[test]
    fn ifupdown_reads_what_was_wanted(netif in netif()) {
        let (_, text) = &written("debian", &netif)[0];
        let mut addresses: Vec<IpNet> = Vec::new();
        let mut address: Option<IpAddr> = None;
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["address", ip] => address = Some(ip.parse().unwrap()),
                ["netmask", mask] => {
                    let net = match (address.take().unwrap(), mask.parse::<u8>()) {
                        (ip, Ok(len)) => IpNet::new(ip, len),
                        (ip, Err(_)) => IpNet::with_netmask(ip, mask.parse().unwrap()),
                    };
                    addresses.push(net.unwrap());
                }
                ["up" | "pre-up", .., "addr", "replace", net, "dev", name] => {
                    prop_assert_eq!(name, netif.name.as_str());
                    addresses.push(net.parse().unwrap());
                }
                _ => {}
            }
        }
        addresses.sort_unstable();
        let mut wanted = netif.addresses.clone();
        wanted.sort_unstable();
        prop_assert_eq!(addresses, wanted);
    }
}
