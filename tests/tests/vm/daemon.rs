//! Tests of the daemon that run on the development machine too: the same
//! programs, on a host of cgroup v2 alone.

use std::fs;
use std::path::PathBuf;

use osctl_tests::vm::{Machine, Settings};

/// Runs those tests of `program` that `arguments` name. None may say that it is
/// skipped but for the lack of cgroup v1.
#[track_caller]
fn pass(program: &str, arguments: &[&str]) {
    let Some(mut host) = Machine::ready(Settings::default()) else {
        return;
    };
    let tests = PathBuf::from(std::env::var_os("OSCTL_VM_TESTS").unwrap());
    host.sh("mkdir -p /bin /srv/bin /srv/tmp && ln -s /nix/.osctl/bin/* /srv/bin/")
        .ok();
    let mut push = |name: &str, path: &str| {
        host.push(path, 0o755, &fs::read(tests.join(name)).unwrap());
    };
    push(program, "/srv/tests");
    push("osctl-test-attacker", "/srv/bin/osctl-test-attacker");
    let busybox = fs::read("/bin/busybox").unwrap();
    host.push("/bin/busybox", 0o755, &busybox);
    let script = format!(
        "OSCTL_BIN_DIR=/srv/bin TMPDIR=/srv/tmp /srv/tests --test-threads=2 --show-output {}",
        arguments.join(" ")
    );
    let output = host.sh(&script);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status, 0, "{text}");
    let mut skipped = text.lines().filter(|line| line.starts_with("skipped:"));
    assert!(skipped.all(|line| line.contains(" v1")), "{text}");
    assert!(!text.contains(" 0 passed"), "{text}");
    println!("{text}");
}

#[test]
fn cgroups() {
    pass("osctld", &["cgroup::"]);
}

#[test]
fn limits_and_settings() {
    pass("it", &["settings::"]);
}

#[test]
fn stopping() {
    pass("it", &["stopping::"]);
}

#[test]
fn restarts() {
    pass("it", &["restart::"]);
}

#[test]
fn attackers() {
    // The one left out starts twenty thousand programs, which takes an emulated machine minutes.
    pass("it", &["attackers::", "--skip=secrets_of_the_host"]);
}
