//! The network in a guest's own files: which of the programs that it may have for this will really
//! run when it boots, and what they read.
//!
//! Pure: from a look at the root file system and what is wanted to file operations. When there is no
//! such program, the network is configured from outside ("direct"), in the guest's network
//! namespace, by whoever called.

mod cleanup;
mod dhcp_clients;
mod ifcfg;
mod ifupdown;
mod netctl;
mod netif;
mod netifrc;
mod networkd;
mod networkmanager;
mod nixos;
mod shell;
mod slackware;
#[cfg(test)]
mod tests;
mod void;
mod wicked;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use osctl_runtime::spec::{FileAction, FileOp, SymlinkPolicy};

use ifcfg::Reader;
pub use netif::{Hop, Netif, Uplink};

use super::tree::Tree;

/// In the first lines of every file that is written as a whole.
pub const MARK: &str = "# Set by osctl";

/// What configures the network of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// /etc/network/interfaces: Debian's ifupdown, ifupdown2, ifupdown-ng, and busybox's.
    Ifupdown,
    /// systemd-networkd, also below netplan.
    Networkd,
    /// NetworkManager, by keyfiles.
    NetworkManager,
    /// NetworkManager, by files in /etc/sysconfig/network-scripts.
    Ifcfg,
    /// Red Hat's initscripts, by the same files.
    Initscripts,
    /// netctl of Arch.
    Netctl,
    /// netifrc of Gentoo.
    Netifrc,
    /// wicked of openSUSE.
    Wicked,
    /// A script for Slackware's rc.inet1.
    Slackware,
    /// A script for Void's first stage.
    Void,
    /// Scripts in the root directory, for NixOS and Guix.
    Scripts,
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The distribution, as the container's configuration names it.
    pub distribution: &'a str,
    /// All interfaces of the container; the first one has the default route.
    pub netifs: &'a [Netif],
    /// DNS servers that the host has set; then no DHCP client may replace them.
    pub resolvers: &'a [IpAddr],
    /// [`Plan::written`] of last time.
    pub previously_written: &'a [PathBuf],
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What configures the network when the guest boots; none: the caller has to, from outside.
    pub backend: Option<Backend>,
    /// What to write, and what was written for interfaces that are no more.
    pub files: Vec<FileOp>,
    /// What there will be of ours. Kept until next time.
    pub written: Vec<PathBuf>,
}

/// How long what is written may be, as it travels to who writes it. An interface with all the
/// addresses that it can have stays below; more than a few of those are configured from outside.
const MAX_LENGTH: usize = 64 * 1024;

/// Decides how a guest learns about its network.
pub fn plan(tree: &Tree, wish: &Wish<'_>) -> Plan {
    let backend = match wish.netifs {
        [] => None,
        _ => probe(tree, wish.distribution),
    };
    let in_guest = backend.map(|backend| {
        let mut files = backend.files(tree, wish);
        files.extend(cloud_init(tree));
        (backend, files)
    });
    let (backend, mut files) = match in_guest.filter(|(_, files)| is_short(files)) {
        Some((backend, files)) => (Some(backend), files),
        None => (None, direct(tree, wish).into_iter().collect()),
    };
    let written = files
        .iter()
        .filter(|op| !matches!(op.action, FileAction::Remove))
        .map(|op| op.path.clone())
        .collect::<Vec<_>>();
    let stale = |path: &&PathBuf| !written.contains(path);
    for path in wish.previously_written.iter().filter(stale) {
        files.extend(cleanup::of(tree, path));
    }
    Plan {
        backend,
        files,
        written,
    }
}

fn is_short(files: &[FileOp]) -> bool {
    serde_json::to_string(files).is_ok_and(|text| text.len() <= MAX_LENGTH)
}

/// What is tried everywhere, those first that can only be there on purpose.
const ALL: &[Backend] = &[
    Backend::Ifupdown,
    Backend::Networkd,
    Backend::Ifcfg,
    Backend::NetworkManager,
    Backend::Initscripts,
    Backend::Wicked,
    Backend::Netifrc,
    Backend::Netctl,
    Backend::Slackware,
    Backend::Void,
    Backend::Scripts,
];

/// The first that will run: what the distribution is known for, then everything else.
fn probe(tree: &Tree, distribution: &str) -> Option<Backend> {
    let mut candidates = preferred(distribution).iter().chain(ALL);
    candidates.find(|b| b.is_usable(tree)).copied()
}

fn preferred(distribution: &str) -> &'static [Backend] {
    match distribution {
        "arch" => &[Backend::Networkd, Backend::NetworkManager, Backend::Netctl],
        "almalinux" | "rocky" | "centos" | "fedora" => &[
            Backend::Ifcfg,
            Backend::NetworkManager,
            Backend::Networkd,
            Backend::Initscripts,
        ],
        "gentoo" => &[Backend::Netifrc, Backend::Networkd],
        "opensuse" => &[Backend::Wicked, Backend::NetworkManager, Backend::Networkd],
        "slackware" => &[Backend::Slackware],
        "void" => &[Backend::Void],
        // Nothing else can be written there.
        "nixos" | "guix" => &[Backend::Scripts],
        _ => &[],
    }
}

impl Backend {
    fn is_usable(self, tree: &Tree) -> bool {
        match self {
            Backend::Ifupdown => ifupdown::is_usable(tree),
            Backend::Networkd => networkd::is_usable(tree),
            Backend::NetworkManager => networkmanager::is_usable(tree),
            Backend::Ifcfg => ifcfg::is_usable(tree, Reader::NetworkManager),
            Backend::Initscripts => ifcfg::is_usable(tree, Reader::Initscripts),
            Backend::Netctl => netctl::is_usable(tree),
            Backend::Netifrc => netifrc::is_usable(tree),
            Backend::Wicked => wicked::is_usable(tree),
            Backend::Slackware => slackware::is_usable(tree),
            Backend::Void => void::is_usable(tree),
            Backend::Scripts => nixos::is_usable(tree),
        }
    }

    fn files(self, tree: &Tree, wish: &Wish<'_>) -> Vec<FileOp> {
        match self {
            Backend::Ifupdown => ifupdown::files(tree, wish),
            Backend::Networkd => networkd::files(wish),
            Backend::NetworkManager => networkmanager::files(tree, wish),
            Backend::Ifcfg => ifcfg::files(tree, wish, Reader::NetworkManager),
            Backend::Initscripts => ifcfg::files(tree, wish, Reader::Initscripts),
            Backend::Netctl => netctl::files(tree, wish),
            Backend::Netifrc => netifrc::files(tree, wish),
            Backend::Wicked => wicked::files(wish),
            Backend::Slackware => slackware::files(tree, wish),
            Backend::Void => void::files(tree, wish),
            Backend::Scripts => nixos::files(wish),
        }
    }
}

/// cloud-init would write files of its own for the same program.
fn cloud_init(tree: &Tree) -> Option<FileOp> {
    const DIR: &str = "/etc/cloud/cloud.cfg.d";
    let content = format!("{}network: {{config: disabled}}\n", heading());
    tree.is_dir(DIR)
        .then(|| whole(&format!("{DIR}/99-osctl-network.cfg"), content))
}

/// Without a back end the guest asks nobody for DNS servers: those that are known to be handed out
/// are written for it, unless somebody else has said something there.
fn direct(tree: &Tree, wish: &Wish<'_>) -> Option<FileOp> {
    let known = wish.netifs.iter().filter_map(|netif| match &netif.uplink {
        Uplink::Dhcp { dns } => Some(dns.as_slice()),
        _ => None,
    });
    let servers: Vec<IpAddr> = known.flatten().copied().collect();
    let path = super::resolv::PATH;
    let is_free = tree.link(path).is_none()
        && match tree.read(path) {
            Some(content) => content.trim().is_empty() || is_ours(&content),
            None => !tree.is_taken(path),
        };
    (wish.resolvers.is_empty() && !servers.is_empty() && is_free)
        .then(|| super::resolv::file(&servers))
}

/// Whether it was written by us as a whole.
fn is_ours(content: &str) -> bool {
    content.lines().take(3).any(|line| line.starts_with(MARK))
}

/// The comment that such a file begins with.
fn heading() -> String {
    format!(
        "{MARK}, which replaces it when the network of this container changes.\n\
         # To keep it as it is, take away its owner's permission to write: chmod u-w\n"
    )
}

/// A whole file of ours.
fn whole(path: &str, content: String) -> FileOp {
    op(path, FileAction::Write { content }, 0o644)
}

/// A program of ours.
fn script(path: &str, content: String) -> FileOp {
    op(path, FileAction::Write { content }, 0o755)
}

/// Lines of ours in a file of the guest's.
fn block(path: &str, content: String) -> FileOp {
    let action = FileAction::Block {
        begin: super::BLOCK_BEGIN.to_owned(),
        end: super::BLOCK_END.to_owned(),
        content,
    };
    op(path, action, 0o644)
}

fn symlink(path: &str, target: &str) -> FileOp {
    let target = target.to_owned();
    op(path, FileAction::Symlink { target }, 0o777)
}

fn remove(path: &Path) -> FileOp {
    FileOp {
        path: path.to_owned(),
        parents: false,
        ..op("", FileAction::Remove, 0)
    }
}

fn op(path: &str, action: FileAction, mode: u32) -> FileOp {
    FileOp {
        path: path.into(),
        action,
        mode,
        uid: 0,
        gid: 0,
        parents: true,
        symlink: SymlinkPolicy::Refuse,
    }
}
