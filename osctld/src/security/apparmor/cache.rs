//! Compiled profiles: made by `apparmor_parser`, kept in files, one for each container.
//!
//! A file is one line, the key of what it was compiled from, then what the kernel takes. It is no
//! state: one that is missing, of another key or refused by the kernel is made anew.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::{Error, Result};

/// Where the parser may be.
const PROGRAMS: &[&str] = &[
    "/usr/sbin/apparmor_parser",
    "/sbin/apparmor_parser",
    "/run/current-system/sw/bin/apparmor_parser",
];

/// What the profiles are about: whatever else a kernel knows stays unrestricted, also in one that is
/// newer than this program.
const FEATURES: &str = include_str!("features");
/// Name of the file that the parser reads it from; no profile is called like that.
const FEATURES_FILE: &str = "features";

/// The directory of compiled profiles.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    pub fn new(dir: PathBuf) -> Cache {
        Cache { dir }
    }

    /// The compiled form of a text, from the file or from the parser.
    pub fn compiled(&self, name: &str, text: &str) -> Result<Vec<u8>> {
        let parser = parser()?;
        let key = key(text, parser);
        match fs::read(self.dir.join(name)) {
            Ok(bytes) if bytes.starts_with(key.as_bytes()) => Ok(bytes[key.len()..].to_vec()),
            _ => self.compile(name, text, parser, &key),
        }
    }

    /// Forgets what was compiled.
    pub fn forget(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.dir.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::Cache(self.dir.clone(), e)),
            _ => Ok(()),
        }
    }

    /// Forgets all whose names begin with `prefix` but those that `is_known` by the rest.
    pub fn sweep(&self, prefix: &str, is_known: impl Fn(&str) -> bool) -> Result<()> {
        let failed = |e| Error::Cache(self.dir.clone(), e);
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.strip_prefix(prefix).is_some_and(|id| !is_known(id)) {
                self.forget(name)?;
            }
        }
        Ok(())
    }

    fn compile(&self, name: &str, text: &str, parser: &Path, key: &str) -> Result<Vec<u8>> {
        let failed = |e| Error::Cache(self.dir.clone(), e);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.dir).map_err(failed)?;
        let features = self.dir.join(FEATURES_FILE);
        self.replace(FEATURES_FILE, &[FEATURES.as_bytes()])
            .map_err(failed)?;
        let compiled = parse(parser, &features, text, &[])?;
        self.replace(name, &[key.as_bytes(), &compiled])
            .map_err(failed)?;
        Ok(compiled)
    }

    fn replace(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        // One container is started once at a time, and what two write here is the same.
        let new = self
            .dir
            .join(format!(".{name}.{:?}", std::thread::current().id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        for part in parts {
            file.write_all(part)?;
        }
        fs::rename(new, self.dir.join(name))
    }
}

fn parser() -> Result<&'static Path> {
    let mut all = PROGRAMS.iter().map(Path::new);
    all.find(|program| program.exists()).ok_or(Error::NoParser)
}

/// What the result depends on: the text, the program, and the kernel that it is for.
fn key(text: &str, parser: &Path) -> String {
    let mut hash = Sha256::new();
    hash.update(text);
    hash.update(FEATURES);
    let program = fs::metadata(parser).map(|m| (m.ino(), m.size(), m.mtime()));
    hash.update(format!("{:?}", program.ok()));
    hash.update(fs::read("/proc/version").unwrap_or_default());
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    hex + "\n"
}

/// Compiles a profile.
fn parse(parser: &Path, features: &Path, text: &str, more: &[&str]) -> Result<Vec<u8>> {
    let mut child = Command::new(parser)
        .args(["--skip-kernel-load", "--skip-cache", "--stdout", "--quiet"])
        .arg("--policy-features")
        .arg(features)
        .args(more)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::Parser)?;
    // It reads all before it writes anything.
    let written = child
        .stdin
        .take()
        .map(|mut to| to.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(Error::Parser)?;
    let words = String::from_utf8_lossy(&output.stderr);
    let words: String = words.trim().chars().take(500).collect();
    if !output.status.success() || output.stdout.is_empty() {
        return Err(Error::Refused(words));
    }
    written.transpose().map_err(Error::Parser)?;
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::super::profile::{self, Nesting};
    use super::*;

    /// A kernel's features, so that the parser works where the kernel has no AppArmor.
    const KERNEL: &[&str] = &["--kernel-features", "/etc/apparmor.d/abi/3.0"];

    fn tools() -> Option<(&'static Path, tempfile::TempDir)> {
        let Ok(parser) = parser() else {
            println!("skipped: apparmor_parser is not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FEATURES_FILE), FEATURES).unwrap();
        Some((parser, dir))
    }

    #[test]
    fn the_parser_takes_the_profiles() {
        let Some((parser, dir)) = tools() else { return };
        let features = dir.path().join(FEATURES_FILE);
        for nesting in [Nesting::Yes, Nesting::No] {
            let text = profile::text("osctl.tank.web1", nesting);
            let compiled = parse(parser, &features, &text, KERNEL).unwrap();
            let name = b"osctl.tank.web1\0";
            assert!(compiled.windows(name.len()).any(|w| w == name));
        }
    }

    #[test]
    fn a_mistake_is_told_in_the_words_of_the_parser() {
        let Some((parser, dir)) = tools() else { return };
        let features = dir.path().join(FEATURES_FILE);
        let error = parse(parser, &features, "profile x { nonsense }", KERNEL).unwrap_err();
        assert!(error.to_string().contains("syntax error"), "{error}");
    }

    #[test]
    fn what_is_kept_is_used_for_the_same_text_only() {
        let Some((parser, dir)) = tools() else { return };
        let cache = Cache::new(dir.path().to_owned());
        let text = profile::text("a.b.c", Nesting::No);
        let kept = key(&text, parser) + "compiled";
        fs::write(dir.path().join("a.b.c"), kept).unwrap();
        assert_eq!(cache.compiled("a.b.c", &text).unwrap(), b"compiled");
        assert_ne!(key(&(text.clone() + "\n"), parser), key(&text, parser));
        fs::write(dir.path().join("a.b.d"), "").unwrap();
        fs::write(dir.path().join("a.bb.d"), "").unwrap();
        cache.sweep("a.b.", |id| id == "c").unwrap();
        let there = |name: &str| dir.path().join(name).exists();
        assert!(there("a.b.c") && there("a.bb.d") && !there("a.b.d"));
        cache.forget("a.b.c").unwrap();
        cache.forget("a.b.c").unwrap();
        assert!(!there("a.b.c"));
    }
}
