//! Streams of ZFS, as the storage sends and receives them: on the real thing only, as nothing else
//! has them. `OSCTL_TEST_DATASET` names a dataset to test in.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::process::Command;

use nix::errno::Errno;
use osctl_linux::zfs::{From, InUse, Resume, Send, Value, Zfs};

use super::contract_tests::{Pool, ZfsPool, create, text};
use super::*;

/// A file of the test, at its beginning.
fn scratch(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn bytes(mut file: File) -> Vec<u8> {
    let mut all = Vec::new();
    file.rewind().unwrap();
    std::io::Read::read_to_end(&mut file, &mut all).unwrap();
    all
}

fn sh(script: &str) -> Vec<u8> {
    let output = Command::new("bash").args(["-ec", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    output.stdout
}

fn said(script: &str) -> String {
    String::from_utf8(sh(script)).unwrap().trim().to_owned()
}

/// Tells what is mounted of a pool, wherever; others' come and go.
fn mounted(pool: &str) -> String {
    format!("grep -E '^{pool}(/[^ ]*)? [^ ]+ zfs ' /proc/self/mounts | sort")
}

struct Test {
    pool: ZfsPool,
    zfs: &'static Zfs,
}

impl Test {
    /// A container `src` with snapshots `a` and `b`, between which its text changes.
    fn new() -> Option<Test> {
        let pool = ZfsPool::new()?;
        let test = Test {
            zfs: Zfs::load().unwrap(),
            pool,
        };
        let s = test.storage();
        create(s, "src", "at a").unwrap();
        s.complete("src").unwrap();
        test.snapshot("src@a");
        let tree = s.open_rootfs("src").unwrap();
        let mut more: Vec<u8> = (0..3_000_000u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect();
        more.extend(vec![b'x'; 1 << 20]);
        let mut file = tree.create_new("more", 0o600).unwrap();
        file.write_all(&more).unwrap();
        file.sync_all().unwrap();
        let mut file = tree
            .open("etc/text", nix::fcntl::OFlag::O_WRONLY, 0)
            .unwrap();
        file.write_all(b"at b").unwrap();
        file.sync_all().unwrap();
        test.snapshot("src@b");
        Some(test)
    }

    fn storage(&self) -> &dyn Storage {
        self.pool.storage()
    }

    fn name(&self, of: &str) -> String {
        format!("{}/ct/{of}", self.pool.dataset)
    }

    fn snapshot(&self, of: &str) {
        let mark = [("org.osctl:test", Value::Text("yes".into()))];
        self.zfs.snapshot(&[self.name(of)], &mark).unwrap();
    }

    fn stream(&self, from: Option<&str>, to: &str, form: Form) -> Vec<u8> {
        let out = tempfile::tempfile().unwrap();
        let s = self.storage();
        s.send("src", "", from, to, form, out.as_fd()).unwrap();
        bytes(out)
    }

    fn receive(&self, id: &str, stream: &[u8]) -> Result<Vec<String>> {
        self.storage().receive(id, "", scratch(stream).as_fd())
    }

    /// Everything of the pool, and what is mounted of it.
    fn all(&self) -> (String, String) {
        let pool = &self.pool.dataset;
        let trash = format!("{pool}/trash/");
        let names = said(&format!("zfs list -Hrt all -o name {pool}/ct"));
        assert!(!names.contains(&trash));
        let marks = fs::read_dir(self.storage().path().join("ct/.new")).unwrap();
        (names, format!("{} {}", said(&mounted(pool)), marks.count()))
    }

    /// A stream that is not received leaves nothing.
    fn refuses(&self, stream: &[u8], why: &str) {
        let before = self.all();
        let error = self.receive("bad", stream).unwrap_err();
        let error = super::text(&error);
        assert!(error.contains(why), "{error}");
        assert_eq!(self.all(), before, "{error}");
        assert!(!self.storage().exists("bad").unwrap());
    }
}

#[test]
fn holds_and_bookmarks() {
    let Some(test) = Test::new() else { return };
    let (zfs, a, b) = (test.zfs, test.name("src@a"), test.name("src@b"));
    zfs.hold(&[&a, &b], "osctl").unwrap();
    let holds = zfs.holds(&a).unwrap();
    assert_eq!(holds.len(), 1);
    assert!(
        holds[0].0 == "osctl" && holds[0].1 > 1_600_000_000,
        "{holds:?}"
    );
    let error = zfs.destroy_snapshots(&[&a], InUse::Refuse).unwrap_err();
    assert!(error.is(Errno::EBUSY), "{error}");
    assert_eq!(error.each().len(), 1, "{error}");
    zfs.release(&[&a, &b], "osctl").unwrap();
    assert!(zfs.holds(&a).unwrap().is_empty());

    // A stream starts from a bookmark when its snapshot is gone.
    let full = test.stream(None, "a", Form::Plain);
    let bookmark = test.name("src#a");
    zfs.bookmark(&a, &bookmark).unwrap();
    zfs.destroy_snapshots(&[&a], InUse::Refuse).unwrap();
    let out = tempfile::tempfile().unwrap();
    let from = From::Source(&bookmark);
    zfs.send(&b, from, out.as_fd(), Send::PLAIN, Resume::default())
        .unwrap();
    test.receive("dst", &full).unwrap();
    assert_eq!(test.receive("dst", &bytes(out)).unwrap(), ["b"]);
    assert_eq!(text(test.storage(), "dst"), "at b");
    zfs.destroy_bookmarks(&[&bookmark]).unwrap();
    assert!(
        zfs.send(
            &b,
            from,
            scratch(b"").as_fd(),
            Send::PLAIN,
            Resume::default()
        )
        .is_err()
    );
}

#[test]
fn streams_become_containers() {
    let Some(test) = Test::new() else { return };
    let s = test.storage();
    let (full, changes) = (
        test.stream(None, "a", Form::Plain),
        test.stream(Some("a"), "b", Form::Compact),
    );
    let size = s.send_size("src", "", None, "b", Form::Plain).unwrap();
    assert!((3_000_000..30_000_000).contains(&size), "{size}");
    assert!(
        full.len() < changes.len(),
        "{} {}",
        full.len(),
        changes.len()
    );
    let mounted = test.all().1;
    assert_eq!(test.receive("dst", &full).unwrap(), ["a"]);
    assert!(test.all().1.starts_with(mounted.trim_end_matches(" 0")));
    assert_eq!(test.receive("dst", &changes).unwrap(), ["b"]);
    // Again, and in the wrong order: as it was.
    for stream in [&full, &changes] {
        let before = test.all();
        assert!(test.receive("dst", stream).is_err());
        assert_eq!(test.all(), before);
    }
    // One dataset below another.
    let no_parent = s.receive("dst", "var/db", scratch(&full).as_fd());
    assert!(no_parent.is_err());
    s.receive("dst", "var", scratch(&full).as_fd()).unwrap();
    s.receive("dst", "var/db", scratch(&full).as_fd()).unwrap();
    let outside = s.receive("dst", "../src", scratch(&full).as_fd());
    assert!(matches!(outside, Err(Error::Name(_))), "{outside:?}");
    let orphan = s.receive("none", "var", scratch(&full).as_fd());
    assert!(matches!(orphan, Err(Error::NotFound(_))), "{orphan:?}");

    assert_eq!(text(s, "dst"), "at b");
    s.complete("dst").unwrap();
    for dataset in ["", "var", "new"] {
        let late = s.receive("dst", dataset, scratch(&full).as_fd());
        assert!(matches!(late, Err(Error::Exists(_))), "{late:?}");
    }
    // It is independent of where it came from.
    assert_eq!(
        said(&format!("zfs get -Ho value origin {}", test.name("dst"))),
        "-"
    );
    // New data without a configuration go, with all of it.
    s.complete("src").unwrap();
    test.receive("late", &full).unwrap();
    s.recover(&|id| id == "src" || id == "dst");
    assert_eq!(s.list().unwrap(), ["dst", "src"]);

    // While it is sent; and nobody reads.
    let (out, into) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            s.send("src", "", None, "b", Form::Compact, into.as_fd())
                .unwrap();
        });
        assert_eq!(s.receive("piped", "", out.as_fd()).unwrap(), ["b"]);
    });
    assert_eq!(text(s, "piped"), "at b");
    let (out, into) = std::io::pipe().unwrap();
    drop(out);
    let error = s.send("src", "", None, "b", Form::Plain, into.as_fd());
    let error = super::text(&error.unwrap_err());
    assert!(error.contains("EPIPE"), "{error}");
    for (from, to) in [(None, "none"), (Some("b"), "a"), (Some("x@y"), "a")] {
        let none = scratch(b"");
        assert!(
            s.send("src", "", from, to, Form::Plain, none.as_fd())
                .is_err()
        );
    }
}

#[test]
fn hostile_streams_leave_nothing() {
    let Some(test) = Test::new() else { return };
    let good = test.stream(None, "b", Form::Plain);
    let end = good.len();
    // In an emulated machine each of them takes a while.
    let thorough = std::env::var_os("OSCTL_TEST_THOROUGH").is_some();
    let stride = if thorough { 1 } else { 3 };
    let cuts = [0, 312, 1000, 311, end / 2, end - 312, 1, end - 1];
    for cut in cuts.into_iter().step_by(stride) {
        let early = if cut == 0 || cut == 1 || cut == 311 {
            "ends too early"
        } else {
            "cannot receive"
        };
        test.refuses(&good[..cut], early);
    }
    let places = [0, 4, 8, 16, 32, 48, end / 2, end - 200, 400];
    for place in places.into_iter().step_by(stride) {
        let mut corrupt = good.clone();
        corrupt[place] ^= 0x55;
        test.refuses(&corrupt, "");
    }
    test.refuses(&vec![0x5a; 100_000], "no stream of ZFS");
    test.refuses(&test.stream(Some("a"), "b", Form::Plain), "cannot receive");

    // A whole tree, a volume, and blocks encrypted with somebody's key.
    let (src, own) = (test.name("src"), test.pool.dataset.clone());
    sh(&format!(
        "zfs create -o canmount=off {src}/sub && zfs snapshot -r {src}@r"
    ));
    test.refuses(
        &sh(&format!("zfs send -R {src}@r")),
        "more than one dataset",
    );
    sh(&format!(
        "zfs create -V 1M {own}/vol && zfs snapshot {own}/vol@v"
    ));
    test.refuses(
        &sh(&format!("zfs send {own}/vol@v")),
        "not of a file system",
    );
    test.refuses(
        &sh(&format!("zfs send -p {own}/vol@v")),
        "not of a file system",
    );
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(key.path(), "a pass phrase").unwrap();
    sh(&format!(
        "zfs create -o encryption=on -o keyformat=passphrase -o keylocation=file://{} \
         -o canmount=off {own}/secret && zfs snapshot {own}/secret@s",
        key.path().display()
    ));
    test.refuses(
        &sh(&format!("zfs send -w {own}/secret@s")),
        "encrypted with a key",
    );
    sh(&format!(
        "zfs destroy -r {own}/vol && zfs destroy -r {own}/secret"
    ));
}

#[test]
fn properties_of_streams_are_not_taken() {
    let Some(test) = Test::new() else { return };
    let (src, evil) = (test.name("src"), tempfile::tempdir().unwrap());
    sh(&format!(
        "zfs set canmount=on exec=off setuid=on devices=on atime=off sharenfs=on org.x:user=evil \
         mountpoint={} {src}; zfs snapshot {src}@c",
        evil.path().join("at").display()
    ));
    let stream = sh(&format!("zfs send -p {src}@b; zfs send -p -I @b {src}@c"));
    let mut input = scratch(&stream);
    let s = test.storage();
    let pool = &test.pool.dataset;
    let before = said(&mounted(pool));
    assert_eq!(s.receive("dst", "", input.as_fd()).unwrap(), ["b"]);
    // Read to its end, and no further.
    assert_eq!(s.receive("dst", "", input.as_fd()).unwrap(), ["c"]);
    assert_eq!(input.stream_position().unwrap(), stream.len() as u64);
    assert_eq!(said(&mounted(pool)), before);
    let dst = test.name("dst");
    let local = said(&format!(
        "zfs get -H -s local,received -o property,value,source all {dst}"
    ));
    assert_eq!(
        local.split_whitespace().collect::<Vec<_>>(),
        ["canmount", "noauto", "local"]
    );
    assert_eq!(text(s, "dst"), "at b");
    let mut cut = stream.clone();
    cut.truncate(700);
    test.refuses(&cut, "ends too early");
    cut[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    test.refuses(&cut, "too large a header");
}
