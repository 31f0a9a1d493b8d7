//! The file in which a distribution keeps its host name.

use osctl_api::names::Hostname;
use osctl_runtime::spec::{FileAction, FileOp, SymlinkPolicy};

use super::operation;

/// First and last line of the block in a file of Red Hat's that is also about other things.
const BEGIN: &str = "### Start of osctl section: host name";
const END: &str = "### End of osctl section: host name";

/// The files for `distribution`; none where the host name is not in a file that can be written.
pub fn files(distribution: &str, hostname: &Hostname) -> Vec<FileOp> {
    let (full, local) = (hostname.as_str(), hostname.local());
    let whole = |path: &str, content: String| {
        operation(path, FileAction::Write { content }, SymlinkPolicy::Refuse)
    };
    match distribution {
        // Made from the configuration of the whole system.
        "nixos" | "guix" => Vec::new(),
        "gentoo" => {
            let content = format!("# Set by osctl\nhostname=\"{full}\"\n");
            vec![whole("/etc/conf.d/hostname", content)]
        }
        "slackware" => vec![whole("/etc/HOSTNAME", format!("{full}\n"))],
        // Releases without systemd read the second one only.
        "almalinux" | "centos" | "fedora" | "rocky" => {
            let action = FileAction::Block {
                begin: BEGIN.to_owned(),
                end: END.to_owned(),
                content: format!("HOSTNAME=\"{full}\"\n"),
            };
            vec![
                whole("/etc/hostname", format!("{local}\n")),
                operation("/etc/sysconfig/network", action, SymlinkPolicy::Refuse),
            ]
        }
        // A system that nobody knows has the file, or reads none.
        "other" => {
            let content = format!("{local}\n");
            let action = FileAction::Update { content };
            vec![operation("/etc/hostname", action, SymlinkPolicy::Refuse)]
        }
        _ => vec![whole("/etc/hostname", format!("{local}\n"))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distribution_has_its_files() {
        let name: Hostname = "web.example.com".parse().unwrap();
        let paths = |d: &str| {
            let files = files(d, &name);
            files
                .iter()
                .map(|f| f.path.display().to_string())
                .collect::<Vec<_>>()
        };
        for distribution in [
            "debian", "devuan", "ubuntu", "alpine", "arch", "opensuse", "void", "chimera", "other",
        ] {
            assert_eq!(paths(distribution), ["/etc/hostname"], "{distribution}");
        }
        for distribution in ["almalinux", "rocky", "centos", "fedora"] {
            assert_eq!(
                paths(distribution),
                ["/etc/hostname", "/etc/sysconfig/network"]
            );
        }
        assert_eq!(paths("gentoo"), ["/etc/conf.d/hostname"]);
        assert_eq!(paths("slackware"), ["/etc/HOSTNAME"]);
        assert!(paths("nixos").is_empty() && paths("guix").is_empty());
        let FileAction::Write { content } = &files("debian", &name)[0].action else {
            panic!("not written whole")
        };
        assert_eq!(content, "web\n");
        assert!(matches!(
            files("other", &name)[0].action,
            FileAction::Update { .. }
        ));
    }
}
