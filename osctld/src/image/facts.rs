//! What runs in an image, as far as the image tells.

use osctl_linux::beneath::{Mounts, Root, Symlinks};
use serde::{Deserialize, Serialize};

use super::metadata::ContainerYml;

/// Largest `os-release` that is read, in bytes.
const MAX_OS_RELEASE: u64 = 64 << 10;
/// Longest fact, in bytes.
const MAX_FACT: usize = 64;

/// Distribution and version; what the image does not tell, or not properly, is absent. Each is at
/// most 64 letters, digits, `.`, `_`, `-` and `+`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Name in lower case: `debian`.
    pub distribution: Option<String>,
    /// Version: `12`, `leap-15.6`.
    pub version: Option<String>,
    /// Architecture: `x86_64`.
    pub arch: Option<String>,
    /// Who made the image.
    pub vendor: Option<String>,
    /// Variant of the image.
    pub variant: Option<String>,
}

fn clean(text: &str) -> Option<String> {
    let good = !text.is_empty()
        && text.len() <= MAX_FACT
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b));
    good.then(|| text.to_owned())
}

impl Facts {
    pub(super) fn of_config(config: &ContainerYml) -> Facts {
        let get = |text: &Option<String>| text.as_deref().and_then(clean);
        Facts {
            distribution: get(&config.distribution),
            version: get(&config.version),
            arch: get(&config.arch),
            vendor: get(&config.vendor),
            variant: get(&config.variant),
        }
    }

    /// Reads `os-release(5)` of the tree `root`. A link there is followed inside the tree; what
    /// is no regular file, too long or no such list is as good as absent.
    pub fn of_tree(root: &Root) -> Facts {
        let Ok(root) = root.with(Symlinks::InRoot, Mounts::Refuse) else {
            return Facts::default();
        };
        ["etc/os-release", "usr/lib/os-release"]
            .into_iter()
            .find_map(|path| root.read(path, MAX_OS_RELEASE).ok())
            .map(|bytes| Facts::of_os_release(&String::from_utf8_lossy(&bytes)))
            .unwrap_or_default()
    }

    fn of_os_release(text: &str) -> Facts {
        let get = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(k, _)| k.trim() == key)
                .map(|(_, value)| value.trim().trim_matches(['"', '\'']))
                .and_then(clean)
        };
        let id = get("ID").map(|id| id.to_ascii_lowercase());
        let version = get("VERSION_ID");
        // One distribution in two editions, which its version tells apart.
        let (distribution, version) = match id.as_deref() {
            Some("opensuse-leap") => (
                Some("opensuse".to_owned()),
                version.map(|v| format!("leap-{v}")),
            ),
            Some("opensuse-tumbleweed") => {
                (Some("opensuse".to_owned()), Some("tumbleweed".to_owned()))
            }
            _ => (id, version.or_else(|| get("VERSION_CODENAME"))),
        };
        Facts {
            distribution,
            version,
            ..Facts::default()
        }
    }

    /// These facts, completed by others.
    pub(super) fn or(self, other: Facts) -> Facts {
        Facts {
            distribution: self.distribution.or(other.distribution),
            version: self.version.or(other.version),
            arch: self.arch.or(other.arch),
            vendor: self.vendor.or(other.vendor),
            variant: self.variant.or(other.variant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> (Option<String>, Option<String>) {
        let facts = Facts::of_os_release(text);
        (facts.distribution, facts.version)
    }

    #[test]
    fn os_release() {
        let some = |s: &str| Some(s.to_owned());
        let debian = "PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(facts(debian), (some("debian"), some("12")));
        assert_eq!(facts("ID=arch\n"), (some("arch"), None));
        assert_eq!(
            facts("ID=debian\nVERSION_CODENAME=sid"),
            (some("debian"), some("sid"))
        );
        let leap = "ID=\"opensuse-leap\"\nVERSION_ID='15.6'";
        assert_eq!(facts(leap), (some("opensuse"), some("leap-15.6")));
        let tumbleweed = "ID=\"opensuse-tumbleweed\"\nVERSION_ID=\"20260101\"";
        assert_eq!(facts(tumbleweed), (some("opensuse"), some("tumbleweed")));
        for bad in [
            "",
            "ID=\nVERSION_ID=",
            "ID=a b\nVERSION_ID=1\u{1b}[31m",
            "ID",
            "=",
            "\0\0",
        ] {
            assert_eq!(facts(bad), (None, None), "{bad:?}");
        }
        assert_eq!(facts(&format!("ID={}", "x".repeat(65))), (None, None));
    }

    #[test]
    fn os_release_that_is_a_trap() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let root = crate::storage::zoo::tree(dir.path());
        let file = etc.join("os-release");
        std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        std::fs::write(dir.path().join("usr/lib/os-release"), "ID=inside\n").unwrap();
        let id = || Facts::of_tree(&root).distribution;

        std::os::unix::fs::symlink("../usr/lib/os-release", &file).unwrap();
        assert_eq!(id().as_deref(), Some("inside"));
        for target in [
            "/etc/os-release",
            "../../../../../../../etc/os-release",
            "/dev/zero",
            "loop",
        ] {
            std::fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink(target, &file).unwrap();
            // Never the host's.
            assert_eq!(id().as_deref(), Some("inside"), "{target}");
        }
        std::fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(id().as_deref(), Some("inside"));
        std::fs::remove_file(&file).unwrap();
        std::fs::File::create(&file)
            .unwrap()
            .set_len(10 << 30)
            .unwrap();
        assert_eq!(id().as_deref(), Some("inside"));
    }
}
