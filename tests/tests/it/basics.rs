//! The way of one container: made, started, entered, stopped, removed.

use std::time::Duration;

use osctl_api::Code;
use osctl_api::container::State;
use osctl_tests::network::{FAR, HOST, Namespace, UPLINK, seen_as};
use osctl_tests::{host, networked_host, processes, session::End, wait};
use serde_json::json;

#[test]
fn a_container_is_made_started_entered_stopped_and_deleted() {
    let host = host!();
    let ct = host.new_ct("web1");
    assert_eq!(ct.state(), State::Stopped);
    ct.start();
    let shown = ct.show();
    assert_eq!(shown.state, State::Running);
    assert!(shown.warnings.is_empty(), "{:?}", shown.warnings);
    assert_eq!(ct.sh("hostname; id -u; echo $$ > /dev/null"), "web1\n0\n");
    let init = ct.init_pid();
    assert_eq!(
        processes::status(init, "Uid")
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap(),
        shown.uid_map[0].host_id.to_string()
    );
    ct.try_stop("shutdown", 30).unwrap();
    assert_eq!(ct.state(), State::Stopped);
    assert!(processes::Stat::of(init).is_none(), "init is still there");
    host.assert_clean();
    ct.try_delete(false).unwrap();
    assert!(host.ids().is_empty());
    host.assert_clean();
}

#[test]
fn an_image_as_vpsadminos_writes_it_is_accepted() {
    let host = host!();
    let Some(image) = osctl_tests::host::image("minimal.tar") else {
        osctl_tests::skip!("needs the image minimal.tar: cargo xtask template minimal");
    };
    let ct = host.ct_from("web1", &image);
    assert_eq!(ct.show().distribution, "busybox");
    ct.start();
    assert_eq!(ct.sh("cat /etc/hostname"), "minimal\n");
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_directory_of_the_host_is_accepted_as_an_image_and_not_changed() {
    let host = host!();
    let source = host.path("source");
    std::fs::create_dir(&source).unwrap();
    let tar = host.minimal();
    let unpacked = processes::output(
        std::process::Command::new("tar")
            .arg("-xf")
            .arg(&tar)
            .arg("-C")
            .arg(&source),
    );
    assert!(unpacked.status.success(), "{unpacked:?}");
    let before = osctl_tests::canary::manifest(&source, &[]);
    let ct = host.ct_from("web1", &source);
    ct.start();
    ct.sh("echo changed > /etc/hostname");
    ct.delete();
    assert_eq!(osctl_tests::canary::manifest(&source, &[]), before);
    host.assert_clean();
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let host = host!();
    let ct = host.new_ct("web1");
    let code = |r: Result<(), osctl_api::Error>| r.unwrap_err().code;
    assert_eq!(
        host.try_ct_from("web1", &host.minimal()).unwrap_err().code,
        Code::AlreadyExists
    );
    assert_eq!(code(host.ct("nobody").try_start()), Code::NotFound);
    assert!(ct.try_exec_with(&["true"], &json!({}), wait::SOON).is_err());
    ct.start();
    assert_eq!(code(ct.try_delete(false)), Code::InvalidState);
    let init = ct.init_pid();
    ct.start();
    assert_eq!(ct.init_pid(), init, "a second start started it again");
    let moved = ct.try_json::<osctl_api::container::Move>(json!({ "new_id": "web2" }));
    assert_eq!(moved.unwrap_err().code, Code::InvalidState);
    ct.kill();
    ct.kill();
    assert_eq!(ct.state(), State::Stopped);
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_start_that_fails_leaves_the_container_stopped_and_says_why() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.set(json!({ "init_cmd": ["/does/not/exist"] }));
    let error = ct.try_start().unwrap_err();
    assert!(error.to_string().contains("/does/not/exist"), "{error}");
    assert_eq!(ct.state(), State::Stopped);
    host.assert_clean();
    ct.json::<osctl_api::container::Unset>(json!({ "settings": ["init_cmd"] }));
    ct.start();
    ct.delete();
    host.assert_clean();
}

#[test]
fn exit_statuses_and_signals_of_programs_arrive() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    assert_eq!(ct.exec(&["sh", "-c", "exit 42"]).end, End::Exited(42));
    assert_eq!(ct.exec(&["sh", "-c", "kill -9 $$"]).end, End::Signaled(9));
    assert!(matches!(
        ct.exec(&["nothing-like-that"]).end,
        End::Failed(127, _)
    ));
    assert!(matches!(ct.exec(&["/etc/hosts"]).end, End::Failed(126, _)));
    let ran = ct.exec(&["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
    let mut sleeping = ct.open_quiet(&["sleep", "1000"]);
    sleeping.signal(15);
    assert_eq!(sleeping.end(), End::Signaled(15));
    // Whoever goes away takes the program along.
    let mut left = ct.open_quiet(&["sleep", "1001"]);
    let pid = left.started();
    drop(left);
    assert!(
        processes::ended(pid, Duration::from_secs(30)),
        "it outlives its client"
    );
    ct.delete();
    host.assert_clean();
}

#[test]
fn init_that_dies_stops_the_container() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    processes::kill(ct.init_pid());
    ct.await_state(State::Stopped);
    host.assert_clean();
    let exit = ct.show().last_exit.unwrap();
    assert!(exit.contains("SIGKILL") || exit.contains('9'), "{exit}");
    ct.start();
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_supervisor_that_dies_takes_the_container_along_and_nothing_is_left() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let init = ct.init_pid();
    let supervisor = processes::Stat::of(init).unwrap().parent;
    assert_ne!(supervisor, host.daemon_pid());
    processes::kill(supervisor);
    ct.await_state(State::Stopped);
    assert!(
        processes::ended(init, wait::SOON),
        "init outlives its supervisor"
    );
    host.assert_clean();
    ct.start();
    ct.delete();
    host.assert_clean();
}

#[test]
fn processes_of_a_container_cannot_outlive_it() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    ct.sh("for i in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000' >/dev/null 2>&1 </dev/null & done");
    ct.kill();
    host.assert_clean();
    ct.delete();
}

#[test]
fn a_daemon_with_a_network_of_its_own_sees_nothing_of_the_machines() {
    let host = networked_host!();
    let daemon = Namespace::of_process(host.daemon_pid());
    let links: Vec<String> = daemon.links().into_iter().map(|l| l.name).collect();
    assert_eq!(links, ["lo", UPLINK]);
    let seen = daemon.run(|| seen_as(FAR[0], wait::SOON));
    assert_eq!(seen, HOST[0].parse().ok());
    let ct = host.new_ct("web1");
    ct.start();
    let links: Vec<String> = ct.netns().links().into_iter().map(|l| l.name).collect();
    assert_eq!(links, ["lo"]);
    ct.delete();
    host.assert_clean();
}
