//! Limits of rates that come, change and go. How well they are kept is tested with containers.

use super::super::shaping::ifb_name;
use super::*;

fn discipline(host: &Host, name: &str) -> Option<String> {
    host.link(name).unwrap().map(|l| l.discipline)
}

/// What `tc` says of a link, where it is installed.
fn witness(kind: &str, name: &str) -> Option<String> {
    let mut tc = std::process::Command::new("tc");
    let parent = if kind == "filter" {
        &["ingress"][..]
    } else {
        &[]
    };
    let out = tc.args([kind, "show", "dev", name]).args(parent).output();
    out.ok().map(|o| String::from_utf8(o.stdout).unwrap())
}

#[test]
fn limits_come_change_and_go() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        let mut wanted = routed("web1", &["192.0.2.5/32"]);
        wanted.max_rx = "10m".parse().unwrap();
        wanted.max_tx = "20m".parse().unwrap();
        let name = wanted.host_name.to_string();
        let ifb = ifb_name(&wanted.host_name).to_string();
        start(&host, &wanted, &netns);
        assert!(answers(&netns, "192.0.2.5"), "with limits");
        let limited = |rx: &str, tx: &str| {
            for (name, rate) in [(&name, rx), (&ifb, tx)] {
                let kind = discipline(&host, name).unwrap();
                assert!(matches!(kind.as_str(), "tbf" | "cake"), "{kind}");
                if let Some(seen) = witness("qdisc", name) {
                    assert!(seen.contains(rate), "{seen} is not {rate}");
                }
            }
            if let Some(seen) = witness("filter", &name) {
                assert_eq!(
                    seen.matches(&format!("Redirect to device {ifb}")).count(),
                    1,
                    "{seen}"
                );
            }
        };
        limited("10Mbit", "20Mbit");
        wanted.max_rx = "30m".parse().unwrap();
        wanted.max_tx = "40m".parse().unwrap();
        host.apply(&wanted).unwrap();
        limited("30Mbit", "40Mbit");

        // Behind our back: what went through it must go on.
        let mut batch = Batch::new();
        batch.add(RouteNetlinkMessage::DelLink(named(&ifb)), 0, "delete");
        host.run(batch).unwrap();
        host.ensure(&wanted, netns.as_fd()).unwrap();
        limited("30Mbit", "40Mbit");
        assert!(is_answered(&netns, "10.5.0.1"), "with a new device");

        wanted.max_rx = Rate::UNLIMITED;
        wanted.max_tx = Rate::UNLIMITED;
        host.apply(&wanted).unwrap();
        assert_eq!(discipline(&host, &name).unwrap(), "noqueue");
        assert_eq!(discipline(&host, &ifb), None);
        assert!(is_answered(&netns, "10.5.0.1"), "without limits");
    });
}

#[test]
fn a_limit_goes_with_its_interface_or_is_found() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        let mut wanted = bridged("web1", &["10.5.0.2/24"]);
        wanted.max_tx = "1g".parse().unwrap();
        start(&host, &wanted, &netns);
        assert!(host.delete(&wanted.host_name).unwrap());
        assert!(host.list_ours().unwrap().is_empty());

        start(&host, &wanted, &netns);
        let mut batch = Batch::new();
        let name = wanted.host_name.as_str();
        batch.add(RouteNetlinkMessage::DelLink(named(name)), 0, "delete");
        host.run(batch).unwrap();
        let ours = host.list_ours().unwrap();
        assert_eq!(ours.len(), 1);
        assert_eq!(ours[0].index, None);
        assert!(!host.delete(&ours[0].host_name).unwrap());
        assert!(host.list_ours().unwrap().is_empty());
    });
}

#[test]
fn a_limit_lets_the_largest_packets_through() {
    on_a_host(|| {
        let (host, netns) = (host(), namespace());
        let mut batch = Batch::new();
        let large = with(named("br0"), [LinkAttribute::Mtu(9000)]);
        batch.add(
            RouteNetlinkMessage::SetLink(large),
            0,
            "set the largest packet",
        );
        host.run(batch).unwrap();
        let mut wanted = bridged("web1", &["10.5.0.2/24"]);
        wanted.max_rx = "8k".parse().unwrap();
        wanted.max_tx = "8k".parse().unwrap();
        start(&host, &wanted, &netns);
        let link = host.link(wanted.host_name.as_str()).unwrap().unwrap();
        assert_eq!(link.mtu, 9000);
        // 8000 bytes take eight seconds at that rate, but for the bucket.
        let there = inside(&netns, || UdpSocket::bind("10.5.0.2:0")).unwrap();
        there
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let here = UdpSocket::bind("10.5.0.1:0").unwrap();
        here.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        here.send_to(&[7; 8000], there.local_addr().unwrap())
            .unwrap();
        let mut packet = vec![0; 9000];
        assert_eq!(there.recv(&mut packet).unwrap(), 8000);
        there
            .send_to(&[7; 8000], here.local_addr().unwrap())
            .unwrap();
        assert_eq!(here.recv(&mut packet).unwrap(), 8000);
    });
}
