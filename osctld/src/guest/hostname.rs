//! The file in which a distribution keeps its host name.

use osctl_api::names::Hostname;
use osctl_runtime::spec::{FileAction, FileOp, SymlinkPolicy};

use super::operation;

/// The file for `distribution`; none where the host name is not in a file that can be written.
pub fn file(distribution: &str, hostname: &Hostname) -> Option<FileOp> {
    let (path, content) = match distribution {
        "gentoo" => (
            "/etc/conf.d/hostname",
            format!("# Set by osctl\nhostname=\"{}\"\n", hostname.as_str()),
        ),
        "slackware" => ("/etc/HOSTNAME", format!("{}\n", hostname.as_str())),
        "nixos" | "guix" | "other" => return None,
        _ => ("/etc/hostname", format!("{}\n", hostname.local())),
    };
    Some(operation(
        path,
        FileAction::Write { content },
        SymlinkPolicy::Refuse,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distribution_has_its_file() {
        let name: Hostname = "web.example.com".parse().unwrap();
        let path = |d: &str| file(d, &name).map(|f| f.path.display().to_string());
        assert_eq!(path("debian").as_deref(), Some("/etc/hostname"));
        assert_eq!(path("gentoo").as_deref(), Some("/etc/conf.d/hostname"));
        assert_eq!(path("slackware").as_deref(), Some("/etc/HOSTNAME"));
        assert_eq!(path("nixos"), None);
        let FileAction::Write { content } = file("debian", &name).unwrap().action else {
            panic!("not written whole")
        };
        assert_eq!(content, "web\n");
    }
}
