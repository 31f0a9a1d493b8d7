//! Writing and reading files of a guest.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;

use osctl_runtime::control::{Action, SessionMessage};
use osctl_runtime::spec::{FileAction, FileOp, SymlinkPolicy};

use crate::harness::{Ct, Output, Place, SLEEP, able, finish};

fn write(path: &str, content: &str) -> FileOp {
    FileOp {
        path: path.into(),
        action: FileAction::Write {
            content: content.into(),
        },
        mode: 0o640,
        uid: 0,
        gid: 7,
        parents: true,
        symlink: SymlinkPolicy::Refuse,
    }
}

fn read(ct: &mut Ct, path: &str, max_bytes: u64) -> Output {
    let (out, out_w) = crate::harness::pipe();
    let action = Action::ReadFile {
        path: path.into(),
        max_bytes,
    };
    let session = ct.enter(action, &[out_w.as_fd()]).unwrap();
    drop(out_w);
    let mut output = finish(&session, None);
    fs::File::from(out).read_to_string(&mut output.out).unwrap();
    output
}

#[test]
fn before_and_while_it_runs() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec("cat /etc/deep/early; exec sleep 1000000");
    spec.files = vec![
        write("/etc/deep/early", "early\n"),
        write("/tmp", "no file"),
    ];
    let mut ct = place.start(&spec);
    assert_eq!(ct.warnings.len(), 1, "{:?}", ct.warnings);
    assert!(ct.warnings[0].contains("/tmp"));
    crate::harness::read_until(&ct.console(), "early");
    assert_eq!(ct.say("stat -c %u:%g:%a /etc/deep/early"), "0:7:640");

    let files = vec![
        write("/etc/late", "late\n"),
        FileOp {
            action: FileAction::Block {
                begin: "# begin".into(),
                end: "# end".into(),
                content: "line".into(),
            },
            ..write("/etc/late", "")
        },
        FileOp {
            action: FileAction::Symlink {
                target: "/etc/late".into(),
            },
            ..write("/etc/link", "")
        },
        FileOp {
            action: FileAction::Remove,
            ..write("/etc/deep/early", "")
        },
    ];
    let output = ct.act(Action::WriteFiles { files });
    assert_eq!(
        (output.status(), output.warnings.len()),
        (0, 0),
        "{output:?}"
    );
    assert_eq!(
        read(&mut ct, "/etc/link", 100).out,
        "late\n# begin\nline\n# end\n"
    );
    assert!(!ct.place().rootfs().join("etc/deep/early").exists());

    let code = |output: Output| match output.end {
        SessionMessage::Failed { code, .. } => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(read(&mut ct, "/missing", 100)), 127);
    assert_eq!(code(read(&mut ct, "/etc", 100)), 126);
    assert_eq!(code(read(&mut ct, "/etc/late", 5)), 126);
    assert_eq!(code(read(&mut ct, "/dev/zero", 5)), 126);
}

#[test]
fn a_client_that_loses_patience_ends_it() {
    if !able() {
        return;
    }
    let place = Place::new();
    fs::write(place.rootfs().join("etc/large"), vec![b'x'; 1 << 20]).unwrap();
    let mut ct = place.run(SLEEP);
    let (_out, out_w) = crate::harness::pipe();
    let action = Action::ReadFile {
        path: "/etc/large".into(),
        max_bytes: 1 << 20,
    };
    let session = ct.enter(action, &[out_w.as_fd()]).unwrap();
    drop(out_w);
    assert_eq!(ct.status().sessions, 1);
    drop(session);
    ct.until(|status| status.sessions == 0);
}

#[test]
fn symlinks_to_the_host_lead_nowhere() {
    if !able() {
        return;
    }
    let place = Place::new();
    let victim = place.dir.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    fs::create_dir(place.dir.path().join("victims")).unwrap();
    let link = |target: &std::path::Path, name: &str| {
        std::os::unix::fs::symlink(target, place.rootfs().join(name)).unwrap();
    };
    // Absolute and upwards; as a file and as a directory on the way.
    link(&victim, "etc/absolute");
    link("../../../../../../../../..".as_ref(), "etc/up");
    link("/proc/1/root".as_ref(), "etc/magic");
    link(&place.dir.path().join("victims"), "etc/directory");
    nix::unistd::mkfifo(
        &place.rootfs().join("etc/fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )
    .unwrap();
    let upwards = format!("/etc/up{}", victim.display());
    let magic = format!("/etc/magic{}", victim.display());
    let paths = [
        "/etc/absolute",
        &upwards,
        &magic,
        "/etc/directory/file",
        "/etc/fifo",
    ];
    let mut files = Vec::new();
    for symlink in [
        SymlinkPolicy::Refuse,
        SymlinkPolicy::Follow,
        SymlinkPolicy::Replace,
    ] {
        for path in paths {
            files.push(FileOp {
                symlink,
                parents: symlink == SymlinkPolicy::Follow,
                ..write(path, "written")
            });
        }
    }
    let mut spec = place.spec(SLEEP);
    spec.files = files.clone();
    let mut ct = place.start(&spec);
    let output = ct.act(Action::WriteFiles { files });
    assert_eq!(output.status(), 0, "{output:?}");
    for path in paths {
        let _ = read(&mut ct, path, 100);
    }
    let host = ct.place().dir.path();
    assert_eq!(
        fs::read_to_string(host.join("victim")).unwrap(),
        "untouched"
    );
    assert_eq!(crate::harness::names(host.join("victims")).len(), 0);
    assert_eq!(
        crate::harness::names(host),
        ["rootfs", "run", "victim", "victims"]
    );
}
