//! What a container looks like from the inside and from the host.

use std::fs;
use std::os::unix::fs::MetadataExt;

use osctl_runtime::control::{Event, Reply, Request, State};
use osctl_runtime::spec::{Device, DeviceKind, IdMapping, Init};

use crate::harness::{BASE, Place, SLEEP, able, names, program};

#[test]
fn init_has_three_streams_and_nothing_else_of_ours() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    assert!(ct.warnings.is_empty(), "{:?}", ct.warnings);

    assert_eq!(names(format!("/proc/{}/fd", ct.pid)), ["0", "1", "2"]);
    assert_eq!(ct.say("ls -l /proc/1/fd | grep -c /dev/pts/0"), "3");
    assert_eq!(ct.say("readlink /proc/1/cwd"), "/");
    let environment = ct.proc("environ").replace('\0', "\n");
    for line in ["container=lxc", "TERM=linux", "GREETING=hello"] {
        assert!(environment.lines().any(|l| l == line), "{environment}");
    }
    // No session leader and without a terminal: a console that it opens stays free for logins.
    let stat = ct.proc("stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_ne!(fields[3], ct.pid.to_string());
    assert_eq!(fields[4], "0");

    let status = ct.proc("status");
    for line in [
        "Umask:\t0022",
        "SigBlk:\t0000000000000000",
        "SigIgn:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert!(status.contains(&format!("Uid:\t{BASE}\t{BASE}\t{BASE}\t{BASE}")));
    assert!(status.contains("Groups:\t \n"), "{status}");
}

#[test]
fn ids_are_shifted_in_the_kernel_and_not_on_disk() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    assert_eq!(
        ct.say("cat /proc/self/uid_map")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["0", &BASE.to_string(), "65536"]
    );
    ct.say("echo text > /tmp/new && chmod 4755 /tmp/new");
    assert_eq!(ct.say("stat -c %u:%g:%a /tmp/new"), "0:0:4755");
    let on_disk = fs::metadata(ct.place().rootfs().join("tmp/new")).unwrap();
    assert_eq!((on_disk.uid(), on_disk.gid()), (0, 0));
    let user = program(&["/bin/sh", "-c", "echo > /tmp/by-user"]);
    fs::set_permissions(
        ct.place().rootfs().join("tmp"),
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )
    .unwrap();
    let output = ct.exec(osctl_runtime::control::Exec {
        uid: 1000,
        gid: 1001,
        ..user
    });
    assert_eq!(output.status(), 0, "{output:?}");
    let on_disk = fs::metadata(ct.place().rootfs().join("tmp/by-user")).unwrap();
    assert_eq!((on_disk.uid(), on_disk.gid()), (1000, 1001));
}

#[test]
fn a_map_of_many_ranges() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    // More than the five that fit into the kernel's structure; between them there are holes.
    spec.uid_map = (0..200)
        .map(|i| IdMapping {
            ns_id: i * 4,
            host_id: BASE + i * 3,
            count: 2,
        })
        .collect();
    let mut ct = place.start(&spec);
    assert_eq!(ct.say("wc -l < /proc/self/uid_map"), "200");
}

#[test]
fn the_standard_mounts() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut ct = place.run(SLEEP);
    assert_eq!(ct.say("hostname"), "box");
    assert_eq!(ct.say("cat /proc/1/comm"), "sleep");
    assert_ne!(ct.sh("touch /sys/x").status(), 0);
    let mounts = ct.say("cat /proc/self/mountinfo");
    let options = |target: &str| -> &str {
        let line = mounts
            .lines()
            .rfind(|l| l.split(' ').nth(4) == Some(target));
        line.unwrap_or_else(|| panic!("{target} in {mounts}"))
            .split(' ')
            .nth(5)
            .unwrap()
    };
    assert!(options("/").contains("nodev"));
    assert!(options("/sys").starts_with("ro,nosuid,nodev,noexec"));
    assert!(options("/proc").starts_with("rw,nosuid,nodev,noexec"));
    assert!(options("/proc/sys").starts_with("ro,"));
    assert!(options("/proc/sys/net").starts_with("rw,"));
    assert!(options("/sys/devices/virtual/net").starts_with("rw,"));
    assert!(options("/dev").starts_with("rw,nosuid,noexec"));
    assert!(options("/dev/shm").starts_with("rw,nosuid,nodev"));
    // Nothing of the host is left, not even as a name.
    let host = ct.place().dir.path().display().to_string();
    let foreign = mounts.lines().filter(|l| !l.contains(&host)).filter(|l| {
        let fstype = l.split(" - ").nth(1).unwrap().split(' ').next().unwrap();
        !["proc", "sysfs", "tmpfs", "devpts", "mqueue"].contains(&fstype)
    });
    assert_eq!(foreign.count(), 0, "{mounts}");
    assert_eq!(
        ct.say("echo 5 > /proc/sys/net/ipv4/ip_default_ttl; cat /proc/sys/net/ipv4/ip_default_ttl"),
        "5"
    );
    assert_eq!(
        ct.say("echo 1234 > /sys/class/net/lo/mtu; cat /sys/class/net/lo/mtu"),
        "1234"
    );
    assert!(ct.say("ip addr show lo").contains("127.0.0.1"));
}

#[test]
fn masked_files_are_null_and_masked_directories_empty() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.masked_paths.push("/etc/hidden".into());
    spec.masked_paths.push("/home".into());
    // Where the guest expects its null device there is something else.
    spec.devices[0].minor = 5;
    fs::write(place.rootfs().join("etc/hidden"), "secret").unwrap();
    let mut ct = place.start(&spec);
    for file in [
        "/proc/keys",
        "/proc/kallsyms",
        "/proc/interrupts",
        "/etc/hidden",
    ] {
        assert_eq!(
            ct.say(&format!("stat -c %t:%T {file}; cat {file}")),
            "1:3",
            "{file}"
        );
    }
    assert_eq!(
        ct.say("ls -A /sys/firmware /home"),
        "/home:\n\n/sys/firmware:"
    );
    assert_ne!(ct.sh("touch /home/x").status(), 0);
    assert_ne!(ct.sh("echo h > /proc/sysrq-trigger").status(), 0);
}

#[test]
fn devices_have_the_modes_and_owners_of_the_spec() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    let tun = Device {
        path: "/dev/net/tun".into(),
        kind: DeviceKind::Char,
        major: 10,
        minor: 200,
        mode: 0o620,
        uid: 7,
        gid: 5,
    };
    spec.devices.push(tun.clone());
    let mut ct = place.start(&spec);
    let tun_line = "a:c8:7:5:620";
    assert_eq!(ct.say("stat -c %t:%T:%u:%g:%a /dev/net/tun"), tun_line);
    assert_eq!(
        ct.say("echo x > /dev/null; head -c 3 /dev/zero | od -An -tx1")
            .trim(),
        "00 00 00"
    );
    assert_ne!(ct.sh("mknod /tmp/sda b 8 0").status(), 0);

    let fuse = Device {
        path: "/dev/fuse".into(),
        minor: 229,
        ..tun
    };
    assert_eq!(ct.ask(Request::DeviceAdd(fuse.clone()), &[]), Reply::Done);
    assert_eq!(ct.say("stat -c %t:%T:%u:%g:%a /dev/fuse"), "a:e5:7:5:620");
    assert_eq!(ct.ask(Request::DeviceAdd(fuse), &[]), Reply::Done);
    let del = |path: &str| Request::DeviceDel { path: path.into() };
    assert_eq!(ct.ask(del("/dev/fuse"), &[]), Reply::Done);
    assert_eq!(ct.ask(del("/dev/fuse"), &[]), Reply::Done);
    assert_ne!(ct.sh("stat /dev/fuse").status(), 0);
    for bad in ["/etc/passwd", "/dev/../etc/passwd", "/dev"] {
        assert!(matches!(ct.ask(del(bad), &[]), Reply::Error(_)), "{bad}");
    }
}

#[test]
fn clocks_begin_with_the_container() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.time_namespace = true;
    let mut ct = place.start(&spec);
    let uptime = ct.say("cat /proc/uptime");
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!(seconds < 30.0, "{uptime}");
}

#[test]
fn a_read_only_root() {
    if !able() {
        return;
    }
    let place = Place::new();
    for name in ["proc", "sys", "dev"] {
        fs::create_dir(place.rootfs().join(name)).unwrap();
    }
    let mut spec = place.spec(SLEEP);
    spec.rootfs_readonly = true;
    let mut ct = place.start(&spec);
    assert_ne!(ct.sh("touch /tmp/x").status(), 0);
    assert_eq!(ct.say("touch /dev/shm/x; ls /dev/shm"), "x");
}

#[test]
fn a_paused_container_reaps_and_ends_on_request() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.init = Init::Pause;
    let mut ct = place.start(&spec);
    assert_eq!(names(format!("/proc/{}/fd", ct.pid)).len(), 0);
    // Orphans of an entry are init's; none of them stays.
    ct.say("(true & true & true &) ; true");
    assert_eq!(
        ct.say("id -u; cat /proc/1/exe >/dev/null 2>&1 || echo no"),
        "0\nno"
    );
    assert_eq!(
        ct.ask(
            Request::Signal {
                signal: libc::SIGTERM
            },
            &[]
        ),
        Reply::Done
    );
    assert_eq!(ct.exited().how, osctl_runtime::control::How::Exit(0));
}

#[test]
fn a_held_container_waits_for_its_network() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.hold = true;
    let mut ct = place.spawn(&spec);
    assert!(matches!(ct.event(), Event::Created { .. }));
    ct.until(|status| status.state == State::Held);
    let (reply, fds) = ct.ask_fds(Request::Status);
    assert!(matches!(reply, Reply::Status(_)));
    assert_eq!(fds.len(), 2, "pidfd and network namespace");
    assert!(matches!(ct.ask(Request::Proceed, &[]), Reply::Done));
    let Event::Started { started_at, .. } = ct.event() else {
        panic!("not started");
    };
    assert_eq!(ct.status().started_at, started_at);
    assert!(started_at.is_some());
    assert!(matches!(ct.ask(Request::Proceed, &[]), Reply::Error(_)));

    // Killed, and forgotten, while held.
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.hold = true;
    let mut ct = place.spawn(&spec);
    assert!(matches!(ct.event(), Event::Created { .. }));
    assert_eq!(ct.ask(Request::Kill, &[]), Reply::Done);
    assert_eq!(ct.exited().how, osctl_runtime::control::How::Killed);
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.hold = true;
    let mut ct = place.spawn(&spec);
    assert!(matches!(ct.event(), Event::Created { .. }));
    ct.disconnect();
    ct.child.wait().unwrap();
}

#[test]
fn nesting_shows_an_unmasked_proc() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.nesting = true;
    let mut ct = place.start(&spec);
    assert_eq!(ct.say("stat -c %t:%T /dev/.osctl/proc/keys"), "0:0");
    assert_eq!(
        ct.say("ls -d /dev/.osctl/sys/class/net/lo"),
        "/dev/.osctl/sys/class/net/lo"
    );
}
