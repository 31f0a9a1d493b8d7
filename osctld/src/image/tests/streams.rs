//! Archives of streams: what goes in comes out for the same dataset, and what does not belong there is
//! refused before anybody receives it.

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use super::builder::{Builder, gzip, zstd};
use super::*;

/// What was received: of which dataset, and what.
type Received = Vec<(String, Vec<u8>)>;

fn all(fd: BorrowedFd<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = File::from(fd.try_clone_to_owned().unwrap());
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn receive(bytes: &[u8], limits: &Limits) -> (Result<Image>, Received) {
    let received = Mutex::new(Vec::new());
    let take = |dataset: &str, fd: BorrowedFd<'_>| {
        let stream = (dataset.to_owned(), all(fd));
        received.lock().unwrap().push(stream);
        Ok(())
    };
    let unpacked = unpack_streams(bytes, None, limits, Watch::none(), &take);
    (unpacked, received.into_inner().unwrap())
}

/// A stream of a dataset that no compression makes small.
fn stream_of(dataset: &str) -> Vec<u8> {
    let seed = dataset.len() as u64 + 1;
    let words = (0..100_000u64).map(|n| (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).collect()
}

#[test]
fn streams_come_back_as_they_were() {
    let facts = facts();
    // One whose name is longer than what a header of tar has room for.
    let long = "long".repeat(40);
    let datasets = ["data".to_owned(), "data/db".to_owned(), long.clone()];
    let changes = "changes of data";
    let send = |dataset: &str, part: Part, fd: BorrowedFd<'_>| {
        let mut out = File::from(fd.try_clone_to_owned().unwrap());
        let of = match part {
            Part::Base => dataset,
            Part::Changes => changes,
        };
        out.write_all(&stream_of(of)).unwrap();
        Ok(())
    };
    for compression in [
        Compression::None,
        Compression::Gzip(1),
        Compression::Zstd(1),
    ] {
        let what = Pack {
            facts: &facts,
            container: Some("web1"),
            user: None,
            group: None,
            exported_at: 1_700_000_000,
            configs: &[],
            hooks: &[],
            compression,
        };
        let sent = Sent {
            datasets: &datasets,
            changed: &["data".to_owned()],
            temporary: &["osctl-export-1".to_owned()],
            send: &send,
        };
        let mut out = Cursor::new(Vec::new());
        pack_streams(&sent, &what, &mut out, Watch::none()).unwrap();
        let bytes = out.into_inner();
        let head = read_head(&*bytes, &Limits::default()).unwrap();
        assert!(head.metadata.as_ref().unwrap().has_streams());
        let (image, received) = receive(&bytes, &Limits::default());
        assert_eq!(image.unwrap().metadata, head.metadata);
        let wanted = [
            ("", ""),
            ("data", "data"),
            ("data", changes),
            ("data/db", "data/db"),
            (&long, &long),
        ];
        let wanted = wanted.map(|(dataset, of)| (dataset.to_owned(), stream_of(of)));
        assert!(received == wanted, "{compression:?}");
        // Wherever it is cut, it is told.
        for end in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 3000] {
            assert!(receive(&bytes[..end], &Limits::default()).0.is_err());
        }
        // No root file system is made of it.
        let arena = Arena::new();
        let error = arena.unpack(&bytes).unwrap_err().to_string();
        assert!(error.contains("zfs"), "{error}");
    }
}

#[test]
fn what_a_sender_fails_with_is_told() {
    let facts = facts();
    let send =
        |_: &str, _: Part, _: BorrowedFd<'_>| Err(storage::Error::Unsupported("no streams today"));
    let what = Pack {
        facts: &facts,
        container: None,
        user: None,
        group: None,
        exported_at: 0,
        configs: &[],
        hooks: &[],
        compression: Compression::Zstd(1),
    };
    let sent = Sent {
        datasets: &[],
        changed: &[],
        temporary: &[],
        send: &send,
    };
    let mut out = Cursor::new(Vec::new());
    let error = pack_streams(&sent, &what, &mut out, Watch::none()).unwrap_err();
    assert_eq!(error.to_string(), "no streams today");
}

fn archive(datasets: &str) -> Builder {
    let metadata = format!("type: full\nformat: zfs\ndatasets: {datasets}\n");
    Builder::new()
        .file("metadata.yml", metadata.as_bytes())
        .dir("config")
        .file("config/container.yml", b"distribution: debian\n")
        .dir("rootfs/")
        .dir("rootfs/a/")
}

#[test]
fn archives_of_vpsadminos_are_read() {
    let bytes = archive("[a]")
        .file("rootfs/base.dat.gz", &gzip(b"root"))
        .file("rootfs/a/base.dat", b"a at first")
        .file("rootfs/incremental.dat.gz", &gzip(b"root later"))
        .file("rootfs/a/incremental.dat.zst", &zstd(b"a later"))
        .file("snapshots.yml", b"---\n- osctl-incr-2\n- osctl-base-1\n")
        .end();
    let (image, received) = receive(&bytes, &Limits::default());
    image.unwrap();
    let text =
        |(name, bytes): &(String, Vec<u8>)| format!("{name}: {}", String::from_utf8_lossy(bytes));
    assert_eq!(
        received.iter().map(text).collect::<Vec<_>>(),
        [": root", "a: a at first", ": root later", "a: a later"]
    );
}

#[test]
fn what_does_not_belong_there_is_refused() {
    let base = |b: Builder| b.file("rootfs/base.dat", b"x");
    let cases: Vec<(&str, Builder, usize)> = vec![
        ("no stream of its dataset root", archive("[]"), 0),
        ("no stream of its dataset a", base(archive("[a]")), 1),
        (
            "does not name",
            base(archive("[]")).file("rootfs/b/base.dat", b"x"),
            1,
        ),
        ("twice", base(base(archive("[]"))), 1),
        (
            "twice",
            base(archive("[]")).file("rootfs/base.dat.gz", &gzip(b"x")),
            1,
        ),
        (
            "changes",
            archive("[]").file("rootfs/incremental.dat", b"x"),
            0,
        ),
        (
            "that it is in",
            archive("[a]").file("rootfs/a/base.dat", b"x"),
            0,
        ),
        (
            "not what belongs",
            base(archive("[]")).file("rootfs/other.dat", b"x"),
            1,
        ),
        (
            "not what belongs",
            base(archive("[]")).file("rootfs/base.tar.gz", b"x"),
            1,
        ),
        (
            "not what belongs",
            archive("[]").symlink("rootfs/base.dat", "/etc/passwd"),
            0,
        ),
        (
            "",
            base(archive("[]")).file("rootfs/../../base.dat", b"x"),
            1,
        ),
        ("no name of a dataset", archive("[\"../x\"]"), 0),
        ("no name of a dataset", archive("[private]"), 0),
        ("no name of a dataset", archive("[a@b]"), 0),
        ("no name of a dataset", archive("[\"\"]"), 0),
        ("twice", archive("[a, a]"), 0),
        ("before the one", archive("[a/b, a]"), 0),
        (
            "cut short",
            archive("[]").file("rootfs/base.dat.gz", b""),
            0,
        ),
        (
            "",
            archive("[]").file("rootfs/base.dat.gz", b"\x1f\x8bgarbage"),
            1,
        ),
    ];
    for (why, builder, most) in cases {
        let (image, received) = receive(&builder.end(), &Limits::default());
        let error = image.unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
        assert!(received.len() <= most, "{why}: {received:?}");
    }
}

#[test]
fn bombs_of_streams_end_at_the_limit() {
    let zeros = gzip(&vec![0; 4 << 20]);
    let limits = Limits {
        max_bytes: 6 << 20,
        ..Limits::default()
    };
    let bytes = archive("[a]")
        .file("rootfs/base.dat.gz", &zeros)
        .file("rootfs/a/base.dat.gz", &zeros)
        .end();
    // Each alone would do.
    let error = receive(&bytes, &limits).0.unwrap_err().to_string();
    assert!(error.contains("bytes, the limit"), "{error}");
}

#[test]
fn what_follows_a_stream_is_refused() {
    let bytes = archive("[]")
        .file("rootfs/base.dat", &vec![b'x'; 1 << 20])
        .end();
    let ten = |_: &str, fd: BorrowedFd<'_>| {
        let mut file = File::from(fd.try_clone_to_owned().unwrap());
        let mut bytes = [0; 10];
        file.read_exact(&mut bytes).unwrap();
        Ok(())
    };
    let limits = Limits::default();
    let unpacked = unpack_streams(&*bytes, None, &limits, Watch::none(), &ten);
    let error = unpacked.unwrap_err().to_string();
    assert!(error.contains("goes on after its stream"), "{error}");
}
