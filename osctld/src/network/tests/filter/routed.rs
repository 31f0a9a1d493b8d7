//! What comes out of a routed interface, seen by another one behind the same host.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::frames::{self, Arp, ether, icmpv6, ipv4, ipv6, tagged, udp};
use super::*;

const OWN4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 5);
const NET4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const VICTIM4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 6);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);
const NET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0x99);
const VICTIM6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 6);

// Forwarding changes hop limits and checksums: it is told by its payload.
fn heard(wire: &Wire, at: [u8; 6], all: &[&'static str]) -> Vec<&'static str> {
    let mut heard = Vec::new();
    loop {
        let frame = wire.hear(Duration::from_secs(10));
        let frame = frame.unwrap_or_else(|| panic!("of all frames only {heard:?} arrive"));
        // Its own answers repeat what was sent.
        if !frame.starts_with(&at) {
            continue;
        }
        if frame.ends_with(b"<fence>") {
            return heard;
        }
        heard.extend(all.iter().find(|name| frame.ends_with(name.as_bytes())));
    }
}

#[test]
fn only_own_addresses_come_out() {
    on_a_host(|| {
        let (host, one, two) = (host(), namespace(), namespace());
        ensure_forwarding().unwrap();
        let mut attacker = routed("attacker", &["192.0.2.5/32", "2001:db8::5/128"]);
        if let Attachment::Routed { routes } = &mut attacker.attachment {
            routes.extend([route("198.51.100.0/24"), route("2001:db8:7::/64")]);
        }
        let victim = routed("victim", &["192.0.2.6/32", "2001:db8::6/128"]);
        let mine = start(&host, &attacker, &one);
        let theirs = start(&host, &victim, &two);
        // It would hide what the filter does.
        for name in ["all", attacker.host_name.as_str()] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0").unwrap();
        }
        let wire = Wire::open(&one, mine.inside_index);
        let ear = Wire::open(&two, theirs.inside_index);
        // Neighbours are known before, so that nothing waits for them.
        for ip in ["192.0.2.6", "2001:db8::6"] {
            assert!(answers(&two, ip), "{ip}");
        }
        let own = attacker.hwaddr.octets();
        let to_host = host_hwaddr(&one);
        let v4 = |from, name: &str| {
            ether(
                to_host,
                own,
                frames::IP,
                &ipv4(from, VICTIM4, 17, &udp(1, 9, name.as_bytes())),
            )
        };
        let v6 = |from, name: &str| {
            ether(
                to_host,
                own,
                frames::IP6,
                &ipv6(from, VICTIM6, 17, 64, &udp(1, 9, name.as_bytes())),
            )
        };
        let bad4 = [
            (Ipv4Addr::new(203, 0, 113, 1), "<foreign>"),
            (VICTIM4, "<the victim's>"),
            (Ipv4Addr::new(10, 5, 0, 1), "<the host's>"),
            (Ipv4Addr::new(198, 51, 101, 1), "<beside its network>"),
        ];
        let bad6 = [
            ("2001:db8:8::1".parse().unwrap(), "<foreign 6>"),
            (VICTIM6, "<the victim's 6>"),
            ("fd00:5::1".parse().unwrap(), "<the host's 6>"),
            ("2001:db8:7:1::1".parse().unwrap(), "<beside its network 6>"),
        ];
        let good4 = [(OWN4, "<own>"), (NET4, "<of its network>")];
        let good6 = [(OWN6, "<own 6>"), (NET6, "<of its network 6>")];
        let send = |four: &[(Ipv4Addr, &'static str)], six: &[(Ipv6Addr, &'static str)]| {
            for (from, name) in four {
                wire.send(&v4(*from, name));
            }
            for (from, name) in six {
                wire.send(&v6(*from, name));
            }
            wire.send(&tagged(&v4(four[0].0, "<tagged>"), 0x8100, 0));
            wire.send(&v4(OWN4, "<fence>"));
            let mut names: Vec<_> = four.iter().map(|(_, name)| *name).collect();
            names.extend(six.iter().map(|(_, name)| *name));
            names.push("<tagged>");
            (heard(&ear, victim.hwaddr.octets(), &names), names)
        };
        let (arrived, all) = send(&bad4, &bad6);
        // The host itself takes nothing for its own address from outside.
        let own_of_host = ["<the host's>", "<the victim's>"];
        let lost: Vec<_> = all.iter().filter(|n| !arrived.contains(*n)).collect();
        assert!(
            lost.iter().all(|n| own_of_host.contains(n)),
            "unfiltered {lost:?} are lost"
        );
        let filters = Filters::open("test").unwrap();
        filters.add(&attacker, None).unwrap();
        let (arrived, _) = send(&bad4, &bad6);
        assert!(arrived.is_empty(), "{arrived:?} arrive");
        let (mut arrived, mut all) = send(&good4, &good6);
        arrived.sort_unstable();
        all.sort_unstable();
        assert_eq!(arrived, all);
    });
}

#[test]
fn the_host_believes_nothing_that_is_not_its_own() {
    on_a_host(|| {
        let (host, one) = (host(), namespace());
        let attacker = routed("attacker", &["192.0.2.5/32", "2001:db8::5/128"]);
        let mine = start(&host, &attacker, &one);
        let wire = Wire::open(&one, mine.inside_index);
        let own = attacker.hwaddr.octets();
        let to_host = host_hwaddr(&one);
        let arp = |spa| {
            let arp = Arp {
                operation: 1,
                sha: own,
                spa,
                tpa: Wanted::ROUTED_NEXT_HOP_V4,
            };
            ether(to_host, own, frames::ARP, &arp.bytes())
        };
        let solicited = |from: Ipv6Addr| {
            let option = frames::address_option(1, own);
            let question = frames::discovery(Wanted::ROUTED_NEXT_HOP_V6, &option);
            let message = icmpv6(from, Wanted::ROUTED_NEXT_HOP_V6, 135, &question);
            let packet = ipv6(from, Wanted::ROUTED_NEXT_HOP_V6, 58, 255, &message);
            ether(to_host, own, frames::IP6, &packet)
        };
        let known = |ip: &str| {
            let args = ["neigh", "show", "dev", attacker.host_name.as_str()];
            let output = Command::new("ip").args(args).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines()
                .any(|l| l.split(' ').next() == Some(ip) && l.contains("lladdr"))
        };
        let try_all = |last: u8| {
            let foreign4 = Ipv4Addr::new(203, 0, 113, last);
            let foreign6 = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, last.into());
            wire.send(&arp(foreign4));
            wire.send(&solicited(foreign6));
            // What is answered was sent after it.
            assert!(is_answered(&one, "10.5.0.1"));
            [foreign4.to_string(), foreign6.to_string()].map(|ip| known(&ip))
        };
        let unfiltered = try_all(1);
        println!("unfiltered the host believes: {unfiltered:?}");
        let filters = Filters::open("test").unwrap();
        filters.add(&attacker, None).unwrap();
        assert_eq!(try_all(2), [false, false]);
        for ip in ["192.0.2.5", "2001:db8::5"] {
            assert!(answers(&one, ip), "{ip} is not reached");
        }
    });
}

// The hardware address of the other end, as the container has learnt it.
fn host_hwaddr(netns: &OwnedFd) -> [u8; 6] {
    assert!(is_answered(netns, "10.5.0.1"));
    inside(netns, || {
        let output = Command::new("ip").args(["neigh", "show"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mac = text.split(' ').skip_while(|w| *w != "lladdr").nth(1);
        mac.unwrap().parse::<HwAddr>().unwrap().octets()
    })
}
