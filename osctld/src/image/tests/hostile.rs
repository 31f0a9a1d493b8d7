//! Images that want to harm: each is refused with a clear error, or harmless, and nothing outside
//! the root directory is touched.

use super::builder::{Builder, gzip, zstd};
use super::*;

/// Unpacks and expects an error that contains `message`.
pub(super) fn refused(name: &str, bytes: &[u8], message: &str) {
    let arena = Arena::light();
    match arena.unpack(bytes) {
        Ok(_) => panic!("{name} was accepted"),
        Err(e) => {
            let text = crate::error::chain(&e);
            assert!(text.contains(message), "{name}: {text:?}");
            assert!(
                text.len() < 1000 && !text.contains('\n'),
                "{name}: {text:?}"
            );
        }
    }
    arena.check();
}

pub(super) fn accepted(name: &str, bytes: &[u8]) -> (Arena, Image) {
    let arena = Arena::light();
    let image = arena
        .unpack(bytes)
        .unwrap_or_else(|e| panic!("{name}: {e:?}"));
    arena.check();
    (arena, image)
}

#[test]
fn names_that_lead_out() {
    let out = |name: &str| Builder::new().file(name, b"x").end();
    for name in [
        "../outside/new",
        "a/../../outside/secret",
        "..",
        "./../x",
        "a/..",
    ] {
        refused(name, &out(name), "leads out of the image");
    }
    for name in ["/etc/new", "//x", "/"] {
        refused(name, &out(name), "has an absolute name");
    }
    refused(
        "pax path",
        &Builder::new()
            .pax(&[("path", b"../x")])
            .file("ok", b"")
            .end(),
        "leads out",
    );
    refused(
        "pax NUL",
        &Builder::new()
            .pax(&[("path", b"a\0/../../x")])
            .file("ok", b"")
            .end(),
        "NUL byte",
    );
    let long = Builder::new().raw(b"././@LongLink", b'L', b"../../outside/x\0", |_| {});
    refused("long name", &long.file("ok", b"").end(), "leads out");
    let deep = "d/".repeat(2100) + "f";
    refused(
        "path too long",
        &Builder::new()
            .pax(&[("path", deep.as_bytes())])
            .file("ok", b"")
            .end(),
        "longer than 4096",
    );
    let wide = "w".repeat(300);
    refused(
        "name too long",
        &Builder::new()
            .pax(&[("path", wide.as_bytes())])
            .file("ok", b"")
            .end(),
        "too long",
    );
    refused(
        "no name",
        &Builder::new().raw(b"", b'0', b"", |_| {}).end(),
        "has no name",
    );
    refused(
        "top is a file",
        &Builder::new().file("./", b"").file(".", b"x").end(),
        "is the top",
    );
    refused(
        "top is a link",
        &Builder::new().symlink(".", "/").end(),
        "is the top",
    );

    let (arena, _) = accepted(
        "newline",
        &Builder::new()
            .file("new\nline", b"x")
            .file("\u{1b}[31m", b"")
            .end(),
    );
    assert!(arena.path("root/new\nline").exists());
    let slashes = Builder::new().file("a//b/./c", b"x").end();
    assert!(accepted("slashes", &slashes).0.path("root/a/b/c").exists());
}

#[test]
fn members_through_links() {
    let arena = Arena::light();
    let outside = arena.path("outside");
    let outside = outside.to_str().unwrap();
    for target in ["../outside", outside, "/", "dir", ".", "loop"] {
        let through = |member: Builder| member.end();
        let base = || Builder::new().dir("dir").symlink("loop", target);
        refused(
            "file",
            &through(base().file("loop/new", b"x")),
            "leads through a symbolic link",
        );
        refused(
            "dir",
            &through(base().dir("loop/new/")),
            "leads through a symbolic link",
        );
        refused(
            "deep",
            &through(base().file("loop/a/b/c", b"x")),
            "leads through a symbolic link",
        );
        refused(
            "symlink",
            &through(base().symlink("loop/new", "x")),
            "leads through a symbolic link",
        );
        refused(
            "device",
            &through(base().device("loop/new", b'3', 1, 3)),
            "leads through a symbolic link",
        );
        let link = base().file("a", b"").hard_link("loop/new", "a");
        refused("hard link", &through(link), "leads through a symbolic link");
        let link = base().hard_link("new", "loop/secret");
        refused(
            "hard link from",
            &through(link),
            "leads through a symbolic link",
        );
    }
    // A directory that becomes a link after it was used.
    let swapped = Builder::new()
        .dir("d")
        .symlink("d", outside)
        .file("d/new", b"x")
        .end();
    refused("swapped", &swapped, "leads through a symbolic link");
    let full = Builder::new()
        .file("d/a", b"")
        .symlink("d", outside)
        .file("d/new", b"x")
        .end();
    refused("full", &full, "replaces a directory that is not empty");
    let file = Builder::new().file("f", b"").file("f/g", b"").end();
    refused("file as directory", &file, "no directory");
    // Metadata of a directory that is a link by the time it is set.
    let late = Builder::new()
        .raw(b"d/", b'5', b"", |h| h.set_mode(0o4777))
        .symlink("d", outside)
        .end();
    accepted("late", &late);
    // A file in place of a link is a file, not what the link led to.
    let secret = format!("{outside}/secret");
    let over = Builder::new()
        .symlink("f", &secret)
        .file("f", b"overwritten")
        .end();
    let (over, _) = accepted("over", &over);
    assert_eq!(fs::read(over.path("root/f")).unwrap(), b"overwritten");
    arena.check();
}

#[test]
fn hard_links_to_elsewhere() {
    for (target, message) in [
        ("../outside/secret", "leads out of the image"),
        ("/etc/passwd", "has an absolute name"),
        ("none", "does not exist"),
        ("dir", "is a directory"),
        (".", "is a directory"),
        ("", "has no name"),
    ] {
        let bytes = Builder::new().dir("dir").hard_link("new", target).end();
        refused(target, &bytes, message);
    }
    // To a symbolic link: the link itself gets a second name.
    let bytes = Builder::new()
        .symlink("s", "/etc/passwd")
        .hard_link("h", "s")
        .end();
    let (arena, _) = accepted("symlink", &bytes);
    assert!(arena.path("root/h").is_symlink());
}

#[test]
fn attributes_of_the_host() {
    for (key, message) in [
        ("SCHILY.xattr.trusted.overlay.opaque", "belongs to the host"),
        ("LIBARCHIVE.xattr.trusted.x", "belongs to the host"),
    ] {
        refused(
            key,
            &Builder::new().pax(&[(key, b"eQ==")]).file("f", b"").end(),
            message,
        );
    }
    let big = vec![b'x'; 70_000];
    refused(
        "value",
        &Builder::new()
            .pax(&[("SCHILY.xattr.user.x", &big)])
            .file("f", b"")
            .end(),
        "too long",
    );
    let key = format!("SCHILY.xattr.user.{}", "x".repeat(300));
    refused(
        "name",
        &Builder::new().pax(&[(&key, b"")]).file("f", b"").end(),
        "too long",
    );
    let keys: Vec<String> = (0..3000)
        .map(|i| format!("SCHILY.xattr.user.{i}"))
        .collect();
    let many: Vec<(&str, &[u8])> = keys.iter().map(|k| (k.as_str(), &b""[..])).collect();
    refused(
        "many",
        &Builder::new().pax(&many).file("f", b"").end(),
        "too many",
    );
    let skipped = Builder::new().pax(&[
        ("SCHILY.xattr.security.ima", b"x"),
        ("SCHILY.xattr.system.other", b"x"),
    ]);
    accepted("skipped", &skipped.file("f", b"").end());
    let acl = [("SCHILY.xattr.system.posix_acl_access", &b"rubbish"[..])];
    refused(
        "acl",
        &Builder::new().pax(&acl).file("f", b"").end(),
        "cannot unpack \"f\"",
    );
}

#[test]
fn numbers_that_are_none() {
    let field = |change: fn(&mut tar::Header)| Builder::new().raw(b"f", b'0', b"", change).end();
    refused(
        "uid",
        &field(|h| h.as_old_mut().uid = *b"xxxxxxx\0"),
        "bad number",
    );
    refused(
        "uid -1",
        &field(|h| h.set_uid(u64::from(u32::MAX))),
        "bad number",
    );
    refused("uid 2^32", &field(|h| h.set_uid(1 << 32)), "bad number");
    refused(
        "mode",
        &field(|h| h.as_old_mut().mode = *b"9999999\0"),
        "bad number",
    );
    refused(
        "size",
        &field(|h| h.as_old_mut().size = *b"-1111111111\0"),
        "no size",
    );
    refused(
        "huge",
        &field(|h| h.set_size(u64::MAX)),
        "larger than any file",
    );
    refused("huge", &field(|h| h.set_size(i64::MAX as u64)), "cut short");
    for (key, value) in [
        ("uid", "-1"),
        ("gid", "4294967295"),
        ("mtime", "soon"),
        ("uid", "99999999999999999999"),
    ] {
        let bytes = Builder::new()
            .pax(&[(key, value.as_bytes())])
            .file("f", b"")
            .end();
        refused(key, &bytes, "bad number");
    }
    for size in ["-1", "x", "1e3"] {
        let bytes = Builder::new()
            .pax(&[("size", size.as_bytes())])
            .file("f", b"")
            .end();
        refused(size, &bytes, "no size");
    }
    let bytes = Builder::new().device("d", b'4', 4096, 0).end();
    refused("major", &bytes, "is a device 4096:0");
    let bytes = Builder::new().raw(b"f", b'Z', b"", |_| {}).end();
    refused("type", &bytes, "unknown type 'Z'");
    // All of it is refused before anything is made of it.
    let time = Builder::new()
        .pax(&[("mtime", b"9223372036854775807")])
        .file("f", b"")
        .end();
    accepted("time", &time);
}

#[test]
fn sparse_files_that_lie() {
    let one = |map: &[u8], data: &[u8], size: &str| {
        let records: [(&str, &[u8]); 2] = [
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.map", map),
        ];
        Builder::new().pax(&records).file("f", data).end()
    };
    for (map, data, size) in [
        ("0,5", &b"abc"[..], "5"),
        ("0,3", b"abc", "2"),
        ("5,1,0,1", b"ab", "10"),
        ("18446744073709551615,2", b"ab", "18446744073709551615"),
        ("0,x", b"a", "1"),
        ("0", b"a", "1"),
        ("0,1", b"a", "x"),
    ] {
        refused(map, &one(map.as_bytes(), data, size), "member \"f\"");
    }
    let records: [(&str, &[u8]); 3] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"100"),
    ];
    for data in [&b""[..], b"1\n", b"99999999\n", b"1\n0\n600\n"] {
        let mut data = data.to_vec();
        if !data.is_empty() {
            data.resize(512, 0);
        }
        refused(
            "1.0",
            &Builder::new().pax(&records).file("f", &data).end(),
            "member \"f\"",
        );
    }
    let old = Builder::new().raw(b"f", b'S', b"", |_| {}).end();
    refused("old", &old, "no GNU header");
    // Far apart but true: no data, no space.
    let far = one(b"1099511627776,3", b"abc", "1099511627779");
    let (arena, _) = accepted("far", &far);
    assert_eq!(
        fs::metadata(arena.path("root/f")).unwrap().len(),
        1_099_511_627_779
    );
}

#[test]
fn damaged_and_cut_short() {
    let good = Builder::new().dir("d").file("d/f", &[1; 3000]).end();
    accepted("good", &good);
    for at in [1, 100, 511, 512, 700, 1023, 1024, 1500, 3000, 4000, 4607] {
        refused(&format!("cut at {at}"), &good[..at], "");
        refused(&format!("gzip cut at {at}"), &gzip(&good[..at]), "");
    }
    for bytes in [gzip(&good), zstd(&good)] {
        refused("compressed cut", &bytes[..bytes.len() - 3], "");
        refused("compressed cut", &bytes[..bytes.len() / 2], "");
        let mut bad = bytes.clone();
        let middle = bad.len() - 5;
        bad[middle] ^= 0x55;
        refused("checksum at the end", &bad, "");
    }
    let mut bad = good.clone();
    bad[0] ^= 1;
    refused("checksum", &bad, "wrong checksum");
    refused("empty", b"", "cut short");
    refused("zeros", &[0; 1024], "is empty");
    refused("text", &[b'x'; 2000], "no tar header");
    refused("xz", b"\xfd7zXZ\0 and more", "compressed with xz");
    refused("bzip2", b"BZh91AY", "compressed with bzip2");
    refused("nothing inside", &gzip(b""), "cut short");
    refused(
        "header without a member",
        &Builder::new().file("a", b"").pax(&[("path", b"x")]).end(),
        "has no member",
    );
    refused(
        "chain",
        &(0..40)
            .fold(Builder::new(), |b, _| b.pax(&[("path", b"x")]))
            .file("f", b"")
            .end(),
        "too many extended headers",
    );
    let pax = |block: &[u8]| {
        Builder::new()
            .raw(b"x", b'x', block, |_| {})
            .file("f", b"")
            .end()
    };
    refused("pax", &pax(b"5 abc"), "pax record");
    refused("pax", &pax(b"99 path=x\n"), "pax record");
    let trailing = [good.clone(), vec![1; 20 << 20]].concat();
    refused("something follows", &trailing, "follows its end");
}
