//! A shell on a host in a virtual machine: `cargo xtask vm shell HOST`, which
//! builds what the host is made from.

#![allow(clippy::unwrap_used)]

use osctl_tests::Rootfs;
use osctl_tests::vm::{Console, Machine, Settings, Wire};

fn main() {
    let Some(name) = std::env::args().nth(1) else {
        eprintln!("usage: osctl-vm-shell HOST");
        std::process::exit(2);
    };
    let name_is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(name_is_plain) {
        eprintln!("{name:?} is no name of a host");
        std::process::exit(2);
    }
    // Those of one source tree are together.
    let wire = Wire::named(&std::env::var("OSCTL_VM_STATES").unwrap_or_default());
    let settings = Settings {
        name,
        wire: Some(wire),
        console: Console::Terminal,
        ..Settings::default()
    };
    let address = settings.address();
    let Some(mut host) = Machine::ready(settings) else {
        std::process::exit(1);
    };
    host.push("/root/minimal.tar", 0o644, &Rootfs::minimal().archive());
    let prepare = format!(
        "ip addr add {address}/16 dev eth1 && ip link set eth1 up
        osctl -q pool install tank --dir /var/lib/tank"
    );
    host.sh(&prepare).ok();
    println!(
        "\r\neth1 has {address}, on one wire with other such hosts; in /root there is an image.\r"
    );
    println!("`poweroff` ends it, and so does Ctrl-A X.\r");
    // A shell that says that it is there.
    host.sh("sv restart getty-ttyS0 > /dev/null").ok();
    host.ended();
}
