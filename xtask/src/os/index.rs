//! The package index of the Debian release that the image is made from: fetched
//! by an apt of its own, and read. Which packages are chosen is `lock`'s.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, FileContext as _, Result};
use crate::{apt, process};

/// One package of the index.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its version.
    pub version: String,
    /// Path of its archive below the mirror.
    pub path: String,
    /// SHA-256 of its archive, hexadecimal.
    pub sha256: String,
    /// Size of its archive in bytes.
    pub size: u64,
    /// What it needs: each a list of names of which one is enough.
    pub depends: Vec<Vec<String>>,
    /// Other names it goes by.
    pub provides: Vec<String>,
}

/// All packages, by name.
pub type Index = BTreeMap<String, Package>;

/// Fetches and reads the index of `release`; keeps what apt fetches in `cache`.
pub fn fetch(mirror: &str, release: &str, components: &[String], cache: &Path) -> Result<Index> {
    let lists = cache.join("apt/lists");
    let archives = cache.join("apt/cache");
    for directory in [lists.join("partial"), archives.join("archives/partial")] {
        fs::create_dir_all(&directory).of("create", &directory)?;
    }
    let sources = cache.join("apt/sources.list");
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let components = components.join(" ");
    let line = format!("deb [arch=amd64 signed-by={keyring}] {mirror} {release} {components}\n");
    fs::write(&sources, line).of("write", &sources)?;
    let mut update = Command::new("apt-get");
    update.args(["-q", "-q", "update"]).stdout(Stdio::null());
    let places = [
        ("Dir::State::Lists", &lists),
        ("Dir::Cache", &archives),
        ("Dir::Etc::SourceList", &sources),
    ];
    for (option, path) in places {
        update.arg(format!("-o{option}={}", path.display()));
    }
    update.args([
        "-oDir::Etc::SourceParts=/dev/null",
        "-oAcquire::GzipIndexes=false",
        "-oAcquire::Languages=none",
        "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        // The lists belong to who runs this, not to apt's user.
        "-oAPT::Sandbox::User=root",
    ]);
    process::run(&mut update, "apt-get update")?;
    let mut index = Index::new();
    for entry in fs::read_dir(&lists).of("read", &lists)? {
        let path = entry.of("read", &lists)?.path();
        let is_index = path.to_string_lossy().ends_with("_Packages");
        if is_index {
            let file = File::open(&path).of("open", &path)?;
            parse(BufReader::new(file), &mut index).of("read", &path)?;
        }
    }
    match index.is_empty() {
        true => Err(Error::Other(format!("the mirror has no {release}"))),
        false => Ok(index),
    }
}

/// The mirror that the host's apt uses.
pub fn mirror() -> Result<String> {
    let mirror = apt::mirrors()?.archive;
    let mirror = mirror.ok_or_else(|| Error::Other("apt knows no mirror of Debian".to_owned()))?;
    Ok(format!("{}/", mirror.trim_end_matches('/')))
}

fn parse(mut text: impl BufRead, index: &mut Index) -> std::io::Result<()> {
    let mut name = String::new();
    let mut package = Package::default();
    let mut line = String::new();
    loop {
        line.clear();
        let end = text.read_line(&mut line)? == 0;
        if line.trim_end().is_empty() {
            if !name.is_empty() {
                index.insert(std::mem::take(&mut name), std::mem::take(&mut package));
            }
            if end {
                return Ok(());
            }
            continue;
        }
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match field {
            "Package" => name = value.to_owned(),
            "Version" => package.version = value.to_owned(),
            "Filename" => package.path = value.to_owned(),
            "SHA256" => package.sha256 = value.to_owned(),
            "Size" => package.size = value.parse().unwrap_or(0),
            "Depends" | "Pre-Depends" => package.depends.extend(groups(value)),
            "Provides" => package.provides = groups(value).into_iter().flatten().collect(),
            _ => {}
        }
    }
}

/// `a (>= 1) | b:any, c` as `[[a, b], [c]]`.
fn groups(text: &str) -> Vec<Vec<String>> {
    let name = |alternative: &str| {
        let end = alternative.find([' ', '(', '[', ':']);
        alternative[..end.unwrap_or(alternative.len())].to_owned()
    };
    text.split(',')
        .map(|group| group.split('|').map(|it| name(it.trim())).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read() {
        let text = "Package: a\nVersion: 1\nSize: 7\nDepends: b (>= 2) | c:any, d\nDescription: x\n y: z\n\n\
                    Package: b\nProvides: e (= 1), f\nFilename: pool/b.deb\nSHA256: 00\n";
        let mut index = Index::new();
        parse(text.as_bytes(), &mut index).unwrap();
        assert_eq!(index.len(), 2);
        assert_eq!(index["a"].depends, [vec!["b", "c"], vec!["d"]]);
        assert_eq!((index["a"].version.as_str(), index["a"].size), ("1", 7));
        assert_eq!(index["b"].provides, ["e", "f"]);
        assert_eq!(index["b"].path, "pool/b.deb");
    }
}
