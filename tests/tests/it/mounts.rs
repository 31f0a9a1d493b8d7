//! Mounts of containers: at the start, while they run, and against guests that mean harm.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use osctl_api::Code;
use osctl_api::container::State;
use osctl_api::mounts::{
    Activate, Clear, DatasetDelete, DatasetList, DatasetNew, Deactivate, Delete, List, Mount,
    MountDataset, New, Register,
};
use osctl_tests::canary::Canary;
use osctl_tests::rootfs::ATTACKER;
use osctl_tests::{Ct, Host, Rootfs, host, leaks, wait};
use serde_json::json;

/// A directory of the host with a file in it, where none of its users gets.
fn share(host: &Host, name: &str) -> PathBuf {
    let closed = host.path("closed");
    fs::create_dir_all(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let path = closed.join(name);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path.join("text"), name).unwrap();
    path
}

fn add(ct: &Ct<'_>, fs: &Path, place: &str, opts: &str) -> Result<(), osctl_api::Error> {
    let new = json!({ "fs": fs, "mountpoint": place, "type": "bind", "opts": opts });
    ct.try_json::<New>(new).map(drop)
}

fn mounts(ct: &Ct<'_>) -> Vec<Mount> {
    ct.json::<List>(json!({})).mounts
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, osctl_api::Error>, code: Code) -> String {
    let e = result.unwrap_err();
    assert_eq!(e.code, code, "{e}");
    e.to_string()
}

/// Options of what is mounted on a place, as the guest sees them.
fn options(ct: &Ct<'_>, place: &str) -> String {
    ct.sh(&format!(
        "grep ' {place} ' /proc/mounts | tail -n 1 | cut -d' ' -f4"
    ))
}

fn has(options: &str, word: &str) -> bool {
    options.trim().split(',').any(|o| o == word)
}

#[test]
fn what_is_configured_is_mounted_at_every_start() {
    let host = host!();
    let ct = host.new_ct("web1");
    let (a, b) = (share(&host, "a"), share(&host, "b"));
    fs::create_dir(a.join("b")).unwrap();
    let new = |words: &str| {
        let words = format!("ct mounts new web1 {words}");
        host.osctl(&words.split(' ').collect::<Vec<_>>());
    };
    new(&format!("--fs {} --mountpoint /srv/a", a.display()));
    new(&format!(
        "--fs {} --mountpoint /srv/a/b --opts bind,ro,create=dir",
        b.display()
    ));
    new(&format!(
        "--fs {}/text --mountpoint /etc/one --opts idmap,create=file,noexec,noatime",
        b.display()
    ));
    new("--fs none --mountpoint /scratch --type tmpfs --opts size=1m,create=dir,mode=700");
    new(&format!(
        "--fs {} --mountpoint /later --no-automount",
        a.display()
    ));
    new(
        "--fs /nonexistent/x --mountpoint /none --no-automount --opts optional"
            .replace("/nonexistent/x", a.to_str().unwrap())
            .as_str(),
    );
    ct.start();
    assert_eq!(ct.sh("cat /srv/a/text /etc/one /srv/a/b/text"), "abb");
    // What is root's is nobody's there, except for what is mapped.
    assert_eq!(ct.sh("stat -c %u /srv/a/text /etc/one"), "65534\n0\n");
    for place in ["/srv/a", "/srv/a/b", "/etc/one", "/scratch"] {
        let options = options(&ct, place);
        assert!(
            has(&options, "nosuid") && has(&options, "nodev"),
            "{place}: {options}"
        );
        assert_eq!(
            has(&options, "ro"),
            place == "/srv/a/b",
            "{place}: {options}"
        );
        assert_eq!(
            has(&options, "noexec"),
            place == "/etc/one",
            "{place}: {options}"
        );
        // It can't take that away; what is in its own memory can do no harm.
        if place == "/scratch" {
            continue;
        }
        let remount = format!("mount -o remount,bind,rw,suid,dev,exec {place}");
        assert!(!ct.exec(&["sh", "-c", &remount]).success(), "{place}");
    }
    assert_eq!(ct.sh("stat -c %a:%u /scratch"), "700:0\n");
    assert!(options(&ct, "/scratch").contains("size=1024k"));
    assert!(
        !ct.exec(&["sh", "-c", "dd if=/dev/zero of=/scratch/x bs=64k count=32"])
            .success()
    );
    assert!(!ct.exec(&["sh", "-c", "echo x > /srv/a/b/text"]).success());
    assert_eq!(
        ct.sh("ls /later 2>&1 | wc -l; test -e /none/text || echo none"),
        "1\nnone\n"
    );
    ct.sh("echo changed > /etc/one");
    assert_eq!(fs::read_to_string(b.join("text")).unwrap(), "changed\n");
    assert_eq!(fs::metadata(b.join("text")).unwrap().uid(), 0);

    let listed = host.osctl(&[
        "ct",
        "mounts",
        "ls",
        "-H",
        "-o",
        "mountpoint,type,opts,automount",
        "web1",
    ]);
    let first: Vec<&str> = listed.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(first, ["/srv/a", "bind", "create=dir,rw", "true"]);
    assert_eq!(listed.lines().count(), 6);

    // Neither a new daemon nor a new start changes anything.
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(mounts(&ct).len(), 6);
    ct.kill();
    ct.start();
    assert_eq!(ct.sh("cat /srv/a/b/text"), "changed\n");
    ct.kill();
    host.osctl(&["ct", "mv", "web1", "web2"]);
    let ct = host.ct("web2");
    ct.start();
    assert_eq!(ct.sh("cat /srv/a/text"), "a");
    ct.delete();
    host.assert_clean();
}

#[test]
fn mounts_of_a_running_container_come_and_go() {
    let host = host!();
    let (a, b) = (share(&host, "a"), share(&host, "b"));
    let ct = host.new_ct("web1");
    add(&ct, &a, "/at/start", "create=dir").unwrap();
    ct.start();
    let place = |place: &str| json!({ "mountpoint": place });
    // A new one is there at once.
    add(&ct, &a, "/now", "create=dir").unwrap();
    add(&ct, &b, "/now/b", "create=dir,ro").unwrap_err();
    fs::create_dir(a.join("b")).unwrap();
    add(&ct, &b, "/now/b", "ro").unwrap();
    assert_eq!(ct.sh("cat /now/text /now/b/text"), "ab");
    refused(add(&ct, &a, "/now", "create=dir"), Code::AlreadyExists);
    // It is one mount, however often it is asked for.
    refused(
        ct.try_json::<Activate>(place("/now")),
        Code::InvalidArgument,
    );
    ct.json::<Deactivate>(place("/now/b"));
    ct.json::<Deactivate>(place("/now"));
    ct.json::<Deactivate>(place("/now"));
    assert_eq!(ct.sh("ls -A /now; grep -c /now /proc/mounts; true"), "0\n");
    ct.json::<Activate>(place("/now"));
    assert_eq!(ct.sh("cat /now/text"), "a");
    refused(ct.try_json::<Activate>(place("/other")), Code::NotFound);
    refused(ct.try_json::<Deactivate>(place("/other")), Code::NotFound);
    refused(ct.try_json::<Delete>(place("/other")), Code::NotFound);
    // One that can't be mounted is not kept.
    ct.sh("ln -s /tmp /link");
    for bad in ["/link", "/link/x"] {
        add(&ct, &a, bad, "create=dir").unwrap_err();
    }
    assert_eq!(mounts(&ct).len(), 3);

    // What is registered is known to the next daemon, and forgotten with the run.
    let register = |more: serde_json::Value| {
        let mut all = json!({ "mountpoint": "/by/hand", "opts": "create=dir" });
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        ct.try_json::<Register>(all)
    };
    register(json!({ "fs": b })).unwrap();
    refused(register(json!({ "fs": b })), Code::AlreadyExists);
    register(json!({ "mountpoint": "/unknown", "on_ct_start": true })).unwrap();
    host.kill_daemon();
    host.start_daemon();
    let temporary: Vec<bool> = mounts(&ct).iter().map(|m| m.temporary).collect();
    assert_eq!(temporary, [false, false, false, true, true]);
    ct.json::<Activate>(place("/by/hand"));
    assert_eq!(ct.sh("cat /by/hand/text"), "b");
    refused(
        ct.try_json::<Activate>(place("/unknown")),
        Code::InvalidState,
    );
    ct.json::<Delete>(place("/now"));
    ct.json::<Delete>(place("/now/b"));
    assert_eq!(ct.sh("test -e /now/text || echo gone"), "gone\n");
    ct.kill();
    assert_eq!(mounts(&ct).len(), 1);
    refused(register(json!({ "fs": b })), Code::InvalidState);
    refused(
        ct.try_json::<Activate>(place("/at/start")),
        Code::InvalidState,
    );

    ct.start();
    assert_eq!(
        ct.sh("cat /at/start/text; test -e /by/hand/text || echo gone"),
        "agone\n"
    );
    register(json!({ "fs": b })).unwrap();
    ct.json::<Clear>(json!({}));
    assert!(mounts(&ct).is_empty());
    assert_eq!(ct.sh("grep -c ' /at/start ' /proc/mounts; true"), "0\n");
    ct.delete();
    host.assert_clean();
}

#[test]
fn nothing_that_is_mounted_later_gets_from_one_side_to_the_other() {
    let host = host!();
    let a = share(&host, "a");
    fs::create_dir(a.join("sub")).unwrap();
    let ct = host.new_ct("web1");
    ct.start();
    add(&ct, &a, "/mnt", "create=dir,rbind,idmap").unwrap();
    let before = leaks::mountinfo();
    ct.sh("mount -t tmpfs x /mnt/sub && touch /mnt/sub/guest");
    assert_eq!(leaks::mountinfo(), before);
    assert_eq!(fs::read_dir(a.join("sub")).unwrap().count(), 0);
    ct.sh("umount /mnt/sub");
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(
        Some("x"),
        &a.join("sub"),
        Some("tmpfs"),
        flags,
        None::<&str>,
    )
    .unwrap();
    fs::write(a.join("sub/host"), "").unwrap();
    let seen = ct.sh("ls /mnt/sub");
    nix::mount::umount2(&a.join("sub"), nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert_eq!(seen, "");
    ct.delete();
    host.assert_clean();
}

#[test]
fn what_is_not_for_containers_is_refused() {
    let host = host!();
    let ct = host.new_ct("web1");
    let other = host.new_ct("other");
    let pool = host.pool_dir("tank");
    let own = [
        pool.join("conf"),
        pool.join("conf/ct"),
        pool.join("conf/ct/web1.json"),
        pool.join("log"),
        pool.join("trash"),
        other.rootfs(),
        other.rootfs().join("etc"),
        other.rootfs().join("etc/passwd"),
        ct.rootfs(),
        host.run_dir(),
        host.socket(),
        pool.clone(),
        host.path("").components().as_path().to_owned(),
        "/proc".into(),
        "/sys/kernel".into(),
    ];
    for path in &own {
        refused(add(&ct, path, "/mnt", "bind"), Code::PermissionDenied);
    }
    let link = host.path("link");
    symlink(pool.join("conf"), &link).unwrap();
    refused(add(&ct, &link, "/mnt", "bind"), Code::InvalidArgument);
    refused(
        add(&ct, Path::new("/nonexistent"), "/mnt", "bind"),
        Code::NotFound,
    );
    refused(
        add(&ct, Path::new("/dev/null"), "/mnt", "bind"),
        Code::InvalidArgument,
    );
    for bad in ["/srv/../etc", "relative", "/", "/srv//x", "", "/a\nb"] {
        refused(
            add(&ct, Path::new(bad), "/mnt", "bind"),
            Code::InvalidArgument,
        );
    }
    let a = share(&host, "a");
    let (a, new) = (a.to_str().unwrap(), ["ct", "mounts", "new", "web1", "--fs"]);
    for bad in ["/", "/proc", "/dev/x", "/a/../b", "x", "/a\nlxc.idmap="] {
        let out = host.try_osctl(&[&new[..], &[a, "--mountpoint", bad]].concat());
        assert_eq!(out.status.code(), Some(2), "{bad:?}");
    }
    for bad in ["suid", "dev", "shared", "ro,rw", "size=1m", "x-mount.mkdir"] {
        let words = [a, "--mountpoint", "/mnt", "--opts", bad];
        let out = host.try_osctl(&[&new[..], &words].concat());
        assert!(!out.status.success(), "{bad:?}");
    }
    assert!(mounts(&ct).is_empty());
    // Where users of the host can get, no container gets the rights of the host's root.
    let public = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in("/var/tmp")
        .unwrap();
    let path = public.path().canonicalize().unwrap();
    add(&ct, &path, "/plain", "create=dir").unwrap();
    refused(add(&ct, &path, "/mapped", "idmap"), Code::PermissionDenied);
    // Refused when it is mounted, too: things may have changed.
    fs::create_dir(host.path("moved")).unwrap();
    add(&ct, &host.path("moved"), "/moved", "create=dir").unwrap();
    fs::remove_dir(host.path("moved")).unwrap();
    symlink(pool.join("conf"), host.path("moved")).unwrap();
    refused(ct.try_start(), Code::InvalidArgument);
    assert_eq!(ct.state(), State::Stopped);
    ct.delete();
    other.delete();
    host.assert_clean();
}

/// Datasets are on ZFS: see `tests/tests/vm/datasets.rs`.
#[test]
fn a_pool_in_a_directory_says_that_it_has_no_datasets() {
    let host = host!();
    let ct = host.new_ct("web1");
    let one = json!({ "dataset": "var/lib" });
    let why = [
        refused(ct.try_json::<DatasetNew>(one.clone()), Code::Unsupported),
        refused(ct.try_json::<DatasetList>(json!({})), Code::Unsupported),
    ];
    for why in why {
        assert!(why.contains("pool of ZFS"), "{why}");
    }
    refused(ct.try_json::<DatasetDelete>(one), Code::NotFound);
    let mount = json!({ "dataset": "var", "mountpoint": "/var" });
    refused(ct.try_json::<MountDataset>(mount), Code::Unsupported);
    for bad in ["private", "../x", "a//b", "-r", "a@b", "%", ""] {
        let out = host.try_osctl(&["ct", "dataset", "new", "web1", "--", bad]);
        assert_eq!(out.status.code(), Some(2), "{bad:?}");
    }
    assert!(mounts(&ct).is_empty());
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_guest_that_changes_what_is_mounted_for_it_sees_nothing_else() {
    let host = host!();
    let secret = share(&host, "secret");
    let a = share(&host, "a");
    fs::create_dir(a.join("sub")).unwrap();
    fs::write(a.join("sub/text"), "sub").unwrap();
    let ct = host.new_ct("evil");
    add(&ct, &a, "/share", "create=dir,idmap").unwrap();
    add(&ct, &a.join("sub"), "/sub", "create=dir,idmap").unwrap();
    ct.start();
    assert_eq!(ct.sh("cat /sub/text"), "sub");
    ct.json::<Deactivate>(json!({ "mountpoint": "/sub" }));
    for target in [secret.to_str().unwrap(), "../secret", "/", "/proc/1/root"] {
        ct.sh(&format!("rm -rf /share/sub; ln -s {target} /share/sub"));
        let e = ct.try_json::<Activate>(json!({ "mountpoint": "/sub" }));
        refused(e, Code::InvalidArgument);
    }
    assert_eq!(ct.sh("ls -A /sub"), "");
    ct.kill();
    refused(ct.try_start(), Code::InvalidArgument);
    ct.json::<Delete>(json!({ "mountpoint": "/sub" }));
    ct.start();
    ct.delete();
    host.assert_clean();
}

/// CVE-2021-30465: what the target leads to is swapped all the time.
#[test]
fn a_guest_that_swaps_the_place_of_a_mount_gains_nothing() {
    let host = host!();
    let canary = Canary::new(&host.path("canary"), &["x", "target"]);
    let a = share(&host, "a");
    let rootfs = Rootfs::minimal().with_attacker(&host.program("osctl-test-attacker"));
    let ct = host.ct_of("evil", &rootfs);
    ct.start();
    ct.sh("mkdir -p /t/d/x");
    let place = json!({ "mountpoint": "/t/d/x" });
    let new = json!({
        "fs": a, "mountpoint": "/t/d/x", "type": "bind", "opts": "create=dir", "automount": false,
    });
    ct.json::<New>(new);
    let before = leaks::mountinfo();
    let tree = osctl_tests::canary::manifest(&host.path("canary"), &[]);
    let victim = host.path("canary").display().to_string();
    let mut attacker = ct.open_quiet(&[ATTACKER, "swap", &victim, "/t/d", "/t/d/x"]);
    let mut client = host.client();
    let (mut done, mut failed) = (0, 0);
    let rounds = if osctl_tests::is_thorough() {
        1000
    } else {
        300
    };
    for _ in 0..rounds {
        let activate = osctl_tests::host::params::<Activate>(with_id(&ct, &place));
        let deactivate = osctl_tests::host::params::<Deactivate>(with_id(&ct, &place));
        for result in [
            client.call(&activate).map(drop),
            client.call(&deactivate).map(drop),
        ] {
            match result {
                Ok(()) => done += 1,
                Err(e) => {
                    assert!(
                        matches!(e.code, Code::Backend | Code::InvalidArgument),
                        "{e}"
                    );
                    failed += 1;
                }
            }
        }
    }
    println!("{done} done, {failed} failed");
    assert!(done > 30 && failed > 30, "{done} done, {failed} failed");
    assert_eq!(leaks::mountinfo(), before);
    assert_eq!(
        osctl_tests::canary::manifest(&host.path("canary"), &[]),
        tree
    );
    canary.assert_untouched("swapped places");
    assert_eq!(fs::read_to_string(a.join("text")).unwrap(), "a");
    attacker.signal(9);
    attacker.end_within(wait::SOON);
    ct.delete();
    host.assert_clean();
}

fn with_id(ct: &Ct<'_>, params: &serde_json::Value) -> serde_json::Value {
    let mut params = params.clone();
    params["id"] = json!(ct.id);
    params
}
