//! What other tests rely on: hosts that are restored, and several on a wire.

use std::process::Command;
use std::time::{Duration, SystemTime};

use osctl_tests::pty::Terminal;
use osctl_tests::vm::{Machine, Settings, Wire};

/// A host on a wire.
fn on(wire: &Wire, name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        wire: Some(wire.clone()),
        ..Settings::default()
    }
}

#[test]
fn hosts_of_one_state_are_different_hosts() {
    let wire = Wire::new();
    let Some(mut a) = Machine::ready(on(&wire, "a")) else {
        return;
    };
    let mut b = Machine::ready(on(&wire, "b")).unwrap();
    assert!(a.is_restored() && b.is_restored());
    assert_eq!(a.sh("cat /proc/sys/kernel/hostname").ok().text(), "a");
    assert_eq!(b.sh("cat /proc/sys/kernel/hostname").ok().text(), "b");
    let random = "head -c 16 /dev/urandom | od -An -tx1";
    assert_ne!(a.sh(random).ok().stdout, b.sh(random).ok().stdout);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let clock: u64 = a.sh("date +%s").ok().text().parse().unwrap();
    let late = Duration::from_secs(clock).abs_diff(now.unwrap());
    assert!(late < Duration::from_secs(20), "{late:?}");
    // Both can speak to each other, and the daemon that was saved to its clients.
    a.sh("ip addr add 192.0.2.1/24 dev eth1 && ip link set eth1 up")
        .ok();
    b.sh("ip addr add 192.0.2.2/24 dev eth1 && ip link set eth1 up")
        .ok();
    b.sh("ping -c 3 -w 60 192.0.2.1").ok();
    a.run(&["osctl", "ping"]).ok();
    // And to no one else.
    let mut other = Machine::ready(on(&Wire::new(), "c")).unwrap();
    other
        .sh("ip addr add 192.0.2.3/24 dev eth1 && ip link set eth1 up")
        .ok();
    assert_ne!(other.sh("ping -c 2 -w 4 192.0.2.1").status, 0);
}

#[test]
fn a_prepared_disk_is_each_test_s_own_and_keeps_what_was_synced() {
    let settings = Settings {
        disks: vec![64],
        prepare: "mkfs.ext4 -q /dev/vdb && mkdir /d && mount /dev/vdb /d && echo 1 > /d/f"
            .to_owned(),
        ..Settings::default()
    };
    let Some(mut host) = Machine::ready(settings.clone()) else {
        return;
    };
    assert!(host.is_restored());
    assert_eq!(host.pull("/d/f"), b"1\n");
    host.sh("echo 2 > /d/f && sync -f /d/f").ok();
    host.cut();
    host.set_words("runlevel=rescue");
    host.start();
    host.sh("mkdir /d && mount /dev/vdb /d").ok();
    assert_eq!(host.pull("/d/f"), b"2\n");
    let mut other = Machine::ready(settings).unwrap();
    assert!(other.is_restored());
    assert_eq!(other.pull("/d/f"), b"1\n");
}

#[test]
fn a_host_reboots() {
    let Some(mut host) = Machine::ready(Settings::default()) else {
        return;
    };
    host.sh("echo 1 > /tmp/before").ok();
    host.reboot();
    assert_ne!(host.sh("cat /tmp/before").status, 0);
    host.sh("sv -w 120 start osctld").ok();
    host.sh("echo one two > /dev/console").ok();
    host.console_shows("one two");
}

/// What `cargo xtask vm shell` runs.
#[test]
fn a_host_is_had_on_a_terminal() {
    if Machine::ready(Settings::default()).is_none() {
        return;
    }
    let mut shell = Command::new(env!("CARGO_BIN_EXE_osctl-vm-shell"));
    for variable in ["OSCTL_VM_DIST", "OSCTL_VM_STATES"] {
        shell.env(variable, std::env::var_os(variable).unwrap());
    }
    let mut terminal = Terminal::spawn(shell.arg("web-1"));
    terminal.read_until("ends it");
    terminal.read_until("# ");
    let script = "osctl ct new --from-archive minimal.tar ct1 && osctl ct start ct1";
    terminal.write(&format!(
        "{script} && read < /proc/sys/kernel/hostname && echo it=$REPLY\n"
    ));
    terminal.read_until("it=web-1");
    terminal.write("poweroff\n");
    assert!(terminal.end().success());
    terminal.assert_restored();
    // What is no name does not reach a shell.
    let wrong = Command::new(env!("CARGO_BIN_EXE_osctl-vm-shell"))
        .arg("a;b")
        .output();
    assert_eq!(wrong.unwrap().status.code(), Some(2));
}
