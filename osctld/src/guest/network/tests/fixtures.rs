//! Small root file systems that look like those of distributions, and what is wanted of them.

use std::net::IpAddr;

use crate::guest::network::{Netif, Uplink};
use crate::guest::tree::Memory;
use crate::network::Gateways;

/// Interfaces and DNS servers, by name.
pub fn netifs(name: &str) -> (Vec<Netif>, Vec<IpAddr>) {
    let resolvers = ["192.0.2.53", "2001:db8::53"].map(|ip| ip.parse().unwrap());
    match name {
        "dhcp" => (vec![dhcp("eth0")], Vec::new()),
        "dhcp-dns-mtu" => {
            let mtu = Some(1400);
            let eth0 = Netif {
                mtu,
                ..dhcp("eth0")
            };
            (vec![eth0], resolvers.to_vec())
        }
        "static" => (vec![fixed("eth0")], resolvers.to_vec()),
        "routed" => (vec![routed("eth0")], Vec::new()),
        "two" => (vec![fixed("eth0"), routed("eth1")], Vec::new()),
        // A gateway that is not in any network of its own; addresses besides those that are given.
        "mixed" => {
            let gateways = Gateways {
                v4: Some("10.9.9.9".parse().unwrap()),
                v6: None,
            };
            let eth0 = netif("eth0", &["198.51.100.5/24"], Uplink::Static(gateways));
            let addresses = ["203.0.113.5/24", "2001:db8:2::5/64"];
            let addresses = addresses.map(|a| a.parse().unwrap()).to_vec();
            let mtu = Some(1400);
            let eth1 = Netif {
                addresses,
                mtu,
                ..dhcp("eth1")
            };
            (vec![eth0, eth1], resolvers.to_vec())
        }
        _ => panic!("{name}"),
    }
}

fn netif(name: &str, addresses: &[&str], uplink: Uplink) -> Netif {
    Netif {
        name: name.parse().unwrap(),
        hwaddr: "52:54:00:12:34:56".parse().unwrap(),
        mtu: None,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        uplink,
    }
}

/// One that asks.
pub fn dhcp(name: &str) -> Netif {
    let dns = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    netif(name, &[], Uplink::Dhcp { dns })
}

/// One with static addresses and gateways.
pub fn fixed(name: &str) -> Netif {
    let gateways = Gateways {
        v4: Some("198.51.100.1".parse().unwrap()),
        v6: Some("2001:db8:1::1".parse().unwrap()),
    };
    let addresses = [
        "198.51.100.5/24",
        "198.51.100.6/24",
        "2001:db8:1::5/64",
        "2001:db8:1::6/64",
    ];
    netif(name, &addresses, Uplink::Static(gateways))
}

/// One that is point to point.
pub fn routed(name: &str) -> Netif {
    let addresses = [
        "203.0.113.5/32",
        "203.0.113.6/32",
        "2001:db8:2::5/128",
        "2001:db8:2::6/128",
    ];
    netif(name, &addresses, Uplink::Routed)
}

/// A root file system.
pub fn tree(name: &str) -> Memory {
    match name {
        "empty" => Memory::new(),
        "debian" => debian().file("/etc/dhcpcd.conf", "duid\nslaac private\n"),
        "debian-dhclient" => debian()
            .file(
                "/etc/network/interfaces.head",
                "auto dummy0\niface dummy0 inet manual\n",
            )
            .file("/etc/network/interfaces.tail", "# the end")
            .dir("/etc/dhcp/dhclient-enter-hooks.d"),
        "debian-networkd" => with_networkd(systemd()),
        "debian-bare" => systemd().file("/usr/lib/systemd/system/systemd-networkd.service", ""),
        "debian-sysvinit" => ifupdown(Memory::new())
            .program("/sbin/init")
            .program("/etc/init.d/networking")
            .symlink("/etc/rcS.d/S12networking", "../init.d/networking")
            .file("/etc/dhcp/dhclient.conf", "request subnet-mask;\n"),
        "ubuntu-netplan" => systemd()
            .dir("/etc/cloud/cloud.cfg.d")
            .file("/usr/lib/systemd/system/systemd-networkd.service", "")
            .program("/usr/libexec/netplan/generate")
            .symlink(
                "/usr/lib/systemd/system-generators/netplan",
                "/usr/libexec/netplan/generate",
            )
            .file(
                "/etc/netplan/10-lxc.yaml",
                "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n",
            ),
        "ubuntu-upstart" => ifupdown(Memory::new())
            .program("/sbin/init")
            .file("/etc/init/networking.conf", ""),
        "alpine" => alpine().symlink("/sbin/ifup", "/bin/busybox"),
        "alpine-ng" => alpine()
            .program("/sbin/ifupdown")
            .symlink("/sbin/ifup", "ifupdown")
            .dir("/usr/libexec/ifupdown-ng"),
        "chimera" => ifupdown(Memory::new())
            .program("/usr/bin/dinit")
            .symlink("/sbin/init", "/usr/bin/dinit")
            .dir("/usr/libexec/ifupdown-ng")
            .symlink(
                "/etc/dinit.d/boot.d/networking",
                "/usr/lib/dinit.d/networking",
            ),
        "debian-nm" => enabled(systemd(), "NetworkManager.service"),
        "ubuntu-desktop" => enabled(systemd(), "NetworkManager.service")
            .file("/usr/lib/systemd/system/systemd-networkd.service", "")
            .program("/usr/lib/systemd/system-generators/netplan")
            .file(
                "/etc/netplan/01-network-manager-all.yaml",
                "network:\n  version: 2\n  renderer: NetworkManager\n",
            )
            .file(
                "/usr/lib/NetworkManager/conf.d/10-globally-managed-devices.conf",
                "",
            ),
        "arch-netctl" => systemd()
            .dir("/etc/netctl")
            .file("/usr/lib/systemd/system/netctl@.service", "")
            .file("/usr/lib/systemd/system/systemd-networkd.service", ""),
        "rhel" => enabled(systemd(), "NetworkManager.service")
            .file("/etc/sysconfig/network-scripts/readme-ifcfg-rh.txt", ""),
        "rhel-ifcfg" => enabled(systemd(), "NetworkManager.service")
            .file(
                "/etc/sysconfig/network-scripts/ifcfg-eth0",
                "BOOTPROTO=dhcp\n",
            )
            .file(
                "/usr/lib64/NetworkManager/1.18/libnm-settings-plugin-ifcfg-rh.so",
                "",
            ),
        "rhel-initscripts" => Memory::new()
            .program("/sbin/init")
            .program("/etc/sysconfig/network-scripts/ifup")
            .file("/etc/sysconfig/network", "HOSTNAME=localhost\n")
            .program("/etc/init.d/network")
            .symlink("/etc/rc.d/rc3.d/S10network", "../init.d/network"),
        "gentoo" => Memory::new()
            .program("/sbin/init")
            .program("/etc/init.d/net.lo")
            .file("/etc/conf.d/net", "")
            .file("/etc/dhcpcd.conf", "duid"),
        "opensuse" => systemd()
            .file("/usr/lib/systemd/system/wicked.service", "")
            .symlink(
                "/etc/systemd/system/network.service",
                "/usr/lib/systemd/system/wicked.service",
            )
            .file(
                "/etc/sysconfig/network/config",
                "NETCONFIG_DNS_POLICY=\"auto\"\n",
            ),
        "slackware" => Memory::new()
            .program("/sbin/init")
            .file("/etc/slackware-version", "Slackware 15.0\n")
            .file("/etc/rc.d/rc.inet1", "#!/bin/bash\n")
            .file("/etc/dhcpcd.conf", "duid\n"),
        "void" => void(),
        "void-dhcpcd" => void()
            .symlink("/etc/runit/runsvdir/default/dhcpcd", "/etc/sv/dhcpcd")
            .file("/etc/dhcpcd.conf", "duid\n"),
        "nixos" => nixos().symlink(
            "/nix/var/nix/profiles/system-1-link/etc/systemd/system/networking-setup.service",
            "/nix/store/b-unit/networking-setup.service",
        ),
        "nixos-bare" => nixos(),
        "guix" => Memory::new().dir("/gnu/store").file(
            "/var/guix/profiles/system/configuration.scm",
            "(invoke \"/ifcfg.add\")",
        ),
        "arch" => with_networkd(systemd()).dir("/etc/netctl"),
        _ => panic!("{name}"),
    }
}

fn systemd() -> Memory {
    Memory::new()
        .symlink("/lib", "usr/lib")
        .symlink("/sbin", "usr/sbin")
        .program("/usr/lib/systemd/systemd")
        .symlink("/usr/sbin/init", "../lib/systemd/systemd")
        .file("/etc/hosts", "127.0.0.1 localhost\n")
}

fn enabled(memory: Memory, unit: &str) -> Memory {
    let file = format!("/usr/lib/systemd/system/{unit}");
    let link = format!("/etc/systemd/system/multi-user.target.wants/{unit}");
    memory.file(&file, "").symlink(&link, &file)
}

fn with_networkd(memory: Memory) -> Memory {
    enabled(memory, "systemd-networkd.service").dir("/etc/systemd/network")
}

fn ifupdown(memory: Memory) -> Memory {
    memory.program("/usr/sbin/ifup").file(
        "/etc/network/interfaces",
        "auto lo\niface lo inet loopback\n",
    )
}

fn debian() -> Memory {
    enabled(ifupdown(systemd()), "networking.service").dir("/etc/network/interfaces.d")
}

fn alpine() -> Memory {
    Memory::new()
        .program("/bin/busybox")
        .symlink("/sbin/init", "/bin/busybox")
        .program("/etc/init.d/networking")
        .symlink("/etc/runlevels/boot/networking", "/etc/init.d/networking")
        .file(
            "/etc/network/interfaces",
            "auto lo\niface lo inet loopback\n",
        )
        .dir("/usr/share/udhcpc")
}

fn void() -> Memory {
    Memory::new()
        .program("/usr/bin/runit-init")
        .symlink("/sbin/init", "/usr/bin/runit-init")
        .file("/etc/runit/core-services/05-misc.sh", "")
}

fn nixos() -> Memory {
    Memory::new()
        .file("/nix/store/b-unit/networking-setup.service", "")
        .program("/nix/store/a-systemd/lib/systemd/systemd")
        .symlink("/sbin/init", "/nix/store/a-systemd/lib/systemd/systemd")
        .dir("/nix/var/nix/profiles/system-1-link/etc/systemd/system")
        .symlink("/nix/var/nix/profiles/system", "system-1-link")
}
