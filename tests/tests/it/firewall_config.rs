//! Firewalls as they are configured: what is accepted, what is refused and why, and that it is kept.

use osctl_api::Code;
use osctl_api::firewall::{Clear, RuleAdd, RuleDelete, SetPolicy, Show, Verdict};
use osctl_tests::{Ct, host};
use serde_json::json;

fn rules(ct: &Ct<'_>) -> Vec<String> {
    let all = ct.json::<Show>(json!({})).rules;
    all.iter().map(|r| r.rule.to_string()).collect()
}

#[test]
fn rules_have_their_places_and_are_kept() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.json::<RuleAdd>(json!({ "rule": "allow in tcp port 22" }));
    ct.json::<RuleAdd>(json!({ "rule": "deny in from 192.0.2.0/24", "number": 1 }));
    ct.json::<SetPolicy>(json!({ "direction": "in", "verdict": "deny" }));
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(
        rules(&ct),
        ["deny in from 192.0.2.0/24", "allow in tcp port 22"]
    );
    assert_eq!(ct.json::<Show>(json!({})).policy.incoming, Verdict::Deny);
    ct.json::<RuleDelete>(json!({ "number": 1 }));
    assert_eq!(rules(&ct), ["allow in tcp port 22"]);
    for number in [0, 2, u32::MAX] {
        let gone = ct.try_json::<RuleDelete>(json!({ "number": number }));
        assert_eq!(gone.unwrap_err().code, Code::NotFound);
    }
    let nowhere = ct.try_json::<RuleAdd>(json!({ "rule": "allow in", "number": 3 }));
    assert_eq!(nowhere.unwrap_err().code, Code::NotFound);
    let no_set = ct.try_json::<RuleAdd>(json!({ "rule": "allow in from @office" }));
    let no_set = no_set.unwrap_err();
    assert!(format!("{no_set:?}").contains("@office"), "{no_set:?}");
    ct.json::<Clear>(json!({}));
    let open = ct.json::<Show>(json!({}));
    assert!(open.rules.is_empty() && open.policy.incoming == Verdict::Allow);
    for _ in 0..256 {
        ct.json::<RuleAdd>(json!({ "rule": "allow in tcp port 22" }));
    }
    let many = ct.try_json::<RuleAdd>(json!({ "rule": "allow in tcp port 22" }));
    assert_eq!(many.unwrap_err().code, Code::InvalidArgument);
    ct.delete();
    host.assert_clean();
}

#[test]
fn the_command_line_takes_a_rule_as_words() {
    let host = host!();
    let ct = host.new_ct("web1");
    host.osctl(&[
        "ct", "firewall", "add", "web1", "allow", "in", "tcp", "port", "22,80-90",
    ]);
    host.osctl(&["ct", "firewall", "policy", "web1", "in", "deny"]);
    let shown = host.osctl(&["ct", "firewall", "ls", "web1", "-H", "-o", "number,rule"]);
    assert!(shown.contains("allow in tcp port 22,80-90"), "{shown}");
    for bad in [
        &["ct", "firewall", "add", "web1", "permit", "in"][..],
        &[
            "ct", "firewall", "add", "web1", "allow", "in", "tcp", "port", "70000",
        ],
        &["ct", "firewall", "add", "web1", "allow in\nallow out"],
        &["ct", "firewall", "add", "web1"],
        &["ct", "firewall", "policy", "web1", "in", "maybe"],
    ] {
        assert_eq!(host.try_osctl(bad).status.code(), Some(2), "{bad:?}");
    }
    assert_eq!(rules(&ct).len(), 1);
    ct.delete();
    host.assert_clean();
}
