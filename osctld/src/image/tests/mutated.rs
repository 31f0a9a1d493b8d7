//! Archives that were good once: whatever is done to them, nothing panics and nothing outside the
//! root directory changes.

use proptest::prelude::*;

use super::builder::{Builder, gzip};
use super::*;

#[derive(Debug, Clone)]
enum Change {
    Byte(usize, u8),
    Cut(usize),
    Remove(usize, usize),
    Repeat(usize, usize),
    /// Swaps two blocks.
    Swap(usize, usize),
    /// Puts a tasty piece somewhere.
    Insert(usize, usize),
}

const PIECES: [&[u8]; 12] = [
    b"../",
    b"/",
    b"..",
    b"\0",
    b"0",
    b"1",
    b"2",
    b"5",
    b"7777777",
    b"\x80\xff\xff\xff\xff\xff\xff\xff",
    b"outside/secret",
    b"link/",
];

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>().prop_map(|i| i.index(1 << 20));
    prop_oneof![
        5 => (at.clone(), any::<u8>()).prop_map(|(a, b)| Change::Byte(a, b)),
        1 => at.clone().prop_map(Change::Cut),
        1 => (at.clone(), 1usize..4).prop_map(|(a, n)| Change::Remove(a, n)),
        1 => (at.clone(), 1usize..4).prop_map(|(a, n)| Change::Repeat(a, n)),
        1 => (at.clone(), at.clone()).prop_map(|(a, b)| Change::Swap(a, b)),
        5 => (at, 0..PIECES.len()).prop_map(|(a, n)| Change::Insert(a, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.len() < 1024 {
        return;
    }
    let blocks = bytes.len() / 512;
    let block = |at: usize| at % blocks * 512;
    match *change {
        Change::Byte(at, value) => {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        Change::Cut(at) => bytes.truncate(at % bytes.len()),
        Change::Remove(at, n) => {
            let end = (block(at) + n * 512).min(bytes.len());
            bytes.drain(block(at)..end);
        }
        Change::Repeat(at, n) => {
            let end = (block(at) + n * 512).min(bytes.len());
            let copy = bytes[block(at)..end].to_vec();
            bytes.splice(end..end, copy);
        }
        Change::Swap(a, b) => {
            for i in 0..512 {
                bytes.swap(block(a) + i, block(b) + i);
            }
        }
        Change::Insert(at, n) => {
            let at = at % bytes.len();
            for (byte, new) in bytes[at..].iter_mut().zip(PIECES[n]) {
                *byte = *new;
            }
        }
    }
}

/// Makes the checksums of all headers right again, so that the changes get past them.
fn repair(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

fn rootfs() -> Vec<u8> {
    Builder::new()
        .dir("./")
        .file("./file", b"content of it")
        .symlink("link", "../outside")
        .symlink("abs", "/etc")
        .pax(&[
            ("path", b"a/long/name"),
            ("SCHILY.xattr.user.x", b"y"),
            ("mtime", b"1.5"),
        ])
        .file("short", &[7; 1500])
        .hard_link("a/hard", "a/long/name")
        .dir("dir/")
        .device("dir/null", b'3', 1, 3)
        .device("dir/fifo", b'6', 0, 0)
        .pax(&[
            ("GNU.sparse.size", b"100000"),
            ("GNU.sparse.map", b"0,5,90000,7"),
        ])
        .file("sparse", b"hello, world")
        .raw(b"././@LongLink", b'L', b"dir/by-a-long-name\0", |_| {})
        .file("x", b"y")
        .end()
}

fn try_it(bytes: &[u8]) {
    let arena = Arena::light();
    let limits = Limits {
        max_bytes: 1 << 20,
        max_entries: 100,
        max_metadata: 10_000,
    };
    let _ = arena.unpack_with(bytes, &limits);
    arena.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tarballs(changes in prop::collection::vec(change(), 1..12), fix: bool) {
        let mut bytes = rootfs();
        for change in &changes {
            apply(&mut bytes, change);
        }
        if fix {
            repair(&mut bytes);
        }
        try_it(&bytes);
    }

    #[test]
    fn archives(inner in prop::collection::vec(change(), 0..4), outer in prop::collection::vec(change(), 0..6), packed: bool) {
        let mut base = rootfs();
        for change in &inner {
            apply(&mut base, change);
        }
        repair(&mut base);
        let (name, base) = if packed { ("rootfs/base.tar.gz", gzip(&base)) } else { ("rootfs/base.tar", base) };
        let mut bytes = Builder::archive(name, &base).file("hooks/pre-start", b"#!/bin/sh").end();
        for change in &outer {
            apply(&mut bytes, change);
        }
        repair(&mut bytes);
        try_it(&bytes);
    }

    #[test]
    fn rubbish(bytes in prop::collection::vec(any::<u8>(), 0..4000), magic in 0usize..4) {
        let start: &[u8] = [&b""[..], b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"metadata.yml"][magic];
        try_it(&[start, &bytes].concat());
    }
}
