//! Snapshots on a pool in a directory, which has none: what asks for one says what to do instead,
//! and changes nothing.

use std::fs;

use osctl_api::container::State;
use osctl_tests::host::POOL;
use osctl_tests::{Host, host};
use serde_json::Value;

/// What a command says that is refused.
#[track_caller]
fn refused(host: &Host, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let output = host.try_osctl(&words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{line}: {said}");
    said
}

#[test]
fn a_directory_has_none_and_says_what_to_do() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let init = ct.init_pid();
    for line in [
        "ct snapshot new web1",
        "ct snapshot new web1 before",
        "ct snapshot del web1 before",
        "ct snapshot rollback --restart web1 before",
        "ct snapshot clone web1 before web2",
        "ct snapshot mount web1 before",
        "ct snapshot umount web1 before",
        "ct set snapshots --keep daily=7 web1",
    ] {
        let said = refused(&host, line);
        assert!(
            said.contains("a pool in a directory has no"),
            "{line}: {said}"
        );
        assert!(
            said.contains("keep the container in a pool of ZFS"),
            "{line}: {said}"
        );
    }
    assert_eq!(host.osctl(&["ct", "snapshot", "ls", "-H"]).trim(), "");
    assert_eq!(ct.init_pid(), init, "it was not stopped");
    assert_eq!(host.ids(), ["web1"], "nothing is left of a clone");
}

#[test]
fn a_schedule_rests_in_a_directory() {
    let host = host!();
    let ct = host.new_ct("web1");
    // As a container has it that was moved here from a pool of ZFS.
    let path = host.pool_dir(POOL).join("conf/ct/web1.json");
    host.stop_daemon();
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["snapshots"] = "hourly=1,daily=7".into();
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    host.start_daemon();
    ct.start();
    assert_eq!(ct.state(), State::Running);
    assert_eq!(host.osctl(&["ct", "snapshot", "ls", "-H"]).trim(), "");
    assert!(!host.log().contains("by schedule"), "{}", host.log());
    host.osctl(&["ct", "unset", "snapshots", "web1"]);
    let config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(config.get("snapshots").is_none(), "{config}");
}
