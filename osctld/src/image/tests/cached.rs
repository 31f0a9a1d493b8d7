//! Images that are kept unpacked.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;

use super::builder::Builder;
use super::*;
use crate::storage::fake::FakeStorage;
use crate::storage::{DirStorage, Storage};

struct Pool {
    dir: tempfile::TempDir,
    storage: Arc<dyn Storage>,
}

impl Pool {
    fn new() -> Pool {
        let dir = tempfile::tempdir().unwrap();
        let storage = DirStorage::install(dir.path().join("pool")).unwrap();
        let storage = Arc::new(storage);
        Pool { dir, storage }
    }
    fn cache(&self, max: usize) -> ImageCache {
        ImageCache::open(Arc::clone(&self.storage), max).unwrap()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// An image whose `etc/os-release` and `text` hold `text`, changed long ago.
    fn image(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, image(text)).unwrap();
        path
    }
    fn repository(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("pool/repository"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "index" && name != "info")
            .collect();
        names.sort();
        names
    }
    fn ensure(&self, cache: &ImageCache, path: &Path) -> Result<Cached> {
        cache.ensure(path, &Limits::default(), Watch::none())
    }
    fn create(&self, cache: &ImageCache, id: &str, path: &Path) -> Result<Facts> {
        create_from(
            self.storage.as_ref(),
            Some(cache),
            id,
            path,
            &Limits::default(),
            Watch::none(),
        )
    }
    fn text(&self, id: &str) -> String {
        fs::read_to_string(self.storage.rootfs(id).unwrap().join("text")).unwrap()
    }
}

fn image(text: &str) -> Vec<u8> {
    let release = format!("ID={text}\n");
    // Not compressed: images of texts of the same length have the same length.
    Builder::new()
        .dir("./")
        .file("etc/os-release", release.as_bytes())
        .file("text", text.as_bytes())
        .end()
}

#[test]
fn a_second_container_takes_a_copy_of_the_tree() {
    let pool = Pool::new();
    let path = pool.image("debian.tar.gz", "debian");
    let cache = pool.cache(4);
    let facts = pool.create(&cache, "a", &path).unwrap();
    assert_eq!(facts.distribution.as_deref(), Some("debian"));
    let [kept] = &pool.repository()[..] else {
        panic!("{:?}", pool.repository());
    };
    let tree = pool.path("pool/repository").join(kept).join("rootfs/text");
    let inode = fs::metadata(&tree).unwrap().ino();
    // The same file, a copy of it, and another process.
    let copy = pool.path("copy.tar.gz");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(pool.create(&cache, "b", &path).unwrap(), facts);
    assert_eq!(pool.create(&cache, "c", &copy).unwrap(), facts);
    assert_eq!(pool.create(&pool.cache(4), "d", &path).unwrap(), facts);
    assert_eq!(fs::metadata(&tree).unwrap().ino(), inode);
    assert_eq!(pool.repository().len(), 1);
    for id in ["a", "b", "c", "d"] {
        assert_eq!(pool.text(id), "debian");
    }
    // Copies are independent of each other.
    fs::write(pool.storage.rootfs("a").unwrap().join("text"), "changed").unwrap();
    assert_eq!(pool.text("b"), "debian");
    assert_eq!(fs::read_to_string(&tree).unwrap(), "debian");
}

#[test]
fn a_file_that_was_changed_is_another_image() {
    let pool = Pool::new();
    let cache = pool.cache(4);
    let path = pool.image("x", "one");
    pool.create(&cache, "a", &path).unwrap();
    let meta = fs::metadata(&path).unwrap();
    // Same size, and the times set back.
    fs::write(&path, image("two")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), meta.len());
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(meta.modified().unwrap())
        .unwrap();
    pool.create(&cache, "b", &path).unwrap();
    assert_eq!(
        (pool.text("a"), pool.text("b")),
        ("one".into(), "two".into())
    );
    assert_eq!(cache.list().unwrap().len(), 2);
}

#[test]
fn the_oldest_images_go_but_none_in_use() {
    let pool = Pool::new();
    let cache = pool.cache(2);
    let [a, b, c, d] = ["aa", "bb", "cc", "dd"].map(|text| pool.image(text, text));
    let in_use = pool.ensure(&cache, &a).unwrap();
    let first = in_use.sha256().to_owned();
    let second = pool.ensure(&cache, &b).unwrap().sha256().to_owned();
    pool.ensure(&cache, &c).unwrap();
    let kept = cache.list().unwrap();
    assert!(
        kept.len() == 2 && kept.contains(&first) && !kept.contains(&second),
        "{kept:?}"
    );
    drop(in_use);
    pool.ensure(&cache, &d).unwrap();
    assert!(!cache.list().unwrap().contains(&first));
    // What went is in the trash, whole or not, and can be emptied.
    while !pool.storage.empty_trash(100).unwrap().done {}
    assert_eq!(pool.cache(1).list().unwrap().len(), 1);
    assert!(pool.cache(0).list().unwrap().is_empty());
    // With no place at all it still works.
    pool.create(&pool.cache(0), "x", &a).unwrap();
    assert_eq!(pool.text("x"), "aa");
}

#[test]
fn what_is_damaged_is_unpacked_again() {
    let pool = Pool::new();
    let path = pool.image("x", "text");
    let cache = pool.cache(4);
    let sha256 = pool.ensure(&cache, &path).unwrap().sha256().to_owned();
    let dir = pool.path("pool/repository");
    fs::write(dir.join("info").join(format!("{sha256}.json")), "").unwrap();
    fs::write(dir.join("index/files.json"), "{").unwrap();
    let cache = pool.cache(4);
    pool.create(&cache, "a", &path).unwrap();
    assert_eq!(pool.text("a"), "text");
    fs::remove_dir_all(dir.join(&sha256)).unwrap();
    pool.create(&cache, "b", &path).unwrap();
    assert_eq!(pool.text("b"), "text");
}

#[test]
fn a_bad_image_leaves_nothing() {
    let pool = Pool::new();
    let cache = pool.cache(4);
    let bad = Builder::new().file("ok", b"").file("../../../x", b"").end();
    fs::write(pool.path("bad"), bad).unwrap();
    for (name, wanted) in [
        ("bad", "leads out"),
        ("none", "cannot open"),
        ("pool/ct/../../fifo", "cannot open"),
    ] {
        let path = pool.path(name);
        if name.ends_with("fifo") {
            nix::unistd::mkfifo(&pool.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let text = crate::error::chain(&pool.create(&cache, "a", &path).unwrap_err());
        assert!(text.contains(wanted), "{name}: {text}");
        let direct = create_from(
            pool.storage.as_ref(),
            None,
            "a",
            &path,
            &Limits::default(),
            Watch::none(),
        );
        let text = crate::error::chain(&direct.unwrap_err());
        assert!(text.contains(wanted), "{name}: {text}");
    }
    assert!(pool.repository().is_empty());
    assert!(pool.storage.list().unwrap().is_empty());
    while !pool.storage.empty_trash(100).unwrap().done {}
    assert_eq!(fs::read_dir(pool.path("pool/trash")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(pool.path("pool/ct")).unwrap().count(), 0);
}

#[test]
fn from_a_directory_and_on_any_back_end() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("etc")).unwrap();
    fs::write(source.path().join("etc/os-release"), "ID=void\n").unwrap();
    let fake = FakeStorage::new();
    fs::create_dir(fake.path().join("repository")).unwrap();
    let fake: Arc<dyn Storage> = Arc::new(fake);
    let cache = ImageCache::open(Arc::clone(&fake), 1).unwrap();
    let fake = fake.as_ref();
    let limits = Limits::default();
    let facts = create_from(fake, None, "a", source.path(), &limits, Watch::none()).unwrap();
    assert_eq!(facts.distribution.as_deref(), Some("void"));
    zoo::assert_same(source.path(), &fake.rootfs("a").unwrap());

    let pool = Pool::new();
    let path = pool.image("x", "alpine");
    let facts = create_from(fake, Some(&cache), "b", &path, &limits, Watch::none()).unwrap();
    assert_eq!(facts.distribution.as_deref(), Some("alpine"));
    let again = create_from(fake, None, "b", &path, &limits, Watch::none());
    assert!(
        matches!(again, Err(Error::Storage(crate::storage::Error::Exists(_)))),
        "{again:?}"
    );

    // A directory that holds the pool would be copied into itself.
    let text = crate::error::chain(
        &pool
            .create(&pool.cache(1), "a", pool.dir.path())
            .unwrap_err(),
    );
    assert!(text.contains("holds the pool itself"), "{text}");
    let stop = Watch::new(&|| true, &|_, _| {});
    for path in [source.path(), &path] {
        let made = create_from(
            pool.storage.as_ref(),
            Some(&pool.cache(1)),
            "a",
            path,
            &limits,
            stop,
        );
        assert!(matches!(made, Err(Error::Cancelled)), "{made:?}");
    }
}

#[test]
fn the_same_image_from_several_threads() {
    let pool = Pool::new();
    let cache = pool.cache(1);
    let path = pool.image("x", "same");
    std::thread::scope(|s| {
        for i in 0..6 {
            let (pool, cache, path) = (&pool, &cache, &path);
            s.spawn(move || pool.create(cache, &format!("ct{i}"), path).unwrap());
        }
    });
    assert_eq!(pool.repository().len(), 1);
    for i in 0..6 {
        assert_eq!(pool.text(&format!("ct{i}")), "same");
    }
}

/// Does something only in the process that the test below starts.
#[test]
fn crash_child() {
    if let (Ok(pool), Ok(path)) = (std::env::var("CACHE_POOL"), std::env::var("CACHE_IMAGE")) {
        let storage = Arc::new(DirStorage::open(pool).unwrap());
        let cache = ImageCache::open(storage, 4).unwrap();
        cache
            .ensure(Path::new(&path), &Limits::default(), Watch::none())
            .unwrap();
    }
}

#[test]
#[cfg(debug_assertions)]
fn an_image_that_was_not_finished_is_not_used() {
    let pool = Pool::new();
    let path = pool.image("x", "text");
    for point in ["image.unpacked", "store.write", "store.rename"] {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "image::tests::cached::crash_child"])
            .env("CACHE_POOL", pool.path("pool"))
            .env("CACHE_IMAGE", &path)
            .env("OSCTLD_FAILPOINT", point)
            .output()
            .unwrap();
        assert!(out.status.code().is_none(), "{point}: {out:?}");
        assert_eq!(pool.repository().len(), 1, "{point}");
        assert!(pool.repository()[0].starts_with(".new-"), "{point}");
        assert_eq!(pool.storage.recover(&|_| false).len(), 1, "{point}");
        let cache = pool.cache(4);
        assert!(pool.repository().is_empty(), "{point}");
        assert!(cache.list().unwrap().is_empty(), "{point}");
    }
    pool.create(&pool.cache(4), "a", &path).unwrap();
    assert_eq!(pool.text("a"), "text");
}
