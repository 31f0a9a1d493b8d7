//! What is in the kernel, as the program for people says it.

use super::*;
use crate::network::firewall::{Direction, Firewall, Peer, Rule, Verdict};

// Each version of the program has words of its own.
const VERSION: &str = "v1.0.6";

#[test]
fn the_kernel_has_what_is_wanted() {
    on_a_host(|| {
        let version = Command::new("nft").arg("--version").output();
        let version = version.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        if !version.is_ok_and(|v| v.contains(VERSION)) {
            println!("skipped: nft {VERSION} is not installed");
            return;
        }
        let filters = Filters::open("test").unwrap();
        let mut web1 = bridged("web1", &["10.5.0.2/24", "fd00:5::2/64"]);
        if let Attachment::Bridge { dhcp, .. } = &mut web1.attachment {
            *dhcp = true;
        }
        let unknown = web1.clone();
        if let Attachment::Bridge { lease, .. } = &mut web1.attachment {
            *lease = Some(crate::network::DhcpLease {
                v4: "10.5.0.3/24".parse().unwrap(),
                v6: "fd00:5::3/64".parse().unwrap(),
                gateways: Gateways::default(),
            });
        }
        assert!(unknown.addresses_are_unknown());
        let mut web2 = routed("web2", &["192.0.2.5/32", "2001:db8::5/128"]);
        if let Attachment::Routed { routes } = &mut web2.attachment {
            routes.extend([route("198.51.100.0/24"), route("2001:db8:7::/64")]);
        }
        let rule = |verdict, direction, from: &[Peer], ports: &[(u16, u16)]| Rule {
            verdict,
            direction,
            protocol: Some(6),
            from: from.to_vec(),
            to: Vec::new(),
            ports: ports.to_vec(),
            source_ports: Vec::new(),
            states: None,
            log: verdict == Verdict::Reject,
        };
        let office = [
            Peer::Set("office".into()),
            Peer::Network("10.0.0.0/8".parse().unwrap()),
        ];
        let wall = Firewall {
            rules: vec![
                rule(
                    Verdict::Allow,
                    Direction::In,
                    &office,
                    &[(22, 22), (80, 90)],
                ),
                rule(Verdict::Reject, Direction::Out, &[], &[(25, 25)]),
            ],
            incoming: Verdict::Deny,
            outgoing: Verdict::Allow,
        };
        let networks = ["192.0.2.0/24", "192.0.3.0/24", "2001:db8:1::/48"];
        let networks = networks.map(|n| n.parse().unwrap());
        filters.set("office", &networks).unwrap();
        filters.add(&web1, None).unwrap();
        filters.add(&web2, Some(&wall)).unwrap();
        let text = ruleset().unwrap();
        // Who owns a table is said with the name of this program, where the kernel knows owners.
        let lines = text
            .lines()
            .map(|l| l.split(" # progname").next().unwrap_or(l));
        let kept = lines.filter(|l| !["", "flags owner"].contains(&l.trim()));
        let text: String = kept.map(|l| format!("{l}\n")).collect();
        if std::env::var_os("OSCTL_GOLDEN").is_some() {
            let path = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/network/tests/filter/golden.nft"
            );
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(text, include_str!("golden.nft"));
        filters.remove(&web1.host_name).unwrap();
        filters.remove(&web2.host_name).unwrap();
        assert_eq!(ruleset().unwrap(), "");
    });
}
