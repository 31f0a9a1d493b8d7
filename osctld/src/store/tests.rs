use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
}

impl Document for Thing {
    const KIND: &'static str = "thing";
    const VERSION: u32 = 2;
    fn upgrade(from: u32, content: &mut Map<String, Value>) -> std::result::Result<(), String> {
        assert_eq!(from, 1);
        match content.remove("old") {
            Some(text) => content.insert("text".into(), text),
            None => return Err("no text".into()),
        };
        Ok(())
    }
}

fn thing(text: &str) -> Thing {
    Thing {
        text: text.into(),
        number: Some(u64::MAX),
    }
}

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        Fixture { dir }
    }
    fn path(&self, p: &str) -> PathBuf {
        self.dir.path().join("things").join(p)
    }
    fn open(&self) -> Objects<Thing> {
        Objects::open(self.path("")).unwrap()
    }
}

#[test]
fn what_is_saved_is_loaded_and_private() {
    let f = Fixture::new();
    let objects = f.open();
    let mut a = objects.create("a", thing("one")).unwrap();
    assert_eq!(a.generation, 1);
    assert!(matches!(
        objects.create("a", thing("x")),
        Err(Error::Exists(_))
    ));
    a.value.text = "two".into();
    objects.save("a", &mut a).unwrap();
    assert_eq!(a.generation, 2);
    assert_eq!(objects.load("a").unwrap().unwrap(), a);
    assert_eq!(objects.load("b").unwrap(), None);
    assert_eq!(f.open().load("a").unwrap().unwrap(), a);

    let text: Value = serde_json::from_slice(&fs::read(f.path("a.json")).unwrap()).unwrap();
    let wanted = json!({"version": 2, "generation": 2, "text": "two", "number": u64::MAX});
    assert_eq!(text, wanted);
    assert_eq!(
        fs::metadata(f.path("a.json")).unwrap().mode() & 0o7777,
        0o600
    );
    assert_eq!(fs::metadata(f.path("")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_dir(f.path("")).unwrap().count(), 1);
}

#[test]
fn keys_are_nested_and_never_leave_the_directory() {
    let f = Fixture::new();
    let objects = f.open();
    let keys = ["", "a", "a/b", "a/b/c", "json", "a/json"];
    for key in keys {
        objects.create(key, thing(key)).unwrap();
    }
    let all = objects.load_all().unwrap();
    let mut wanted: Vec<&str> = keys.to_vec();
    wanted.sort();
    assert_eq!(
        all.iter().map(|l| l.key.as_str()).collect::<Vec<_>>(),
        wanted
    );
    for loaded in all {
        assert_eq!(loaded.object.unwrap().value.text, loaded.key);
    }
    objects.mark_deleting("a/b/c").unwrap();
    objects.forget("a/b/c").unwrap();
    objects.forget("a/b/c").unwrap();
    objects.forget("none/x").unwrap();
    assert!(!f.path("a/b").exists());
    assert!(f.path("a/b.json").exists());
    let long = "x".repeat(300);
    for key in [
        "..", ".", "../a", "a/../b", "/a", "a/", "a//b", "a\0", "a\n", "-a", "@", "a.b", &long,
    ] {
        assert!(matches!(objects.load(key), Err(Error::Key(_))), "{key:?}");
        assert!(
            matches!(objects.create(key, thing("")), Err(Error::Key(_))),
            "{key:?}"
        );
    }
}

#[test]
fn a_bad_file_does_not_take_the_rest_and_says_what_is_wrong() {
    let f = Fixture::new();
    let objects = f.open();
    objects.create("good", thing("good")).unwrap();
    let cases: [(&str, &[u8], &str); 12] = [
        (
            "cut",
            b"{\"version\": 2, \"gen",
            "is not a valid thing document",
        ),
        ("empty", b"", "is empty"),
        ("zeros", &[0; 4096], "is empty"),
        ("binary", b"\xff\xfe\x00", "is not a valid"),
        ("list", b"[1]", "is not a valid"),
        (
            "noversion",
            b"{\"generation\": 1, \"text\": \"\"}",
            "is not a valid",
        ),
        (
            "negative",
            b"{\"version\": -1, \"generation\": 1, \"text\": \"\"}",
            "is not a valid",
        ),
        (
            "zero",
            b"{\"version\": 0, \"generation\": 1, \"text\": \"\"}",
            "is not a valid",
        ),
        (
            "type",
            b"{\"version\": 2, \"generation\": 1, \"text\": 7}",
            "is not a valid",
        ),
        (
            "future",
            b"{\"version\": 3, \"generation\": 1, \"x\": 7}",
            "has version 3",
        ),
        (
            "far",
            b"{\"version\": 99999999999, \"generation\": 1}",
            "has version 99999999999",
        ),
        (
            "old",
            b"{\"version\": 1, \"generation\": 1}",
            "is not a valid",
        ),
    ];
    for (key, bytes, _) in cases {
        fs::write(f.path(&format!("{key}.json")), bytes).unwrap();
    }
    let deep = "[".repeat(100_000);
    fs::write(f.path("deep.json"), deep).unwrap();
    let large = fs::File::create(f.path("large.json")).unwrap();
    large.set_len(10 << 30).unwrap();
    fs::create_dir(f.path("dir.json")).unwrap();
    symlink("good.json", f.path("link.json")).unwrap();
    nix::unistd::mkfifo(&f.path("fifo.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();

    let all = f.open().load_all().unwrap();
    let get = |key: &str| all.iter().find(|l| l.key == key).unwrap();
    assert_eq!(get("good").object.as_ref().unwrap().value, thing("good"));
    for (key, _, message) in cases {
        let text = get(key).object.as_ref().unwrap_err().to_string();
        let path = f.path(&format!("{key}.json"));
        assert!(text.contains(message), "{key}: {text}");
        assert!(text.contains(path.to_str().unwrap()), "{key}: {text}");
    }
    assert!(matches!(get("large").object, Err(Error::TooLarge(_))));
    for key in ["deep", "dir", "link", "fifo"] {
        assert!(get(key).object.is_err(), "{key}");
    }
}

#[test]
fn an_older_version_is_upgraded() {
    let f = Fixture::new();
    let objects = f.open();
    let text = "{\"version\": 1, \"generation\": 7, \"old\": \"x\"}";
    fs::write(f.path("a.json"), text).unwrap();
    let mut a = objects.load("a").unwrap().unwrap();
    assert_eq!((a.generation, a.value.text.as_str()), (7, "x"));
    objects.save("a", &mut a).unwrap();
    assert!(
        fs::read_to_string(f.path("a.json"))
            .unwrap()
            .contains("\"version\": 2")
    );
}

#[test]
fn an_object_too_large_to_be_read_is_not_written() {
    let f = Fixture::new();
    let objects = f.open();
    let mut a = objects.create("a", thing("small")).unwrap();
    a.value.text = "x".repeat(MAX_DOCUMENT as usize);
    assert!(matches!(objects.save("a", &mut a), Err(Error::TooLarge(_))));
    assert_eq!(objects.load("a").unwrap().unwrap().value.text, "small");
}

#[test]
fn deletion_is_marked_first() {
    let f = Fixture::new();
    let objects = f.open();
    objects.create("a", thing("a")).unwrap();
    objects.mark_deleting("a").unwrap();
    assert_eq!(objects.load("a").unwrap(), None);
    assert!(matches!(
        objects.create("a", thing("b")),
        Err(Error::Exists(_))
    ));
    assert!(matches!(objects.check_free("a"), Err(Error::Exists(_))));
    // Whoever had it before does not bring it back.
    let mut late = Stored::new(thing("late"));
    let saved = objects.save("a", &mut late);
    assert!(matches!(saved, Err(Error::Deleting(_))), "{saved:?}");
    assert!(objects.is_deleting("a").unwrap());
    let all = f.open().load_all().unwrap();
    assert_eq!((all.len(), all[0].deleting), (1, true));
    assert_eq!(all[0].object.as_ref().unwrap().value, thing("a"));
    objects.unmark_deleting("a").unwrap();
    assert!(!objects.is_deleting("a").unwrap());
    assert!(objects.load("a").unwrap().is_some());
    objects.mark_deleting("a").unwrap();
    objects.forget("a").unwrap();
    objects.create("a", thing("b")).unwrap();
}

/// Does something only in the process that the test below starts.
#[test]
fn crash_child() {
    let Ok(path) = std::env::var("THINGS") else {
        return;
    };
    let objects: Objects<Thing> = Objects::open(path).unwrap();
    let mut a = objects.load("a").unwrap().unwrap();
    a.value.text = "new".into();
    objects.save("a", &mut a).unwrap();
    objects.mark_deleting("a").unwrap();
}

#[test]
#[cfg(debug_assertions)]
fn killed_at_any_step_the_old_or_the_new_object_is_there() {
    for (point, text, deleting) in [
        ("store.write", "old", false),
        ("store.rename", "old", false),
        ("store.sync-dir", "new", false),
        ("store.marked", "new", true),
    ] {
        let f = Fixture::new();
        f.open().create("a", thing("old")).unwrap();
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::crash_child"])
            .env("THINGS", f.path(""))
            .env("OSCTLD_FAILPOINT", point)
            .output()
            .unwrap();
        assert!(out.status.code().is_none(), "{point}: {out:?}");
        let all = f.open().load_all().unwrap();
        assert_eq!(all.len(), 1, "{point}");
        assert_eq!(all[0].object.as_ref().unwrap().value.text, text, "{point}");
        assert_eq!(all[0].deleting, deleting, "{point}");
        // The leftover is gone.
        assert_eq!(fs::read_dir(f.path("")).unwrap().count(), 1, "{point}");
    }
}

#[test]
fn writers_of_different_objects_do_not_meet() {
    let f = Fixture::new();
    let objects = f.open();
    std::thread::scope(|s| {
        for t in 0..4 {
            let objects = &objects;
            s.spawn(move || {
                let mut a = objects.create(&format!("t{t}"), thing("0")).unwrap();
                for i in 0..20 {
                    a.value.text = i.to_string();
                    objects.save(&format!("t{t}"), &mut a).unwrap();
                }
            });
        }
    });
    let all = objects.load_all().unwrap();
    assert_eq!(all.len(), 4);
    for l in all {
        let object = l.object.unwrap();
        assert_eq!((object.generation, object.value.text.as_str()), (21, "19"));
    }
}

#[test]
fn a_symlink_is_no_directory_of_objects() {
    let f = Fixture::new();
    fs::create_dir(f.dir.path().join("elsewhere")).unwrap();
    symlink(
        "elsewhere",
        f.path("")
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches('/'),
    )
    .unwrap();
    assert!(Objects::<Thing>::open(f.dir.path().join("things")).is_err());
}

#[test]
fn history_is_appended_bounded_and_tolerant() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.jsonl");
    let history = History::open(dir.path(), "history.jsonl", 4096).unwrap();
    assert!(history.read::<Value>(10).unwrap().is_empty());
    for i in 0..1000 {
        history
            .append(&json!({"n": i, "text": "line\nbreak"}))
            .unwrap();
    }
    let last: Vec<Value> = history.read(5).unwrap();
    let numbers: Vec<u64> = last.iter().filter_map(|v| v["n"].as_u64()).collect();
    assert_eq!(numbers, [995, 996, 997, 998, 999]);
    assert!(history.read::<Value>(usize::MAX).unwrap().len() > 100);
    assert!(history.read::<Value>(0).unwrap().is_empty());
    let total: u64 = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap())
        .inspect(|m| assert_eq!(m.permissions().mode() & 0o7777, 0o600))
        .map(|m| m.len())
        .sum();
    assert!(total <= 2 * 4096, "{total}");

    // A torn line, and rubbish, are left out; what follows is not lost.
    drop(history);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"{\"n\": \xff}\n\0\0\0{\"n\": 10");
    fs::write(&path, bytes).unwrap();
    let history = History::open(dir.path(), "history.jsonl", 4096).unwrap();
    history.append(&json!({"n": 2000})).unwrap();
    let last: Vec<Value> = history.read(2).unwrap();
    assert_eq!(last[0]["n"], 999);
    assert_eq!(last[1]["n"], 2000);
    assert!(history.append(&"x".repeat(MAX_LINE)).is_err());

    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    let history = History::open(dir.path(), "history.jsonl", 4096).unwrap();
    assert!(history.append(&1).is_err());
}

#[test]
fn a_disk_that_leaves_everybody_waiting_is_not_touched() {
    let f = Fixture::new();
    let stuck = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stuck);
    let why = move || told.load(Ordering::Relaxed).then(|| "no disk".to_owned());
    let waits = Waits::new(why);
    let objects: Objects<Thing> = Objects::open_on(f.path(""), waits.clone()).unwrap();
    let mut a = objects.create("a", thing("one")).unwrap();
    let before = a.clone();
    stuck.store(true, Ordering::Relaxed);
    let refused = [
        objects.save("a", &mut a).err(),
        objects.create("b", thing("two")).err(),
        objects.mark_deleting("a").err(),
        objects.unmark_deleting("a").err(),
        objects.forget("a").err(),
        objects.load("a").err(),
        objects.load_all().err(),
        Objects::<Thing>::open_on(f.path(""), waits).err(),
    ];
    for error in refused {
        assert!(
            matches!(&error, Some(Error::Waits(why)) if why == "no disk"),
            "{error:?}"
        );
    }
    stuck.store(false, Ordering::Relaxed);
    assert_eq!(objects.load("a").unwrap().unwrap(), before);
    assert_eq!(objects.load_all().unwrap().len(), 1);
}
