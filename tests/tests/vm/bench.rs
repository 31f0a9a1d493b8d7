//! How fast containers on ZFS are, side by side with LXC's on the same pool of the same machine:
//! what `cargo xtask bench --vm` runs. It says which programs to measure and where to write.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use osctl_tests::vm::{Machine, Settings};

use super::zfs::{push_image, says};

const COMMON: &str = include_str!("bench/common.sh");
const OURS: &str = include_str!("bench/ours.sh");
const LXC: &str = include_str!("bench/lxc.sh");
const SETUP: &str = include_str!("bench/setup.sh");
const POOL: &str = "export ZFS_VDEV_DEVID_OPT_OUT=YES
    sfdisk -q /dev/vdb <<< 'label: gpt
,' && zpool create tank /dev/vdb1 && osctl pool install tank";

/// What is measured, and what it is called, with N for how many there are.
const FIGURES: &[(&str, &str)] = &[
    ("create", "create by clone"),
    ("start", "start"),
    ("snapshot", "snapshot of a stopped container"),
    ("destroy", "destroy, with a snapshot"),
    ("list", "list, N containers"),
    ("list-snapshots", "… with 10 snapshots of each"),
    ("list-space", "list with space, N containers"),
    ("list-space-snapshots", "… with 10 snapshots of each"),
];
/// The same things done to many containers that are there at the same time.
const CROWD: &[&str] = &["create", "start", "snapshot", "destroy"];

/// Microseconds of each figure, in the order in which they were measured.
type Samples = BTreeMap<String, Vec<u64>>;

fn samples(text: &str) -> Samples {
    let mut samples = Samples::new();
    for line in text.lines() {
        let (figure, micros) = line.split_once(' ').unwrap();
        let of_figure = samples.entry(figure.to_owned()).or_default();
        of_figure.push(micros.parse().unwrap());
    }
    samples
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// Programs and libraries of Debian's LXC, as an archive of the tree that they are in.
fn lxc_tree(to: &Path) {
    let listed = Command::new("dpkg")
        .args([
            "-L",
            "lxc",
            "liblxc1",
            "liblxc-common",
            "bash",
            "coreutils",
            "dash",
        ])
        .output()
        .unwrap();
    assert!(listed.status.success(), "lxc is not installed");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let wanted = |path: &&str| {
        [
            "/usr/bin/",
            "/bin/",
            "/usr/lib/",
            "/usr/libexec/lxc/",
            "/usr/share/lxc/config",
            "/usr/sbin/",
        ]
        .iter()
        .any(|dir| path.starts_with(dir))
            && !path.contains("systemd")
    };
    let mut files: Vec<String> = listed
        .lines()
        .filter(wanted)
        .filter(|path| !Path::new(path).is_dir())
        .map(str::to_owned)
        .collect();
    let libraries = Command::new("ldd").args(&files).output().unwrap();
    let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
    let library = |line: &str| {
        let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
        (!path.ends_with(':')).then(|| path.to_owned())
    };
    files.extend(libraries.lines().filter_map(library));
    files.push("/usr/lib/x86_64-linux-gnu/lxc/rootfs".to_owned());
    files.sort();
    files.dedup();
    let mut tar = Command::new("tar");
    // What is behind symbolic links is what counts.
    tar.args(["-C", "/", "-chf"]).arg(to);
    tar.args(files.iter().map(|path| path.trim_start_matches('/')));
    assert!(tar.status().unwrap().success());
}

fn prepare(host: &mut Machine, programs: &Path) {
    says(host, "mkdir -p /bench/bin /lxc");
    for program in ["osctl", "osctld", "osctl-runtime"] {
        let content = fs::read(programs.join(program)).unwrap();
        host.push(&format!("/bench/bin/{program}"), 0o755, &content);
    }
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("lxc.tar");
    lxc_tree(&tree);
    host.push("/tmp/lxc.tar", 0o644, &fs::read(&tree).unwrap());
    says(host, SETUP);
}

/// Runs a part of what is measured of osctl.
fn ours(host: &mut Machine, what: &str) -> Samples {
    samples(&says(host, &format!("{COMMON}\n{OURS}\n{what}")))
}

/// Runs a part of what is measured of LXC.
fn lxc(host: &mut Machine, what: &str) -> Samples {
    host.push(
        "/lxc/bench.sh",
        0o644,
        format!("{COMMON}\n{LXC}\n{what}").as_bytes(),
    );
    // The kernel lets nobody who is in a changed root make user namespaces.
    let inside = "unshare -m --propagation slave bash -c 'cd /lxc && pivot_root . old && \
                  export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin && \
                  exec chroot . /bin/bash /bench.sh'";
    samples(&says(host, inside))
}

fn add(to: &mut Samples, more: Samples) {
    for (figure, mut samples) in more {
        to.entry(figure).or_default().append(&mut samples);
    }
}

fn report(ours: &Samples, lxc: &Samples, many: u32) -> String {
    let mut text = String::from("| | osctl | lxc | ratio |\n|---|---|---|---|\n");
    for (figure, name) in FIGURES {
        let Some(own) = ours.get(*figure).map(|s| median(s)) else {
            continue;
        };
        let name = name.replace('N', &many.to_string());
        let (theirs, ratio) = match lxc.get(*figure).map(|s| median(s)) {
            Some(theirs) => (
                milliseconds(theirs),
                format!("{}.{:02}", own / theirs, own * 100 / theirs % 100),
            ),
            None => ("–".to_owned(), "–".to_owned()),
        };
        writeln!(
            text,
            "| {name} | {} | {theirs} | {ratio} |",
            milliseconds(own)
        )
        .unwrap();
    }
    let crowd = ours.get("crowd-create").map_or(0, Vec::len);
    if crowd > 0 {
        writeln!(
            text,
            "\n| of {crowd} containers, each | the first tenth | the last tenth |\n|---|---|---|"
        )
        .unwrap();
    }
    for figure in CROWD {
        if let Some(all) = ours.get(&format!("crowd-{figure}")) {
            let tenth = all.len().div_ceil(10);
            let (first, last) = (median(&all[..tenth]), median(&all[all.len() - tenth..]));
            writeln!(
                text,
                "| {figure} | {} | {} |",
                milliseconds(first),
                milliseconds(last)
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn figures() {
    let Some(programs) = std::env::var_os("OSCTL_BENCH_PROGRAMS").map(PathBuf::from) else {
        println!("skipped: measured by `cargo xtask bench --vm`");
        return;
    };
    let number = |name: &str, default: u32| {
        let value = std::env::var(name).ok();
        value.map_or(default, |value| value.parse().unwrap())
    };
    let rounds = number("OSCTL_BENCH_ROUNDS", 20);
    let (many, crowd) = (
        number("OSCTL_BENCH_MANY", 1000),
        number("OSCTL_BENCH_CROWD", 200),
    );
    let host = Machine::ready(Settings {
        disks: vec![4096],
        memory: 3072,
        prepare: POOL.to_owned(),
        ..Settings::default()
    });
    let Some(mut host) = host else { return };
    let host = &mut host;
    push_image(host);
    prepare(host, &programs);
    let (mut own, mut theirs) = (Samples::new(), Samples::new());
    // The first ones fill caches, and make the image.
    ours(host, "start_daemon; life 2");
    lxc(host, "life 2");
    // In turns, so that both have the same of what else the machine does.
    for _ in 0..rounds.div_ceil(4) {
        add(&mut own, ours(host, "life 4"));
        add(&mut theirs, lxc(host, "life 4"));
    }
    add(
        &mut own,
        ours(host, &format!("trash_is_empty; crowd {crowd}")),
    );
    println!("{}", report(&own, &theirs, many));
    add(&mut theirs, lxc(host, &format!("list {many} 5")));
    add(
        &mut own,
        ours(host, &format!("list {many} {} 5", many * 10)),
    );
    let text = report(&own, &theirs, many);
    println!("{text}");
    if let Some(to) = std::env::var_os("OSCTL_BENCH_REPORT") {
        fs::write(to, text).unwrap();
    }
}
