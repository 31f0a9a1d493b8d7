//! Words that are in no file of the repository, and the head that every Rust
//! file has but the tests that lie beside what they test.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Finding;
use crate::error::{FileContext as _, Result};
use crate::process;

/// Generated, and full of where packages come from.
const LOCK_FILE: &str = "Cargo.lock";

/// The forbidden words, put together here so that this file does not hold
/// them: marks of unfinished work, and hosts of package registries, which are
/// the business of whoever builds.
fn words() -> Vec<String> {
    let mut words = vec!["TO".to_owned() + "DO", "FIX".to_owned() + "ME"];
    let hosts: [(&[&str], &str); 4] = [
        (&["deb", "ftp", "security", "snapshot"], "debian.org"),
        (&["index", "static"], "crates.io"),
        (&["registry"], "npmjs.org"),
        (&["files"], "pythonhosted.org"),
    ];
    for (names, domain) in hosts {
        words.extend(names.iter().map(|name| format!("{name}.{domain}")));
    }
    words
}

/// Checks every text file that git knows or would add.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(root)
        .args(["ls-files", "-z", "--cached", "--others"]);
    let files = process::output(command.arg("--exclude-standard"), "git ls-files")?;
    let words = words();
    let mut findings = Vec::new();
    for file in files
        .split('\0')
        .filter(|file| !file.is_empty() && *file != LOCK_FILE)
    {
        let path = root.join(file);
        // Deleted but not yet committed, or a link, or no text.
        if !path.symlink_metadata().is_ok_and(|it| it.is_file()) {
            continue;
        }
        let content = fs::read(&path).of("read", &path)?;
        if let Ok(text) = String::from_utf8(content) {
            findings.extend(judge(file, &text, &words));
        }
    }
    Ok(findings)
}

fn judge(file: &str, text: &str, words: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |line, what| {
        findings.push(Finding {
            file: file.to_owned(),
            line,
            what,
        })
    };
    let needs_head = file.ends_with(".rs") && !file.ends_with("tests.rs");
    if needs_head && !text.trim_start().starts_with("//!") {
        found(1, "does not begin with what it is about: //!".to_owned());
    }
    for (index, line) in text.lines().enumerate() {
        for word in words.iter().filter(|word| line.contains(*word)) {
            found(index + 1, format!("{word} has no place here"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_with_their_lines() {
        let words = words();
        for word in &words {
            let findings = judge("a.md", &format!("first\nand {word} then\n"), &words);
            assert_eq!(findings.len(), 1, "{findings:#?}");
            assert_eq!(findings[0].line, 2);
        }
        assert!(judge("a.md", "https://www.debian.org/\n", &words).is_empty());
    }

    #[test]
    fn rust_files_say_what_they_are_about() {
        assert_eq!(judge("a.rs", "fn main() {}\n", &[]).len(), 1);
        assert!(judge("a/tests.rs", "use super::*;\n", &[]).is_empty());
        assert!(judge("a.rs", "//! About.\nfn main() {}\n", &[]).is_empty());
    }
}
