//! Guests and peers that mean harm.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use osctl_linux::{process, seqpacket};
use osctl_runtime::control::{Action, Connection, Reply, Request, SessionMessage};
use osctl_runtime::spec::{Device, DeviceKind};

use crate::harness::{BASE, Place, SLEEP, able, names, program, wait_readable};

/// A rootfs whose standard directory is a symlink: refused, and nothing happens where it points.
#[test]
fn standard_directories_as_symlinks() {
    if !able() {
        return;
    }
    for name in ["proc", "sys", "dev"] {
        for relative in [false, true] {
            let place = Place::new();
            let victim = place.dir.path().join("victim");
            fs::create_dir_all(victim.join("pts")).unwrap();
            let target = match relative {
                false => victim.clone(),
                true => "../victim".into(),
            };
            symlink(target, place.rootfs().join(name)).unwrap();
            let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let (place, step, error) = place.try_run(SLEEP).err().expect("refused");
            assert!(
                ["mount proc", "mount sysfs", "dev"].contains(&&*step),
                "{step}: {error}"
            );
            assert!(error.contains(&format!("/{name}")), "{error}");
            assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
            assert_eq!(names(&victim), ["pts"]);
            assert_eq!(names(victim.join("pts")).len(), 0);
            drop(place);
        }
    }
    // /etc is the guest's own affair, within the guest.
    let place = Place::new();
    let victim = place.dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::rename(place.rootfs().join("etc"), place.rootfs().join("etc.real")).unwrap();
    symlink(&victim, place.rootfs().join("etc")).unwrap();
    let mut spec = place.spec(SLEEP);
    spec.files = vec![osctl_runtime::spec::FileOp {
        path: "/etc/hostname".into(),
        action: osctl_runtime::spec::FileAction::Write {
            content: "x".into(),
        },
        mode: 0o644,
        uid: 0,
        gid: 0,
        parents: true,
        symlink: osctl_runtime::spec::SymlinkPolicy::Follow,
    }];
    let _ct = place.start(&spec);
    assert_eq!(names(&victim).len(), 0);
}

/// What is in the rootfs at those names is covered, whatever it is.
#[test]
fn a_prefilled_proc_is_not_believed() {
    if !able() {
        return;
    }
    let place = Place::new();
    for path in ["proc/self/attr", "proc/1", "dev/pts", "sys/fs/cgroup"] {
        fs::create_dir_all(place.rootfs().join(path)).unwrap();
    }
    fs::write(place.rootfs().join("proc/self/attr/exec"), "").unwrap();
    fs::write(place.rootfs().join("proc/keys"), "fake").unwrap();
    fs::write(place.rootfs().join("dev/null"), "fake").unwrap();
    let mut spec = place.spec(SLEEP);
    // One instruction: allow.
    spec.seccomp = vec![vec![osctl_runtime::spec::instruction(6, 0, 0, 0x7fff_0000)]];
    let mut ct = place.start(&spec);
    assert!(ct.proc("status").contains("Seccomp:\t2"));
    assert!(ct.say("cat /proc/self/status").contains("Seccomp:\t2"));
    assert_eq!(ct.say("stat -f -c %T /proc"), "proc");
    assert_eq!(ct.say("cat /proc/keys"), "");
}

/// The guest replaces what entries rely on while they are made.
#[test]
fn entering_a_guest_that_tears_itself_down() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    ct.say("mkdir /tmp/fake; umount /dev/console; umount /dev/pts; mount -t tmpfs x /dev/pts");
    let session = ct.enter(Action::Exec(crate::harness::on_tty(&["true"])), &[]);
    let end = crate::harness::finish(&session.unwrap(), None).end;
    assert!(
        matches!(end, SessionMessage::Failed { code: 125, .. }),
        "{end:?}"
    );
    ct.say("mount -t tmpfs x /proc; mkdir -p /proc/self/fd; umount -l /sys; true");
    assert_eq!(ct.say("echo alive"), "alive");
    let output = ct.act(Action::Unmount {
        target: "/dev/pts".into(),
    });
    assert_eq!(output.status(), 0, "{output:?}");
}

#[test]
fn device_nodes_do_not_leave_dev() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    ct.say("ln -s /tmp /dev/link; mkdir /dev/over; mount --bind /tmp /dev/over; ln -s /tmp/x /dev/node");
    let add = |path: &str| {
        Request::DeviceAdd(Device {
            path: path.into(),
            kind: DeviceKind::Char,
            major: 1,
            minor: 3,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
    };
    assert!(matches!(
        ct.ask(add("/dev/link/null"), &[]),
        Reply::Error(_)
    ));
    // Below the guest's mount, not on it.
    let _ = ct.ask(add("/dev/over/null"), &[]);
    assert_eq!(ct.ask(add("/dev/node"), &[]), Reply::Done);
    assert_eq!(ct.say("stat -c %t:%T /dev/node"), "1:3");
    assert_eq!(names(ct.place().rootfs().join("tmp")).len(), 0);
}

#[test]
fn no_terminal_and_no_directory_of_the_host_gets_in() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    let null = fs::File::open("/dev/null").unwrap();
    let pty = nix::pty::openpty(None, None).unwrap();
    let directory = fs::File::open("/").unwrap();
    for bad in [pty.slave.as_fd(), pty.master.as_fd(), directory.as_fd()] {
        let exec = Action::Exec(program(&["true"]));
        let fds = [null.as_fd(), null.as_fd(), bad];
        assert!(ct.enter(exec, &fds).is_err());
    }
    let exec = || Action::Exec(program(&["true"]));
    assert!(ct.enter(exec(), &[null.as_fd()]).is_err());
    assert!(ct.enter(exec(), &[]).is_err());
    assert!(matches!(
        ct.ask(
            Request::Enter(osctl_runtime::control::Enter { action: exec() }),
            &[]
        ),
        Reply::Error(_)
    ));
}

/// The binary cannot be changed through a process that runs it inside.
#[test]
fn the_runtime_cannot_be_overwritten_from_inside() {
    if !able() {
        return;
    }
    let binary = env!("CARGO_BIN_EXE_osctl-runtime");
    let before = fs::read(binary).unwrap();
    let place = Place::new();
    fs::write(place.rootfs().join("bin/evil"), "#!/proc/self/exe\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(place.rootfs().join("bin/evil"), mode).unwrap();
    let attack = "while :; do for p in /proc/[0-9]*; do \
        { exec 9>>$p/exe; } 2>/dev/null && echo overwritten > /tmp/won; done; done";
    let init = format!("({attack}) & while :; do sleep 1000; done");
    let mut ct = place.run(&init);
    for _ in 0..30 {
        let _ = ct.exec(program(&["/bin/evil"]));
        let _ = ct.exec(program(&["/bin/true"]));
    }
    // The guest's own programs it may open; ours it must not change.
    assert!(fs::read(binary).unwrap() == before);
}

#[test]
fn peers_that_break_the_rules_are_cut_off() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    let run_dir = ct.place().run_dir();
    let long = vec![b' '; 150_000];
    let deep = [vec![b'['; 50_000], vec![b']'; 50_000]].concat();
    for garbage in [
        &b"{"[..],
        b"{\"seq\":1}",
        b"\xff\xfe",
        b"null",
        &long,
        &deep,
    ] {
        let peer = Connection::open(&run_dir).unwrap();
        wait_readable(peer.as_fd());
        peer.recv().unwrap();
        let _ = seqpacket::send(peer.as_fd(), garbage, &[], false);
        wait_readable(peer.as_fd());
        assert!(peer.recv().is_err());
    }
    // Descriptors that nobody asked for.
    let null = fs::File::open("/dev/null").unwrap();
    assert!(matches!(
        ct.ask(Request::Status, &[null.as_fd(); 10]),
        Reply::Status(_)
    ));
    // Many that never read.
    let idle: Vec<_> = (0..40)
        .map(|_| Connection::open(&run_dir).unwrap())
        .collect();
    assert_eq!(ct.say("echo fine"), "fine");
    drop(idle);
    assert_eq!(ct.say("echo fine"), "fine");
}

#[test]
fn signal_numbers_are_checked() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    for signal in [-1, 65, 1 << 30] {
        assert!(matches!(
            ct.ask(Request::Signal { signal }, &[]),
            Reply::Error(_)
        ));
    }
    assert_eq!(ct.ask(Request::Signal { signal: 0 }, &[]), Reply::Done);
}

/// Every signal is an end, real-time ones too.
#[test]
fn an_entry_that_ends_by_any_signal_is_noticed() {
    if !able() {
        return;
    }
    let mut ct = Place::new().run(SLEEP);
    for signal in [34, 40, 64] {
        let output = ct.sh(&format!("kill -{signal} $$"));
        assert_eq!(output.end, SessionMessage::Signaled(signal), "{output:?}");
    }
}

/// What the kernel counts per user is counted for each container by itself, not for the host's root.
#[test]
fn the_user_namespace_belongs_to_the_containers_root() {
    if !able() {
        return;
    }
    let ct = Place::new().run(SLEEP);
    let userns = fs::File::open(format!("/proc/{}/ns/user", ct.pid)).unwrap();
    let owner = process::namespace_owner(userns.as_fd()).unwrap();
    assert_eq!(owner, BASE);
    let status = ct.proc("status");
    assert!(
        status.contains(&format!("Uid:\t{BASE}\t{BASE}\t{BASE}\t{BASE}")),
        "{status}"
    );
}

/// A guest that stops what enters does not keep it from ending when the client goes.
#[test]
fn a_stopped_entry_ends_with_its_client() {
    if !able() {
        return;
    }
    let mut ct = Place::new().run(SLEEP);
    // A full pipe: it is still there when it is stopped.
    let (_out, out_w) = crate::harness::pipe();
    fs::write(ct.place().rootfs().join("large"), vec![b'x'; 1 << 20]).unwrap();
    let read = Action::ReadFile {
        path: "/large".into(),
        max_bytes: 1 << 20,
    };
    let sleep = Action::Exec(program(&["sleep", "1000"]));
    let null = fs::File::open("/dev/null").unwrap();
    for (action, fds) in [(read, vec![out_w.as_fd()]), (sleep, vec![null.as_fd(); 3])] {
        let session = ct.enter(action, &fds).unwrap();
        // All but init and itself.
        assert_eq!(ct.sh("kill -STOP -1").end, SessionMessage::Exited(0));
        drop(session);
        ct.until(|status| status.sessions == 0);
    }
}
