//! Tests of who has which address.

use proptest::prelude::*;

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
    book.claim(&owner("a"), vec![claim("eth0", &["192.0.2.7"])])
        .unwrap();
    book.claim(&owner("b"), vec![claim("eth0", &["192.0.2.8"])])
        .unwrap();
    assert!(book.claim(&owner("a"), vec![wide.clone()]).is_err());
    book.release(&owner("b"));
    book.release(&owner("a"));
    book.claim(&owner("c"), vec![wide]).unwrap();
}

#[test]
fn while_a_change_may_fail_both_its_ends_are_held() {
    let book = Book::default();
    let (a, b) = (owner("a"), owner("b"));
    let (old, new) = (claim("eth0", &["192.0.2.5"]), claim("eth0", &["192.0.2.6"]));
    book.claim(&a, vec![old.clone()]).unwrap();
    book.claim_more(&a, vec![new.clone()]).unwrap();
    for held in [&old, &new] {
        book.claim(&b, vec![held.clone()]).unwrap_err();
        book.claim_more(&b, vec![held.clone()]).unwrap_err();
    }
    book.claim(&a, vec![new.clone()]).unwrap();
    book.claim(&b, vec![new]).unwrap_err();
    book.claim(&b, vec![old]).unwrap();
}

#[test]
fn interfaces_without_a_conflict_are_claimed_beside_one_with() {
    let book = Book::default();
    book.claim(&owner("a"), vec![claim("eth0", &["192.0.2.5"])])
        .unwrap();
    let of_b = vec![
        claim("eth0", &["192.0.2.5", "192.0.2.6"]),
        claim("eth1", &["192.0.2.7"]),
    ];
    let conflicts = book.claim_possible(&owner("b"), of_b);
    assert_eq!(
        conflicts
            .iter()
            .map(Conflict::to_string)
            .collect::<Vec<_>>(),
        ["192.0.2.5 can't be used: it belongs to tank:a eth0"]
    );
    for (wanted, free) in [("192.0.2.6", true), ("192.0.2.7", false)] {
        let claimed = book.claim(&owner("c"), vec![claim("eth0", &[wanted])]);
        assert_eq!(claimed.is_ok(), free, "{wanted}");
    }
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
    let eth0: IfName = "eth0".parse().unwrap();
    for own in 1..7 {
        let book = Book::default();
        let bridge: Ipv4Net = format!("10.0.0.{own}/29").parse().unwrap();
        let mut given = Vec::new();
        for n in 0..5 {
            let owner = owner(&format!("ct{n}"));
            let ip = book.free_address(bridge, &owner, &eth0).unwrap();
            assert_eq!(book.free_address(bridge, &owner, &eth0), Some(ip));
            book.claim(&owner, vec![claim("eth0", &[&ip.to_string()])])
                .unwrap();
            given.push(ip);
        }
        given.sort_unstable();
        let mut all: Vec<Ipv4Addr> = (1..7).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
        all.retain(|ip| *ip != bridge.addr());
        assert_eq!(given, all);
        assert_eq!(book.free_address(bridge, &owner("more"), &eth0), None);
    }
}

/// What is done to the book, and to the plain list beside it.
#[derive(Debug, Clone)]
enum Step {
    Claim(usize, Vec<Network>),
    More(usize, Vec<Network>),
    Possible(usize, Vec<Network>),
    Release(usize),
    Rename(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few bits, so that most overlap.
    let network = (0u8..8, 28u8..=32).prop_map(|(last, len)| {
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, last * 2));
        let net = IpNet::new(ip, len).unwrap().trunc();
        net.to_string().parse::<Network>().unwrap()
    });
    let networks = prop::collection::vec(network, 0..3);
    let step = prop_oneof![
        (0usize..4, networks.clone()).prop_map(|(who, n)| Step::Claim(who, n)),
        (0usize..4, networks.clone()).prop_map(|(who, n)| Step::More(who, n)),
        (0usize..4, networks).prop_map(|(who, n)| Step::Possible(who, n)),
        (0usize..4).prop_map(Step::Release),
        (0usize..4, 4usize..6).prop_map(|(old, new)| Step::Rename(old, new)),
    ];
    prop::collection::vec(step, 1..30)
}

fn overlap(a: &Network, b: &Network) -> bool {
    let (a, b) = (a.net(), b.net());
    a.contains(&b) || b.contains(&a)
}

proptest! {
    #[test]
    fn it_agrees_with_a_plain_list(steps in steps()) {
        let book = Book::default();
        let mut list: Vec<Vec<Network>> = vec![Vec::new(); 6];
        let who = |n: usize| owner(&format!("ct{n}"));
        let one = |networks: &[Network]| Claim {
            networks: networks.to_vec(),
            ..claim("eth0", &[])
        };
        for step in steps {
            let free = |list: &[Vec<Network>], n: usize, networks: &[Network]| {
                let others = list.iter().enumerate().filter(|(other, _)| *other != n);
                let mut taken = others.flat_map(|(_, theirs)| theirs);
                !taken.any(|t| networks.iter().any(|n| overlap(t, n)))
            };
            match step {
                Step::Claim(n, networks) => {
                    let expected = free(&list, n, &networks);
                    prop_assert_eq!(book.claim(&who(n), vec![one(&networks)]).is_ok(), expected);
                    if expected {
                        list[n] = networks;
                    }
                }
                Step::More(n, networks) => {
                    let expected = free(&list, n, &networks);
                    let claimed = book.claim_more(&who(n), vec![one(&networks)]);
                    prop_assert_eq!(claimed.is_ok(), expected);
                    if expected {
                        list[n].extend(networks);
                    }
                }
                Step::Possible(n, networks) => {
                    let claims = networks.iter().map(|n| one(std::slice::from_ref(n))).collect();
                    let conflicts = book.claim_possible(&who(n), claims).len();
                    let possible = |net: &Network| free(&list, n, std::slice::from_ref(net));
                    let kept: Vec<Network> = networks.iter().copied().filter(possible).collect();
                    prop_assert_eq!(conflicts, networks.len() - kept.len());
                    list[n] = kept;
                }
                Step::Release(n) => {
                    book.release(&who(n));
                    list[n].clear();
                }
                Step::Rename(old, new) => {
                    book.release(&who(new));
                    book.rename(&who(old), &who(new));
                    list[new] = std::mem::take(&mut list[old]);
                }
            }
        }
        // Nothing is left of it once all of them are gone.
        for n in 0..6 {
            book.release(&who(n));
        }
        book.claim(&owner("last"), vec![claim("eth0", &["192.0.2.0/24"])]).unwrap();
    }
}
