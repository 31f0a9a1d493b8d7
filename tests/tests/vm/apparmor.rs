//! AppArmor, which the image's kernel has: what the profiles of containers refuse, and that
//! nothing runs without.

use std::fs;
use std::time::Duration;

use osctl_tests::vm::{Machine, Output, Settings};
use osctl_tests::{Rootfs, wait};

/// How long it may take in an emulated machine until something is seen that happens by itself.
const LONG: Duration = Duration::from_secs(240);

/// A host with a pool and these containers of a minimal image, which do not run.
fn host(containers: &[&str]) -> Option<Machine> {
    with(Settings::default(), containers)
}

fn with(settings: Settings, containers: &[&str]) -> Option<Machine> {
    let mut host = Machine::ready(Settings {
        prepare: "osctl pool install tank --dir /var/lib/tank".to_owned(),
        ..settings
    })?;
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("minimal.tar");
    Rootfs::minimal().write(&image);
    host.push("/tmp/minimal.tar", 0o644, &fs::read(&image).unwrap());
    for id in containers {
        let new = format!("osctl ct new --from-archive /tmp/minimal.tar {id}");
        host.sh(&new).ok();
    }
    Some(host)
}

/// Runs a script in a container; `b` is busybox.
fn inside(host: &mut Machine, id: &str, script: &str) -> Output {
    let script = format!("b=/bin/busybox; {script}");
    host.run(&[
        "osctl",
        "ct",
        "exec",
        id,
        "/bin/busybox",
        "sh",
        "-c",
        &script,
    ])
}

fn init_pid(host: &mut Machine, id: &str) -> String {
    let list = format!("osctl ct ls -H -o init_pid {id}");
    host.sh(&list).ok().text()
}

/// The label of a container's init, as the host sees it.
fn label(host: &mut Machine, id: &str) -> String {
    let pid = init_pid(host, id);
    let path = format!("cat /proc/{pid}/attr/apparmor/current");
    host.sh(&path).ok().text()
}

/// Waits until the denials of a container have a line with all of these words.
#[track_caller]
fn await_denial(host: &mut Machine, id: &str, words: &[&str]) {
    let mut log = String::new();
    let list = format!("osctl ct log denials {id}");
    let found = wait::find(LONG, || {
        log = host.sh(&list).ok().text();
        let mut lines = log.lines();
        lines
            .find(|l| words.iter().all(|w| l.contains(w)))
            .map(drop)
    });
    assert!(found.is_some(), "{words:?} is not in\n{log}");
}

/// What a process of the host's root, with all its capabilities, is refused once it is under the
/// profile of a container: as if it had broken out of every other barrier.
fn escaped(host: &mut Machine, script: &str) -> Output {
    host.run(&[
        "aa-exec",
        "-p",
        "osctl.tank.web1",
        "--",
        "bash",
        "-c",
        script,
    ])
}

#[test]
fn all_of_a_container_has_its_profile() {
    let Some(mut host) = host(&["web1"]) else {
        return;
    };
    // Files in the places where a label is set do not get it instead.
    let places = "cd /var/lib/tank/ct/web1/private/proc && mkdir -p self/attr/apparmor && \
        touch self/attr/{current,exec} self/attr/apparmor/{current,exec}";
    host.sh(places).ok();
    host.sh("osctl ct start web1").ok();
    let written = "find /var/lib/tank/ct/web1/private/proc -type f -size +0";
    assert_eq!(host.sh(written).ok().text(), "");
    let confined = "osctl.tank.web1 (enforce)";
    assert_eq!(label(&mut host, "web1"), confined);
    let own = "$b cat /proc/self/attr/apparmor/current";
    assert_eq!(inside(&mut host, "web1", own).ok().text(), confined);
    let shown = "osctl ct ls -H -o apparmor_label web1";
    assert_eq!(host.sh(shown).ok().text(), "osctl.tank.web1");

    // Another daemon finds all as it was.
    host.sh("sv -w 60 restart osctld").ok();
    assert_eq!(host.sh(shown).ok().text(), "osctl.tank.web1");
    assert_eq!(label(&mut host, "web1"), confined);

    // A program for which a container is only brought up, and what brings it up.
    host.sh("osctl ct stop web1").ok();
    let loaded = "cat /sys/kernel/security/apparmor/profiles";
    assert_eq!(host.sh(loaded).ok().text(), "");
    let both = "/bin/busybox cat /proc/1/attr/apparmor/current /proc/self/attr/apparmor/current";
    let brought_up = format!("osctl ct exec -r web1 {both}");
    let twice = format!("{confined}\n{confined}");
    assert_eq!(host.sh(&brought_up).ok().text(), twice);

    // The end of a supervisor is that of its container, also where no daemon sees it.
    host.sh("osctl ct stop web1; osctl ct start web1").ok();
    let init = init_pid(&mut host, "web1");
    let supervisor = format!("sv -w 60 stop osctld; kill -KILL $(ps -o ppid= -p {init})");
    host.sh(&supervisor).ok();
    let gone = wait::find(LONG, || {
        let still = host.sh(&format!("kill -0 {init}"));
        (still.status != 0).then_some(())
    });
    assert!(gone.is_some(), "init goes on without its supervisor");
    host.sh("sv -w 120 start osctld").ok();

    // What was kept of the profile is damaged: it is made anew.
    host.sh("osctl ct stop web1; cd /var/lib/osctl/apparmor; truncate -s 3000 osctl.tank.web1")
        .ok();
    host.sh("osctl ct start web1").ok();
    assert_eq!(label(&mut host, "web1"), confined);

    // Nothing enters without the label.
    host.sh("printf osctl.tank.web1 > /sys/kernel/security/apparmor/.remove")
        .ok();
    let refused = inside(&mut host, "web1", own);
    assert_eq!(refused.status, 125, "{refused:?}");
    assert!(refused.error().contains("osctl.tank.web1"), "{refused:?}");

    host.sh("osctl ct del -f web1").ok();
    assert_eq!(
        host.sh("ls /var/lib/osctl/apparmor").ok().text(),
        "features"
    );
}

#[test]
fn what_is_the_hosts_is_refused() {
    let Some(mut host) = host(&["web1", "web2"]) else {
        return;
    };
    host.sh("osctl ct start web1 && osctl ct start web2").ok();

    // As the container's root.
    for attack in [
        "$b umount /proc/kcore",
        "$b mount -t proc proc /mnt",
        "$b mount -t sysfs sysfs /mnt",
        "$b mount -t ext4 /dev/vda /mnt",
        // It may take the lock off this door; the next one holds.
        "$b mount -o remount,bind,rw /proc/sys; echo x > /proc/sys/kernel/core_pattern",
        "$b mount -o remount,bind,rw /sys; echo x > /sys/kernel/uevent_helper",
        "echo b > /proc/sysrq-trigger",
    ] {
        let output = inside(&mut host, "web1", attack);
        assert_ne!(output.status, 0, "{attack}: {output:?}");
    }
    await_denial(&mut host, "web1", &["umount", "/proc/kcore", "deny umount"]);
    await_denial(
        &mut host,
        "web1",
        &["mount", "proc", "/mnt/", "deny mount fstype="],
    );
    let rule = "audit deny /proc/sys/kernel/";
    await_denial(&mut host, "web1", &["/proc/sys/kernel/core_pattern", rule]);
    let others = host.sh("osctl ct log denials -H web2").ok().text();
    assert_eq!(others, "");
    for allowed in [
        "$b mount -t tmpfs tmpfs /mnt && $b umount /mnt",
        "$b mount --bind /bin /mnt && $b umount /mnt",
        "$b hostname other",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo 5 > /proc/self/oom_score_adj",
        "$b mkdir /sys/fs/cgroup/a && $b rmdir /sys/fs/cgroup/a",
        "$b kill -0 1 && $b cat /proc/1/environ > /dev/null",
    ] {
        inside(&mut host, "web1", allowed).ok();
    }

    // With all the power of the host's root, but for the profile.
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/sys/kernel/security/apparmor/.remove",
        "/sys/power/state",
        "/sys/module/kernel/parameters/panic",
    ] {
        let attack = format!("printf x > {path}");
        let output = escaped(&mut host, &attack);
        assert!(
            output.error().contains("Permission denied"),
            "{path}: {output:?}"
        );
    }
    let (own, other) = (init_pid(&mut host, "web1"), init_pid(&mut host, "web2"));
    for attack in [
        format!("kill -KILL {other}"),
        "kill -TERM 1".to_owned(),
        format!("cat /proc/{other}/environ"),
        "cat /proc/1/environ".to_owned(),
        "modprobe dummy".to_owned(),
        "date -s 2000-01-01".to_owned(),
        "echo changeprofile unconfined > /proc/self/attr/apparmor/current".to_owned(),
    ] {
        let output = escaped(&mut host, &attack);
        assert_ne!(output.status, 0, "{attack}: {output:?}");
    }
    let allowed = format!("kill -0 {own} && cat /proc/{own}/environ > /dev/null");
    escaped(&mut host, &allowed).ok();
    assert_eq!(init_pid(&mut host, "web2"), other);
    assert_eq!(host.sh("lsmod | grep ^dummy").text(), "");
}

#[test]
fn what_cannot_be_confined_does_not_start() {
    let Some(mut host) = host(&["web1"]) else {
        return;
    };
    let parser = "/run/current-system/sw/bin/apparmor_parser";
    let refused = |host: &mut Machine, why: &str| {
        let output = host.sh("osctl ct start web1");
        assert_ne!(output.status, 0);
        assert!(output.error().contains(why), "{output:?}");
        let state = host.sh("osctl ct ls -H -o state web1").ok().text();
        assert_eq!(state, "stopped");
    };
    host.sh(&format!("mv {parser} /tmp/kept")).ok();
    refused(&mut host, "apparmor_parser is not installed");
    host.push(
        "/tmp/says-no",
        0o755,
        b"#!/run/current-system/sw/bin/bash\necho 'syntax error in line 7' >&2; exit 1\n",
    );
    host.sh(&format!("ln -s /tmp/says-no {parser}")).ok();
    refused(&mut host, "refuses the profile: syntax error in line 7");
    host.push(
        "/tmp/says-no",
        0o755,
        b"#!/run/current-system/sw/bin/bash\necho nonsense\n",
    );
    refused(
        &mut host,
        "the kernel refuses the AppArmor profile osctl.tank.web1",
    );
    host.sh(&format!("mv /tmp/kept {parser}")).ok();
    host.sh("umount /sys/kernel/security").ok();
    refused(&mut host, "securityfs is not mounted");
    host.sh("mount -t securityfs securityfs /sys/kernel/security")
        .ok();
    host.sh("osctl ct start web1").ok();
    assert_eq!(label(&mut host, "web1"), "osctl.tank.web1 (enforce)");
}

#[test]
fn a_host_without_apparmor_runs_containers_all_the_same() {
    let settings = Settings {
        append: "apparmor=0".to_owned(),
        ..Settings::default()
    };
    let Some(mut host) = with(settings, &["web1"]) else {
        return;
    };
    host.sh("osctl ct set nesting web1").ok();
    host.sh("osctl ct start web1").ok();
    let shown = host.sh("osctl ct ls -H -o apparmor_label web1").ok();
    assert_eq!(shown.text(), "-");
    inside(&mut host, "web1", "true").ok();
}

#[test]
fn a_container_of_containers_has_policy_of_its_own() {
    let Some(mut host) = host(&["web1", "outer"]) else {
        return;
    };
    host.sh("osctl ct set nesting outer").ok();
    host.sh("osctl ct start web1 && osctl ct start outer").ok();
    let stacked = label(&mut host, "outer");
    let stack = "osctl.tank.outer//&:osctl.tank.outer:unconfined";
    assert!(stacked.starts_with(stack), "{stacked}");
    let mut says = |script: &str| inside(&mut host, "outer", script).ok().text();
    assert_eq!(
        says("$b cat /proc/self/attr/apparmor/current"),
        "unconfined"
    );
    assert_eq!(says("$b cat /sys/kernel/security/apparmor/profiles"), "");

    let inner = "profile inner flags=(attach_disconnected) { file, capability, mount, \
                 audit deny /tmp/secret rw, }";
    let compile = format!("echo '{inner}' | apparmor_parser -qQKS > /tmp/inner");
    host.sh(&compile).ok();
    let inner = host.pull("/tmp/inner");
    let load = "b=/bin/busybox; $b dd of=/sys/kernel/security/apparmor/.replace bs=1M";
    let load = [
        "osctl",
        "ct",
        "exec",
        "outer",
        "/bin/busybox",
        "sh",
        "-c",
        load,
    ];
    host.run_with(&load, &inner).ok();
    let loaded = host.sh("cat /sys/kernel/security/apparmor/profiles").ok();
    assert!(loaded.text().contains(":osctl.tank.outer:inner (enforce)"));
    let run = "exec $b sh -c '$1 cat /proc/self/attr/apparmor/current /tmp/secret' - $b";
    let run =
        format!("echo s > /tmp/secret; echo exec inner > /proc/self/attr/apparmor/exec; {run}");
    let output = inside(&mut host, "outer", &run);
    assert_eq!((output.status, &*output.text()), (1, "inner (enforce)"));
    await_denial(
        &mut host,
        "outer",
        &["/tmp/secret", "of the container's own"],
    );

    // What containers need, and what they do not.
    inside(&mut host, "outer", "$b mount -t proc proc /mnt").ok();
    inside(&mut host, "outer", "echo 1 > /mnt/sys/net/ipv4/ip_forward").ok();
    for attack in [
        "$b cat /dev/.osctl/proc/version",
        "$b mount --bind /dev/.osctl/proc /mnt",
        "$b umount /dev/.osctl/proc",
        "printf osctl.tank.web1 > /sys/kernel/security/apparmor/.remove",
        "printf osctl.tank.outer > /sys/kernel/security/apparmor/.remove",
        "$b mkdir /sys/kernel/security/apparmor/policy/namespaces/../../../x",
    ] {
        let output = inside(&mut host, "outer", attack);
        assert_ne!(output.status, 0, "{attack}: {output:?}");
    }
    await_denial(
        &mut host,
        "outer",
        &["/dev/.osctl/proc/version", "deny /dev/.osctl/"],
    );
    assert_eq!(label(&mut host, "web1"), "osctl.tank.web1 (enforce)");
    assert!(label(&mut host, "outer").starts_with(stack));

    host.sh("osctl ct stop outer").ok();
    let left = host.sh("cd /sys/kernel/security/apparmor; cat profiles; ls policy/namespaces");
    assert_eq!(left.ok().text(), "osctl.tank.web1 (enforce)");
}

#[test]
fn a_debian_boots_under_its_profile() {
    let name = "debian-trixie-x86_64-default-systemd.tar";
    let Some(image) = osctl_tests::host::image(name) else {
        println!("skipped: needs the image {name}: cargo xtask template debian/trixie");
        return;
    };
    let settings = Settings {
        memory: 2048,
        ..Settings::default()
    };
    let Some(mut host) = with(settings, &[]) else {
        return;
    };
    host.push("/tmp/debian.tar", 0o644, &fs::read(image).unwrap());
    host.sh("osctl ct new --from-archive /tmp/debian.tar d && osctl ct start d")
        .ok();
    let booted = wait::find(LONG, || {
        let up = host.sh("osctl ct exec d systemctl is-system-running --wait");
        (up.status == 0).then_some(())
    });
    let log = host.sh("osctl ct exec d systemctl --failed; osctl ct log cat d");
    assert!(booted.is_some(), "{}", log.text());
    // A service with all the locks that systemd has.
    let service = "systemd-run --wait --pipe -p ProtectProc=invisible -p ProtectSystem=strict \
        -p ProtectKernelTunables=yes -p ProtectKernelLogs=yes -p ProtectControlGroups=yes \
        -p PrivateTmp=yes -p PrivateDevices=yes -p PrivateMounts=yes -p DynamicUser=yes \
        -p ProtectHome=tmpfs -p BindReadOnlyPaths=/etc:/srv cat /proc/self/attr/current";
    let ran = host.sh(&format!("osctl ct exec d {service}")).ok();
    assert_eq!(ran.text(), "osctl.tank.d (enforce)");
    host.sh("osctl ct exec d sh -c 'mount -t tmpfs t /mnt && umount /mnt'")
        .ok();
    // It tries for a procfs of its own where a service is to see less of it, and goes on without.
    let denials = host
        .sh("osctl ct log denials -H -o operation,object d")
        .ok();
    for line in denials.text().lines() {
        assert!(
            line.starts_with("mount ") && line.contains("proc proc on"),
            "{line}"
        );
    }
    host.sh("osctl ct stop d").ok();
}
