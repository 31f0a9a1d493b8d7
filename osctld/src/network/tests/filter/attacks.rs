//! Nobody hears what means ill, of a container on a bridge.

use super::bad::SERVER;
use super::bridged::{FOREIGN, GATEWAY4, OWN4, VICTIM4, VICTIM6, attacker, lab};
use super::frames::{self, ether, ipv4, ipv6, udp};
use super::*;

fn names(all: &[Sent]) -> Vec<&'static str> {
    all.iter().map(|(name, _)| *name).collect()
}

#[test]
fn nothing_that_means_ill_passes() {
    on_a_host(|| {
        let filters = Filters::open("test").unwrap();
        let wanted = attacker(true);
        let lab = lab(&wanted);
        for all in lab.attacks() {
            let arrived = arrives(&lab.attacker, &lab.victim, &all, &lab.fence());
            assert_eq!(arrived, names(&all), "unfiltered all of it arrives");
        }
        filters.add(&wanted, None).unwrap();
        for all in lab.attacks() {
            let arrived = arrives(&lab.attacker, &lab.victim, &all, &lab.fence());
            assert!(arrived.is_empty(), "{arrived:?} arrive");
        }
        // As before once it is gone.
        filters.remove(&wanted.host_name).unwrap();
        let all = lab.of_arp();
        let arrived = arrives(&lab.attacker, &lab.victim, &all, &lab.fence());
        assert_eq!(arrived, names(&all));
    });
}

#[test]
fn the_bridge_learns_nothing_from_frames_that_it_keeps() {
    on_a_host(|| {
        let filters = Filters::open("test").unwrap();
        let wanted = attacker(false);
        let mut free = wanted.clone();
        free.anti_spoof = false;
        let lab = lab(&free);
        let is_taken = |mac: [u8; 6]| {
            let output = Command::new("bridge")
                .args(["fdb", "show", "br", "br0"])
                .output();
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            let mac = HwAddr::from_octets(mac).unwrap().to_string();
            text.lines()
                .any(|l| l.starts_with(&mac) && l.contains(" attacker-"))
        };
        // Which of the bridge's own group addresses make it learn the source of a frame.
        let taken = |round: u8| {
            let learnt = |last: &u8| {
                let mac = [0x52, 0x54, 0, round, 0, *last];
                let group = [0x01, 0x80, 0xc2, 0, 0, *last];
                lab.attacker.send(&ether(group, mac, 0x88cc, &[0; 46]));
                arrives(&lab.attacker, &lab.victim, &[], &lab.fence());
                is_taken(mac)
            };
            (0..16).filter(learnt).collect::<Vec<u8>>()
        };
        let learnt = taken(1);
        assert!(learnt.contains(&2) && learnt.contains(&14), "{learnt:?}");
        // Of LLDP's the kernel asks no filter: the port must not learn.
        lab.host().apply(&wanted).unwrap();
        filters.add(&wanted, None).unwrap();
        assert_eq!(taken(2), Vec::<u8>::new());
        // Nor is it enough to have been there before.
        let own = HwAddr::from_octets(lab.theirs).unwrap();
        let group = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
        lab.attacker
            .send(&ether(group, lab.theirs, 0x88cc, &[0; 46]));
        arrives(&lab.attacker, &lab.victim, &[], &lab.fence());
        assert!(!is_taken(own.octets()), "the victim's place is taken");
        // What is not checked may be anybody.
        lab.host().apply(&free).unwrap();
        filters.remove(&wanted.host_name).unwrap();
        assert!(taken(3).contains(&14));
    });
}

#[test]
fn without_known_addresses_the_hardware_is_checked() {
    on_a_host(|| {
        let filters = Filters::open("test").unwrap();
        let mut wanted = attacker(true);
        wanted.addresses.clear();
        if let Attachment::Bridge { lease, .. } = &mut wanted.attachment {
            *lease = None;
        }
        filters.add(&wanted, None).unwrap();
        let lab = lab(&wanted);
        let own = frames::address_option(2, lab.own);
        let foreign = frames::address_option(2, FOREIGN);
        let datagram = udp(1, 9, b"12345678");
        let good = vec![
            ("ARP", lab.arp(2, lab.own, VICTIM4, OWN4)),
            ("IPv4", lab.ip(&ipv4(GATEWAY4, VICTIM4, 17, &datagram))),
            ("IPv6", lab.ip6(&ipv6(VICTIM6, VICTIM6, 17, 64, &datagram))),
            ("NA", lab.advertised(VICTIM6, VICTIM6, &own)),
        ];
        let arrived = arrives(&lab.attacker, &lab.victim, &good, &lab.fence());
        assert_eq!(arrived, names(&good));
        let bad = vec![
            ("ARP", lab.arp(2, FOREIGN, VICTIM4, OWN4)),
            (
                "frame",
                ether(
                    lab.theirs,
                    FOREIGN,
                    frames::IP,
                    &ipv4(OWN4, VICTIM4, 17, &datagram),
                ),
            ),
            ("NA", lab.advertised(VICTIM6, VICTIM6, &foreign)),
            (
                "DHCP",
                lab.ip(&ipv4(
                    OWN4,
                    GATEWAY4,
                    17,
                    &udp(68, 67, &frames::dhcp(1, FOREIGN)),
                )),
            ),
            (
                "server",
                lab.ip(&ipv4(OWN4, VICTIM4, 17, &udp(67, 68, SERVER))),
            ),
        ];
        let all = [bad, lab.of_routers(), lab.of_other_types()].concat();
        let arrived = arrives(&lab.attacker, &lab.victim, &all, &lab.fence());
        assert!(arrived.is_empty(), "{arrived:?} arrive");
    });
}
