//! What is packed comes back as it was.

use std::os::unix::fs::MetadataExt;

use super::builder::{Builder, gzip, zstd};
use super::*;

#[test]
fn everything_survives_packing_and_unpacking() {
    if !is_root() {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    zoo::fill(&tree(source.path()));
    for compression in [
        Compression::None,
        Compression::Gzip(6),
        Compression::Zstd(3),
    ] {
        let (bytes, packed) = pack_bytes(source.path(), compression);
        let arena = Arena::new();
        let image = arena.unpack(&bytes).unwrap();
        zoo::assert_same(source.path(), &arena.path("root"));
        assert_eq!(image.entries, packed.entries);
        assert!(packed.warnings.is_empty() && image.warnings.is_empty());
        assert_eq!(image.facts, facts());
        let metadata = image.metadata.unwrap();
        assert_eq!(metadata.container.as_deref(), Some("web1"));
        assert_eq!(
            (metadata.user, metadata.exported_at),
            (None, Some(1_700_000_000))
        );
        assert_eq!(image.user_yml.unwrap(), b"---\ntype: dynamic\n");
        assert_eq!(image.hooks.len(), 1);
        assert_eq!(
            (image.hooks[0].name.as_str(), image.hooks[0].mode),
            ("pre-start.d/10-x", 0o755)
        );
        let zeros = std::fs::metadata(arena.path("root/zeros")).unwrap();
        assert!(zeros.blocks() * 512 < 16384, "zeros are no hole");
        // The same tree makes the same bytes.
        assert!(pack_bytes(source.path(), compression).0 == bytes);
        arena.check();
    }
}

#[test]
fn tarballs_of_every_compression() {
    let plain = Builder::new()
        .dir("./")
        .dir("./etc/")
        .file("./etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\n")
        .end();
    for bytes in [plain.clone(), gzip(&plain), zstd(&plain)] {
        let arena = Arena::new();
        let image = arena.unpack(&bytes).unwrap();
        assert_eq!(image.facts.distribution.as_deref(), Some("debian"));
        assert_eq!(image.facts.version.as_deref(), Some("12"));
        assert_eq!((image.entries, image.metadata), (3, None));
        let file = std::fs::metadata(arena.path("root/etc/os-release")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.mtime()), (0o644, 1_000_000_000));
    }
}

#[test]
fn archives_of_every_compression_inside_and_outside() {
    let base = Builder::new().file("./a", b"content").end();
    for (name, inner) in [
        ("rootfs/base.tar", base.clone()),
        ("rootfs/base.tar.gz", gzip(&base)),
        ("rootfs/base.tar.zst", zstd(&base)),
    ] {
        let outer = Builder::archive(name, &inner).end();
        for bytes in [outer.clone(), gzip(&outer), zstd(&outer)] {
            let arena = Arena::new();
            let image = arena.unpack(&bytes).unwrap();
            // A version that is a number in YAML is the text that stands there.
            assert_eq!(image.facts, facts());
            assert_eq!(std::fs::read(arena.path("root/a")).unwrap(), b"content");
            let top = std::fs::metadata(arena.path("root")).unwrap();
            assert_eq!(top.mode() & 0o7777, 0o755);
        }
    }
}

#[test]
fn a_later_member_replaces_an_earlier_one() {
    let bytes = Builder::new()
        .file("a", b"first")
        .hard_link("b", "a")
        .file("a", b"second")
        .symlink("c", "a")
        .file("c", b"third")
        .dir("d")
        .symlink("d", "a")
        .dir("d")
        .file("d/e", b"x")
        .file("f", b"x")
        .dir("f")
        .file("f/g", b"deep")
        .hard_link("a", "a")
        .hard_link("b2", "b")
        .hard_link("b2", "a")
        .end();
    let arena = Arena::new();
    arena.unpack(&bytes).unwrap();
    let read = |name: &str| {
        String::from_utf8(std::fs::read(arena.path("root").join(name)).unwrap()).unwrap()
    };
    assert_eq!(
        [read("a"), read("b"), read("c")],
        ["second", "first", "third"]
    );
    assert_eq!(
        [read("d/e"), read("f/g"), read("b2")],
        ["x", "deep", "second"]
    );
    assert!(!arena.path("root/c").is_symlink());
}

#[test]
fn names_and_numbers_of_extended_headers() {
    if !is_root() {
        return;
    }
    let long = format!("{}/{}/end", "d".repeat(200), "e".repeat(250));
    let bytes = Builder::new()
        .extended(
            b'g',
            &[("uid", b"5"), ("comment", b"of all"), ("mtime", b"7")],
        )
        .pax(&[
            ("path", long.as_bytes()),
            ("uid", b"3000000000"),
            ("gid", b"4000000000"),
            ("mtime", b"-1.5"),
            ("SCHILY.xattr.user.a%3Db", b"1\n2"),
            ("LIBARCHIVE.xattr.user.c", b"AP8K"),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("SCHILY.xattr.user.twice", b"1"),
            ("SCHILY.xattr.user.twice", b"2"),
            (
                "SCHILY.acl.access",
                b"user::rw-\nuser:1000:r--\ngroup::r--\nmask::r--\nother::---\n",
            ),
        ])
        .file("short", b"x")
        .raw(
            b"././@LongLink",
            b'L',
            format!("{long}2\0").as_bytes(),
            |_| {},
        )
        .raw(b"././@LongLink", b'K', b"a target\0", |_| {})
        .symlink("short", "other")
        .pax(&[
            ("uid", b""),
            (
                "SCHILY.acl.access",
                b"user::rw-,user:lisa:r--,group::r--,other::r--",
            ),
        ])
        .file("last", b"")
        .end();
    let arena = Arena::new();
    let image = arena.unpack(&bytes).unwrap();
    let root = arena.root();
    let node = root.node(&long).unwrap();
    let stat = node.stat().unwrap();
    assert_eq!((stat.uid, stat.gid), (3_000_000_000, 4_000_000_000));
    assert_eq!((stat.mtime.sec, stat.mtime.nsec), (-2, 500_000_000));
    let names = node.xattrs().unwrap();
    assert_eq!(
        names,
        [
            "system.posix_acl_access",
            "user.a=b",
            "user.c",
            "user.twice"
        ]
    );
    assert_eq!(node.xattr("user.a=b").unwrap().unwrap(), b"1\n2");
    assert_eq!(node.xattr("user.c").unwrap().unwrap(), b"\0\xff\n");
    assert_eq!(node.xattr("user.twice").unwrap().unwrap(), b"2");
    assert_eq!(root.read_link(format!("{long}2")).unwrap(), "a target");
    assert_eq!(root.stat("last").unwrap().uid, 0);
    assert_eq!(root.stat("last").unwrap().mtime.sec, 7);
    assert_eq!(image.warnings.len(), 1, "{:?}", image.warnings);
    assert!(image.warnings[0].contains("lisa"));
}

#[test]
fn progress_and_cancellation() {
    let data = vec![7u8; 5 << 20];
    let bytes = Builder::new().file("a", &data).file("b", &data).end();
    let total = bytes.len() as u64;
    let seen = std::sync::Mutex::new(Vec::new());
    let progress = |done, all| seen.lock().unwrap().push((done, all));
    let arena = Arena::new();
    let watch = Watch::new(&|| false, &progress);
    unpack(
        &*bytes,
        Some(total),
        &arena.root(),
        &Limits::default(),
        watch,
    )
    .unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.len() >= 9, "{}", seen.len());
    assert!(
        seen.is_sorted()
            && seen
                .iter()
                .all(|(done, all)| *done <= total && *all == Some(total))
    );
    assert_eq!(seen.last().unwrap().0, total);

    let reads = std::sync::atomic::AtomicU32::new(0);
    let stop = || reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 20;
    let arena = Arena::new();
    let watch = Watch::new(&stop, &|_, _| {});
    let made = unpack(&*bytes, None, &arena.root(), &Limits::default(), watch);
    assert!(matches!(made, Err(Error::Cancelled)), "{made:?}");
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("a"), "x").unwrap();
    let watch = Watch::new(&|| true, &|_, _| {});
    let made = pack_tarball(&tree(source.path()), Vec::new(), Compression::None, watch);
    assert!(matches!(made, Err(Error::Cancelled)), "{made:?}");
}

#[test]
fn sockets_are_left_out_with_a_warning() {
    let source = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.path().join("sock")).unwrap();
    let (bytes, packed) = pack_bytes(source.path(), Compression::None);
    assert_eq!(packed.warnings.len(), 1);
    let arena = Arena::new();
    arena.unpack(&bytes).unwrap();
    assert!(!arena.path("root/sock").exists());
}

#[test]
fn archives_are_written_and_read_at_a_rate() {
    use std::time::Duration;

    use crate::storage::timed;

    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("data"), vec![7; 10 << 20]).unwrap();
    let facts = facts();
    let what = Pack {
        facts: &facts,
        container: Some("web1"),
        user: None,
        group: None,
        exported_at: 0,
        configs: &[],
        hooks: &[],
        compression: Compression::Zstd(3),
    };
    let mut archive = std::io::Cursor::new(Vec::new());
    // Of what is in files, however well it can be compressed.
    let took = timed(1 << 20, |throttle, _| {
        let watch = Watch::none().throttled(throttle);
        pack(&tree(source.path()), &what, &mut archive, watch).unwrap();
    });
    let (least, most) = (Duration::from_secs(10), Duration::from_secs(11));
    assert!(took >= least && took < most, "{took:?}");
    let bytes = archive.into_inner();
    assert!(bytes.len() < 1 << 20);
    let arena = Arena::new();
    let took = timed(1 << 20, |throttle, _| {
        let watch = Watch::none().throttled(throttle);
        unpack(&*bytes, None, &arena.root(), &Limits::default(), watch).unwrap();
    });
    assert!(took >= least && took < most, "{took:?}");
}
