//! What is planned for small root file systems, against files in `golden/`.
//!
//! `OSCTLD_BLESS=1` writes the files anew.

mod fixtures;
mod scripts;
mod values;

use std::path::{Path, PathBuf};

use osctl_runtime::spec::{FileAction, FileOp, SymlinkPolicy};

use super::*;
use crate::guest::tree::Memory;
use fixtures::{netifs, tree};

/// What is wanted, by name.
const WISHES: &[&str] = &["dhcp", "dhcp-dns-mtu", "static", "routed", "two", "mixed"];

/// Name of a tree, the distribution that it is, the back end that configures it.
const TREES: &[(&str, &str, Option<Backend>)] = &[
    ("debian", "debian", Some(Backend::Ifupdown)),
    ("debian-dhclient", "debian", Some(Backend::Ifupdown)),
    ("debian-networkd", "debian", Some(Backend::Networkd)),
    ("debian-bare", "debian", None),
    ("debian", "devuan", Some(Backend::Ifupdown)),
    ("debian-sysvinit", "devuan", Some(Backend::Ifupdown)),
    ("ubuntu-netplan", "ubuntu", Some(Backend::Networkd)),
    ("ubuntu-upstart", "ubuntu", Some(Backend::Ifupdown)),
    ("alpine", "alpine", Some(Backend::Ifupdown)),
    ("alpine-ng", "alpine", Some(Backend::Ifupdown)),
    ("chimera", "chimera", Some(Backend::Ifupdown)),
    ("debian-nm", "debian", Some(Backend::NetworkManager)),
    ("ubuntu-desktop", "ubuntu", Some(Backend::NetworkManager)),
    ("arch", "arch", Some(Backend::Networkd)),
    ("arch-netctl", "arch", Some(Backend::Netctl)),
    ("rhel", "almalinux", Some(Backend::NetworkManager)),
    ("rhel", "rocky", Some(Backend::NetworkManager)),
    ("rhel", "fedora", Some(Backend::NetworkManager)),
    ("rhel-ifcfg", "centos", Some(Backend::Ifcfg)),
    ("rhel-initscripts", "centos", Some(Backend::Initscripts)),
    ("debian-networkd", "fedora", Some(Backend::Networkd)),
    ("gentoo", "gentoo", Some(Backend::Netifrc)),
    ("debian-networkd", "gentoo", Some(Backend::Networkd)),
    ("opensuse", "opensuse", Some(Backend::Wicked)),
    ("debian-nm", "opensuse", Some(Backend::NetworkManager)),
    ("slackware", "slackware", Some(Backend::Slackware)),
    ("void", "void", Some(Backend::Void)),
    ("void-dhcpcd", "void", Some(Backend::Void)),
    ("nixos", "nixos", Some(Backend::Scripts)),
    ("guix", "guix", Some(Backend::Scripts)),
    ("nixos-bare", "nixos", None),
    ("debian", "other", Some(Backend::Ifupdown)),
    ("debian-networkd", "kali", Some(Backend::Networkd)),
    ("empty", "debian", None),
    ("empty", "other", None),
];

fn wish<'a>(
    distribution: &'a str,
    (netifs, resolvers): &'a (Vec<Netif>, Vec<IpAddr>),
    previously_written: &'a [PathBuf],
) -> Wish<'a> {
    Wish {
        distribution,
        netifs,
        resolvers,
        previously_written,
    }
}

fn planned(memory: &Memory, wish: &Wish<'_>) -> Plan {
    plan(&Tree::Memory(memory.clone()), wish)
}

/// What the runtime makes of the operations.
fn applied(mut memory: Memory, files: &[FileOp]) -> Memory {
    for op in files {
        let path = op.path.to_str().unwrap();
        memory = match &op.action {
            FileAction::Write { content } => memory.file_with_mode(path, content, op.mode),
            FileAction::Update { .. } => panic!("not used"),
            FileAction::Symlink { target } => memory.symlink(path, target),
            FileAction::Remove => memory.without(path),
            FileAction::Block {
                begin,
                end,
                content,
            } => {
                let old = Tree::Memory(memory.clone()).read(path).unwrap_or_default();
                let old = match old.split_once(begin.as_str()) {
                    Some((before, rest)) => {
                        let after = rest.split_once(&format!("{end}\n")).unwrap().1;
                        format!("{before}{after}")
                    }
                    None => old,
                };
                let new = match content.as_str() {
                    "" => old,
                    _ => format!("{old}{begin}\n{content}{end}\n"),
                };
                memory.file(path, &new)
            }
        };
    }
    memory
}

fn shown(plan: &Plan) -> String {
    let mut text = match plan.backend {
        Some(backend) => format!("configured by {backend:?}\n"),
        None => "configured from outside\n".to_owned(),
    };
    for op in &plan.files {
        let path = op.path.display();
        text.push_str(&match &op.action {
            FileAction::Write { content } => {
                format!("\n==== {path} {:o}\n{content}", op.mode)
            }
            FileAction::Block { content, .. } => format!("\n==== {path}, a block\n{content}"),
            FileAction::Symlink { target } => format!("\n==== {path} -> {target}\n"),
            FileAction::Remove => format!("\n==== {path} is removed\n"),
            FileAction::Update { .. } => panic!("not used"),
        });
    }
    text
}

#[track_caller]
fn compare(name: &str, actual: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guest/network/golden");
    let path = dir.join(format!("{name}.txt"));
    if std::env::var_os("OSCTLD_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; OSCTLD_BLESS=1 replaces it\n{actual}",
        path.display()
    );
}

#[test]
fn each_distribution_is_configured_by_what_it_runs() {
    for (name, distribution, backend) in TREES {
        let wanted = netifs("dhcp");
        let plan = planned(&tree(name), &wish(distribution, &wanted, &[]));
        assert_eq!(plan.backend, *backend, "{name} as {distribution}");
    }
}

#[test]
fn files_are_as_they_were_agreed() {
    let mut done: Vec<&str> = Vec::new();
    for (name, distribution, _) in TREES {
        if done.contains(name) {
            continue;
        }
        done.push(name);
        for what in WISHES {
            let wanted = netifs(what);
            let plan = planned(&tree(name), &wish(distribution, &wanted, &[]));
            compare(&format!("{name}.{what}"), &shown(&plan));
        }
    }
}

#[test]
fn planning_again_changes_nothing() {
    for (name, distribution, _) in TREES {
        for what in WISHES {
            let wanted = netifs(what);
            let before = tree(name);
            let first = planned(&before, &wish(distribution, &wanted, &[]));
            let after = applied(before, &first.files);
            let second = planned(&after, &wish(distribution, &wanted, &first.written));
            assert_eq!(first, second, "{name} as {distribution}: {what}");
        }
    }
}

#[test]
fn nothing_of_an_interface_that_is_gone_stays() {
    for (name, distribution, _) in TREES {
        let two = netifs("two");
        let before = tree(name);
        let first = planned(&before, &wish(distribution, &two, &[]));
        let after = applied(before, &first.files);
        let one = (two.0[..1].to_vec(), two.1.clone());
        let second = planned(&after, &wish(distribution, &one, &first.written));
        let left = shown(&planned(
            &applied(after, &second.files),
            &wish(distribution, &one, &[]),
        ));
        assert!(!left.contains("eth1"), "{name} as {distribution}: {left}");
        let gone = first
            .written
            .iter()
            .filter(|p| p.to_str().unwrap().contains("eth1"));
        for path in gone {
            let removed = second
                .files
                .iter()
                .any(|op| op.path == *path && matches!(op.action, FileAction::Remove));
            assert!(removed, "{name} as {distribution}: {}", path.display());
        }
    }
}

#[test]
fn without_interfaces_only_what_is_ours_is_undone() {
    for (name, distribution, backend) in TREES {
        let two = netifs("two");
        let before = tree(name);
        let first = planned(&before, &wish(distribution, &two, &[]));
        let after = applied(before, &first.files);
        let none = (Vec::new(), Vec::new());
        let second = planned(&after, &wish(distribution, &none, &first.written));
        assert_eq!(second.backend, None);
        assert_eq!(second.written, [] as [PathBuf; 0]);
        if backend.is_some() {
            assert!(!second.files.is_empty(), "{name} as {distribution}");
        }
        let left = applied(after.clone(), &second.files);
        for path in &first.written {
            let content = Tree::Memory(left.clone()).read(path.to_str().unwrap());
            let content = content.unwrap_or_default();
            assert!(
                !content.contains("eth"),
                "{name}: {}: {content}",
                path.display()
            );
        }
        // What somebody else has put in their place is left alone.
        let foreign = first
            .written
            .iter()
            .fold(after, |m, path| m.file(path.to_str().unwrap(), "mine\n"));
        let third = planned(&foreign, &wish(distribution, &none, &first.written));
        assert_eq!(third.files, [], "{name} as {distribution}");
    }
}

#[test]
fn a_resolver_is_only_written_where_nobody_else_wrote_one() {
    let wanted = netifs("dhcp");
    let wish = wish("other", &wanted, &[]);
    let resolv = |memory: Memory| {
        let plan = planned(&memory, &wish);
        plan.files
            .iter()
            .any(|op| op.path == Path::new("/etc/resolv.conf"))
    };
    let path = "/etc/resolv.conf";
    assert!(resolv(Memory::new()));
    assert!(resolv(Memory::new().file(path, " \n")));
    assert!(resolv(
        Memory::new().file(path, "# Set by osctl\nnameserver 192.0.2.1\n")
    ));
    assert!(!resolv(Memory::new().file(path, "nameserver 192.0.2.1\n")));
    assert!(!resolv(Memory::new().symlink(path, "/run/nothing")));
    let mut set = wanted.clone();
    set.1.push("192.0.2.53".parse().unwrap());
    let plan = planned(&Memory::new(), &super::tests::wish("other", &set, &[]));
    assert_eq!(plan.files, []);
}

#[test]
fn as_many_addresses_as_an_interface_can_have_fit_and_too_many_are_configured_from_outside() {
    let many = |netifs: usize| -> (Vec<Netif>, Vec<IpAddr>) {
        let netif = |n: usize| {
            let address = |a: usize| format!("2001:db8:1234:5678:9abc:def0:{n:x}:{a:x}/128");
            Netif {
                name: format!("interface{n}").parse().unwrap(),
                addresses: (1000..1256).map(|a| address(a).parse().unwrap()).collect(),
                ..fixtures::routed("eth0")
            }
        };
        ((0..netifs).map(netif).collect(), Vec::new())
    };
    for (name, distribution, backend) in TREES {
        let one = planned(&tree(name), &wish(distribution, &many(1), &[]));
        assert_eq!(one.backend, *backend, "{name} as {distribution}");
        let all = planned(&tree(name), &wish(distribution, &many(8), &[]));
        assert_eq!(
            (all.backend, all.files),
            (None, Vec::new()),
            "{name} as {distribution}"
        );
    }
}

#[test]
fn what_the_guest_adds_is_bounded() {
    let wanted = netifs("static");
    for (text, used) in [
        ("up true\n".repeat(100), true),
        ("up true\n".repeat(10_000), false),
        ("a\0b".to_owned(), false),
    ] {
        let memory = tree("debian").file("/etc/network/interfaces.tail", &text);
        let files = planned(&memory, &wish("debian", &wanted, &[])).files;
        let FileAction::Write { content } = &files[0].action else {
            panic!("{files:?}")
        };
        assert_eq!(content.contains(text.trim_end()), used);
        assert!(content.len() < 16 * 1024);
    }
}

#[test]
fn files_are_never_written_through_links() {
    for (name, distribution, _) in TREES {
        for what in WISHES {
            let plan = planned(&tree(name), &wish(distribution, &netifs(what), &[]));
            let through = |op: &FileOp| op.symlink == SymlinkPolicy::Follow;
            assert!(!plan.files.iter().any(through), "{name} as {distribution}");
        }
    }
}
