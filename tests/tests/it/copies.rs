//! Copies of containers and moves between pools, in directories.

use std::fs;

use osctl_api::Code;
use osctl_api::container::{Move, State};
use osctl_api::copies::Copy;
use osctl_tests::{Ct, Host, Rootfs, host};
use serde_json::json;

fn put(ct: &Ct<'_>, text: &str) {
    fs::write(ct.rootfs().join("mine"), text).unwrap();
}

fn text(ct: &Ct<'_>) -> String {
    fs::read_to_string(ct.rootfs().join("mine")).unwrap()
}

/// A container that runs, with an interface, an address, limits and attributes.
fn original(host: &Host) -> Ct<'_> {
    let ct = host.new_ct("web1");
    put(&ct, "of web1");
    ct.set(json!({ "attrs": { "a:b": "kept" }, "memory_limit": { "memory": 256 << 20 } }));
    host.osctl(&["ct", "netif", "new", "routed", "web1", "eth0"]);
    host.osctl(&["ct", "netif", "ip", "add", "web1", "eth0", "192.0.2.10"]);
    ct.start();
    ct
}

fn netif(host: &Host, id: &str) -> serde_json::Value {
    let out = host.osctl(&["-j", "ct", "netif", "ls", id]);
    let mut all: serde_json::Value = serde_json::from_str(&out).unwrap();
    all[0].take()
}

#[test]
fn a_copy_is_like_the_original_and_independent_of_it() {
    let host = osctl_tests::networked_host!();
    let web1 = original(&host);
    let init = web1.init_pid();
    host.osctl(&["ct", "cp", "web1", "web2"]);
    let web2 = host.ct("web2");
    assert_eq!(
        (web1.state(), web2.state()),
        (State::Running, State::Stopped)
    );
    assert_ne!(web1.init_pid(), init, "it was not stopped for the copy");
    let (a, b) = (web1.show(), web2.show());
    assert_eq!(b.attrs["a:b"], "kept");
    assert_eq!(b.memory_limit, a.memory_limit);
    assert!(a.uid_map != b.uid_map && b.user.as_str() == "web2");
    let (old, new) = (netif(&host, "web1"), netif(&host, "web2"));
    assert_eq!(new["name"], "eth0");
    assert_ne!(new["hwaddr"], old["hwaddr"]);
    assert!(!new.to_string().contains("192.0.2.10"), "{new}");
    // Both at once, and neither sees what the other one writes.
    web2.start();
    assert_eq!(web2.sh("stat -c %u /mine; cat /mine"), "0\nof web1");
    web2.sh("echo -n changed > /mine");
    assert_eq!(
        (text(&web1).as_str(), text(&web2).as_str()),
        ("of web1", "changed")
    );

    // As it is, while it runs; without a network, for a user that is there.
    let init = web1.init_pid();
    host.osctl(&["user", "new", "other"]);
    host.osctl(&["group", "new", "/others"]);
    host.osctl(&[
        "ct",
        "cp",
        "--no-consistent",
        "--no-network-interfaces",
        "--user",
        "other",
        "--group",
        "/others",
        "web1",
        "web3",
    ]);
    assert_eq!(web1.init_pid(), init);
    let web3 = host.ct("web3").show();
    assert_eq!(
        (web3.user.as_str(), web3.group.to_string().as_str()),
        ("other", "/others")
    );
    assert_eq!(host.osctl(&["ct", "netif", "ls", "-H", "web3"]), "");

    // What can't be leaves nothing, and the original as it is.
    let refused = |new: &str, more: serde_json::Value, code: Code| {
        let mut call = json!({ "id": "web1", "new_id": new });
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let error = host.try_json::<Copy>(call).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert_eq!(web1.init_pid(), init);
    };
    refused("web2", json!({}), Code::AlreadyExists);
    refused("web4", json!({ "user": "nobody" }), Code::NotFound);
    refused("web4", json!({ "group": "/none" }), Code::NotFound);
    refused("none:web4", json!({}), Code::NotFound);
    host.osctl(&["ct", "freeze", "web1"]);
    refused("web4", json!({}), Code::InvalidState);
    host.osctl(&["ct", "unfreeze", "web1"]);
    host.assert_clean();
    for ct in ["web1", "web2", "web3"] {
        host.ct(ct).try_delete(true).unwrap();
    }
    host.assert_clean();
}

#[test]
fn a_container_moves_to_another_pool_while_it_runs() {
    let host = osctl_tests::networked_host!();
    host.install("zwei");
    let web1 = original(&host);
    let (before, mac) = (web1.show(), netif(&host, "web1")["hwaddr"].clone());
    host.osctl(&["ct", "mv", "web1", "zwei:web1"]);
    let moved = host.ct("zwei:web1");
    let after = moved.show();
    assert_eq!((after.pool.as_str(), after.state), ("zwei", State::Running));
    assert_eq!(
        (&after.attrs, &after.memory_limit),
        (&before.attrs, &before.memory_limit)
    );
    let after = netif(&host, "zwei:web1");
    assert_eq!(after["hwaddr"], mac);
    assert!(after.to_string().contains("192.0.2.10"), "{after}");
    assert_eq!(moved.sh("cat /mine"), "of web1");
    assert_eq!(host.ids(), ["web1"]);
    host.assert_clean();
    // Its addresses are still nobody else's.
    let other = host.new_ct("other");
    host.osctl(&["ct", "netif", "new", "routed", "other", "eth0"]);
    let taken = ["ct", "netif", "ip", "add", "other", "eth0", "192.0.2.10"];
    assert!(!host.try_osctl(&taken).status.success());
    other.delete();

    // Back, stopped, under another name; a copy across pools is one too.
    host.osctl(&["ct", "cp", "--no-consistent", "zwei:web1", "tank:copy"]);
    assert_eq!(text(&host.ct("copy")), "of web1");
    host.osctl(&["ct", "stop", "zwei:web1"]);
    host.osctl(&["ct", "mv", "zwei:web1", "tank:web9"]);
    assert_eq!(host.ct("web9").state(), State::Stopped);
    assert_eq!(text(&host.ct("web9")), "of web1");
    host.assert_clean();
    for id in ["web9", "copy"] {
        host.ct(id).delete();
    }
    host.assert_clean();
}

#[test]
fn a_copy_that_is_cancelled_leaves_nothing() {
    let host = host!();
    let mut rootfs = Rootfs::minimal();
    for i in 0..3000 {
        rootfs = rootfs.file(&format!("many/{i}"), 0o644, &[b'x'; 4096]);
    }
    let ct = host.ct_of("large", &rootfs);
    ct.start();
    let mut copying = host
        .osctl_command(&["ct", "cp", "large", "copy"])
        .spawn()
        .unwrap();
    // Its data are being copied: by then it is stopped.
    let ct_dir = host.pool_dir("tank").join("ct");
    let begun = osctl_tests::wait::find(osctl_tests::wait::SOON, || {
        let names = fs::read_dir(&ct_dir).unwrap().flatten();
        let names = names.map(|e| e.file_name().to_string_lossy().into_owned());
        names.into_iter().find(|n| n.starts_with(".new-copy"))
    });
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(copying.id().cast_signed()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    copying.wait().unwrap();
    ct.await_state(State::Running);
    if begun.is_some() {
        // It may have been done by the time that the signal came.
        println!("copies: {:?}", host.ids());
    }
    if host.ids().len() == 2 {
        host.ct("copy").delete();
    }
    host.assert_clean();
    ct.kill();
    ct.delete();
    host.assert_clean();
}

#[test]
fn what_is_slowed_down_ends_when_it_is_cancelled() {
    let host = host!();
    let image = Rootfs::minimal().file("large", 0o644, &[b'x'; 4 << 20]);
    let ct = host.ct_of("large", &image);
    let archive = host.path("archive.tar").display().to_string();
    let begins = |dir: &std::path::Path| {
        let found = osctl_tests::wait::find(osctl_tests::wait::SOON, || {
            let mut names = fs::read_dir(dir).unwrap().flatten();
            names.find(|e| e.file_name().to_string_lossy().starts_with(".new-"))
        });
        assert!(
            found.is_some(),
            "nothing is being made in {}",
            dir.display()
        );
    };
    // At this rate, each would take more than an hour.
    let cancelled = |arguments: &[&str], dir: &std::path::Path| {
        let arguments = [&["ct"], arguments, &["--limit", "1k"]].concat();
        let mut running = host.osctl_command(&arguments).spawn().unwrap();
        begins(dir);
        let pid = nix::unistd::Pid::from_raw(running.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        assert!(!running.wait().unwrap().success());
        // Until the operation is undone, the container is held.
        let free = || host.try_osctl(&["ct", "set", "attr", "large", "a:b", "c"]);
        osctl_tests::wait::until("the container is let go of", || free().status.success());
        assert_eq!(host.ids(), ["large"]);
        host.assert_clean();
    };
    host.install("zwei");
    let (tank, zwei) = (host.pool_dir("tank"), host.pool_dir("zwei"));
    cancelled(&["cp", "large", "copy"], &tank.join("ct"));
    cancelled(&["mv", "large", "zwei:moved"], &zwei.join("ct"));
    host.osctl(&["ct", "export", "--limit", "1g", "large", &archive]);
    cancelled(&["import", &archive, "--as-id", "again"], &tank.join("ct"));
    for rate in ["0", "1023", "fast"] {
        let refused = host.try_osctl(&["ct", "cp", "large", "copy", "--limit", rate]);
        assert_eq!(refused.status.code(), Some(2), "{rate}");
    }
    let error = ct.try_json::<Copy>(json!({ "new_id": "copy", "limit": 1 }));
    assert_eq!(error.unwrap_err().code, Code::InvalidArgument);
    host.osctl(&["ct", "cp", "--limit", "1g", "large", "copy"]);
    for id in ["large", "copy"] {
        host.ct(id).delete();
    }
    host.assert_clean();
}

#[test]
fn what_is_moved_within_its_pool_keeps_its_user() {
    let host = host!();
    let ct = host.new_ct("web1");
    let error = ct.try_json::<Move>(json!({ "new_id": "web2", "user": "other" }));
    assert_eq!(error.unwrap_err().code, Code::InvalidArgument);
    ct.json::<Move>(json!({ "new_id": "tank:web2" }));
    host.ct("web2").delete();
    host.assert_clean();
}

#[test]
fn a_reinstalled_container_keeps_all_but_its_files() {
    let host = osctl_tests::networked_host!();
    let web1 = original(&host);
    let (before, mac) = (web1.show(), netif(&host, "web1")["hwaddr"].clone());
    let image = host.path("fresh.tar");
    let fresh = Rootfs::minimal().file("fresh", 0o644, b"new");
    fresh.write(&image);
    let image = image.display().to_string();
    let reinstall = [
        "ct",
        "reinstall",
        "web1",
        "--from-archive",
        &image,
        "--version",
        "2",
    ];
    assert!(!host.try_osctl(&reinstall).status.success(), "it runs");
    // For an image that is not there it is not stopped.
    let init = web1.init_pid();
    for verb in ["reinstall", "boot"] {
        let missing = ["ct", verb, "web1", "--from-archive", "/none", "--force"];
        assert!(!host.try_osctl(&missing).status.success());
        assert_eq!(web1.init_pid(), init, "{verb}");
    }
    // An image that can't be used: as it was.
    host.osctl(&["ct", "stop", "web1"]);
    let none = ["ct", "reinstall", "web1", "--from-archive", "/none"];
    assert!(!host.try_osctl(&none).status.success());
    assert_eq!(text(&web1), "of web1");
    web1.start();
    host.osctl(&[&reinstall[..], &["--force"]].concat());
    assert_eq!(web1.state(), State::Stopped);
    web1.start();
    let look = web1.sh("cat /fresh; ls /mine 2>/dev/null; stat -c %u /fresh");
    assert_eq!(look, "new0\n");
    let after = web1.show();
    assert_eq!((&after.attrs, &after.user), (&before.attrs, &before.user));
    assert_eq!(
        (&after.uid_map, &after.memory_limit),
        (&before.uid_map, &before.memory_limit)
    );
    assert_eq!(
        (after.version.as_str(), after.distribution),
        ("2", before.distribution)
    );
    assert_eq!(netif(&host, "web1")["hwaddr"], mac);
    host.assert_clean();
    web1.kill();
    web1.delete();
    host.assert_clean();
}

#[test]
fn an_interrupted_reinstallation_is_not_for_the_garbage_collector() {
    let host = host!();
    let ct = host.new_ct("web1");
    fs::write(ct.rootfs().join("old"), "").unwrap();
    let image = host.path("fresh.tar");
    Rootfs::minimal().file("fresh", 0o644, b"new").write(&image);
    // Nothing gets into the trash, which is on another file system.
    let trash = Mounted::new(host.pool_dir("tank").join("trash"));
    let image = image.to_str().unwrap();
    let refused = host.try_osctl(&["ct", "reinstall", "--from-archive", image, "web1"]);
    assert!(!refused.status.success());
    assert_eq!(ct.state(), State::Error);
    let data = || {
        let names = fs::read_dir(host.pool_dir("tank").join("ct"))
            .unwrap()
            .flatten();
        names
            .filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"."))
            .count()
    };
    assert_eq!(data(), 2);
    assert_eq!(host.osctl(&["garbage-collector", "prune"]), "");
    assert_eq!(data(), 2);
    // Nor when the next daemon can't go on with it either.
    host.kill_daemon();
    host.start_daemon();
    host.osctl(&["garbage-collector", "prune"]);
    assert_eq!(data(), 2);
    let listed = host.osctl(&["trash-bin", "ls", "-H"]);
    assert_eq!(listed, "");
    drop(trash);
    host.kill_daemon();
    host.start_daemon();
    let has = |name: &str| ct.rootfs().join(name).exists();
    assert!(has("fresh") && !has("old"));
    ct.start();
    ct.kill();
    ct.delete();
    host.assert_clean();
}

#[test]
fn old_files_are_not_kept_as_a_snapshot_in_a_directory() {
    let host = host!();
    let ct = host.new_ct("web1");
    fs::write(ct.rootfs().join("old"), "").unwrap();
    let image = host.minimal();
    let image = image.to_str().unwrap();
    let words = [
        "ct",
        "reinstall",
        "--snapshot",
        "--from-archive",
        image,
        "web1",
    ];
    let refused = host.try_osctl(&words);
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && stderr.contains("no snapshots"),
        "{stderr}"
    );
    assert!(ct.rootfs().join("old").exists());
    let out = host.path("out.tar");
    let words = ["ct", "export", "--snapshots", "web1", out.to_str().unwrap()];
    let refused = host.try_osctl(&words);
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && stderr.contains("no room for snapshots"),
        "{stderr}"
    );
    ct.delete();
    host.assert_clean();
}

/// A file system of its own on a directory, for as long as it lives.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(path: std::path::PathBuf) -> Mounted {
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &path, Some("tmpfs"), flags, None::<&str>).unwrap();
        Mounted(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = nix::mount::umount(&self.0);
    }
}

#[test]
fn what_was_left_behind_is_collected() {
    let host = host!();
    let ct = host.new_ct("web1");
    let dir = host.pool_dir("tank");
    let left = dir.join("ct/.new-web2-1-2");
    fs::create_dir_all(left.join("private/etc")).unwrap();
    let notes = host.osctl(&["garbage-collector", "prune"]);
    assert!(notes.contains("tank: discarded .new-web2-1-2"), "{notes}");
    assert!(!left.exists());
    assert_eq!(host.osctl(&["garbage-collector", "prune", "tank"]), "");
    // What can't be removed says why it waits.
    let busy = dir.join("trash/web3-1700000000-0f");
    fs::create_dir(&busy).unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &busy, Some("tmpfs"), flags, None::<&str>).unwrap();
    host.osctl(&["trash-bin", "prune"]);
    let listed = osctl_tests::wait::find(osctl_tests::wait::SOON, || {
        let listed = host.osctl(&["--parsable", "trash-bin", "ls", "-H"]);
        listed.contains("web3-1700000000-0f").then_some(listed)
    });
    nix::mount::umount(&busy).unwrap();
    let listed = listed.unwrap();
    assert!(
        listed.contains("1700000000") && listed.starts_with("tank"),
        "{listed}"
    );
    host.osctl(&["trash-bin", "prune", "tank"]);
    let empty = osctl_tests::wait::find(osctl_tests::wait::SOON, || {
        host.osctl(&["trash-bin", "ls", "-H"])
            .is_empty()
            .then_some(())
    });
    assert!(empty.is_some());
    assert!(
        !host
            .try_osctl(&["trash-bin", "ls", "none"])
            .status
            .success()
    );
    ct.delete();
    host.assert_clean();
}

#[test]
fn what_may_be_on_another_pool_is_left_alone_until_that_is_known() {
    let host = osctl_tests::host!();
    host.install("zwei");
    let ct = host.new_ct("web1");
    host.stop_daemon();
    let start = osctl_tests::daemon::Start::failing_at("move.leaving");
    host.try_start_daemon(&start).unwrap();
    let died = ct.try_json::<Move>(json!({ "new_id": "zwei:web1" }));
    assert!(died.is_err());
    host.daemon_ended();
    let dir = host.pool_dir("zwei");
    let away = dir.with_extension("away");
    std::fs::rename(&dir, &away).unwrap();
    host.start_daemon();
    for words in [
        &["ct", "del", "web1"][..],
        &["ct", "mv", "web1", "web2"],
        &["ct", "start", "web1"],
        &["ct", "reinstall", "web1", "--from-archive", "/none"],
    ] {
        let refused = host.try_osctl(words);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{words:?}");
        assert!(told.contains("was being moved to zwei:web1"), "{told}");
    }
    std::fs::rename(&away, &dir).unwrap();
    host.json::<osctl_api::pool::Import>(json!({ "pool": "zwei" }));
    assert_eq!(host.ids(), ["web1"]);
    ct.start();
    assert_eq!(ct.show().pool.as_str(), "tank");
    ct.delete();
    host.assert_clean();
}
