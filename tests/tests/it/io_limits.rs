//! Limits of what containers read and write, in directories on a disk.

use std::fs;
use std::path::PathBuf;

use osctl_api::Code;
use osctl_tests::{Ct, host};

/// What the tests set.
const SET: [&str; 8] = [
    "ct",
    "set",
    "io-limit",
    "web1",
    "--write",
    "3m",
    "--read-ops",
    "777",
];

/// The cgroup of a container that has its limits of disks, and the files that tell them.
fn files(ct: &Ct<'_>) -> (PathBuf, &'static [&'static str]) {
    let path = ct.show().group_path;
    let v1 = PathBuf::from("/sys/fs/cgroup/blkio").join(&path);
    match v1.exists() {
        true => (
            v1,
            &[
                "blkio.throttle.read_bps_device",
                "blkio.throttle.write_bps_device",
                "blkio.throttle.read_iops_device",
                "blkio.throttle.write_iops_device",
            ],
        ),
        false => (PathBuf::from("/sys/fs/cgroup").join(path), &["io.max"]),
    }
}

/// What the kernel says of them.
fn limits(ct: &Ct<'_>) -> String {
    let (dir, files) = files(ct);
    let read = |file: &&str| fs::read_to_string(dir.join(file)).unwrap();
    files.iter().map(read).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_read_and_written_is_limited() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let (dir, names) = files(&ct);
    if !names.iter().all(|name| dir.join(name).exists()) {
        println!("skipped: this kernel does not limit disks");
        return;
    }
    let out = host.try_osctl(&SET);
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains("on no single disk"), "{said}");
        assert_eq!(ct.show().io_limit, None);
        println!("skipped: the pool is on no disk");
        return;
    }
    let said = || host.osctl(&["ct", "show", "-H", "-o", "io_limit,warnings", "web1"]);
    let in_force = |ct: &Ct<'_>| {
        let limits = limits(ct);
        let has = |value: u64| {
            let mut words = limits.split_whitespace();
            words.any(|w| w.trim_start_matches(|c: char| !c.is_ascii_digit()) == value.to_string())
        };
        (has(3 << 20), has(777))
    };
    assert!(
        said().contains("rbps=max wbps=3145728 riops=777 wiops=max"),
        "{}",
        said()
    );
    assert_eq!(in_force(&ct), (true, true), "{}", limits(&ct));
    // At every start, and after a change nothing of what was before.
    ct.kill();
    ct.start();
    assert_eq!(in_force(&ct), (true, true), "{}", limits(&ct));
    host.osctl(&["ct", "set", "io-limit", "web1", "--read-ops", "777"]);
    assert_eq!(in_force(&ct), (false, true), "{}", limits(&ct));
    host.osctl(&["ct", "unset", "io-limit", "web1"]);
    assert_eq!(in_force(&ct), (false, false), "{}", limits(&ct));
    assert_eq!(ct.show().io_limit, None);

    for bad in [&[][..], &["--write", "1"], &["--read-ops", "0"]] {
        let refused = host.try_osctl(&[&["ct", "set", "io-limit", "web1"], bad].concat());
        assert_eq!(refused.status.code(), Some(2), "{bad:?}");
    }
    for bad in [serde_json::json!({}), serde_json::json!({ "write_bps": 5 })] {
        let set = serde_json::json!({ "io_limit": bad });
        let error = ct.try_json::<osctl_api::container::Set>(set).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
    }
    // It goes along with archives and copies.
    host.osctl(&SET);
    ct.kill();
    let archive = host.path("web1.tar").display().to_string();
    host.osctl(&["ct", "export", "web1", &archive]);
    host.osctl(&["ct", "import", &archive, "--as-id", "web2"]);
    host.osctl(&["ct", "cp", "web1", "web3"]);
    for id in ["web2", "web3"] {
        let other = host.ct(id);
        other.start();
        assert_eq!(in_force(&other), (true, true), "{id}: {}", limits(&other));
        other.kill();
        other.delete();
    }
    ct.delete();
    host.assert_clean();
}
