use osctl_api::Code;

use super::*;

fn routed(name: &str, mac: u8) -> Netif {
    Netif {
        name: name.parse().unwrap(),
        hwaddr: HwAddr::from_octets([2, 0, 0, 0, 0, mac]).unwrap(),
        kind: Kind::Routed { routes: Vec::new() },
        addresses: Vec::new(),
        mtu: None,
        tx_queues: 1,
        rx_queues: 1,
        max_tx: Rate::UNLIMITED,
        max_rx: Rate::UNLIMITED,
        anti_spoof: true,
    }
}

fn bridged(name: &str, mac: u8) -> Netif {
    Netif {
        kind: Kind::Bridge {
            link: "br0".parse().unwrap(),
            dhcp: false,
            gateway_v4: GatewayV4::Auto,
            gateway_v6: GatewayV6::Auto,
            lease_v4: None,
        },
        ..routed(name, mac)
    }
}

fn with_route(network: &str, via: Option<&str>) -> Netif {
    let route = Route {
        network: network.parse().unwrap(),
        via: via.map(|v| v.parse().unwrap()),
    };
    Netif {
        kind: Kind::Routed {
            routes: vec![route],
        },
        addresses: vec!["192.0.2.5/32".parse().unwrap()],
        ..routed("eth0", 1)
    }
}

fn owner() -> Owner {
    Owner {
        pool: "tank".into(),
        container: "web1".into(),
    }
}

#[test]
fn what_can_be_is_accepted() {
    check(&[routed("eth0", 1), bridged("eth1", 2)]).unwrap();
    check(&[with_route("198.51.100.0/24", Some("192.0.2.5"))]).unwrap();
    check(&[with_route("2001:db8::/48", None)]).unwrap();
    let many: Vec<Netif> = (0..64).map(|n| routed(&format!("e{n}"), n + 1)).collect();
    check(&many).unwrap();
}

#[test]
fn what_cannot_be_is_refused() {
    let change = |change: &dyn Fn(&mut Netif)| {
        let mut netif = routed("eth0", 1);
        netif.addresses.push("2001:db8::5/64".parse().unwrap());
        change(&mut netif);
        vec![netif]
    };
    let rate = |bits: u64| serde_json::from_str(&bits.to_string()).unwrap();
    let address = |a: &str| a.parse().unwrap();
    let bad = [
        change(&|n| n.tx_queues = 0),
        change(&|n| n.rx_queues = 65),
        change(&|n| n.max_tx = rate(1)),
        change(&|n| n.max_rx = rate(u64::MAX)),
        change(&|n| n.mtu = Some(1279)),
        change(&|n| n.mtu = Some(65536)),
        change(&|n| n.mtu = Some(0)),
        change(&|n| n.addresses.push(address("fe80::5/64"))),
        change(&|n| n.addresses.push(address("240.0.0.1/32"))),
        change(&|n| n.addresses.push(address("255.255.255.254/32"))),
        (0..65).map(|n| routed(&format!("e{n}"), n + 1)).collect(),
        vec![with_route("0.0.0.0/0", None)],
        vec![with_route("::/0", None)],
        vec![with_route("224.0.0.0/4", None)],
        vec![with_route("fe80::/64", None)],
        vec![with_route("127.0.0.1/32", None)],
        vec![with_route("2001:db8::/64", Some("192.0.2.5"))],
        vec![with_route("198.51.100.0/24", Some("192.0.2.6"))],
    ];
    for netifs in &bad {
        let error = check(netifs).expect_err(&format!("{netifs:?} was accepted"));
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
    let mut v4 = routed("eth0", 1);
    v4.mtu = Some(68);
    check(&[v4]).unwrap();
}

#[test]
fn nothing_is_there_twice() {
    let mut one = routed("eth0", 1);
    one.addresses.push("192.0.2.5/32".parse().unwrap());
    let mut two = routed("eth1", 2);
    two.addresses.push("192.0.2.5/24".parse().unwrap());
    let mut same = one.clone();
    same.addresses.push("192.0.2.5/24".parse().unwrap());
    let twice = [
        vec![one.clone(), two],
        vec![same],
        vec![routed("eth0", 1), routed("eth0", 2)],
        vec![routed("eth0", 1), routed("eth1", 1)],
    ];
    for netifs in twice {
        let error = check(&netifs).expect_err(&format!("{netifs:?} was accepted"));
        assert_eq!(error.code(), Code::AlreadyExists, "{error}");
    }
}

#[test]
fn files_written_by_hand_need_no_more_than_what_has_no_default() {
    let text = r#"{"name":"eth0","hwaddr":"02:00:00:00:00:01","type":"bridge","link":"br0"}"#;
    let netif: Netif = serde_json::from_str(text).unwrap();
    assert!(netif.anti_spoof && matches!(netif.kind, Kind::Bridge { dhcp: true, .. }));
    let again = serde_json::to_string(&netif).unwrap();
    assert_eq!(serde_json::from_str::<Netif>(&again).unwrap(), netif);
    for bad in [
        r#"{"name":"../x","hwaddr":"02:00:00:00:00:01","type":"routed"}"#,
        r#"{"name":"eth0\n","hwaddr":"02:00:00:00:00:01","type":"routed"}"#,
        r#"{"name":"eth0","hwaddr":"03:00:00:00:00:01","type":"routed"}"#,
        r#"{"name":"eth0","hwaddr":"02:00:00:00:00:01","type":"tunnel"}"#,
        r#"{"name":"eth0","hwaddr":"02:00:00:00:00:01","type":"routed","addresses":["x"]}"#,
    ] {
        assert!(
            serde_json::from_str::<Netif>(bad).is_err(),
            "{bad} was accepted"
        );
    }
}

#[test]
fn gateways_left_open_are_those_of_the_bridge() {
    let of = |name: &IfName| -> Vec<IpNet> {
        assert_eq!(name.as_str(), "br0");
        ["192.0.2.1/24", "fe80::9/64", "2001:db8::1/64"]
            .map(|n| n.parse().unwrap())
            .into()
    };
    let all = wanted(&[bridged("eth0", 1)], &owner(), "osctl", of);
    let Attachment::Bridge {
        gateways, lease, ..
    } = &all[0].attachment
    else {
        panic!("{all:?}")
    };
    assert_eq!(gateways.v4, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(gateways.v6, Some("2001:db8::1".parse().unwrap()));
    assert!(lease.is_none());
    let none = wanted(&[bridged("eth0", 1)], &owner(), "osctl", |_| Vec::new());
    let Attachment::Bridge { gateways, .. } = &none[0].attachment else {
        panic!("{none:?}")
    };
    assert_eq!(*gateways, Gateways::default());
}

#[test]
fn a_lease_is_an_address_of_each_version() {
    let mut netif = bridged("eth0", 1);
    netif.kind = Kind::Bridge {
        link: "osbr0".parse().unwrap(),
        dhcp: true,
        gateway_v4: GatewayV4::Auto,
        gateway_v6: GatewayV6::Auto,
        lease_v4: Some("10.5.0.9/20".parse().unwrap()),
    };
    let of = |_: &IfName| {
        ["10.5.0.1/20", "fd00:1::1/64"]
            .map(|n| n.parse().unwrap())
            .into()
    };
    let all = wanted(&[netif], &owner(), "osctl", of);
    let Attachment::Bridge {
        lease: Some(lease), ..
    } = &all[0].attachment
    else {
        panic!("{all:?}")
    };
    assert_eq!(lease.v4.to_string(), "10.5.0.9/20");
    assert_eq!(lease.v6.to_string(), "fd00:1::ff:fe00:1/64");
    assert_eq!(lease.gateways.v4, Some("10.5.0.1".parse().unwrap()));
}
