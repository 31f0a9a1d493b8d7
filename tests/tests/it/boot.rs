//! Containers that run from other files than their own: from an image once, or from a copy that is
//! forgotten.

use std::fs;
use std::path::PathBuf;

use osctl_api::Code;
use osctl_api::container::State;
use osctl_api::copies::Boot;
use osctl_tests::host::POOL;
use osctl_tests::{Ct, Host, Rootfs, host, wait};
use serde_json::json;

/// An image of something else than the container has.
fn rescue(host: &Host) -> PathBuf {
    let path = host.path("rescue.tar");
    let rootfs = Rootfs::minimal().file("rescue", 0o644, b"to the rescue");
    rootfs.write(&path);
    path
}

/// A stopped container with a file of its own.
fn original<'h>(host: &'h Host, id: &str) -> Ct<'h> {
    let ct = host.new_ct(id);
    fs::write(ct.rootfs().join("mine"), "kept").unwrap();
    ct
}

/// What storage has of containers.
fn data(host: &Host) -> Vec<String> {
    let dir = host.pool_dir(POOL).join("ct");
    let names = fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> = names
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// It runs from its own files again, and nothing is left of others.
#[track_caller]
fn is_itself(host: &Host, ct: &Ct<'_>) {
    assert_eq!(data(host), ["web1"]);
    assert_eq!(ct.show().boot_dataset, None);
    ct.start();
    assert_eq!(ct.sh("cat /mine; ls /rescue 2>/dev/null; true"), "kept");
    ct.kill();
}

#[test]
fn an_image_runs_once_with_the_containers_own_files_beside_it() {
    let host = host!();
    let ct = original(&host, "web1");
    ct.set(json!({ "ephemeral": true, "hostname": "web1.example.org" }));
    let image = rescue(&host);
    let boot = |more: &[&str]| {
        let from = image.to_str().unwrap();
        host.osctl(&[&["ct", "boot", "--from-archive", from], more, &["web1"]].concat())
    };
    boot(&["--mount-root-dataset", "/own"]);
    assert_eq!(
        ct.sh("cat /rescue /own/mine; ls /mine 2>/dev/null; hostname"),
        "to the rescuekeptweb1\n"
    );
    let shown = ct.show();
    assert_eq!(shown.state, State::Running);
    assert!(shown.boot_dataset.unwrap().contains("web1-"));
    // What is written to its own files stays, with the container's ids.
    ct.sh("echo -n more > /own/more; echo lost > /lost");
    let refused = ct
        .try_json::<Boot>(json!({ "from_archive": image }))
        .unwrap_err();
    assert_eq!(refused.code, Code::InvalidState);
    let out = host.path("out.tar");
    let export = ["ct", "export", "web1", out.to_str().unwrap()];
    let refused = host.try_osctl(&export);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("runs from an image"),
        "{text}"
    );

    // The next daemon finds it running, and does not take its files for what was left.
    host.stop_daemon();
    host.start_daemon();
    host.osctl(&["garbage-collector", "prune"]);
    assert_eq!(ct.sh("cat /rescue; cat /lost"), "to the rescuelost\n");
    assert_eq!(data(&host).len(), 2);
    // When it stops, it is not the ephemeral container that does.
    ct.kill();
    assert_eq!(ct.state(), State::Stopped);
    ct.set(json!({ "ephemeral": false }));
    is_itself(&host, &ct);
    assert_eq!(fs::read(ct.rootfs().join("more")).unwrap(), b"more");

    // A reboot leads home.
    ct.start();
    ct.set(json!({ "ephemeral": true }));
    boot(&["--force"]);
    ct.set(json!({ "ephemeral": false }));
    assert_eq!(
        ct.sh("cat /rescue; ls /own 2>/dev/null; true"),
        "to the rescue"
    );
    let init = ct.init_pid();
    host.osctl(&["ct", "restart", "web1"]);
    assert_ne!(ct.init_pid(), init);
    assert_eq!(ct.sh("cat /mine"), "kept");
    ct.kill();

    // One that does not come up leaves nothing.
    let broken = host.path("broken.tar");
    Rootfs::minimal().without("sbin/init").write(&broken);
    ct.try_json::<Boot>(json!({ "from_archive": broken }))
        .unwrap_err();
    fs::write(&broken, "no image").unwrap();
    let refused = ct
        .try_json::<Boot>(json!({ "from_archive": broken }))
        .unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    is_itself(&host, &ct);
    boot(&[]);
    ct.delete();
    assert_eq!(data(&host), [""; 0]);
    host.assert_clean();
}

#[test]
fn what_an_impermanent_container_changes_is_forgotten() {
    let host = host!();
    let ct = original(&host, "web1");
    host.osctl(&["ct", "set", "impermanence", "web1"]);
    assert!(ct.show().impermanence);
    for _ in 0..2 {
        ct.start();
        assert_eq!(ct.sh("cat /mine; ls /lost 2>/dev/null; true"), "kept");
        ct.sh("echo lost > /lost; echo changed > /mine");
        assert_eq!(data(&host).len(), 2);
        assert!(!host.pool_dir(POOL).join("ct/web1/private/lost").exists());
        ct.kill();
        assert_eq!(data(&host), ["web1"]);
    }
    // A reboot begins anew, too; by itself, and while no daemon looks.
    ct.start();
    ct.sh("echo lost > /lost");
    let init = ct.init_pid();
    host.stop_daemon();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(init as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    host.start_daemon();
    ct.await_state(State::Stopped);
    is_itself(&host, &ct);
    // What is done while it is stopped stays.
    host.osctl(&["ct", "exec", "-r", "web1", "sh", "-c", "echo -n new > /new"]);
    wait::until("it has stopped", || ct.state() == State::Stopped);
    ct.start();
    assert_eq!(ct.sh("cat /new"), "new");
    // A copy is of its own files, and as forgetful.
    ct.sh("echo lost > /lost");
    host.osctl(&["ct", "cp", "--no-consistent", "web1", "web2"]);
    let copy = host.ct("web2");
    assert!(copy.show().impermanence && !copy.rootfs().join("lost").exists());
    copy.delete();
    host.osctl(&["ct", "unset", "impermanence", "web1"]);
    ct.kill();
    ct.start();
    ct.sh("rm /new; echo -n changed > /mine");
    ct.kill();
    assert_eq!(fs::read(ct.rootfs().join("mine")).unwrap(), b"changed");
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_run_from_an_image_that_can_not_begin_leaves_nothing() {
    let host = host!();
    let ct = original(&host, "web1");
    let tree = host.path("no-init");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/rescue"), "").unwrap();
    let call = json!({ "from_archive": tree, "mount_root_dataset": "/own" });
    for _ in 0..2 {
        ct.try_json::<Boot>(call.clone()).unwrap_err();
        assert_eq!(ct.state(), State::Stopped);
        is_itself(&host, &ct);
    }
    ct.delete();
    host.assert_clean();
}

#[test]
fn what_is_set_while_a_run_ends_is_not_lost() {
    let host = host!();
    let ct = original(&host, "web1");
    ct.set(json!({ "impermanence": true }));
    let mut last = 0;
    for round in 1..=15 {
        ct.start();
        osctl_tests::processes::kill(ct.init_pid());
        // What it ran from is thrown away, and noted to be so, meanwhile.
        let begun = std::time::Instant::now();
        loop {
            assert!(
                begun.elapsed() < wait::SOON,
                "round {round}: it does not end"
            );
            let ended = ct.state() == State::Stopped && ct.show().boot_dataset.is_none();
            let next = last + 1;
            if ct
                .try_set(json!({ "attrs": { "a:b": next.to_string() } }))
                .is_ok()
            {
                last = next;
            }
            assert_eq!(ct.show().attrs["a:b"], last.to_string(), "round {round}");
            if ended {
                break;
            }
        }
    }
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(ct.show().attrs["a:b"], last.to_string());
    is_itself(&host, &ct);
    ct.delete();
    host.assert_clean();
}
