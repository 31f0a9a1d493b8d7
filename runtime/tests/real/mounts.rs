//! Extra mounts, at the start and later.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use osctl_runtime::control::{Action, SessionMessage};
use osctl_runtime::spec::{CreateTarget, FileId, Mount, MountAttributes, MountSource};

use crate::harness::{Place, SLEEP, able};

fn bind(source: &Path, target: &str, create: CreateTarget) -> Mount {
    Mount {
        source: MountSource::Bind {
            path: source.into(),
            recursive: false,
            idmap: true,
            file: None,
        },
        target: target.into(),
        create,
        attributes: MountAttributes::default(),
        optional: false,
        exclusive: false,
    }
}

#[test]
fn at_the_start() {
    if !able() {
        return;
    }
    let place = Place::new();
    let shared = place.dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "content").unwrap();
    let mut spec = place.spec(SLEEP);
    let read_only = MountAttributes {
        read_only: true,
        nosuid: true,
        noatime: true,
        ..MountAttributes::default()
    };
    spec.mounts = vec![
        bind(&shared, "/mnt/deep/shared", CreateTarget::Dir),
        bind(&shared.join("file"), "/etc/one", CreateTarget::File),
        Mount {
            attributes: read_only,
            ..bind(&shared, "/mnt/ro", CreateTarget::Dir)
        },
        Mount {
            source: MountSource::New {
                fstype: "tmpfs".into(),
                source: Some("scratch".into()),
                options: vec![("size".into(), Some("64k".into()))],
            },
            ..bind(&shared, "/mnt/tmp", CreateTarget::Dir)
        },
        Mount {
            optional: true,
            ..bind(Path::new("/nonexistent"), "/mnt/x", CreateTarget::Dir)
        },
    ];
    let mut ct = place.start(&spec);
    assert_eq!(ct.warnings.len(), 1, "{:?}", ct.warnings);
    assert!(ct.warnings[0].contains("/mnt/x") && ct.warnings[0].contains("ENOENT"));
    assert_eq!(
        ct.say("cat /mnt/deep/shared/file /etc/one"),
        "contentcontent"
    );
    ct.say("echo x > /mnt/deep/shared/new");
    assert_eq!(fs::metadata(shared.join("new")).unwrap().uid(), 0);
    assert_ne!(ct.sh("echo x > /mnt/ro/other").status(), 0);
    assert!(ct.say("grep scratch /proc/mounts").contains("size=64k"));
    assert!(
        ct.say("grep /mnt/ro /proc/mounts")
            .contains("ro,nosuid,noatime")
    );
    // What the guest mounts there stays in the guest.
    ct.say("mkdir /mnt/deep/shared/sub && mount -t tmpfs x /mnt/deep/shared/sub && touch /mnt/deep/shared/sub/y");
    assert_eq!(crate::harness::names(shared.join("sub")).len(), 0);

    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.mounts = vec![bind(Path::new("/nonexistent"), "/mnt/x", CreateTarget::Dir)];
    let (_, step, error) = place.try_start(&spec).err().expect("a failure");
    assert_eq!(step, "mounts");
    assert!(
        error.contains("/mnt/x") && error.contains("/nonexistent"),
        "{error}"
    );
}

#[test]
fn while_it_runs() {
    if !able() {
        return;
    }
    let place = Place::new();
    let shared = place.dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    let mut ct = place.run(SLEEP);
    let output = ct.act(Action::Mount(bind(&shared, "/mnt/late", CreateTarget::Dir)));
    assert_eq!(output.status(), 0, "{output:?}");
    ct.say("touch /mnt/late/by-guest");
    assert_eq!(fs::metadata(shared.join("by-guest")).unwrap().uid(), 0);
    let unmount = || Action::Unmount {
        target: "/mnt/late".into(),
    };
    assert_eq!(ct.act(unmount()).status(), 0);
    assert_eq!(ct.say("ls /mnt/late"), "");
    let again = ct.act(unmount()).end;
    assert!(
        matches!(again, SessionMessage::Failed { code: 127, .. }),
        "{again:?}"
    );
}

#[test]
fn a_source_is_what_the_daemon_has_seen() {
    if !able() {
        return;
    }
    let place = Place::new();
    let at = place.dir.path().canonicalize().unwrap();
    for name in ["seen", "other"] {
        fs::create_dir(at.join(name)).unwrap();
        fs::write(at.join(name).join(name), "").unwrap();
    }
    symlink(at.join("seen"), at.join("link")).unwrap();
    let seen = fs::metadata(at.join("seen")).unwrap();
    let known = |path: &str| Mount {
        source: MountSource::Bind {
            path: at.join(path),
            recursive: false,
            idmap: false,
            file: Some(FileId {
                dev: seen.dev(),
                ino: seen.ino(),
            }),
        },
        exclusive: true,
        ..bind(&at, "/mnt/known", CreateTarget::Dir)
    };
    let mut ct = place.run(SLEEP);
    for (path, why) in [
        ("other", "not what it was"),
        ("link", "not what it was"),
        ("link/seen", "ELOOP"),
    ] {
        let refused = ct.enter(Action::Mount(known(path)), &[]).unwrap_err();
        assert!(format!("{refused:?}").contains(why), "{path}: {refused:?}");
    }
    assert_eq!(ct.act(Action::Mount(known("seen"))).status(), 0);
    assert_eq!(ct.say("ls /mnt/known"), "seen");
    // It is not mounted twice.
    let again = ct.act(Action::Mount(known("seen"))).end;
    assert!(
        matches!(again, SessionMessage::Failed { code: 126, .. }),
        "{again:?}"
    );
}

#[test]
fn targets_that_are_symlinks_are_refused() {
    if !able() {
        return;
    }
    let place = Place::new();
    let victim = place.dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    symlink(&victim, place.rootfs().join("mnt")).unwrap();
    symlink("../../../../../../tmp", place.rootfs().join("up")).unwrap();
    let mut ct = place.run(SLEEP);
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for target in [
        "/mnt",
        "/mnt/x",
        "/up",
        "/up/osctl-never-made",
        "/../../../../tmp",
    ] {
        for create in [CreateTarget::No, CreateTarget::Dir, CreateTarget::File] {
            let output = ct.act(Action::Mount(bind(&victim, target, create)));
            let failed = matches!(output.end, SessionMessage::Failed { code: 125, .. });
            assert!(failed, "{target}: {output:?}");
        }
    }
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    assert_eq!(crate::harness::names(&victim).len(), 0);
}

#[test]
fn a_guest_cannot_take_flags_from_what_was_mounted_for_it() {
    if !able() {
        return;
    }
    let place = Place::new();
    let shared = place.dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "content").unwrap();
    let read_only = |target: &str| Mount {
        attributes: MountAttributes {
            read_only: true,
            nodev: true,
            ..MountAttributes::default()
        },
        ..bind(&shared, target, CreateTarget::Dir)
    };
    let mut spec = place.spec(SLEEP);
    let file = Mount {
        attributes: read_only("/").attributes,
        ..bind(&shared.join("file"), "/etc/one", CreateTarget::File)
    };
    spec.mounts = vec![read_only("/mnt/ro"), file];
    let mut ct = place.start(&spec);
    let output = ct.act(Action::Mount(read_only("/mnt/late")));
    assert_eq!(output.status(), 0, "{output:?}");
    // As itself, and through a copy of the mount.
    for (target, flag) in [
        ("/", "dev"),
        ("/dev", "suid"),
        ("/dev", "exec"),
        ("/mnt/ro", "rw"),
        ("/mnt/ro", "dev"),
        ("/mnt/late", "rw"),
        ("/etc/one", "rw"),
    ] {
        let options = "$(grep \" $t \" /proc/mounts | tail -n 1 | cut -d ' ' -f 4)";
        let script = |t: &str| {
            format!(
                "t={t}; o={options}; mount -o remount,bind,$(echo $o | sed s/no{flag}/{flag}/ | sed s/^ro,/{flag},/) $t"
            )
        };
        assert_ne!(ct.sh(&script(target)).status(), 0, "{target} {flag}");
        let copy = if target == "/etc/one" {
            "/etc/two"
        } else {
            "/copy"
        };
        let made = if copy == "/copy" {
            "mkdir -p /copy"
        } else {
            "touch /etc/two"
        };
        ct.say(&format!("{made} && mount -o bind {target} {copy}"));
        assert_ne!(ct.sh(&script(copy)).status(), 0, "{target} copied, {flag}");
        ct.say(&format!("umount {copy}"));
    }
    assert_ne!(ct.sh("echo x > /mnt/ro/file").status(), 0);
    assert_ne!(ct.sh("echo x > /mnt/late/file").status(), 0);
    assert_ne!(ct.sh("echo x > /etc/one").status(), 0);
    assert_eq!(fs::read_to_string(shared.join("file")).unwrap(), "content");
}
