//! Images that want to use up the host, and archives that are not what they say.

use super::builder::{Builder, gzip, zstd};
use super::hostile::{accepted, refused};
use super::*;

#[test]
fn bombs() {
    let limits = Limits {
        max_bytes: 4 << 20,
        max_entries: 1000,
        max_metadata: 10_000,
    };
    let refused = |name: &str, bytes: &[u8], message: &str| {
        let arena = Arena::light();
        let text = crate::error::chain(&arena.unpack_with(bytes, &limits).unwrap_err());
        assert!(text.contains(message), "{name}: {text}");
        arena.check();
    };
    // A header that promises 100 GiB, most of which are zeros once unpacked.
    let zeros = vec![0u8; 64 << 20];
    let huge = Builder::new().file("f", &zeros).end();
    for bytes in [gzip(&huge), zstd(&huge)] {
        assert!(bytes.len() < 500_000);
        refused("zip bomb", &bytes, "more than 4194304 bytes");
        for name in ["rootfs/base.tar.gz", "rootfs/base.tar"] {
            let outer = Builder::archive(name, &bytes).end();
            refused("inner zip bomb", &outer, "more than 4194304 bytes");
        }
    }
    refused(
        "outer",
        &gzip(&Builder::archive("other", &zeros).end()),
        "more than 4194304 bytes",
    );
    let many = (0..2000)
        .fold(Builder::new(), |b, i| b.file(&format!("{i}"), b""))
        .end();
    refused("entries", &many, "more than 1000 members");
    let deep = "d/".repeat(1500) + "f";
    let deep = Builder::new()
        .pax(&[("path", deep.as_bytes())])
        .file("f", b"")
        .end();
    refused("directories of names", &deep, "more than 1000 members");
    let metadata = |size: u64| {
        let mut b = Builder::new()
            .raw(b"metadata.yml", b'0', b"", |h| h.set_size(size))
            .bytes;
        b.resize(b.len() + 100_000, b'#');
        b
    };
    refused(
        "metadata of 10 GiB",
        &metadata(10 << 30),
        "larger than 10000 bytes",
    );
    refused(
        "extended header of 10 GiB",
        &Builder::new()
            .raw(b"x", b'x', b"", |h| h.set_size(10 << 30))
            .end(),
        "extended header has 10737418240",
    );
    refused(
        "long name of 10 GiB",
        &Builder::new()
            .raw(b"x", b'L', b"", |h| h.set_size(10 << 30))
            .end(),
        "extended header has 10737418240",
    );
    let hook = vec![b'#'; 6000];
    let hooks = Builder::archive("x", b"")
        .file("hooks/a", &hook)
        .file("hooks/b", &hook)
        .end();
    refused("hooks", &hooks, "larger than");
}

#[test]
fn archives_that_are_not_what_they_say() {
    let base = gzip(&Builder::new().file("f", b"x").end());
    let rootfs = |b: Builder| b.end();
    let head = |yaml: &str| Builder::new().file("metadata.yml", yaml.as_bytes());
    let good = "type: full\nformat: tar\n";
    accepted("short", &head(good).file("rootfs/base.tar.gz", &base).end());

    for (name, target) in [
        ("rootfs", "/etc"),
        ("rootfs", "../outside"),
        ("rootfs/base.tar.gz", "/etc/passwd"),
        ("config", "/etc"),
    ] {
        let bytes = rootfs(
            head(good)
                .symlink(name, target)
                .file("rootfs/base.tar.gz", &base),
        );
        refused(name, &bytes, "of the image is n");
    }
    refused(
        "device",
        &rootfs(head(good).device("rootfs/base.tar.gz", b'4', 8, 0)),
        "not what belongs",
    );
    refused(
        "device",
        &rootfs(head(good).device("rootfs", b'4', 8, 0)),
        "is no directory",
    );
    refused(
        "hard link",
        &rootfs(head(good).hard_link("rootfs/base.tar.gz", "metadata.yml")),
        "not what belongs",
    );
    refused(
        "fifo",
        &rootfs(head(good).device("config/container.yml", b'6', 0, 0)),
        "not what belongs",
    );
    refused(
        "other link",
        &rootfs(head(good).symlink("x", "y")),
        "no file or directory",
    );
    refused(
        "second",
        &rootfs(
            head(good)
                .file("rootfs/base.tar.gz", &base)
                .file("rootfs/base.tar", &base),
        ),
        "second root",
    );
    refused(
        "twice",
        &rootfs(
            head(good)
                .file("config/container.yml", b"a: 1")
                .file("config/container.yml", b"a: 1"),
        ),
        "is there twice",
    );
    refused("none", &rootfs(head(good)), "has no root file system");
    refused(
        "stream",
        &rootfs(head(good).file("rootfs/base.dat.gz", b"")),
        "ZFS stream",
    );
    refused(
        "data set",
        &rootfs(head(good).file("rootfs/sub/base.tar", b"")),
        "not what belongs",
    );
    refused(
        "zfs",
        &rootfs(head("type: full\nformat: zfs\n")),
        "only \"tar\"",
    );
    refused(
        "skel",
        &rootfs(head("type: skel\nformat:\n")),
        "has no data",
    );
    refused(
        "data sets",
        &rootfs(head("type: full\nformat: tar\ndatasets: [a]\n")),
        "more than one data set",
    );
    refused(
        "out",
        &rootfs(head(good).file("../outside/new", b"")),
        "leads out",
    );
    refused(
        "absolute",
        &rootfs(head(good).file("/etc/new", b"")),
        "absolute",
    );
    refused(
        "empty base",
        &rootfs(head(good).file("rootfs/base.tar.gz", b"")),
        "cut short",
    );
    refused(
        "empty inner",
        &rootfs(head(good).file("rootfs/base.tar", &[0; 1024])),
        "is empty",
    );
    refused(
        "not yaml",
        &rootfs(head("type: [\n")),
        "metadata.yml of the image is not valid",
    );
    refused(
        "no type",
        &rootfs(head("format: tar\n")),
        "metadata.yml of the image is not valid",
    );
    refused(
        "binary",
        &rootfs(Builder::new().file("metadata.yml", b"\xff\xfe")),
        "metadata.yml",
    );
    let laughs = "a: &a [x,x,x]\nb: &b [*a,*a]\ntype: full\n";
    refused("laughs", &rootfs(head(laughs)), "aliases are not accepted");
    refused(
        "deep",
        &rootfs(head(&"[".repeat(100_000))),
        "nested too deeply",
    );
    let config = head(good).file("config/container.yml", "a: &a [*a]\n".as_bytes());
    refused(
        "config",
        &rootfs(config),
        "config/container.yml of the image is not valid",
    );
    for name in [
        "hooks/../x",
        "hooks/a/b/c",
        "hooks/.x",
        "hooks/-x",
        "hooks/a\n",
        "hooks/plain/x",
    ] {
        refused(name, &rootfs(head(good).file(name, b"")), "member");
    }
    // A fact that would break what it is put into is as good as none.
    let odd = "distribution: \"a\\nlxc.x = y\"\nversion: \"../x\"\narch: 'x y'\n";
    let bytes = head(good)
        .file("config/container.yml", odd.as_bytes())
        .file("rootfs/base.tar.gz", &base)
        .end();
    assert_eq!(accepted("facts", &bytes).1.facts, Facts::default());
}
