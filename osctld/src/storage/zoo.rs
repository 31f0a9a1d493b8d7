//! For tests: a tree with every kind of object and metadata, and a description of a tree by which
//! two can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use osctl_linux::beneath::{Kind, Mounts, Node, Root, Symlinks, Time};

pub(crate) fn tree(path: &Path) -> Root {
    Root::open_tree(path, Symlinks::Refuse, Mounts::Refuse).unwrap()
}

/// A version 2 capability: cap_net_raw, effective. Has a byte 0x0a-like newline in it on purpose.
pub(crate) const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x2a, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// `user::rw-,user:1000:r--,group::r--,mask::rw-,other::---` as the kernel keeps it.
pub(crate) fn acl(id: u32) -> Vec<u8> {
    let mut acl = vec![2, 0, 0, 0];
    for (tag, perm, id) in [
        (1u16, 6u16, u32::MAX),
        (2, 4, id),
        (4, 4, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(perm.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

fn file(root: &Root, path: &str, content: &[u8]) -> Node {
    let mut file = root.create_new(path, 0o600).unwrap();
    file.write_all(content).unwrap();
    Node::from(file)
}

/// Fills `root`, an empty directory.
pub(crate) fn fill(root: &Root) {
    for dir in [
        "etc",
        "bin",
        "dev",
        "deep/a/b/c",
        "empty",
        "tmp",
        "acl",
        "closed",
        "links",
    ] {
        root.mkdir_all(dir, 0o755).unwrap();
    }
    file(root, "etc/hostname", b"guest\n").chmod(0o644).unwrap();
    file(root, "etc/os-release", b"ID=zoo\nVERSION_ID=\"1.2\"\n")
        .chmod(0o644)
        .unwrap();
    file(root, "empty-file", b"");
    let su = file(root, "bin/su", b"setuid");
    su.chown(0, 42).unwrap();
    su.chmod(0o6755).unwrap();
    let ping = file(root, "bin/ping", b"capable");
    ping.chmod(0o755).unwrap();
    ping.set_xattr("security.capability", &CAPABILITY).unwrap();
    let owned = file(root, "etc/owned", &[0xff; 5000]);
    owned.chown(65_534, 2_000_000_000).unwrap();
    owned
        .set_xattr("user.binary", b"a\nb\0c=\xff 12 x=y\n")
        .unwrap();
    owned.set_xattr("user.empty", b"").unwrap();
    owned.set_xattr("user.=odd\u{e9}", b"1").unwrap();
    owned
        .set_xattr("trusted.host", b"stays on the host")
        .unwrap();
    let with_acl = file(root, "acl/file", b"acl");
    with_acl
        .set_xattr("system.posix_acl_access", &acl(61_234))
        .unwrap();
    let acl_dir = root.node("acl").unwrap();
    acl_dir
        .set_xattr("system.posix_acl_default", &acl(70_000))
        .unwrap();
    root.node("closed").unwrap().chmod(0).unwrap();
    file(root, "closed/inside", b"x").chmod(0).unwrap();
    root.node("tmp").unwrap().chmod(0o1777).unwrap();

    root.symlink("hostname", "etc/relative").unwrap();
    root.symlink("/etc/passwd", "etc/absolute").unwrap();
    root.symlink("../../../../../../etc/shadow", "etc/up")
        .unwrap();
    root.symlink("x".repeat(4000), "etc/long").unwrap();
    root.node("etc/absolute").unwrap().chown(7, 8).unwrap();
    root.hard_link("etc/hostname", "links/hostname").unwrap();
    root.hard_link("etc/hostname", "deep/a/hostname").unwrap();
    root.hard_link("etc/absolute", "links/symlink").unwrap();

    root.mknod("dev/null", Kind::Char, 0o666, (1, 3)).unwrap();
    root.chmod("dev/null", 0o666).unwrap();
    root.mknod("dev/loop", Kind::Block, 0o660, (7, 300))
        .unwrap();
    root.mknod("dev/fifo", Kind::Fifo, 0o600, (0, 0)).unwrap();
    root.hard_link("dev/fifo", "links/fifo").unwrap();

    let mut sparse = root.create_new("sparse", 0o600).unwrap();
    sparse.seek(SeekFrom::Start(3 << 20)).unwrap();
    sparse.write_all(b"in the middle").unwrap();
    sparse.set_len(10 << 20).unwrap();
    root.create_new("all-hole", 0o600)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    file(root, "zeros", &vec![0; 100_000]);
    file(
        root,
        "large",
        &(0..300_000u32)
            .flat_map(u32::to_le_bytes)
            .collect::<Vec<_>>(),
    );

    let long = "n".repeat(255);
    root.mkdir_all(format!("{long}/{long}"), 0o755).unwrap();
    file(root, &format!("{long}/{long}/{long}"), b"long");
    let odd = "new\nline \\ \"quoted\" \u{e9}\u{1f980}";
    file(root, odd, b"odd");
    let raw = Path::new(std::ffi::OsStr::from_bytes(b"not-utf8-\xff\xfe"));
    root.create_new(raw, 0o644).unwrap();
    file(root, "-rf", b"dash");
    file(root, "a", b"short");

    let time = Time {
        sec: 1_234_567_890,
        nsec: 123_456_789,
    };
    let old = Time {
        sec: -86_400,
        nsec: 500_000_000,
    };
    for path in [
        "etc/hostname",
        "etc/absolute",
        "dev/null",
        "dev/fifo",
        "empty",
        "deep",
        ".",
    ] {
        root.set_times(path, time, time).unwrap();
    }
    root.set_times("etc/owned", old, old).unwrap();
}

/// Describes everything below `path` that a copy must keep. Names that odd archives can't hold
/// are told apart by their debug form.
pub(crate) fn manifest(path: &Path) -> BTreeMap<PathBuf, String> {
    let root = tree(path);
    let mut all = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut pending = vec![PathBuf::from(".")];
    let mut names = Vec::new();
    while let Some(dir) = pending.pop() {
        names.push(dir.clone());
        for entry in root.read_dir(&dir).unwrap() {
            let name = dir.join(entry.unwrap().name);
            if root.stat(&name).unwrap().kind() == Kind::Dir {
                pending.push(name);
            } else {
                names.push(name);
            }
        }
    }
    names.sort();
    for name in names {
        let node = root.node(&name).unwrap();
        let stat = node.stat().unwrap();
        let content = match stat.kind() {
            Kind::File => {
                let bytes = fs::read(path.join(&name)).unwrap();
                let sum = bytes
                    .iter()
                    .fold(0u64, |a, b| a.wrapping_mul(31).wrapping_add(u64::from(*b)));
                // Zeros may become a hole on the way.
                let holes = name.ends_with("zeros")
                    || stat.size > 65_536 && stat.blocks * 512 < stat.size / 2;
                format!("{} bytes {sum:x} holes:{holes}", bytes.len())
            }
            Kind::Symlink => format!("-> {:?}", root.read_link(&name).unwrap()),
            Kind::Block | Kind::Char => format!("{:?}", stat.device()),
            _ => String::new(),
        };
        let first: &PathBuf = first_names
            .entry((stat.dev, stat.ino))
            .or_insert_with(|| name.clone());
        let xattrs: Vec<_> = node
            .xattrs()
            .unwrap()
            .into_iter()
            .filter(|name| !name.as_bytes().starts_with(b"trusted."))
            .map(|name| (name.clone(), node.xattr(&name).unwrap()))
            .collect();
        let line = format!(
            "{:?} {:o} {}:{} {}.{:09} {content} first:{first:?} {xattrs:?}",
            stat.kind(),
            stat.permissions(),
            stat.uid,
            stat.gid,
            stat.mtime.sec,
            stat.mtime.nsec,
        );
        all.insert(name, line);
    }
    all
}

/// Fails with the first lines that differ.
pub(crate) fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (manifest(a), manifest(b));
    for (path, line) in &a {
        assert_eq!(Some(line), b.get(path), "{path:?}");
    }
    for path in b.keys() {
        assert!(a.contains_key(path), "{path:?} is only in the second");
    }
}
