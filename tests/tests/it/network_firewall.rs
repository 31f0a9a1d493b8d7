//! Firewalls of containers that run: rules, policies and named sets of addresses, at once.

use std::process::Command;
use std::time::Duration;

use osctl_api::Code;
use osctl_api::firewall::{SetAdd, SetDelete, SetNew, SetRemove, SetShow, Show};
use osctl_tests::network::{Namespace, WORLD, seen_as_over_tcp};
use osctl_tests::{Ct, Host, networked_host, processes};
use serde_json::json;

const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";
const SOON: Duration = Duration::from_secs(5);

fn answers(from: &Namespace, address: &str) -> bool {
    let mut ping = Command::new("busybox");
    ping.args(["ping", "-c", "1", "-W", "1", address]);
    from.run(|| processes::output(&mut ping)).status.success()
}

fn routed<'h>(host: &'h Host, id: &str) -> Ct<'h> {
    let ct = host.new_ct(id);
    host.osctl(&["ct", "netif", "new", "routed", id, "eth0"]);
    for address in [V4, V6] {
        host.osctl(&["ct", "netif", "ip", "add", id, "eth0", address]);
    }
    ct.start();
    ct
}

#[test]
fn rules_policies_and_sets_hold_at_once_and_over_restarts() {
    let host = networked_host!();
    let ct = routed(&host, "web1");
    let world = &host.network().world;
    assert!(answers(world, V4) && answers(world, V6));
    host.osctl(&["ct", "firewall", "policy", "web1", "in", "deny"]);
    assert!(!answers(world, V4) && !answers(world, V6));
    // What it asks for itself comes back.
    let seen = ct.netns().run(|| seen_as_over_tcp(WORLD[0], SOON));
    assert_eq!(seen, Some(V4.parse().unwrap()));

    host.osctl(&["firewall", "set", "new", "friends"]);
    let rule = "allow in icmp from @friends";
    host.osctl(&["ct", "firewall", "add", "web1", rule]);
    assert!(!answers(world, V4));
    host.osctl(&[
        "firewall",
        "set",
        "add",
        "friends",
        "203.0.113.0/24",
        WORLD[0],
    ]);
    assert!(answers(world, V4));
    let shown = ct.json::<Show>(json!({}));
    assert!(shown.rules[0].packets.is_some_and(|n| n > 0), "{shown:?}");

    // A set that is used stays; one that is not there can't be used.
    let refused = host
        .try_json::<SetDelete>(json!({ "set": "friends" }))
        .unwrap_err();
    assert_eq!(refused.code, Code::InvalidState);
    assert!(refused.message.contains("tank:web1"), "{}", refused.message);
    let absent = host.try_osctl(&["ct", "firewall", "add", "web1", "deny in from @absent"]);
    assert!(!absent.status.success());
    assert!(String::from_utf8_lossy(&absent.stderr).contains("tank:@absent does not exist"));

    // A new daemon, and a container that is started anew, have both.
    host.kill_daemon();
    host.start_daemon();
    assert!(answers(world, V4) && !answers(world, V6));
    ct.kill();
    ct.start();
    assert!(answers(world, V4) && !answers(world, V6));
    host.json::<SetRemove>(json!({ "set": "friends", "addresses": [WORLD[0]] }));
    assert!(!answers(world, V4));
    host.osctl(&["ct", "firewall", "clear", "web1"]);
    assert!(answers(world, V4) && answers(world, V6));
    host.json::<SetDelete>(json!({ "set": "friends" }));
    ct.kill();
    ct.delete();
    host.assert_clean();
}

#[test]
fn sets_are_kept_and_checked() {
    let host = networked_host!();
    let new = |set: &str, addresses: &[&str]| {
        host.try_json::<SetNew>(json!({ "set": set, "addresses": addresses }))
    };
    new("office", &["192.0.2.0/24", "2001:db8::/32", "192.0.2.0/24"]).unwrap();
    assert_eq!(new("office", &[]).unwrap_err().code, Code::AlreadyExists);
    host.json::<SetAdd>(json!({ "set": "office", "addresses": ["198.51.100.7/32"] }));
    host.kill_daemon();
    host.start_daemon();
    let set = host.json::<SetShow>(json!({ "set": "office" }));
    let addresses: Vec<String> = set.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(
        addresses,
        ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"]
    );
    let table = host.osctl(&["firewall", "set", "ls"]);
    assert!(
        table.contains("office") && table.contains("198.51.100.7/32"),
        "{table}"
    );
    for bad in [
        &["firewall", "set", "new", "a/b"][..],
        &["firewall", "set", "add", "office", "192.0.2.1/24"],
        &["firewall", "set", "add", "office", "nonsense"],
    ] {
        assert_eq!(host.try_osctl(bad).status.code(), Some(2), "{bad:?}");
    }
    let missing =
        host.try_json::<SetRemove>(json!({ "set": "office", "addresses": ["203.0.113.1/32"] }));
    assert_eq!(missing.unwrap_err().code, Code::NotFound);
    let missing = host.try_json::<SetShow>(json!({ "set": "absent" }));
    assert_eq!(missing.unwrap_err().code, Code::NotFound);
    host.json::<SetDelete>(json!({ "set": "office" }));
    assert_eq!(new("office", &[]).err().map(|e| e.code), None);
    host.json::<SetDelete>(json!({ "set": "office" }));
}
