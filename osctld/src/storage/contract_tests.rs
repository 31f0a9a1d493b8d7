//! What every back end must do, as tests that run on each. With ZFS they need a dataset to test in,
//! which `OSCTL_TEST_DATASET` names; each test has a pool of its own below it.

mod datasets;
mod snapshots;
mod transfers;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use super::dir::DirStorage;
use super::fake::FakeStorage;
use super::*;

/// A pool that is removed when the test ends.
pub(super) trait Pool {
    fn storage(&self) -> &dyn Storage;
}

struct DirPool {
    storage: DirStorage,
    _dir: tempfile::TempDir,
}

impl Pool for DirPool {
    fn storage(&self) -> &dyn Storage {
        &self.storage
    }
}

impl Pool for FakeStorage {
    fn storage(&self) -> &dyn Storage {
        self
    }
}

pub(super) struct ZfsPool {
    /// There until the pool is destroyed: it has the pool open.
    storage: Option<ZfsStorage>,
    pub(super) dataset: String,
}

impl Pool for ZfsPool {
    fn storage(&self) -> &dyn Storage {
        self.storage.as_ref().unwrap()
    }
}

impl Drop for ZfsPool {
    fn drop(&mut self) {
        if let Some(storage) = self.storage.take() {
            storage.close();
        }
        if let Err(e) = zfs::destroy(&self.dataset) {
            println!("{} stays: {}", self.dataset, super::text(&e));
        }
    }
}

impl ZfsPool {
    pub(super) fn new() -> Option<ZfsPool> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if let Err(e) = osctl_linux::zfs::Zfs::load() {
            println!("skipped: this kernel has no ZFS: {e}");
            return None;
        }
        let Ok(parent) = std::env::var("OSCTL_TEST_DATASET") else {
            println!("skipped: OSCTL_TEST_DATASET names no dataset of ZFS to test in");
            return None;
        };
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let dataset = format!("{parent}/test-{}-{next}", std::process::id());
        let storage = ZfsStorage::install(&dataset).unwrap();
        Some(ZfsPool {
            storage: Some(storage),
            dataset,
        })
    }
}

fn pools() -> Vec<Box<dyn Pool>> {
    let dir = tempfile::tempdir().unwrap();
    let storage = DirStorage::install(dir.path().join("pool")).unwrap();
    let mut pools: Vec<Box<dyn Pool>> = vec![
        Box::new(DirPool { storage, _dir: dir }),
        Box::new(FakeStorage::new()),
    ];
    if let Some(pool) = ZfsPool::new() {
        pools.push(Box::new(pool));
    }
    pools
}

fn for_each(test: impl Fn(&dyn Storage)) {
    for pool in pools() {
        println!("on {}", pool.storage().backend());
        test(pool.storage());
    }
}

pub(super) fn create(s: &dyn Storage, id: &str, text: &str) -> Result<()> {
    s.create(id, &mut |tree| {
        tree.mkdir("etc", 0o755)?;
        let file = tree.create_new("etc/text", 0o644)?;
        std::io::Write::write_all(&mut &file, text.as_bytes())?;
        Ok(())
    })
}

pub(super) fn text(s: &dyn Storage, id: &str) -> String {
    String::from_utf8(s.open_rootfs(id).unwrap().read("etc/text", 100).unwrap()).unwrap()
}

fn known(ids: &[&str]) -> impl Fn(&str) -> bool {
    let ids: BTreeSet<String> = ids.iter().map(|id| id.to_string()).collect();
    move |id| ids.contains(id)
}

#[test]
fn create_list_rename_trash() {
    for_each(|s| {
        assert!(s.list().unwrap().is_empty());
        create(s, "b", "of b").unwrap();
        create(s, "a", "of a").unwrap();
        s.complete("a").unwrap();
        s.complete("a").unwrap();
        assert_eq!(s.list().unwrap(), ["a", "b"]);
        assert!(s.exists("a").unwrap() && !s.exists("c").unwrap());
        for _ in 0..2 {
            s.ensure_mounted("a").unwrap();
        }
        assert!(s.rootfs("a").unwrap().join("etc/text").is_file());
        assert!(s.rootfs("a").unwrap().starts_with(s.path()));
        assert!(s.rootfs("a").unwrap().starts_with(s.dataset("a").unwrap()));

        assert!(matches!(create(s, "a", "x"), Err(Error::Exists(id)) if id == "a"));
        assert!(matches!(s.rename("a", "b"), Err(Error::Exists(id)) if id == "b"));
        assert!(matches!(s.rename("c", "d"), Err(Error::NotFound(id)) if id == "c"));
        assert_eq!((text(s, "a"), text(s, "b")), ("of a".into(), "of b".into()));

        s.rename("a", "c").unwrap();
        assert_eq!(s.list().unwrap(), ["b", "c"]);
        assert_eq!(text(s, "c"), "of a");

        s.trash("c").unwrap();
        assert!(matches!(s.trash("c"), Err(Error::NotFound(_))));
        assert!(matches!(s.open_rootfs("c"), Err(Error::NotFound(_))));
        assert!(matches!(s.ensure_mounted("c"), Err(Error::NotFound(_))));
        assert!(matches!(s.complete("c"), Err(Error::NotFound(_))));
        assert!(matches!(
            s.usage("c", Watch::none()),
            Err(Error::NotFound(_))
        ));
        create(s, "c", "again").unwrap();
        assert_eq!(text(s, "c"), "again");
        s.trash("c").unwrap();
        let mut removed = 0;
        loop {
            let part = s.empty_trash(1).unwrap();
            assert!(part.errors.is_empty() && part.removed <= 4, "{part:?}");
            assert!(part.done || part.removed > 0, "{part:?}");
            removed += part.removed;
            if part.done {
                break;
            }
        }
        // Objects, or datasets.
        let least = if s.backend() == "zfs" { 2 } else { 6 };
        assert!(removed >= least, "{removed}");
        assert_eq!(text(s, "b"), "of b");
    });
}

#[test]
fn a_container_that_can_not_be_filled_does_not_exist() {
    for_each(|s| {
        let made = s.create("a", &mut |tree| {
            tree.mkdir("etc", 0o755)?;
            Err("out of paint".into())
        });
        let Err(e) = made else {
            panic!("made");
        };
        assert_eq!(e.to_string(), "cannot fill a");
        let cause = std::error::Error::source(&e).unwrap();
        assert_eq!(cause.to_string(), "out of paint");
        assert!(s.list().unwrap().is_empty() && !s.exists("a").unwrap());
        create(s, "a", "now").unwrap();
    });
}

#[test]
fn an_empty_root_directory_is_roots() {
    use std::os::unix::fs::MetadataExt;
    for_each(|s| {
        s.create("a", &mut |_| Ok(())).unwrap();
        s.ensure_mounted("a").unwrap();
        let meta = std::fs::metadata(s.rootfs("a").unwrap()).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o755);
        assert_eq!(meta.uid(), nix::unistd::geteuid().as_raw());
    });
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for_each(|s| {
        let long = "x".repeat(201);
        for id in [
            "", ".", "..", "../a", "a/b", "/", "a\0", "a\n", "-a", "a.b", ".new-a", &long,
        ] {
            assert!(matches!(create(s, id, ""), Err(Error::Name(_))), "{id:?}");
            assert!(matches!(s.rootfs(id), Err(Error::Name(_))), "{id:?}");
            assert!(matches!(s.dataset(id), Err(Error::Name(_))), "{id:?}");
            assert!(matches!(s.open_rootfs(id), Err(Error::Name(_))), "{id:?}");
            assert!(matches!(s.exists(id), Err(Error::Name(_))), "{id:?}");
            assert!(matches!(s.trash(id), Err(Error::Name(_))), "{id:?}");
            assert!(matches!(s.complete(id), Err(Error::Name(_))), "{id:?}");
            assert!(matches!(s.rename("a", id), Err(Error::Name(_))), "{id:?}");
            assert!(matches!(s.rename(id, "a"), Err(Error::Name(_))), "{id:?}");
        }
    });
}

#[test]
fn new_data_without_a_configuration_are_discarded() {
    for_each(|s| {
        for id in ["new", "kept", "done", "odd"] {
            create(s, id, id).unwrap();
        }
        s.complete("done").unwrap();
        s.complete("odd").unwrap();
        let notes = s.recover(&known(&["kept", "done"]));
        assert_eq!(s.list().unwrap(), ["done", "kept", "odd"]);
        let odd = notes.iter().filter(|n| matches!(n, Note::Odd(_)));
        assert_eq!((notes.len(), odd.count()), (2, 1), "{notes:?}");
        // What was kept is complete now.
        s.recover(&known(&[]));
        assert_eq!(s.list().unwrap(), ["done", "kept", "odd"]);
    });
}

#[test]
fn images_are_kept_and_made_containers_of() {
    for_each(|s| {
        let key = "0123456789abcdef".repeat(4);
        let fill = |text: &'static str| {
            move |tree: &Root| {
                tree.mkdir("etc", 0o755)?;
                let file = tree.create_new("etc/text", 0o640)?;
                tree.chown("etc/text", 7, 8)?;
                std::io::Write::write_all(&mut &file, text.as_bytes())?;
                Ok(())
            }
        };
        let none = s.create_from("a", &key, Watch::none());
        assert!(matches!(none, Err(Error::NoImage(k)) if k == key));
        assert!(!s.has_image(&key).unwrap() && !s.exists("a").unwrap());
        let half = s.keep_image(&key, &mut |_| Err("out of paint".into()));
        assert!(matches!(half, Err(Error::Populate { .. })), "{half:?}");
        assert!(!s.has_image(&key).unwrap() && s.images().unwrap().is_empty());

        s.keep_image(&key, &mut fill("image")).unwrap();
        // The first one stays.
        s.keep_image(&key, &mut fill("other")).unwrap();
        assert_eq!(s.images().unwrap(), std::slice::from_ref(&key));
        for id in ["a", "b"] {
            s.create_from(id, &key, Watch::none()).unwrap();
        }
        let again = s.create_from("a", &key, Watch::none());
        assert!(matches!(again, Err(Error::Exists(id)) if id == "a"));
        assert_eq!(s.list().unwrap(), ["a", "b"]);
        let tree = s.open_rootfs("a").unwrap();
        let stat = tree.stat("etc/text").unwrap();
        assert_eq!((stat.uid, stat.gid, stat.permissions()), (7, 8, 0o640));
        // What one container writes is in no other, and not in the image.
        let file = tree
            .open("etc/text", nix::fcntl::OFlag::O_WRONLY, 0)
            .unwrap();
        std::io::Write::write_all(&mut &file, b"CHANG").unwrap();
        assert_eq!(
            (text(s, "a"), text(s, "b")),
            ("CHANG".into(), "image".into())
        );
        drop((file, tree));

        // New ones are discarded without a configuration, and outlive their image.
        s.complete("a").unwrap();
        s.recover(&known(&["a"]));
        assert_eq!(s.list().unwrap(), ["a"]);
        s.discard_image(&key).unwrap();
        s.discard_image(&key).unwrap();
        assert!(!s.has_image(&key).unwrap());
        s.empty_trash(1000).unwrap();
        assert_eq!(text(s, "a"), "CHANG");
        s.keep_image(&key, &mut fill("newer")).unwrap();
        s.create_from("c", &key, Watch::none()).unwrap();
        assert_eq!(
            (text(s, "a"), text(s, "c")),
            ("CHANG".into(), "newer".into())
        );

        // With the last container that was made from it the image goes for good.
        for id in ["a", "c"] {
            s.trash(id).unwrap();
        }
        s.discard_image(&key).unwrap();
        while s.empty_trash(1000).unwrap().removed > 0 {}
        let emptied = s.empty_trash(1000).unwrap();
        assert!(emptied.done && emptied.errors.is_empty(), "{emptied:?}");
    });
}

#[test]
fn quotas_where_there_are_any() {
    for_each(|s| {
        create(s, "a", "text").unwrap();
        match s.set_quota("a", Some(64 << 20)) {
            Ok(()) => assert_eq!(s.space().unwrap()["a"].quota, Some(64 << 20)),
            Err(Error::Unsupported(_)) => {
                assert!(s.space().unwrap().is_empty());
                return;
            }
            Err(e) => panic!("{e}"),
        }
        assert!(s.space().unwrap()["a"].used > 0);
        s.rename("a", "b").unwrap();
        assert_eq!(s.space().unwrap()["b"].quota, Some(64 << 20));
        s.set_quota("b", None).unwrap();
        assert_eq!(s.space().unwrap()["b"].quota, None);
        assert!(matches!(s.set_quota("a", None), Err(Error::NotFound(_))));
    });
}

#[test]
fn usage_counts_what_is_on_the_disk_once() {
    for_each(|s| {
        s.create("a", &mut |tree| {
            let file = tree.create_new("data", 0o600)?;
            // Nothing that could be compressed.
            let data: Vec<u8> = std::iter::successors(Some(1u32), |x| {
                Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
            })
            .map(|x| (x >> 24) as u8)
            .take(1 << 20)
            .collect();
            std::io::Write::write_all(&mut &file, &data)?;
            tree.hard_link("data", "link")?;
            tree.create_new("sparse", 0o600)?.set_len(1 << 30)?;
            Ok(())
        })
        .unwrap();
        let usage = s.usage("a", Watch::none()).unwrap();
        // ZFS counts what it keeps beside the data too.
        assert!(
            (1 << 20..(1 << 20) + (512 << 10)).contains(&usage),
            "{usage}"
        );
        let cancelled = Watch::new(&|| true, &|_, _| {});
        assert!(matches!(s.usage("a", cancelled), Err(Error::Cancelled)));
    });
}
