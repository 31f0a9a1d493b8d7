mod bombs;
mod builder;
mod cached;
mod foreign;
mod hostile;
mod mutated;
mod round_trip;
mod streams;

use std::fs;
use std::path::{Path, PathBuf};

use osctl_linux::beneath::Root;

use super::*;
use crate::storage::Watch;
use crate::storage::zoo::{self, tree};

/// A directory to unpack into, beside one that nobody may touch.
struct Arena {
    dir: tempfile::TempDir,
    outside: std::collections::BTreeMap<PathBuf, String>,
}

impl Arena {
    fn new() -> Arena {
        Arena::within(tempfile::tempdir().unwrap())
    }

    /// In memory where there is such a place: many small trees wear out a disk.
    fn light() -> Arena {
        let memory = tempfile::tempdir_in("/dev/shm");
        Arena::within(memory.unwrap_or_else(|_| tempfile::tempdir().unwrap()))
    }

    fn within(dir: tempfile::TempDir) -> Arena {
        fs::create_dir_all(dir.path().join("outside/dir")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let outside = zoo::manifest(&dir.path().join("outside"));
        Arena { dir, outside }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn root(&self) -> Root {
        tree(&self.path("root"))
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Image> {
        self.unpack_with(bytes, &Limits::default())
    }

    fn unpack_with(&self, bytes: &[u8], limits: &Limits) -> Result<Image> {
        let total = Some(bytes.len() as u64);
        unpack(bytes, total, &self.root(), limits, Watch::none())
    }

    /// Nothing was made, removed or changed beside the root directory.
    fn check(&self) {
        assert_eq!(zoo::manifest(&self.path("outside")), self.outside);
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["outside", "root"]);
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn facts() -> Facts {
    Facts {
        distribution: Some("debian".into()),
        version: Some("12".into()),
        arch: Some("x86_64".into()),
        ..Facts::default()
    }
}

/// Packs `root` into an archive.
fn pack_bytes(root: &Path, compression: Compression) -> (Vec<u8>, Packed) {
    let facts = facts();
    let hooks = [Hook {
        name: "pre-start.d/10-x".into(),
        mode: 0o755,
        content: b"#!/bin/sh\n".to_vec(),
    }];
    let what = Pack {
        facts: &facts,
        container: Some("web1"),
        user: None,
        group: None,
        exported_at: 1_700_000_000,
        configs: &[("user.yml", b"---\ntype: dynamic\n")],
        hooks: &hooks,
        compression,
    };
    let mut out = std::io::Cursor::new(Vec::new());
    let packed = pack(&tree(root), &what, &mut out, Watch::none()).unwrap();
    (out.into_inner(), packed)
}
