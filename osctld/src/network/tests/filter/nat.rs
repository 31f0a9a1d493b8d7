//! Translation of addresses: from a bridge to the world, and not the other way.

use super::*;
use crate::network::nat::Nat;

#[test]
fn what_leaves_is_translated_and_nothing_comes_in() {
    on_a_host(|| {
        let (host, inner, world) = (host(), namespace(), namespace());
        ensure_forwarding().unwrap();
        let web1 = bridged("web1", &["10.5.0.2/24", "fd00:5::2/64"]);
        start(&host, &web1, &inner);
        // The world is a routed one that has no way to the bridge but this host.
        let web2 = routed("world", &["192.0.2.6/32", "2001:db8::6/128"]);
        start(&host, &web2, &world);
        let nat = Nat::open("test").unwrap();
        let bridge = "br0".parse().unwrap();
        let subnets = ["10.5.0.0/24", "fd00:5::/64"].map(|n| n.parse().unwrap());
        for ip in ["10.5.0.2", "fd00:5::2"] {
            // The bridge's own addresses of IPv6 are not used before they were looked for elsewhere.
            let open = (0..10).any(|_| reaches(&world, &inner, ip, 1000));
            assert!(open, "{ip} is open before");
        }
        nat.ensure(&bridge, &subnets).unwrap();
        nat.ensure(&bridge, &subnets).unwrap();
        for ip in ["192.0.2.6", "2001:db8::6"] {
            let seen = seen_as(&inner, &world, ip);
            assert!(
                !["10.5.0.2", "fd00:5::2"].contains(&seen.as_str()),
                "{seen}"
            );
            assert!(reaches(&inner, &world, ip, 1001), "{ip}");
        }
        for ip in ["10.5.0.2", "fd00:5::2"] {
            assert!(!reaches(&world, &inner, ip, 1002), "{ip} is reached");
            assert!(answers(&inner, ip), "{ip} from the host");
        }
        drop(nat);
        let nat = Nat::open("test").unwrap();
        nat.ensure(&bridge, &subnets).unwrap();
        nat.remove().unwrap();
        nat.remove().unwrap();
        assert_eq!(ruleset().unwrap_or_default(), "");
    });
}

#[test]
fn a_table_that_somebody_deletes_is_noticed_and_restored() {
    on_a_host(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _guard = runtime.enter();
        let nat = Nat::unprotected("test").unwrap();
        let monitor = nat.monitor().unwrap();
        let heard = |limit| {
            let changed = async { tokio::time::timeout(limit, monitor.changed()).await };
            runtime.block_on(changed).ok().map(|c| c.unwrap())
        };
        nat.ensure(&"br0".parse().unwrap(), &["10.5.0.0/24".parse().unwrap()])
            .unwrap();
        let Some(before) = ruleset() else { return };
        assert!(before.contains("masquerade"), "{before}");
        assert_eq!(heard(Duration::from_millis(50)), None);
        for command in [["flush", "ruleset"], ["flush", "table inet test-nat"]] {
            let done = Command::new("nft").args(command).status().unwrap();
            assert!(done.success());
            assert!(heard(Duration::from_secs(10)).is_some());
            assert_ne!(ruleset().unwrap_or_default(), before);
            nat.restore().unwrap();
            assert_eq!(ruleset().unwrap(), before);
            // What was done to it before is one notice or several.
            while heard(Duration::from_millis(50)).is_some() {}
        }
        nat.remove().unwrap();
        nat.restore().unwrap();
        assert_eq!(ruleset().unwrap_or_default(), "");
    });
}

// Which address a datagram from one namespace has in the other.
fn seen_as(from: &OwnedFd, at: &OwnedFd, ip: &str) -> String {
    let there: IpAddr = ip.parse().unwrap();
    let socket = inside(at, || UdpSocket::bind((there, 4000)).unwrap());
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let any: IpAddr = match there {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    inside(from, || {
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.send_to(b"who", (there, 4000)).unwrap();
    });
    let (_, from) = socket.recv_from(&mut [0; 8]).unwrap();
    from.ip().to_string()
}
