//! Real systems with four kinds of init: they boot, stop as they want to be stopped, and reboot.

use std::time::{Duration, Instant};

use osctl_api::container::{Restart, State};
use osctl_tests::{Ct, Host, host, wait};
use serde_json::json;

/// How long a Debian may take to boot or to shut down on a busy machine.
const LONG: Duration = Duration::from_secs(120);

const SYSTEMD: &[&str] = &["systemctl", "is-system-running", "--wait"];

fn system(host: &Host, image: &str) -> Option<String> {
    let image = osctl_tests::host::image(image)?;
    host.ct_from("web1", &image);
    Some("web1".to_owned())
}

fn await_boot(ct: &Ct<'_>, booted: &[&str]) {
    let up = wait::find(LONG, || {
        let ran = ct.try_exec_with(booted, &json!({}), LONG).ok()?;
        ran.success().then_some(())
    });
    assert!(up.is_some(), "it does not boot:\n{}", ct.console_log());
}

/// Boots, stops without being killed, starts again, reboots.
fn lives(ct: &Ct<'_>, booted: &[&str]) {
    ct.set(json!({ "hostname": "web.example.com", "dns_resolvers": ["192.0.2.1"] }));
    ct.start();
    await_boot(ct, booted);
    assert!(ct.show().warnings.is_empty(), "{:?}", ct.show().warnings);
    assert_eq!(ct.sh("hostname; cat /etc/hostname"), "web\nweb\n");
    assert!(ct.sh("cat /etc/resolv.conf").contains("192.0.2.1"));
    ct.json::<osctl_api::container::Passwd>(json!({ "user": "root", "password": "secret" }));
    assert!(ct.sh("getent shadow root").starts_with("root:$"));
    let begun = Instant::now();
    ct.try_stop("shutdown", LONG.as_secs())
        .unwrap_or_else(|e| panic!("{e}\n{}", ct.console_log()));
    println!("stopped in {:?}", begun.elapsed());
    assert_eq!(ct.state(), State::Stopped);
    ct.host.assert_clean();
    ct.start();
    await_boot(ct, booted);
    let init = ct.init_pid();
    ct.json::<Restart>(json!({ "reboot": true }));
    let back = wait::find(LONG, || {
        let shown = ct.show();
        (shown.state == State::Running && shown.init_pid != Some(init)).then_some(())
    });
    assert!(back.is_some(), "it does not reboot:\n{}", ct.console_log());
    await_boot(ct, booted);
    ct.try_stop("shutdown_or_kill", 60).unwrap();
    ct.delete();
    ct.host.assert_clean();
}

fn of(version: &str, variant: &str, booted: &[&str]) {
    let host = host!();
    let arch = std::env::consts::ARCH;
    let name = format!("debian-{version}-{arch}-default-{variant}.tar");
    let Some(id) = system(&host, &name) else {
        osctl_tests::skip!("needs the image {name}: cargo xtask template debian/{version}");
    };
    lives(&host.ct(&id), booted);
}

#[test]
fn a_debian_with_systemd_boots_to_running_stops_and_reboots() {
    of("trixie", "systemd", SYSTEMD);
}

#[test]
fn a_debian_with_an_older_systemd_boots_to_running_stops_and_reboots() {
    of("bookworm", "systemd", SYSTEMD);
}

#[test]
fn a_debian_with_sysvinit_boots_stops_and_reboots() {
    of(
        "trixie",
        "sysvinit",
        &["sh", "-c", "[ \"$(runlevel | cut -d' ' -f2)\" = 2 ]"],
    );
}

#[test]
fn a_debian_with_openrc_boots_stops_and_reboots() {
    of(
        "trixie",
        "openrc",
        &[
            "sh",
            "-c",
            "rc-status default >/dev/null && [ \"$(rc-status -r)\" = default ]",
        ],
    );
}

#[test]
fn a_debian_with_runit_boots_stops_and_reboots() {
    of("trixie", "runit", &["sh", "-c", "pgrep -x runsvdir"]);
}
