use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

fn install() -> (tempfile::TempDir, DirStorage) {
    let dir = tempfile::tempdir().unwrap();
    let storage = DirStorage::install(dir.path().join("pool")).unwrap();
    (dir, storage)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_pool_is_made_private_and_repaired() {
    let (dir, storage) = install();
    let pool = dir.path().join("pool");
    for d in [
        ".",
        "ct",
        "conf/pool",
        "conf/id-range",
        "conf/user",
        "conf/group",
        "conf/ct",
    ] {
        assert_eq!(mode(&pool.join(d)), 0o700, "{d}");
    }
    for d in ["hook", "log/ct", "repository", "trash"] {
        assert_eq!(mode(&pool.join(d)), 0o700, "{d}");
    }
    assert!(storage.ensure_layout().unwrap().is_empty());

    set_mode(&pool.join("ct"), 0o755);
    set_mode(&pool, 0o777);
    fs::remove_dir(pool.join("trash")).unwrap();
    let storage = DirStorage::open(&pool).unwrap();
    assert_eq!(storage.ensure_layout().unwrap().len(), 3);
    assert_eq!((mode(&pool), mode(&pool.join("ct"))), (0o700, 0o700));
    assert!(pool.join("trash").is_dir());
    // Installing again is harmless.
    DirStorage::install(&pool).unwrap();
}

#[test]
fn a_directory_with_something_else_is_not_made_a_pool() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("home")).unwrap();
    set_mode(dir.path(), 0o755);
    let e = DirStorage::install(dir.path()).unwrap_err();
    assert!(matches!(e, Error::NotEmpty(_)), "{e}");
    assert_eq!(mode(dir.path()), 0o755);
    assert!(matches!(
        DirStorage::open(dir.path()),
        Err(Error::NotAPool(_))
    ));
    assert!(matches!(
        DirStorage::open(dir.path().join("none")),
        Err(Error::Io { .. })
    ));
    let path = dir.path().join("new/pool");
    DirStorage::install(&path).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(DirStorage::open(&link).is_err());
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(DirStorage::install(dir.path().join("file")).is_err());
}

#[test]
fn parts_of_a_pool_that_are_not_ours_are_refused() {
    for part in ["trash", "conf/ct", "log"] {
        let (dir, storage) = install();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        set_mode(&elsewhere, 0o755);
        let path = dir.path().join("pool").join(part);
        fs::remove_dir_all(&path).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let e = storage.ensure_layout().unwrap_err();
        assert!(e.to_string().contains(part), "{e}");
        assert_eq!(mode(&elsewhere), 0o755);
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
    if nix::unistd::geteuid().is_root() {
        let (dir, storage) = install();
        let path = dir.path().join("pool/ct");
        std::os::unix::fs::chown(&path, Some(1000), None).unwrap();
        let e = storage.ensure_layout().unwrap_err();
        assert!(
            e.to_string().ends_with("is owned by uid 1000, not by root"),
            "{e}"
        );
    }
}

#[test]
fn a_container_that_is_a_symlink_is_none() {
    let (dir, storage) = install();
    let outside = dir.path().join("outside");
    fs::create_dir_all(outside.join("private")).unwrap();
    fs::write(outside.join("private/file"), "").unwrap();
    symlink(&outside, dir.path().join("pool/ct/a")).unwrap();
    assert!(storage.list().unwrap().is_empty());
    assert!(storage.open_rootfs("a").is_err());
    assert!(storage.usage("a", Watch::none()).is_err());
    storage.trash("a").unwrap();
    while !storage.empty_trash(100).unwrap().done {}
    assert!(outside.join("private/file").exists());
}

/// Does something only in the process that the test below starts.
#[test]
fn crash_child() {
    let Ok(pool) = std::env::var("STORAGE_POOL") else {
        return;
    };
    let storage = DirStorage::install(PathBuf::from(pool)).unwrap();
    let fill = |tree: &Root| -> std::result::Result<(), Cause> {
        tree.mkdir("etc", 0o755)?;
        Ok(())
    };
    storage.create("a", &mut |tree| fill(tree)).unwrap();
    storage.trash("a").unwrap();
}

#[test]
#[cfg(debug_assertions)]
fn killed_at_any_step_a_container_is_whole_or_not_there() {
    let layout: Vec<String> = (1..13).map(|n| format!("storage.layout:{n}")).collect();
    let others = ["storage.populated", "storage.created", "storage.trashed"].map(String::from);
    for point in layout.into_iter().chain(others) {
        let dir = tempfile::tempdir().unwrap();
        let pool = dir.path().join("pool");
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::dir_tests::crash_child"])
            .env("STORAGE_POOL", &pool)
            .env("OSCTLD_FAILPOINT", &point)
            .output()
            .unwrap();
        assert!(out.status.code().is_none(), "{point}: {out:?}");
        let storage = DirStorage::install(&pool).unwrap();
        storage.recover(&|_| false);
        assert!(storage.list().unwrap().is_empty(), "{point}");
        assert_eq!(fs::read_dir(pool.join("ct")).unwrap().count(), 0, "{point}");
        while !storage.empty_trash(2).unwrap().done {}
        assert_eq!(
            fs::read_dir(pool.join("trash")).unwrap().count(),
            0,
            "{point}"
        );
        storage.create("a", &mut |_| Ok(())).unwrap();
        assert_eq!(storage.list().unwrap(), ["a"], "{point}");
    }
}

#[test]
fn containers_are_made_from_several_threads() {
    let (_dir, storage) = install();
    let made: Vec<bool> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let storage = &storage;
                s.spawn(move || {
                    storage.create(&format!("ct{i}"), &mut |_| Ok(())).unwrap();
                    storage.create("same", &mut |_| Ok(())).is_ok()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    assert_eq!(storage.list().unwrap().len(), 9);
    while !storage.empty_trash(100).unwrap().done {}
}
