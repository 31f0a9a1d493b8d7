//! What other programs write is read, and what we write is read by others.

use std::process::Command;

use super::*;

fn tar(args: &[&str], dir: &Path) -> Option<Vec<u8>> {
    let out = Command::new("tar")
        .args(args)
        .arg("-C")
        .arg(dir)
        .arg("--")
        .arg(".")
        .output();
    match out {
        Ok(out) if out.status.success() => Some(out.stdout),
        Ok(out) => {
            println!(
                "skipped: tar {args:?}: {}",
                String::from_utf8_lossy(&out.stderr)
            );
            None
        }
        Err(e) => {
            println!("skipped: tar: {e}");
            None
        }
    }
}

/// GNU's own form keeps neither fractions of seconds nor attributes: for comparisons that
/// leave them out.
fn plain_tree(path: &Path) {
    use std::io::{Seek, SeekFrom, Write};
    let root = tree(path);
    let long = "n".repeat(150);
    root.mkdir_all(format!("etc/{long}"), 0o755).unwrap();
    root.symlink("t".repeat(300), format!("etc/{long}/link"))
        .unwrap();
    let mut sparse = root
        .create_new(format!("etc/{long}/sparse"), 0o640)
        .unwrap();
    // More parts than fit one header, and a hole at the end.
    for i in 1..60u64 {
        sparse.seek(SeekFrom::Start(i * 65_536)).unwrap();
        sparse.write_all(format!("part {i}").as_bytes()).unwrap();
    }
    sparse.set_len(8 << 20).unwrap();
    root.hard_link(format!("etc/{long}/sparse"), "link")
        .unwrap();
    root.chown(format!("etc/{long}/sparse"), 3_000_000_000, 5)
        .unwrap();
    root.create_new("file", 0o4755)
        .unwrap()
        .write_all(b"content")
        .unwrap();
    let time = osctl_linux::beneath::Time {
        sec: 1_000_000,
        nsec: 0,
    };
    for name in ["file", "link", "etc", "."] {
        root.set_times(name, time, time).unwrap();
    }
    root.set_times(format!("etc/{long}/link"), time, time)
        .unwrap();
    root.set_times(format!("etc/{long}"), time, time).unwrap();
    root.set_times("etc", time, time).unwrap();
    root.set_times(".", time, time).unwrap();
}

#[test]
fn gnu_tar_in_every_form() {
    if !is_root() {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    plain_tree(source.path());
    for form in [
        &["--format=gnu", "--sparse"][..],
        &["--format=gnu"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=posix", "-z"],
    ] {
        let mut args = vec!["-c", "--numeric-owner"];
        args.extend(form);
        let Some(bytes) = tar(&args, source.path()) else {
            return;
        };
        let arena = Arena::new();
        arena
            .unpack(&bytes)
            .unwrap_or_else(|e| panic!("{form:?}: {e:?}"));
        zoo::assert_same(source.path(), &arena.path("root"));
    }
}

#[test]
fn gnu_tar_with_attributes() {
    if !is_root() {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    zoo::fill(&tree(source.path()));
    // GNU tar does not keep names of one FIFO together.
    tree(source.path()).unlink("links/fifo").unwrap();
    let time = osctl_linux::beneath::Time { sec: 5, nsec: 0 };
    tree(source.path()).set_times("links", time, time).unwrap();
    let args = [
        "-c",
        "--format=posix",
        "--numeric-owner",
        "--sparse",
        "--acls",
        "--xattrs",
        "--xattrs-include=user.*",
        "--xattrs-include=security.capability",
    ];
    let Some(bytes) = tar(&args, source.path()) else {
        return;
    };
    let arena = Arena::new();
    let image = arena.unpack(&bytes).unwrap();
    assert!(image.warnings.is_empty(), "{:?}", image.warnings);
    zoo::assert_same(source.path(), &arena.path("root"));
}

#[test]
fn gnu_tar_unpacks_what_we_pack() {
    if !is_root() {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    zoo::fill(&tree(source.path()));
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(dir.path().join("rootfs.tar.gz")).unwrap();
    pack_tarball(
        &tree(source.path()),
        file,
        Compression::Gzip(1),
        Watch::none(),
    )
    .unwrap();
    let target = dir.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let out = Command::new("tar")
        .args([
            "-xpz",
            "--numeric-owner",
            "--acls",
            "--xattrs",
            "--xattrs-include=*",
            "-f",
        ])
        .arg(dir.path().join("rootfs.tar.gz"))
        .arg("-C")
        .arg(&target)
        .output();
    let Ok(out) = out else {
        println!("skipped: no tar");
        return;
    };
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    zoo::assert_same(source.path(), &target);
}
