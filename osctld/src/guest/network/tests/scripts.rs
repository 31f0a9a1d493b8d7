//! Scripts that are written do what they say, as often as they are run.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::{netifs, planned, tree, wish};
use crate::guest::network::Backend;
use osctl_runtime::spec::FileAction;

/// Tree, distribution, path of the script.
const SCRIPTS: &[(&str, &str)] = &[
    ("slackware", "/etc/rc.d/rc.osctl-network"),
    ("slackware", "/etc/rc.d/rc.inet1"),
    ("void", "/etc/runit/core-services/90-osctl-network.sh"),
    (
        "void-dhcpcd",
        "/etc/runit/core-services/90-osctl-network.sh",
    ),
    ("nixos", "/ifcfg.add"),
    ("nixos", "/ifcfg.del"),
    ("guix", "/ifcfg.add"),
    ("guix", "/ifcfg.del"),
    ("gentoo", "/etc/conf.d/net.eth0"),
    ("arch-netctl", "/etc/netctl/eth0"),
    ("rhel-ifcfg", "/etc/sysconfig/network-scripts/ifcfg-eth0"),
    ("opensuse", "/etc/sysconfig/network/ifcfg-eth0"),
];

fn content(name: &str, path: &str, what: &str) -> String {
    let distribution = name.split('-').next().unwrap();
    let wanted = netifs(what);
    let plan = planned(&tree(name), &wish(distribution, &wanted, &[]));
    let op = plan.files.iter().find(|op| op.path.to_str() == Some(path));
    match op.map(|op| &op.action) {
        Some(FileAction::Write { content } | FileAction::Block { content, .. }) => content.clone(),
        other => panic!("{name}: {path}: {other:?}"),
    }
}

fn run(program: &mut Command, input: &str) -> Output {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn a_shell_can_read_them() {
    for (name, path) in SCRIPTS {
        for what in super::WISHES {
            // The arrays of netctl are for bash.
            let shell = if *name == "arch-netctl" { "bash" } else { "sh" };
            let text = content(name, path, what);
            let read = run(Command::new(shell).arg("-n"), &text);
            let said = String::from_utf8_lossy(&read.stderr).into_owned();
            assert!(read.status.success(), "{name}: {path}: {said}\n{text}");
        }
    }
}

/// Runs `script` twice in a network namespace of its own that has two interfaces, and tells what
/// there is then.
fn configured(script: &str, undo: &str) -> Option<String> {
    const SETUP: &str = "set -e\n\
        mount -t proc proc /proc\n\
        for n in 0 1; do\n\
            ip link add eth$n type veth peer name peer$n\n\
            ip link set peer$n up\n\
        done\n";
    const TELL: &str = "for w in addr route '-6 route'; do ip $w; done\n";
    let again = format!("(\n{script}\n)\n");
    let text = format!("{SETUP}{again}{again}{TELL}echo undone\n(\n{undo}\n)\n{TELL}");
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--propagation", "private", "sh"]);
    let ran = run(&mut unshare, &text);
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    if said.contains("not permitted") || said.contains("not found") {
        println!("skipped: {said}");
        return None;
    }
    assert!(ran.status.success(), "{said}\n{text}");
    assert_eq!(said, "", "{text}");
    Some(String::from_utf8_lossy(&ran.stdout).into_owned())
}

#[test]
fn they_configure_what_is_wanted_and_can_run_again() {
    let slackware = |what| content("slackware", "/etc/rc.d/rc.osctl-network", what);
    let void = |what| content("void", "/etc/runit/core-services/90-osctl-network.sh", what);
    let nixos = |what| content("nixos", "/ifcfg.add", what);
    let del = |what| content("nixos", "/ifcfg.del", what);
    assert_eq!(
        planned(&tree("void"), &wish("void", &netifs("two"), &[])).backend,
        Some(Backend::Void)
    );
    for script in [slackware("two"), void("two"), nixos("two")] {
        let Some(shown) = configured(&script, &del("two")) else {
            return;
        };
        let (there, undone) = shown.split_once("undone").unwrap();
        for wanted in [
            "inet 198.51.100.5/24 ",
            "inet 198.51.100.6/24 ",
            "inet6 2001:db8:1::5/64 ",
            "inet 203.0.113.6/32 ",
            "inet6 2001:db8:2::5/128 ",
            "default via 198.51.100.1 dev eth0",
            "default via 2001:db8:1::1 dev eth0",
            "255.255.255.254 dev eth1 scope link metric 2048",
            "default via 255.255.255.254 dev eth1 metric 2048",
            "default via fe80::1 dev eth1 metric 2048",
        ] {
            assert_eq!(
                there.matches(wanted).count(),
                1,
                "{wanted}: {there}\n{script}"
            );
        }
        assert!(
            !there.contains("2001:db8:2::5/128 scope global tentative"),
            "{there}"
        );
        assert!(!undone.contains("scope global"), "{undone}");
    }
}
