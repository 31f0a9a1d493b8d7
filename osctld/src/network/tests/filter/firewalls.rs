//! Firewalls: what they let through, of which versions, and what they count.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::network::filter::{Error as FilterError, Filtered, Others};
use crate::network::firewall::{Direction, Error, Firewall, Peer, Rule, States, Verdict};

fn rule(verdict: Verdict, direction: Direction) -> Rule {
    Rule {
        verdict,
        direction,
        protocol: None,
        from: Vec::new(),
        to: Vec::new(),
        ports: Vec::new(),
        source_ports: Vec::new(),
        states: None,
        log: false,
    }
}

fn of_udp(verdict: Verdict, direction: Direction, ports: &[(u16, u16)]) -> Rule {
    Rule {
        protocol: Some(17),
        ports: ports.to_vec(),
        ..rule(verdict, direction)
    }
}

fn firewall(incoming: Verdict, outgoing: Verdict, rules: Vec<Rule>) -> Firewall {
    Firewall {
        rules,
        incoming,
        outgoing,
    }
}

const IPS: [&str; 2] = ["192.0.2.5", "2001:db8::5"];
const OTHERS: [&str; 2] = ["192.0.2.6", "2001:db8::6"];

struct Two {
    filters: Filters,
    web1: Wanted,
    one: OwnedFd,
    two: OwnedFd,
    _host: Host,
}

fn two() -> Two {
    let (host, one, two) = (host(), namespace(), namespace());
    ensure_forwarding().unwrap();
    let web1 = routed("web1", &["192.0.2.5/32", "2001:db8::5/128"]);
    let web2 = routed("web2", &["192.0.2.6/32", "2001:db8::6/128"]);
    let filters = Filters::open("test").unwrap();
    filters.add(&web1, None).unwrap();
    filters.add(&web2, None).unwrap();
    start(&host, &web1, &one);
    start(&host, &web2, &two);
    Two {
        filters,
        web1,
        one,
        two,
        _host: host,
    }
}

#[test]
fn only_what_is_allowed_comes_in_and_answers_come_back() {
    on_a_host(|| {
        let lab = two();
        let open = of_udp(Verdict::Allow, Direction::In, &[(1000, 1000), (2000, 2009)]);
        let wall = firewall(Verdict::Deny, Verdict::Allow, vec![open]);
        lab.filters.add(&lab.web1, Some(&wall)).unwrap();
        for ip in IPS {
            for (port, passes) in [(1000, true), (2009, true), (1001, false), (2010, false)] {
                assert_eq!(reaches(&lab.two, &lab.one, ip, port), passes, "{ip} {port}");
            }
            // Also from the host itself.
            assert!(!answers(&lab.one, ip), "{ip} from the host");
        }
        for ip in OTHERS {
            assert!(
                reaches(&lab.one, &lab.two, ip, 5000),
                "{ip} is not answered"
            );
        }
        let counts = lab.filters.counts(&lab.web1.host_name).unwrap();
        assert_eq!(counts.rules[&0].packets, 4);
        assert!(counts.incoming.packets >= 6, "{counts:?}");
        assert!(counts.outgoing.packets > 0, "{counts:?}");
        lab.filters.add(&lab.web1, None).unwrap();
        assert!(reaches(&lab.two, &lab.one, IPS[0], 1001));
    });
}

#[test]
fn what_is_denied_does_not_go_out() {
    on_a_host(|| {
        let lab = two();
        let rules = vec![Rule {
            to: vec![
                Peer::Network("192.0.2.6".parse().unwrap()),
                Peer::Network("2001:db8::6".parse().unwrap()),
            ],
            ..of_udp(Verdict::Deny, Direction::Out, &[(1000, 1000)])
        }];
        let wall = firewall(Verdict::Allow, Verdict::Allow, rules);
        lab.filters.add(&lab.web1, Some(&wall)).unwrap();
        for ip in OTHERS {
            assert!(!reaches(&lab.one, &lab.two, ip, 1000), "{ip}");
            assert!(reaches(&lab.one, &lab.two, ip, 1001), "{ip}");
        }
        for ip in IPS {
            assert!(reaches(&lab.two, &lab.one, ip, 1000), "{ip}");
        }
    });
}

#[test]
fn sets_change_for_all_at_once_and_live() {
    on_a_host(|| {
        let lab = two();
        let rules = vec![Rule {
            from: vec![Peer::Set("office".into())],
            ..rule(Verdict::Allow, Direction::In)
        }];
        let wall = firewall(Verdict::Deny, Verdict::Allow, rules);
        let error = lab.filters.add(&lab.web1, Some(&wall)).unwrap_err();
        let FilterError::Firewall { source, .. } = error else {
            panic!("{error}");
        };
        assert!(matches!(source, Error::NoSet { .. }), "{source}");
        let networks = |all: &[&str]| all.iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>();
        lab.filters.set("office", &[]).unwrap();
        lab.filters.add(&lab.web1, Some(&wall)).unwrap();
        assert!(!reaches(&lab.two, &lab.one, IPS[0], 1000));
        let all = networks(&[
            "192.0.2.0/29",
            "192.0.2.6/32",
            "2001:db8::/64",
            "10.0.0.0/8",
        ]);
        lab.filters.set("office", &all).unwrap();
        for ip in IPS {
            assert!(reaches(&lab.two, &lab.one, ip, 1000), "{ip}");
        }
        lab.filters.restore().unwrap();
        assert!(reaches(&lab.two, &lab.one, IPS[0], 1001));
        lab.filters
            .set("office", &networks(&["10.0.0.0/9"]))
            .unwrap();
        for ip in IPS {
            assert!(!reaches(&lab.two, &lab.one, ip, 1002), "{ip}");
        }
        assert!(lab.filters.remove_set("office").is_err(), "it is used");
        lab.filters.add(&lab.web1, None).unwrap();
        lab.filters.remove_set("office").unwrap();
    });
}

#[test]
fn who_is_rejected_is_told() {
    on_a_host(|| {
        let lab = two();
        let wall = firewall(Verdict::Reject, Verdict::Allow, Vec::new());
        lab.filters.add(&lab.web1, Some(&wall)).unwrap();
        for ip in IPS {
            let there = SocketAddr::new(ip.parse().unwrap(), 80);
            let _listener = inside(&lab.one, || TcpListener::bind(there).unwrap());
            let refused = inside(&lab.two, || {
                TcpStream::connect_timeout(&there, Duration::from_secs(5)).unwrap_err()
            });
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{ip}");
        }
    });
}

#[test]
fn states_are_what_rules_say() {
    on_a_host(|| {
        let lab = two();
        let rules = vec![Rule {
            states: Some(States {
                established: true,
                ..States::default()
            }),
            log: true,
            ..rule(Verdict::Allow, Direction::In)
        }];
        let wall = firewall(Verdict::Deny, Verdict::Allow, rules);
        lab.filters.add(&lab.web1, Some(&wall)).unwrap();
        assert!(reaches(&lab.one, &lab.two, OTHERS[0], 1000));
        assert!(!reaches(&lab.two, &lab.one, IPS[0], 1000));
        let counts = lab.filters.counts(&lab.web1.host_name).unwrap();
        assert_eq!(counts.rules[&0].packets, 1, "{counts:?}");
    });
}

#[test]
fn on_bridges_what_is_impossible_is_refused_and_the_rest_works() {
    on_a_host(|| {
        let (host, one, two) = (host(), namespace(), namespace());
        let web1 = bridged("web1", &["10.5.0.2/24", "fd00:5::2/64"]);
        let web2 = bridged("web2", &["10.5.0.3/24", "fd00:5::3/64"]);
        let filters = Filters::open("test").unwrap();
        filters.add(&web2, None).unwrap();
        let refused = |wall: &Firewall| match filters.check(&web1, wall).unwrap_err() {
            FilterError::Firewall { source, .. } => source,
            e => panic!("{e}"),
        };
        let reject = rule(Verdict::Reject, Direction::In);
        let wall = firewall(Verdict::Allow, Verdict::Allow, vec![reject]);
        assert!(matches!(refused(&wall), Error::Reject(_)));
        let deny = firewall(Verdict::Deny, Verdict::Allow, Vec::new());
        if filters.check(&web1, &deny).is_err() {
            assert!(matches!(refused(&deny), Error::Policy(_)));
            let of_state = Rule {
                states: Some(States::default()),
                ..rule(Verdict::Allow, Direction::In)
            };
            let wall = firewall(Verdict::Allow, Verdict::Allow, vec![of_state]);
            assert_eq!(refused(&wall), Error::RuleWithState(1));
        }
        let denied = of_udp(Verdict::Deny, Direction::In, &[(1000, 1000)]);
        let wall = firewall(Verdict::Allow, Verdict::Allow, vec![denied]);
        filters.add(&web1, Some(&wall)).unwrap();
        start(&host, &web1, &one);
        start(&host, &web2, &two);
        for ip in ["10.5.0.2", "fd00:5::2"] {
            assert!(!reaches(&two, &one, ip, 1000), "{ip}");
            assert!(reaches(&two, &one, ip, 1001), "{ip}");
            assert!(answers(&one, ip), "{ip}");
        }
        // Also without any checks of what comes out of it.
        let mut free = web1.clone();
        free.anti_spoof = false;
        let all = Filtered {
            wanted: free,
            firewall: Some(wall),
        };
        filters.rebuild(Others::Go, || vec![all]).unwrap();
        assert!(!reaches(&two, &one, "10.5.0.2", 1000));
        assert!(reaches(&two, &one, "10.5.0.2", 1001));
        assert!(!ruleset().unwrap_or_default().contains("from-"));
    });
}
