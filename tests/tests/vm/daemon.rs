//! Tests of the daemon that run on the development machine too: the same
//! programs, on a host of cgroup v2 alone.

use std::fs;
use std::path::PathBuf;

use osctl_tests::is_thorough;
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

/// Runs tests of `it`: `some` of them, which differ on such a host, and all that `all` name if they
/// are asked for.
#[track_caller]
fn pass_it(all: &[&str], some: &[&str]) {
    let all = if is_thorough() { all } else { some };
    // The one left out starts twenty thousand programs, which takes an emulated machine minutes.
    let arguments = [all, &["--skip=secrets_of_the_host"]].concat();
    pass("it", &arguments);
}

#[test]
fn limits_and_stops() {
    pass_it(
        &["settings::", "stopping::"],
        &[
            "settings::limits_are_applied_live",
            "settings::a_limit_of_a_group",
            "settings::cgroup_parameters",
            "settings::devices_are_added",
            "stopping::a_frozen_guest",
            "stopping::frozen_processes",
            "stopping::a_fork_bomb",
            "stopping::a_container_whose_supervisor_is_killed",
        ],
    );
}

#[test]
fn restarts_and_attackers() {
    pass_it(
        &["restart::", "attackers::"],
        &[
            "restart::containers_consoles_and_sessions_survive_a_daemon_that_is_killed",
            "restart::reboot_halt_and_crash_are_told_apart_also",
            "restart::a_stopped_daemon_leaves_nothing",
            "attackers::switches_of_the_host",
            "attackers::devices_outside_the_rules",
            "attackers::limits_of_a_container_cannot_be_lifted",
            "attackers::bombs_of_a_guest_end",
            "attackers::an_allocation_bomb",
            "attackers::whatever_a_guest_piles_up",
        ],
    );
}
