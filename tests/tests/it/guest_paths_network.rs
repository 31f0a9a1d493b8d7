//! Everything that is written for a guest's network, with something else in its place: the host is
//! not changed, the container starts, and what could not be written is said.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use osctl_tests::canary::Canary;
use osctl_tests::{Ct, Host, Rootfs, leaks, networked_host, processes};

use osctl_api::container::Unset;
use serde_json::json;

use super::guest_network::netif;

/// How long a start may take whatever the guest has in the place of its files.
const BOUND: Duration = Duration::from_secs(20);
const V4: &str = "192.0.2.10";

/// A system and the files that are written into it.
struct Case {
    name: &'static str,
    rootfs: fn() -> Rootfs,
    /// What is written for the interface `eth0`.
    written: &'static [&'static str],
    /// What else is read to decide that.
    read: &'static [&'static str],
}

/// Busybox that says that it is systemd.
fn systemd() -> Rootfs {
    let init = include_bytes!("../../../templates/minimal/rootfs/sbin/init");
    Rootfs::minimal()
        .without("sbin/init")
        .file("usr/lib/systemd/systemd", 0o755, init)
        .symlink("sbin/init", "/usr/lib/systemd/systemd")
}

fn enabled(rootfs: Rootfs, unit: &str) -> Rootfs {
    rootfs
        .file(
            &format!("usr/lib/systemd/system/{unit}.service"),
            0o644,
            b"",
        )
        .symlink(
            &format!("etc/systemd/system/multi-user.target.wants/{unit}.service"),
            &format!("/usr/lib/systemd/system/{unit}.service"),
        )
}

fn ifupdown() -> Rootfs {
    enabled(systemd(), "networking")
        .file("usr/sbin/ifup", 0o755, b"")
        .file("etc/network/interfaces", 0o644, b"auto lo\n")
        .file("etc/dhcpcd.conf", 0o644, b"duid\n")
        .dir("etc/network/interfaces.d")
}

/// All DHCP clients at once.
fn clients() -> Rootfs {
    ifupdown()
        .dir("etc/dhcp/dhclient-enter-hooks.d")
        .dir("etc/udhcpc")
}

fn networkd() -> Rootfs {
    enabled(systemd(), "systemd-networkd").dir("etc/systemd/network")
}

fn networkmanager() -> Rootfs {
    enabled(systemd(), "NetworkManager")
        .dir("etc/NetworkManager/conf.d")
        .dir("etc/NetworkManager/system-connections")
        .file(
            "usr/lib/NetworkManager/conf.d/10-globally-managed-devices.conf",
            0o644,
            b"",
        )
}

fn ifcfg() -> Rootfs {
    let plugin = "usr/lib64/NetworkManager/1.2/libnm-settings-plugin-ifcfg-rh.so";
    enabled(systemd(), "NetworkManager")
        .file(plugin, 0o644, b"")
        .file("etc/sysconfig/network-scripts/ifcfg-other", 0o644, b"")
}

fn initscripts() -> Rootfs {
    Rootfs::minimal()
        .file("etc/sysconfig/network-scripts/ifup", 0o755, b"")
        .file("etc/init.d/network", 0o755, b"")
        .symlink("etc/rc3.d/S10network", "../init.d/network")
        .file("etc/sysconfig/network", 0o644, b"")
}

fn netctl() -> Rootfs {
    systemd()
        .file("usr/lib/systemd/system/netctl@.service", 0o644, b"")
        .dir("etc/netctl")
}

fn netifrc() -> Rootfs {
    Rootfs::minimal()
        .file("etc/init.d/net.lo", 0o755, b"")
        .dir("etc/conf.d")
        .dir("etc/runlevels/default")
}

fn wicked() -> Rootfs {
    enabled(systemd(), "wicked").dir("etc/sysconfig/network")
}

fn slackware() -> Rootfs {
    Rootfs::minimal()
        .file("etc/slackware-version", 0o644, b"15.0\n")
        .file("etc/rc.d/rc.inet1", 0o755, b"#!/bin/sh\n")
}

fn void() -> Rootfs {
    Rootfs::minimal().dir("etc/runit/core-services")
}

fn guix() -> Rootfs {
    Rootfs::minimal().dir("gnu/store").file(
        "var/guix/profiles/system/configuration.scm",
        0o644,
        b"/ifcfg.add",
    )
}

const CASES: &[Case] = &[
    Case {
        name: "ifupdown",
        rootfs: ifupdown,
        written: &["etc/network/interfaces"],
        read: &[
            "etc/network/interfaces.head",
            "etc/network/interfaces.tail",
            "etc/network/interfaces.d",
            "etc/dhcpcd.conf",
        ],
    },
    Case {
        name: "networkd",
        rootfs: networkd,
        written: &["etc/systemd/network/05-osctl-eth0.network"],
        read: &[
            "usr/lib/systemd/system/systemd-networkd.service",
            "etc/netplan",
        ],
    },
    Case {
        name: "networkmanager",
        rootfs: networkmanager,
        written: &[
            "etc/NetworkManager/system-connections/osctl-eth0.nmconnection",
            "etc/NetworkManager/conf.d/90-osctl.conf",
            "etc/NetworkManager/conf.d/10-globally-managed-devices.conf",
        ],
        read: &[],
    },
    Case {
        name: "ifcfg",
        rootfs: ifcfg,
        written: &[
            "etc/sysconfig/network-scripts/ifcfg-eth0",
            "etc/sysconfig/network-scripts/route-eth0",
            "etc/NetworkManager/conf.d/90-osctl.conf",
        ],
        read: &["usr/lib64/NetworkManager"],
    },
    Case {
        name: "initscripts",
        rootfs: initscripts,
        written: &[
            "etc/sysconfig/network-scripts/ifcfg-eth0",
            "etc/sysconfig/network-scripts/route-eth0",
            "etc/sysconfig/network",
        ],
        read: &["etc/init.d/network"],
    },
    Case {
        name: "netctl",
        rootfs: netctl,
        written: &[
            "etc/netctl/eth0",
            "etc/systemd/system/multi-user.target.wants/netctl@eth0.service",
        ],
        read: &[],
    },
    Case {
        name: "netifrc",
        rootfs: netifrc,
        written: &[
            "etc/conf.d/net.eth0",
            "etc/init.d/net.eth0",
            "etc/runlevels/default/net.eth0",
        ],
        read: &["etc/init.d/net.lo"],
    },
    Case {
        name: "wicked",
        rootfs: wicked,
        written: &[
            "etc/sysconfig/network/ifcfg-eth0",
            "etc/sysconfig/network/ifroute-eth0",
            "etc/sysconfig/network/ifsysctl-eth0",
        ],
        read: &[],
    },
    Case {
        name: "slackware",
        rootfs: slackware,
        written: &["etc/rc.d/rc.osctl-network", "etc/rc.d/rc.inet1"],
        read: &["etc/slackware-version"],
    },
    Case {
        name: "void",
        rootfs: void,
        written: &["etc/runit/core-services/90-osctl-network.sh"],
        read: &["etc/runit/runsvdir/default"],
    },
    Case {
        name: "guix",
        rootfs: guix,
        written: &["ifcfg.add", "ifcfg.del"],
        read: &["var/guix/profiles/system/configuration.scm"],
    },
    Case {
        name: "clients",
        rootfs: clients,
        written: &[
            "etc/dhcpcd.conf",
            "etc/dhcp/dhclient-enter-hooks.d/zz-osctl",
            "etc/udhcpc/udhcpc.conf",
        ],
        read: &[],
    },
];

/// What may be in the place of a file or directory.
#[derive(Debug, Clone, Copy)]
enum Instead {
    LinkToFile,
    LinkToDirectory,
    LinkUpwards,
    Fifo,
    Directory,
    Huge,
    Device,
}

const INSTEAD: &[Instead] = &[
    Instead::LinkToFile,
    Instead::LinkToDirectory,
    Instead::LinkUpwards,
    Instead::Fifo,
    Instead::Directory,
    Instead::Huge,
    Instead::Device,
];

impl Instead {
    /// Puts it at `path`, which is free.
    fn put(self, path: &Path, canary: &Canary) {
        match self {
            Instead::LinkToFile => symlink(canary.path("target"), path).unwrap(),
            Instead::LinkToDirectory => symlink(canary.path(""), path).unwrap(),
            Instead::LinkUpwards => {
                symlink("../".repeat(20) + &canary.path("target"), path).unwrap();
            }
            Instead::Fifo => nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            Instead::Directory => fs::create_dir(path).unwrap(),
            Instead::Huge => fs::File::create(path).unwrap().set_len(1 << 30).unwrap(),
            Instead::Device => {
                use nix::sys::stat::{Mode, SFlag, makedev, mknod};
                mknod(path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5)).unwrap();
            }
        }
    }
}

struct Setting<'h> {
    host: &'h Host,
    canary: Canary,
    mounts: String,
    memory: u64,
}

impl Setting<'_> {
    /// Starts `ct` with something else at `path`, below its root, and puts everything back.
    fn start_with(&self, ct: &Ct<'_>, path: &str, instead: Instead, is_written: bool) {
        let what = format!("{}: /{path} is {instead:?}", ct.id);
        let at = ct.rootfs().join(path);
        let aside: PathBuf = ct.rootfs().join(".aside");
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let was_there = fs::rename(&at, &aside).is_ok();
        instead.put(&at, &self.canary);
        let begun = Instant::now();
        ct.try_start().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(begun.elapsed() < BOUND, "{what}: {:?}", begun.elapsed());
        let warnings = ct.show().warnings.join("\n");
        // Either somebody is told, or the host does it, or a link of ours has replaced it.
        let told = warnings.contains(&format!("/{path}"));
        let by_host = ct.sh("ip addr").contains(V4);
        let replaced = fs::read_link(&at).is_ok_and(|to| !to.to_str().unwrap().contains("canary"));
        assert!(
            !is_written || told || by_host || replaced,
            "{what}: nothing is said: {warnings}"
        );
        ct.kill();
        self.canary.assert_untouched(&what);
        assert_eq!(leaks::mountinfo(), self.mounts, "{what}");
        if fs::symlink_metadata(&at).unwrap().is_dir() {
            fs::remove_dir_all(&at).unwrap();
        } else {
            fs::remove_file(&at).unwrap();
        }
        if was_there {
            fs::rename(&aside, &at).unwrap();
        }
        let memory = processes::anonymous_memory(self.host.daemon_pid());
        assert!(memory < self.memory + 32 * 1024 * 1024, "{what}: {memory}");
    }
}

#[test]
fn resolvers_set_and_unset_live_also_change_what_dhcp_clients_do() {
    let host = networked_host!();
    host.network().host.bridge("br0");
    let case = CASES.iter().find(|c| c.name == "clients").unwrap();
    let ct = host.ct_of("web", &(case.rootfs)());
    let settings = json!({ "name": "eth0", "type": "bridge", "link": "br0" });
    netif(&ct, settings, &[]);
    ct.start();
    let dhcpcd = || fs::read_to_string(ct.rootfs().join("etc/dhcpcd.conf")).unwrap();
    assert!(!dhcpcd().contains("resolv.conf"), "{}", dhcpcd());
    ct.set(json!({ "dns_resolvers": ["192.0.2.53"] }));
    assert!(dhcpcd().contains("nohook resolv.conf"), "{}", dhcpcd());
    ct.json::<Unset>(json!({ "settings": ["dns_resolvers"] }));
    assert!(!dhcpcd().contains("resolv.conf"), "{}", dhcpcd());
}

fn withstands(name: &str) {
    let host = networked_host!();
    let case = CASES.iter().find(|c| c.name == name).unwrap();
    let canary = Canary::new(&host.path("canary"), &["target", "eth0", "network"]);
    let ct = host.ct_of("evil", &(case.rootfs)());
    // Where there is no client there is nothing to write.
    let asks = name == "clients";
    if asks {
        host.network().host.bridge("br0");
        ct.set(json!({ "dns_resolvers": ["192.0.2.53"] }));
        let settings = json!({ "name": "eth0", "type": "bridge", "link": "br0" });
        netif(&ct, settings, &[]);
    } else {
        netif(&ct, json!({ "name": "eth0", "type": "routed" }), &[V4]);
    }
    ct.start();
    let by_host = ct.sh("ip addr").contains(V4);
    assert!(!by_host, "{name} is not recognised");
    assert!(
        ct.show().warnings.is_empty(),
        "{name}: {:?}",
        ct.show().warnings
    );
    for path in case.written {
        let there = fs::symlink_metadata(ct.rootfs().join(path));
        assert!(there.is_ok(), "{name} does not write {path}");
        // A file that its owner can't write is the guest's own.
        let is_file = there.unwrap().is_file();
        ct.kill();
        if is_file {
            let at = ct.rootfs().join(path);
            fs::write(&at, "mine").unwrap();
            fs::set_permissions(&at, fs::Permissions::from_mode(0o444)).unwrap();
            ct.start();
            assert_eq!(fs::read(&at).unwrap(), b"mine", "{name}: {path}");
            fs::set_permissions(&at, fs::Permissions::from_mode(0o644)).unwrap();
            ct.kill();
        }
        ct.start();
    }
    ct.kill();
    let setting = Setting {
        mounts: leaks::mountinfo(),
        memory: processes::anonymous_memory(host.daemon_pid()),
        host: &host,
        canary,
    };
    for path in case.written {
        for instead in INSTEAD {
            setting.start_with(&ct, path, *instead, !asks);
        }
        for above in Path::new(path)
            .ancestors()
            .skip(1)
            .filter(|p| *p != Path::new(""))
        {
            for instead in [
                Instead::LinkToDirectory,
                Instead::LinkUpwards,
                Instead::Fifo,
                Instead::Huge,
            ] {
                setting.start_with(&ct, above.to_str().unwrap(), instead, false);
            }
        }
    }
    for path in case.read {
        for instead in INSTEAD {
            setting.start_with(&ct, path, *instead, false);
        }
    }
    ct.delete();
    host.assert_clean();
}

macro_rules! withstands {
    ($($name:ident)*) => {
        mod withstands {
            $(
                #[test]
                fn $name() {
                    super::withstands(stringify!($name));
                }
            )*
        }

        #[test]
        fn every_case_is_tested() {
            let tested = [$(stringify!($name)),*];
            let all: Vec<&str> = CASES.iter().map(|c| c.name).collect();
            assert_eq!(all, tested);
        }
    };
}

withstands! {
    ifupdown networkd networkmanager ifcfg initscripts netctl netifrc wicked slackware void guix
    clients
}
