//! What the host has to have installed, and what its apt knows.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::{process, ui};

/// A Debian package that a task needs on the host.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    name: &'static str,
    /// A file that is there once it is installed.
    proof: &'static str,
}

/// Builds Debian's root file systems.
pub const MMDEBSTRAP: Package = Package {
    name: "mmdebstrap",
    proof: "/usr/bin/mmdebstrap",
};
/// The keys of Debian's archive, up to this release.
pub const KEYRING_TRIXIE: Package = Package {
    name: "debian-archive-keyring",
    proof: "/usr/share/keyrings/debian-archive-trixie-stable.gpg",
};
/// Compresses root file systems.
pub const ZSTD: Package = Package {
    name: "zstd",
    proof: "/usr/bin/zstd",
};
/// Makes file systems on disks of machines.
pub const E2FSPROGS: Package = Package {
    name: "e2fsprogs",
    proof: "/sbin/mkfs.ext4",
};
/// The whole of the minimal image.
pub const BUSYBOX: Package = Package {
    name: "busybox-static",
    proof: "/usr/bin/busybox",
};

/// Serves the default bridge.
pub const DNSMASQ: Package = Package {
    name: "dnsmasq-base",
    proof: "/usr/sbin/dnsmasq",
};
/// Shows containers their own limits.
pub const LXCFS: Package = Package {
    name: "lxcfs",
    proof: "/usr/bin/lxcfs",
};
/// Shows what there is in the kernel's filters, for tests that look from outside.
pub const NFTABLES: Package = Package {
    name: "nftables",
    proof: "/usr/sbin/nft",
};
/// Shows the kernel's links, for tests that look from outside.
pub const IPROUTE: Package = Package {
    name: "iproute2",
    proof: "/sbin/ip",
};

/// Compiles AppArmor profiles, also where the kernel has no AppArmor.
pub const APPARMOR: Package = Package {
    name: "apparmor",
    proof: "/usr/sbin/apparmor_parser",
};

/// Builds the host image.
pub const NIX: Package = Package {
    name: "nix-bin",
    proof: "/usr/bin/nix-build",
};
/// Boots the host image.
pub const QEMU: Package = Package {
    name: "qemu-system-x86",
    proof: "/usr/bin/qemu-system-x86_64",
};
/// Makes disks that begin with what another has.
pub const QEMU_IMG: Package = Package {
    name: "qemu-utils",
    proof: "/usr/bin/qemu-img",
};

/// What the measurements are compared with.
pub const LXC: Package = Package {
    name: "lxc",
    proof: "/usr/bin/lxc-start",
};

/// Whether a package is there.
pub fn is_installed(package: &Package) -> bool {
    Path::new(package.proof).exists()
}

/// Installs those of the packages that are missing.
pub fn ensure(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !is_installed(package))
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(Error::Other(format!("install these first: {names}")));
    }
    require_root(&format!("install {names}"))?;
    ui::step(format!("installing on this machine: {names}"));
    apt_get(&["-q", "-q", "update"])?;
    let mut arguments = vec!["-q", "-q", "-y", "--no-install-recommends", "install"];
    arguments.extend(missing);
    apt_get(&arguments)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null());
    process::run(&mut command, "apt-get")
}

/// Fails with a sentence unless the task runs as root.
pub fn require_root(why: &str) -> Result<()> {
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err(Error::Other(format!("root is needed to {why}"))),
    }
}

/// The mirrors of Debian that the host's apt uses.
#[derive(Debug, Default)]
pub struct Mirrors {
    /// Of the archive.
    pub archive: Option<String>,
    /// Of the security updates.
    pub security: Option<String>,
}

/// Asks the host's apt for its mirrors; empty on a host without any.
pub fn mirrors() -> Result<Mirrors> {
    let mut mirrors = Mirrors::default();
    if !Path::new("/usr/bin/apt-get").exists() {
        return Ok(mirrors);
    }
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"]);
    for line in process::output(&mut command, "apt-get indextargets")?.lines() {
        let mirror = match line.splitn(3, '|').collect::<Vec<_>>()[..] {
            ["Debian", "Debian", uri] => (&mut mirrors.archive, uri),
            ["Debian", "Debian-Security", uri] => (&mut mirrors.security, uri),
            _ => continue,
        };
        mirror.0.get_or_insert_with(|| mirror.1.to_owned());
    }
    Ok(mirrors)
}

/// The proxies and other access options of the host's apt, as options for
/// another one.
pub fn access_options() -> Result<Vec<String>> {
    let mut command = Command::new("apt-config");
    command.args(["dump", "--no-empty", "--format", "%f \"%v\";%n"]);
    command.args(["Acquire::http", "Acquire::https"]);
    let text = process::output(&mut command, "apt-config")?;
    Ok(text
        .lines()
        .filter(|line| !line.contains("\"\""))
        .map(str::to_owned)
        .collect())
}
