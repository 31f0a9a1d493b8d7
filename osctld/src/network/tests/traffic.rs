//! Packets through interfaces: the first one arrives.

use super::*;

#[test]
fn the_first_packet_to_and_from_a_routed_interface_is_answered() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        start(
            &host,
            &routed("web1", &["192.0.2.5/32", "2001:db8::5/128"]),
            &netns,
        );
        for ip in ["192.0.2.5", "2001:db8::5"] {
            assert!(answers(&netns, ip), "{ip} is not reached");
        }
        for ip in ["10.5.0.1", "fd00:5::1"] {
            assert!(is_answered(&netns, ip), "{ip} is not reached from inside");
        }
    });
}

#[test]
fn the_first_packet_to_and_from_a_bridged_interface_is_answered() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        start(
            &host,
            &bridged("web1", &["10.5.0.2/24", "fd00:5::2/64"]),
            &netns,
        );
        for ip in ["10.5.0.2", "fd00:5::2"] {
            assert!(answers(&netns, ip), "{ip} is not reached");
        }
        let other = namespace();
        start(
            &host,
            &bridged("web2", &["10.5.0.3/24", "fd00:5::3/64"]),
            &other,
        );
        for ip in ["10.5.0.3", "fd00:5::3"] {
            let there = inside(&other, || echo(ip.parse().unwrap())).unwrap();
            assert!(
                inside(&netns, || asks(there)),
                "{ip} is not reached by its neighbour"
            );
        }
    });
}

#[test]
fn routed_interfaces_reach_each_other_once_the_host_forwards() {
    on_a_host(|| {
        let (host, one, two) = (host(), namespace(), namespace());
        let changed = ensure_forwarding().unwrap();
        assert!(ensure_forwarding().unwrap().is_empty(), "{changed:?} again");
        start(
            &host,
            &routed("web1", &["192.0.2.5/32", "2001:db8::5/128"]),
            &one,
        );
        start(
            &host,
            &routed("web2", &["192.0.2.6/32", "2001:db8::6/128"]),
            &two,
        );
        for ip in ["192.0.2.6", "2001:db8::6"] {
            let there = inside(&two, || echo(ip.parse().unwrap())).unwrap();
            assert!(inside(&one, || asks(there)), "{ip} is not reached");
        }
    });
}

#[test]
fn counters_are_those_of_the_container() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        let wanted = routed("web1", &["192.0.2.5/32"]);
        start(&host, &wanted, &netns);
        let before = host.stats(&wanted.host_name).unwrap().unwrap();
        let there = inside(&netns, || echo("192.0.2.5".parse().unwrap())).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket.send_to(&[7; 1000], there).unwrap();
        socket.recv(&mut [0; 64]).unwrap();
        let all = host.all_stats().unwrap();
        let after = all[wanted.host_name.as_str()];
        let received = after.rx_bytes - before.rx_bytes;
        let sent = after.tx_bytes - before.tx_bytes;
        // 1000 came in and their first 64 went out, beside what neighbours ask each other.
        assert!(
            (1000..1600).contains(&received),
            "{received} bytes received"
        );
        assert!((64..800).contains(&sent), "{sent} bytes sent");
        assert!(host.stats(&"none".parse().unwrap()).unwrap().is_none());
    });
}

#[test]
fn what_is_configured_first_can_send_once_the_host_lets_it() {
    on_a_host(|| {
        let host = host();
        for n in 1..20 {
            let (netns, ip) = (namespace(), format!("192.0.2.{n}"));
            let wanted = routed(&format!("web{n}"), &[&ip]);
            let made = host.create(&wanted, netns.as_fd()).unwrap();
            super::super::inside::configure(netns.as_fd(), made.inside_index, &wanted).unwrap();
            host.raise(&wanted).unwrap();
            assert!(answers(&netns, &ip), "{ip} is not reached");
        }
    });
}

#[test]
fn the_next_hop_of_ipv6_is_there_when_an_interface_is() {
    on_a_host(|| {
        let host = host();
        for n in 1..40 {
            let netns = namespace();
            let wanted = routed(&format!("web{n}"), &[&format!("2001:db8::{n:x}")]);
            host.create(&wanted, netns.as_fd()).unwrap();
            host.raise(&wanted).unwrap();
            let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
            let local = |l: &&str| l.starts_with("fe800000000000000000000000000001 80 ");
            let name = wanted.host_name.as_str();
            let there = routes.lines().filter(local).any(|l| l.ends_with(name));
            assert!(there, "after {n}: {routes}");
        }
    });
}
