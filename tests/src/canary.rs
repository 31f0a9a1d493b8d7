//! A record of a directory tree, to prove that nothing in it was touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What there is at each path: mode, owner, times, content or target.
pub type Manifest = BTreeMap<PathBuf, String>;

/// The record of a tree; `except` names what is not looked at.
pub fn manifest(root: &Path, except: &[&Path]) -> Manifest {
    let mut found = Manifest::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        if except.contains(&path.as_path()) {
            continue;
        }
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let content = if meta.is_file() {
            format!(
                "{:?}",
                fs::read(&path).map(|b| String::from_utf8_lossy(&b).into_owned())
            )
        } else if meta.is_symlink() {
            format!("{:?}", fs::read_link(&path))
        } else {
            String::new()
        };
        if meta.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|e| e.path()),
            );
        }
        let about = format!(
            "{:o} {}:{} rdev {} mtime {}.{} {content}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            meta.mtime(),
            meta.mtime_nsec(),
        );
        found.insert(path, about);
    }
    found
}

/// A directory of files that nobody may touch, as targets of attacks.
#[derive(Debug)]
pub struct Canary {
    dir: PathBuf,
    before: Manifest,
}

impl Canary {
    /// Makes the directory, with `name` a file for each of `files`.
    pub fn new(dir: &Path, files: &[&str]) -> Canary {
        fs::create_dir_all(dir.join("dir")).unwrap();
        for name in files {
            fs::write(dir.join(name), format!("host secret {name}\n")).unwrap();
        }
        fs::write(dir.join("dir/inside"), "host secret\n").unwrap();
        Canary {
            before: manifest(dir, &[]),
            dir: dir.to_owned(),
        }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// Panics when anything in it changed.
    #[track_caller]
    pub fn assert_untouched(&self, what: &str) {
        assert_eq!(
            manifest(&self.dir, &[]),
            self.before,
            "{what} touched the host"
        );
    }
}
