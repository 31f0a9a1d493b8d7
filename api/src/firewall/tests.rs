use proptest::prelude::*;

use super::*;

fn good(text: &str, shown: &str) {
    let rule: FirewallRule = text.parse().unwrap();
    assert_eq!(rule.to_string(), shown);
    assert_eq!(shown.parse::<FirewallRule>().unwrap(), rule);
}

#[test]
fn rules_are_read_and_written() {
    for text in [
        "allow in",
        "deny out udp to 10.0.0.0/8",
        "reject in 89",
        "allow in tcp from @office port 22,80-90 state new",
        "allow in icmpv6 from 2001:db8::/32 log",
        "deny out from 192.0.2.1,2001:db8::1 to @a,@b,198.51.100.0/24",
        "allow out sctp source-port 1-65535",
    ] {
        good(text, text);
    }
    good(
        "  allow\tin tcp  port 22,80-80 from @office state new,established log",
        "allow in tcp from @office port 22,80 state new,established log",
    );
    good("deny out 17 to 10.0.0.1/32", "deny out udp to 10.0.0.1");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (text, why) in [
        ("", "the verdict"),
        ("allow", "the direction"),
        ("drop in", "no verdict"),
        ("allow both", "no direction"),
        ("allow in tcp port", "what follows 'port'"),
        ("allow in tcp port 0", "no port"),
        ("allow in tcp port 65536", "no port"),
        ("allow in tcp port +1", "no port"),
        ("allow in tcp port 9-8", "no port"),
        ("allow in tcp port 1,,2", "no port"),
        ("allow in tcp port 22,22", "repeats"),
        ("allow in port 22", "ports need"),
        ("allow in icmp source-port 22", "ports need"),
        ("allow in ipx", "no protocol"),
        ("allow in 256", "no protocol"),
        ("allow in tcp tcp", "none of"),
        ("allow in log log", "second 'log'"),
        ("allow in from 10.0.0.1/8", "bits below"),
        ("allow in from @", "name"),
        ("allow in from @a;b", "name"),
        ("allow in from 10.0.0.0/8 to 2001:db8::/32", "IP versions"),
        ("allow in icmp from 2001:db8::/32", "IP versions"),
        ("allow in icmpv6 to 10.0.0.0/8", "IP versions"),
        ("allow in state old", "no state"),
    ] {
        let e = text.parse::<FirewallRule>().unwrap_err().to_string();
        assert!(e.contains(why), "{text:?}: {e}");
    }
    let many = (1..=65).map(|n| n.to_string()).collect::<Vec<_>>();
    let many = format!("allow in tcp port {}", many.join(","));
    assert!(many.parse::<FirewallRule>().is_err());
    let long = format!("allow in {}", " ".repeat(MAX_RULE));
    assert!(long.parse::<FirewallRule>().is_err());
}

#[test]
fn on_the_wire_a_rule_is_its_text() {
    let rule: FirewallRule = serde_json::from_str("\"allow in tcp port 22\"").unwrap();
    assert_eq!(
        serde_json::to_string(&rule).unwrap(),
        "\"allow in tcp port 22\""
    );
    assert!(serde_json::from_str::<FirewallRule>("\"allow\"").is_err());
    let policy: FirewallPolicy = serde_json::from_str(r#"{"in":"deny","out":"allow"}"#).unwrap();
    assert_eq!(policy.incoming, Verdict::Deny);
}

fn distinct<T: std::fmt::Debug + PartialEq>(
    one: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(one, 0..5).prop_map(|all| {
        let mut kept = Vec::new();
        for item in all {
            if !kept.contains(&item) {
                kept.push(item);
            }
        }
        kept
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        "[a-z0-9_][a-z0-9_-]{0,20}".prop_map(|s| Peer::Set(s.parse().unwrap())),
        (any::<u32>(), 0..=32u8).prop_map(|(ip, len)| {
            let net = ipnet::Ipv4Net::new(ip.into(), len).unwrap().trunc();
            Peer::Network(net.to_string().parse().unwrap())
        }),
        (any::<u128>(), 0..=128u8).prop_map(|(ip, len)| {
            let net = ipnet::Ipv6Net::new(ip.into(), len).unwrap().trunc();
            Peer::Network(net.to_string().parse().unwrap())
        }),
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| Ports::new(a.min(b), a.max(b)).unwrap())
}

prop_compose! {
    fn rule()(
        verdict in prop_oneof![
            Just(Verdict::Allow), Just(Verdict::Deny), Just(Verdict::Reject)
        ],
        direction in prop_oneof![Just(Direction::In), Just(Direction::Out)],
        protocol in prop::option::of(any::<u8>().prop_map(Protocol)),
        from in distinct(peer()),
        to in distinct(peer()),
        ports in distinct(ports()),
        source_ports in distinct(ports()),
        states in distinct(prop_oneof![
            Just(State::New), Just(State::Established), Just(State::Related), Just(State::Invalid)
        ]),
        log in any::<bool>(),
    ) -> FirewallRule {
        FirewallRule { verdict, direction, protocol, from, to, ports, source_ports, states, log }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(rule in rule()) {
        if rule.check().is_ok() {
            prop_assert_eq!(rule.to_string().parse::<FirewallRule>().unwrap(), rule);
        } else {
            prop_assert!(rule.to_string().parse::<FirewallRule>().is_err());
        }
    }

    #[test]
    fn nothing_that_is_given_panics(text in "\\PC*") {
        let _ = text.parse::<FirewallRule>();
    }

    #[test]
    fn nothing_like_a_rule_panics(
        words in prop::collection::vec(
            "allow|deny|in|out|tcp|udp|from|to|port|state|log|@|@a|1-|-1|80-90|,|10.0.0.0/8|::/0|é",
            0..10,
        )
    ) {
        if let Ok(rule) = words.join(" ").parse::<FirewallRule>() {
            prop_assert_eq!(rule.to_string().parse::<FirewallRule>().unwrap(), rule);
        }
    }
}
