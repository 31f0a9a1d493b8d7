//! What could not be done to the end, of containers on pools in directories: it is gone on with, and
//! until then nobody uses what would be lost by that.

use std::fs;
use std::path::{Path, PathBuf};

use osctl_api::container::State;
use osctl_tests::host::POOL;
use osctl_tests::{Ct, Host, Rootfs, host};
use serde_json::{Value, json};

/// While it is there, the data of container `web1` can't be moved: something is mounted there.
struct Stuck(PathBuf);

impl Stuck {
    fn new(host: &Host) -> Stuck {
        let data = host.pool_dir(POOL).join("ct/web1");
        let flags = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(&data), &data, None::<&str>, flags, None::<&str>).unwrap();
        Stuck(data)
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

/// What makes an empty container.
const NEW_WEB1: [&str; 8] = [
    "ct",
    "new",
    "--skip-image",
    "--distribution",
    "other",
    "--version",
    "1",
    "web1",
];

fn restart(host: &Host) {
    host.stop_daemon();
    host.start_daemon();
}

fn problems(host: &Host) -> String {
    let pools = host.call(&osctl_api::pool::List::default()).pools;
    let problems: Vec<String> = pools.into_iter().flat_map(|p| p.problems).collect();
    problems.join("\n")
}

/// What the command line says to what is refused.
#[track_caller]
fn refused(host: &Host, args: &[&str]) -> String {
    let out = host.try_osctl(args);
    assert!(!out.status.success(), "{args:?}");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn conf(host: &Host, id: &str) -> PathBuf {
    host.pool_dir(POOL).join(format!("conf/ct/{id}.json"))
}

/// Where a configuration goes that says that it is being deleted.
fn marked(conf: &Path) -> PathBuf {
    conf.with_extension("json.deleting")
}

/// A container with a file of its own.
fn original<'h>(host: &'h Host, id: &str) -> Ct<'h> {
    let ct = host.new_ct(id);
    fs::write(ct.rootfs().join("mine"), "kept").unwrap();
    ct
}

#[track_caller]
fn has_its_files(ct: &Ct<'_>) {
    assert_eq!(
        fs::read_to_string(ct.rootfs().join("mine")).unwrap(),
        "kept"
    );
}

#[test]
fn what_is_half_deleted_can_only_be_deleted() {
    let host = host!();
    let ct = original(&host, "web1");
    let stuck = Stuck::new(&host);
    assert!(ct.try_delete(false).is_err());
    assert_eq!(ct.state(), State::Error);
    drop(stuck);
    for args in [
        &["ct", "recover", "state", "web1"][..],
        &["ct", "recover", "cleanup", "web1"],
        &["ct", "start", "web1"],
        &["ct", "set", "hostname", "web1", "web1.example.org"],
        &["ct", "del", "web1"],
    ] {
        let said = refused(&host, args);
        assert!(said.contains("its deletion has begun"), "{args:?}: {said}");
    }
    assert!(marked(&conf(&host, "web1")).exists() && !conf(&host, "web1").exists());
    ct.try_delete(true).unwrap();
    host.assert_clean();

    // The next daemon goes on with it, too; while it can't, the id is taken.
    let ct = original(&host, "web1");
    let stuck = Stuck::new(&host);
    assert!(ct.try_delete(false).is_err());
    restart(&host);
    let told = problems(&host);
    assert!(told.contains("cannot finish its deletion"), "{told}");
    let said = refused(&host, &NEW_WEB1);
    assert!(said.contains("is not loaded"), "{said}");
    drop(stuck);
    restart(&host);
    assert_eq!((host.ids(), problems(&host)), (vec![], String::new()));
    host.assert_clean();
}

#[test]
fn what_is_in_use_again_is_not_deleted() {
    let host = host!();
    let all: Vec<Ct<'_>> = ["both-runs", "runs", "both"]
        .into_iter()
        .map(|id| original(&host, id))
        .collect();
    let (runs, stopped) = all.split_at(2);
    for ct in runs {
        ct.start();
    }
    let inits: Vec<u32> = runs.iter().map(Ct::init_pid).collect();
    host.stop_daemon();
    for id in ["both-runs", "both"] {
        let conf = conf(&host, id);
        fs::copy(&conf, marked(&conf)).unwrap();
    }
    let only = conf(&host, "runs");
    fs::rename(&only, marked(&only)).unwrap();
    host.start_daemon();
    assert_eq!(problems(&host), "");
    for (ct, init) in runs.iter().zip(inits) {
        assert_eq!((ct.state(), ct.init_pid()), (State::Running, init));
        assert_eq!(ct.sh("cat /mine"), "kept");
    }
    assert_eq!(stopped[0].state(), State::Stopped);
    for ct in &all {
        let conf = conf(&host, &ct.id);
        assert!(conf.exists() && !marked(&conf).exists(), "{}", ct.id);
        has_its_files(ct);
        ct.set(json!({ "hostname": "web1.example.org" }));
    }
    runs.iter().for_each(Ct::kill);
    restart(&host);
    all.iter().for_each(has_its_files);
    for ct in all {
        ct.delete();
    }
    host.assert_clean();
}

/// An image that has another file.
fn image(host: &Host) -> String {
    let path = host.path("fresh.tar");
    Rootfs::minimal().file("fresh", 0o644, b"new").write(&path);
    path.display().to_string()
}

#[test]
fn what_is_half_reinstalled_is_finished_before_it_is_used() {
    let host = host!();
    let ct = original(&host, "web1");
    let image = image(&host);
    let reinstall = ["ct", "reinstall", "web1", "--from-archive", &image];
    for recover in ["state", "cleanup"] {
        let stuck = Stuck::new(&host);
        let said = refused(&host, &reinstall);
        assert!(said.contains("recover state"), "{said}");
        assert_eq!(ct.state(), State::Error);
        // Neither does the next daemon get on with it, nor do people.
        restart(&host);
        assert_eq!(ct.state(), State::Error);
        refused(&host, &["ct", "start", "web1"]);
        refused(&host, &["ct", "recover", recover, "web1"]);
        assert_eq!(ct.state(), State::Error);
        drop(stuck);
        host.osctl(&["ct", "recover", recover, "web1"]);
        assert!(!ct.rootfs().join("mine").exists());
        // What is written from now on stays.
        ct.start();
        assert_eq!(ct.sh("cat /fresh; echo -n kept > /mine"), "new");
        restart(&host);
        assert_eq!(ct.sh("cat /mine"), "kept");
        ct.kill();
        restart(&host);
        has_its_files(&ct);
        host.assert_clean();
    }
    // With the container goes what was to take the place of its files.
    let stuck = Stuck::new(&host);
    refused(&host, &reinstall);
    drop(stuck);
    ct.try_delete(true).unwrap();
    let left = fs::read_dir(host.pool_dir(POOL).join("ct")).unwrap();
    assert_eq!(left.count(), 0);
    host.assert_clean();
}

#[test]
fn what_was_started_from_its_old_files_keeps_them() {
    let host = host!();
    let ct = original(&host, "web1");
    ct.start();
    let init = ct.init_pid();
    host.stop_daemon();
    let later = host.pool_dir(POOL).join("ct/web1-later");
    fs::create_dir_all(later.join("private")).unwrap();
    fs::write(later.join("private/fresh"), "old image").unwrap();
    fs::write(later.join("new"), "").unwrap();
    let path = conf(&host, "web1");
    let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    document["replacement"] = json!({
        "data": "web1-later", "distribution": "other", "version": "99", "arch": "x86_64",
    });
    fs::write(&path, serde_json::to_vec(&document).unwrap()).unwrap();
    host.start_daemon();
    assert_eq!((ct.state(), ct.init_pid()), (State::Running, init));
    assert_eq!(ct.sh("cat /mine"), "kept");
    assert_ne!(ct.show().version, "99");
    assert!(!later.exists());
    ct.kill();
    restart(&host);
    has_its_files(&ct);
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_renaming_that_fails_leaves_the_container_as_it_was() {
    let host = host!();
    let ct = original(&host, "web1");
    let stuck = Stuck::new(&host);
    let said = refused(&host, &["ct", "mv", "web1", "web2"]);
    assert!(said.contains("cannot rename"), "{said}");
    drop(stuck);
    assert_eq!(
        (ct.state(), host.ids()),
        (State::Stopped, vec!["web1".to_owned()])
    );
    ct.set(json!({ "hostname": "web1.example.org" }));
    let document: Value = serde_json::from_slice(&fs::read(conf(&host, "web1")).unwrap()).unwrap();
    assert_eq!(document.get("moving_to"), None);
    restart(&host);
    has_its_files(&ct);
    // What is there of another one, which could not be loaded, is not written over.
    fs::create_dir(conf(&host, "web2")).unwrap();
    let said = refused(&host, &["ct", "mv", "web1", "web2"]);
    assert!(said.contains("is not loaded"), "{said}");
    fs::remove_dir(conf(&host, "web2")).unwrap();
    host.osctl(&["ct", "mv", "web1", "web2"]);
    has_its_files(&host.ct("web2"));

    // What is known of the new id is newer than what is left of the old one.
    host.stop_daemon();
    let mut left: Value = serde_json::from_slice(&fs::read(conf(&host, "web2")).unwrap()).unwrap();
    left["moving_to"] = json!("web2");
    left["hostname"] = json!("old.example.org");
    fs::write(conf(&host, "web1"), serde_json::to_vec(&left).unwrap()).unwrap();
    host.start_daemon();
    assert_eq!(
        (problems(&host), host.ids()),
        (String::new(), vec!["web2".to_owned()])
    );
    let ct = host.ct("web2");
    assert_eq!(ct.show().hostname.unwrap().to_string(), "web1.example.org");
    has_its_files(&ct);
    ct.delete();
    host.assert_clean();
}
