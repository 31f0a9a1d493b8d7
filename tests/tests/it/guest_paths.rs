//! Root file systems whose paths lead to the host, or never end: one case for every path that is
//! read, written or mounted on in a guest.

use std::time::{Duration, Instant};

use osctl_api::container::Passwd;
use osctl_tests::canary::Canary;
use osctl_tests::{Ct, Host, Rootfs, host, leaks, wait};
use serde_json::json;

/// How long a command may take against a guest that wants it to hang.
const BOUND: Duration = Duration::from_secs(20);

struct Setting {
    host: Host,
    canary: Canary,
    mounts: String,
    pid: u32,
}

/// Names in the canary that stand for what attackers would like.
const FILES: &[&str] = &[
    "target",
    "hosts",
    "hostname",
    "resolv.conf",
    "passwd",
    "group",
    "shadow",
    "init",
    "pts",
    "shm",
    "null",
    "console",
    "sh",
    "sys",
    "net",
];

impl Setting {
    fn new(host: Host) -> Setting {
        let canary = Canary::new(&host.path("canary"), FILES);
        Setting {
            mounts: leaks::mountinfo(),
            pid: host.daemon_pid(),
            host,
            canary,
        }
    }

    /// Does everything to a container that reads or writes files of a guest.
    fn exercise(&self, what: &str, rootfs: &Rootfs) {
        let begun = Instant::now();
        let ct = self.host.ct_of("evil", rootfs);
        ct.set(json!({ "hostname": "web.example.com", "dns_resolvers": ["192.0.2.1"] }));
        let _ = set_password(&ct);
        let run = json!({ "run": true });
        let _ = ct.try_exec_with(&["/bin/true"], &run, BOUND);
        if ct.try_start().is_ok() {
            let _ = ct.try_set(json!({ "hostname": "other.example.com" }));
            let _ = ct.try_set(json!({ "dns_resolvers": ["192.0.2.2"] }));
            let _ = set_password(&ct);
            for user in ["alice", "1000", "0"] {
                let _ = ct.try_exec_with(&["/bin/true"], &json!({ "user": user }), BOUND);
            }
            let _ = ct.try_exec_with(&[], &json!({ "user_shell": true }), BOUND);
            let _ = cat(&ct, "/etc/passwd");
            let _ = run_script(&ct);
            let _ = ct.try_stop("shutdown_or_kill", 3);
        }
        let _ = cat(&ct, "/etc/shadow");
        ct.delete();
        println!("{what}: {:?}", begun.elapsed());
        assert!(begun.elapsed() < BOUND, "{what}: {:?}", begun.elapsed());
        self.canary.assert_untouched(what);
        assert_eq!(leaks::mountinfo(), self.mounts, "{what}");
        assert_eq!(self.host.daemon_pid(), self.pid);
        assert!(self.host.daemon_runs(), "{what}");
        self.host.assert_clean();
    }
}

fn set_password(ct: &Ct<'_>) -> Result<(), osctl_api::Error> {
    ct.try_json::<Passwd>(json!({ "user": "root", "password": "secret" }))
        .map(drop)
}

fn cat(ct: &Ct<'_>, path: &str) -> Result<Vec<u8>, osctl_api::Error> {
    let (out, end) = std::io::pipe().unwrap();
    let out = osctl_tests::session::collect(out);
    let call = osctl_tests::host::params::<osctl_api::container::Cat>(
        json!({ "id": ct.id, "path": path }),
    );
    let fds = [std::os::fd::OwnedFd::from(end)];
    let done = ct.host.connect()?.call_fds(&call, &fds);
    drop(fds);
    done?;
    Ok(out.recv_timeout(wait::SOON).unwrap())
}

fn run_script(ct: &Ct<'_>) -> Result<(), osctl_api::Error> {
    let path = ct.host.path("script");
    std::fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
    let null = || {
        std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
    };
    let call = osctl_tests::host::params::<osctl_api::container::RunScript>(json!({ "id": ct.id }));
    let fds = [std::fs::File::open(&path).unwrap(), null(), null(), null()];
    let answer = ct.host.connect()?.call_fds(&call, &fds)?;
    let fd = answer.fds.into_iter().next().unwrap();
    osctl_tests::session::Session::new(fd).end_within(BOUND);
    Ok(())
}

/// Directories that are mounted on, or hold files that are read or written.
const DIRECTORIES: &[&str] = &[
    "dev",
    "proc",
    "sys",
    "run",
    "etc",
    "sbin",
    "tmp",
    "root",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "sys/fs",
    "bin",
    "var",
    "home",
    "usr",
    "mnt",
];

/// Files that are read, written, executed or made.
const LINKED_FILES: &[&str] = &[
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/os-release",
    "sbin/init",
    "dev/null",
    "dev/console",
    "dev/tty",
    "dev/ptmx",
    "etc/HOSTNAME",
    "etc/sysconfig/network",
    "etc/.pwd.lock",
    "etc/passwd-",
    "etc/shadow-",
];

#[test]
fn directories_of_a_guest_that_are_symlinks_to_the_host_lead_nowhere() {
    let setting = Setting::new(host!());
    for dir in DIRECTORIES {
        for target in [
            setting.canary.path(""),
            "../../../../../../../..".to_owned() + &setting.canary.path(""),
        ] {
            let rootfs = Rootfs::minimal().symlink(dir, &target);
            setting.exercise(&format!("/{dir} -> {target}"), &rootfs);
        }
    }
}

#[test]
fn files_of_a_guest_that_are_symlinks_to_the_host_lead_nowhere() {
    let setting = Setting::new(host!());
    for file in LINKED_FILES {
        let name = file.rsplit('/').next().unwrap();
        let target = setting.canary.path(name);
        for target in [
            target.clone(),
            setting.canary.path("target"),
            setting.canary.path("new"),
        ] {
            let rootfs = Rootfs::minimal().symlink(file, &target);
            setting.exercise(&format!("/{file} -> {target}"), &rootfs);
        }
    }
}

#[test]
fn symlinks_through_proc_lead_nowhere() {
    let setting = Setting::new(host!());
    for target in [
        "/proc/1/root",
        "/proc/self/root",
        "/proc/self/cwd",
        "/proc/self/fd/3",
        "/proc/self/fd/10",
        "/proc/self/exe",
        "/proc/thread-self/root/etc",
    ] {
        for path in ["etc", "dev", "run", "etc/hosts", "etc/passwd", "sbin/init"] {
            let rootfs = Rootfs::minimal().symlink(path, target);
            setting.exercise(&format!("/{path} -> {target}"), &rootfs);
        }
    }
}

#[test]
fn files_of_a_guest_that_never_end_or_never_answer_do_not_hang_anyone() {
    let setting = Setting::new(host!());
    for file in LINKED_FILES {
        setting.exercise(&format!("/{file} is a FIFO"), &Rootfs::minimal().fifo(file));
    }
    for file in [
        "etc/passwd",
        "etc/group",
        "etc/hosts",
        "etc/resolv.conf",
        "etc/hostname",
    ] {
        let zero = Rootfs::minimal().symlink(file, "/dev/zero");
        setting.exercise(&format!("/{file} -> /dev/zero"), &zero);
        let dir = Rootfs::minimal().without(file).dir(file);
        setting.exercise(&format!("/{file} is a directory"), &dir);
        let node = Rootfs::minimal().without(file).char_device(file, 1, 5);
        setting.exercise(&format!("/{file} is a device"), &node);
    }
}

#[test]
fn huge_files_of_a_guest_are_read_within_bounds() {
    let setting = Setting::new(host!());
    let host = &setting.host;
    let memory = osctl_tests::processes::anonymous_memory(setting.pid);
    let ct = host.new_ct("evil");
    ct.start();
    for file in [
        "/etc/passwd",
        "/etc/group",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
    ] {
        ct.sh(&format!("truncate -s 10G {file}"));
    }
    let begun = Instant::now();
    let _ = ct.try_set(json!({ "hostname": "other.example.com", "dns_resolvers": ["192.0.2.2"] }));
    let _ = ct.try_exec_with(&["/bin/true"], &json!({ "user": "alice" }), BOUND);
    let _ = ct.try_exec_with(&["/bin/true"], &json!({ "user": "1000" }), BOUND);
    let _ = set_password(&ct);
    let _ = ct.try_exec_with(&[], &json!({ "user_shell": true }), BOUND);
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    let now = osctl_tests::processes::anonymous_memory(setting.pid);
    assert!(now < memory + 32 * 1024 * 1024, "{memory} -> {now}");
    ct.kill();
    let begun = Instant::now();
    ct.start();
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_guest_that_swaps_its_files_for_symlinks_all_the_time_gains_nothing() {
    let setting = Setting::new(host!());
    let host = &setting.host;
    let ct = host.new_ct("evil");
    ct.set(json!({ "hostname": "web.example.com", "dns_resolvers": ["192.0.2.1"] }));
    ct.start();
    let target = setting.canary.path("");
    let race = format!(
        "cp -a /etc /etc.real; ln -s {target} /etc.link; cd /; \
         while :; do mv -T etc x; mv -T etc.link etc; mv -T etc etc.link; mv -T x etc; \
         for f in hosts hostname resolv.conf passwd; do ln -sf {target}$f etc.real/l; mv etc.real/l etc/$f; cp etc.real/$f etc/n; mv etc/n etc/$f; done; done"
    );
    let _race = ct.open_quiet(&["sh", "-c", &race]);
    for n in 0..60 {
        let name = format!("web{n}.example.com");
        let _ = ct.try_set(json!({ "hostname": name, "dns_resolvers": ["192.0.2.1"] }));
        let _ = ct.try_exec_with(&["/bin/true"], &json!({ "user": "alice" }), BOUND);
        let _ = cat(&ct, "/etc/passwd").map(|b| {
            assert!(!String::from_utf8_lossy(&b).contains("host secret"));
        });
    }
    ct.kill();
    ct.delete();
    setting.canary.assert_untouched("a race");
    assert_eq!(leaks::mountinfo(), setting.mounts);
    host.assert_clean();
}

#[test]
fn a_dev_null_that_is_something_else_does_not_unmask_anything() {
    let setting = Setting::new(host!());
    let cases = [
        Rootfs::minimal().symlink("dev/null", "/proc/sys/kernel/core_pattern"),
        Rootfs::minimal().file("dev/null", 0o666, b"not null"),
        Rootfs::minimal().char_device("dev/null", 1, 5),
        Rootfs::minimal().file("proc/sysrq-trigger", 0o666, b""),
    ];
    for rootfs in &cases {
        let ct = setting.host.ct_of("evil", rootfs);
        ct.start();
        assert_eq!(ct.sh("stat -c %t:%T /dev/null"), "1:3\n");
        assert!(
            !ct.exec(&["sh", "-c", "echo x > /proc/sys/kernel/core_pattern"])
                .success()
        );
        assert_eq!(ct.sh("cat /proc/kcore | wc -c").trim(), "0");
        let init = ct.init_pid();
        assert_eq!(
            osctl_tests::processes::status(init, "Seccomp").unwrap(),
            "2"
        );
        ct.delete();
    }
    setting.host.assert_clean();
}

#[test]
fn libraries_of_a_guest_are_not_loaded_by_anything_of_the_host() {
    let setting = Setting::new(host!());
    // Any program of ours that loaded these would fail, loudly.
    let mut rootfs = Rootfs::minimal().file("etc/ld.so.preload", 0o644, b"/lib/poison.so\n");
    for name in [
        "poison.so",
        "libnss_files.so.2",
        "libnss_dns.so.2",
        "libc.so.6",
    ] {
        rootfs = rootfs.file(&format!("lib/{name}"), 0o755, b"poison");
        rootfs = rootfs.file(&format!("lib/x86_64-linux-gnu/{name}"), 0o755, b"poison");
    }
    let ct = setting.host.ct_of("evil", &rootfs);
    ct.start();
    let ran = ct
        .try_exec_with(&["id", "-u"], &json!({ "user": "alice" }), BOUND)
        .unwrap();
    assert_eq!(ran.stdout, "1000\n", "{ran:?}");
    let _ = set_password(&ct);
    ct.delete();
    setting.canary.assert_untouched("poisoned libraries");
    setting.host.assert_clean();
}
