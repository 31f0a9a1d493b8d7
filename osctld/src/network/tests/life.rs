//! Interfaces that come, change and go.

use super::*;

fn subscribe() -> netlink_sys::Socket {
    let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE).unwrap();
    socket.bind_auto().unwrap();
    for group in [1, 5, 7, 9, 11] {
        socket.add_membership(group).unwrap(); // links, addresses and routes of both families
    }
    socket.set_non_blocking(true).unwrap();
    socket
}

fn routes_to(host: &Host, wanted: &Wanted) -> Vec<Route> {
    let link = host.link(wanted.host_name.as_str()).unwrap().unwrap();
    let mut socket = netlink::Socket::open().unwrap();
    message::routes_over(&mut socket, link.index).unwrap()
}

fn set_routes(wanted: &mut Wanted, new: &[&str]) {
    wanted.attachment = Attachment::Routed {
        routes: new.iter().map(|n| route(n)).collect(),
    };
}

#[test]
fn ensuring_what_is_there_changes_nothing() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        for wanted in [
            routed("web1", &["192.0.2.5/32", "2001:db8::5/128"]),
            bridged("web2", &["10.5.0.2/24"]),
        ] {
            let made = start(&host, &wanted, &namespace());
            let changes = subscribe();
            let found = host.ensure(&wanted, netns.as_fd()).unwrap();
            assert_eq!(found, Ensured::Kept(made));
            host.raise(&wanted).unwrap();
            let mut buffer = Vec::with_capacity(4096);
            while changes.recv(&mut buffer, 0).is_ok() {
                // What nobody asked for comes from port 0: the bridge that sees its first port.
                let port = u32::from_ne_bytes(buffer[12..16].try_into().unwrap());
                assert_eq!(port, 0, "something changed: {buffer:?}");
                buffer.clear();
            }
        }
    });
}

#[test]
fn what_vanished_is_made_again() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        let wanted = routed("web1", &["192.0.2.5/32"]);
        let made = start(&host, &wanted, &netns);
        inside(&netns, || {
            let mut batch = Batch::new();
            batch.add(
                RouteNetlinkMessage::DelLink(indexed(made.inside_index)),
                0,
                "delete",
            );
            netlink::Socket::open().unwrap().run(batch).unwrap();
        });
        assert!(host.link(wanted.host_name.as_str()).unwrap().is_none());
        let gone = Inside::open(netns.as_fd(), made.inside_index, &wanted);
        assert!(matches!(gone, Err(Error::Gone(_))), "{gone:?}");
        let Ensured::Created(made) = host.ensure(&wanted, netns.as_fd()).unwrap() else {
            panic!("it was not there");
        };
        super::super::inside::configure(netns.as_fd(), made.inside_index, &wanted).unwrap();
        assert!(host.running(&wanted.host_name).unwrap());
        assert!(answers(&netns, "192.0.2.5"));
    });
}

#[test]
fn a_leftover_is_replaced_and_what_is_not_ours_is_left_alone() {
    on_a_host(|| {
        let (host, old, new) = (host(), namespace(), namespace());
        let wanted = routed("web1", &["192.0.2.5/32"]);
        start(&host, &wanted, &old);
        start(&host, &wanted, &new);
        assert!(answers(&new, "192.0.2.5"));

        let stranger = Host::open("other").unwrap();
        let refused = stranger.create(&wanted, new.as_fd()).unwrap_err();
        assert!(matches!(refused, Error::Foreign(_)), "{refused}");
        let refused = stranger.delete(&wanted.host_name).unwrap_err();
        assert!(matches!(refused, Error::Foreign(_)), "{refused}");
        assert!(stranger.list_ours().unwrap().is_empty());
        assert!(answers(&new, "192.0.2.5"));
    });
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        let mut wanted = bridged("web1", &[]);
        if let Attachment::Bridge { link, .. } = &mut wanted.attachment {
            *link = "br7".parse().unwrap();
        }
        let refused = host.create(&wanted, netns.as_fd()).unwrap_err();
        assert!(matches!(refused, Error::NoBridge(_)), "{refused}");

        let other = routed("web2", &[]);
        start(&host, &other, &netns);
        if let Attachment::Bridge { link, .. } = &mut wanted.attachment {
            *link = other.host_name.clone();
        }
        let refused = host.create(&wanted, netns.as_fd()).unwrap_err();
        assert!(matches!(refused, Error::NotABridge(_)), "{refused}");

        let refused = host
            .create(&routed("web3", &[]), netns.as_fd())
            .unwrap_err();
        assert!(matches!(refused, Error::NameInUse(_)), "{refused}");

        let mut wrong = routed("web4", &[]);
        wrong.mtu = Some(7);
        let refused = host.create(&wrong, namespace().as_fd()).unwrap_err();
        assert!(refused.to_string().contains("tank:web4 eth0"), "{refused}");
        assert_eq!(host.list_ours().unwrap().len(), 1);
    });
}

#[test]
fn routes_and_the_largest_packet_change_while_it_is_up() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        let mut wanted = routed("web1", &["192.0.2.5/32"]);
        start(&host, &wanted, &netns);
        set_routes(
            &mut wanted,
            &["192.0.2.5/32", "198.51.100.0/24", "2001:db8:1::/48"],
        );
        wanted.mtu = Some(1400);
        host.apply(&wanted).unwrap();
        let link = host.link(wanted.host_name.as_str()).unwrap().unwrap();
        assert_eq!(link.mtu, 1400);
        assert_eq!(routes_to(&host, &wanted).len(), 3);

        let via = Route {
            network: "198.51.100.0/24".parse().unwrap(),
            via: Some("192.0.2.5".parse().unwrap()),
        };
        wanted.attachment = Attachment::Routed {
            routes: vec![route("192.0.2.5/32"), via],
        };
        host.apply(&wanted).unwrap();
        assert_eq!(routes_to(&host, &wanted), [route("192.0.2.5/32"), via]);
        assert!(answers(&netns, "192.0.2.5"));
    });
}

#[test]
fn a_network_has_one_route() {
    on_a_host(|| {
        let host = host();
        start(&host, &routed("web1", &["192.0.2.5/32"]), &namespace());
        let second = routed("web2", &["192.0.2.5/32"]);
        let netns = namespace();
        host.create(&second, netns.as_fd()).unwrap();
        let refused = host.raise(&second).unwrap_err().to_string();
        assert!(
            refused.contains("192.0.2.5/32 to tank:web2 eth0: EEXIST"),
            "{refused}"
        );
    });
}

#[test]
fn an_interface_gets_another_name_and_address() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        let mut wanted = routed("web1", &["192.0.2.5/32", "2001:db8::5/128"]);
        wanted.max_tx = "100m".parse().unwrap();
        let made = start(&host, &wanted, &netns);
        let old = wanted.host_name.clone();
        wanted.name = "net7".parse().unwrap();
        wanted.host_name = host_name("test", &wanted.owner, &wanted.name);
        host.rename(&old, &wanted).unwrap();
        let mut end = Inside::open(netns.as_fd(), made.inside_index, &wanted).unwrap();
        end.rename(&wanted.name).unwrap();
        end.set_hwaddr("52:54:00:00:00:01".parse().unwrap())
            .unwrap();
        end.set_mtu(1300).unwrap();
        end.add_address("198.51.100.7/32".parse().unwrap()).unwrap();
        end.add_address("198.51.100.7/32".parse().unwrap()).unwrap();
        end.remove_address("192.0.2.5/24".parse().unwrap()).unwrap();
        end.change_gateways(&wanted, &wanted).unwrap();
        let end = Inside::open(netns.as_fd(), made.inside_index, &wanted).unwrap();
        assert_eq!((end.link().name.as_str(), end.link().mtu), ("net7", 1300));
        assert_eq!(end.link().hwaddr, [0x52, 0x54, 0, 0, 0, 1]);
        set_routes(&mut wanted, &["198.51.100.7/32", "2001:db8::5/128"]);
        host.apply(&wanted).unwrap();
        for ip in ["198.51.100.7", "2001:db8::5"] {
            assert!(answers(&netns, ip), "{ip} is not reached");
        }
        let ours = host.list_ours().unwrap();
        assert_eq!(ours.len(), 1);
        assert_eq!(ours[0].host_name, wanted.host_name);
        assert_eq!(ours[0].netif, wanted.name);
        assert_eq!(ours[0].index, Some(made.host_index));
    });
}

#[test]
fn many_are_made_at_once() {
    on_a_host(|| {
        let host = host();
        let all: Vec<(Wanted, OwnedFd)> = (0..100)
            .map(|n| {
                let address = format!("192.0.2.{n}/32");
                let mut wanted = routed(&format!("web{n}"), &[&address]);
                wanted.name = "eth0".parse().unwrap();
                (wanted, namespace())
            })
            .collect();
        std::thread::scope(|scope| {
            let host = &host;
            for part in all.chunks(25) {
                scope.spawn(move || {
                    for (wanted, netns) in part {
                        start(host, wanted, netns);
                    }
                });
            }
        });
        assert_eq!(host.list_ours().unwrap().len(), 100);
        assert_eq!(host.all_stats().unwrap().len(), 100);
        assert!(answers(&all[99].1, "192.0.2.99"));
        for (wanted, _) in &all {
            assert!(host.delete(&wanted.host_name).unwrap());
        }
        assert!(host.list_ours().unwrap().is_empty());
    });
}

#[test]
fn interfaces_that_vanish_are_told_of() {
    on_a_host(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let (sender, mut events) = tokio::sync::mpsc::channel(8);
        let watching = {
            let _entered = runtime.enter();
            runtime.spawn(watch::Watch::open("test").unwrap().run(sender))
        };
        let (host, netns) = (host(), namespace());
        let wanted = routed("web1", &["192.0.2.5/32"]);
        let made = start(&host, &wanted, &netns);
        inside(&netns, || {
            let mut batch = Batch::new();
            let there = indexed(made.inside_index);
            batch.add(RouteNetlinkMessage::DelLink(there), 0, "delete");
            netlink::Socket::open().unwrap().run(batch).unwrap();
        });
        let event = runtime.block_on(events.recv()).unwrap();
        let expected = watch::Event::Vanished {
            host_name: wanted.host_name.to_string(),
            index: made.host_index,
            owner: wanted.owner.clone(),
            netif: wanted.name.clone(),
        };
        assert_eq!(event, expected);
        drop(events);
        runtime.block_on(watching).unwrap().unwrap();
    });
}

fn setting(name: &str) -> String {
    let path = format!("/proc/sys/net/{name}");
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn the_host_forwards_believes_no_container_and_goes_on_believing_its_routers() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        std::fs::write("/proc/sys/net/ipv6/conf/br0/accept_ra", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/lo/accept_ra", "0").unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let changed = ensure_forwarding().unwrap();
        assert!(
            changed.contains(&"net.ipv4.ip_forward = 1".to_owned()),
            "{changed:?}"
        );
        assert_eq!(setting("ipv4/ip_forward"), "1");
        assert_eq!(setting("ipv6/conf/all/forwarding"), "1");
        assert_eq!(setting("ipv6/conf/br0/accept_ra"), "2");
        assert_eq!(setting("ipv6/conf/lo/accept_ra"), "0");
        let wanted = routed("web1", &["192.0.2.5/32"]);
        start(&host, &wanted, &netns);
        for (family, name, value) in [
            ("ipv6", "accept_ra", "0"),
            ("ipv6", "forwarding", "1"),
            ("ipv6", "addr_gen_mode", "1"),
            ("ipv4", "rp_filter", "1"),
            ("ipv4", "forwarding", "1"),
            ("ipv4", "send_redirects", "0"),
        ] {
            let name = format!("{family}/conf/{}/{name}", wanted.host_name);
            assert_eq!(setting(&name), value, "{name}");
        }
        let port = bridged("web2", &["10.5.0.2/24"]);
        start(&host, &port, &namespace());
        let index = host.link(port.host_name.as_str()).unwrap().unwrap().index;
        let mut socket = netlink::Socket::open().unwrap();
        let addresses = message::addresses_of(&mut socket, index).unwrap();
        assert!(addresses.is_empty(), "{addresses:?}");
    });
}

#[test]
fn a_host_that_keeps_ipv6_from_new_interfaces_gives_it_to_those_that_need_it() {
    on_a_host(|| {
        let host = host();
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        let (one, two) = (namespace(), namespace());
        start(&host, &routed("web1", &["192.0.2.5/32"]), &one);
        assert!(answers(&one, "192.0.2.5"));
        start(&host, &routed("web2", &["2001:db8::5/128"]), &two);
        assert!(answers(&two, "2001:db8::5"));
    });
}
