//! lxcfs: a container sees its own limits while one runs on the host, and the kernel's files while
//! none does; whoever dies in between, commands in the container go on.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use osctl_tests::{Ct, Host, host, processes, wait};
use serde_json::json;

const PROGRAM: &str = "/usr/bin/lxcfs";
const LIMIT: &str = "100m";
const LIMIT_KB: u64 = 100 * 1024;

/// One that runs, in a directory; nothing is left of it.
struct Lxcfs {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Lxcfs {
    /// One that does not run yet; `None`, having said why, where there can be none.
    fn new() -> Option<Lxcfs> {
        for needed in [PROGRAM, "/dev/fuse"] {
            if !Path::new(needed).exists() {
                println!("skipped: there is no {needed}");
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("fs")).unwrap();
        Some(Lxcfs { dir, child: None })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("fs")
    }

    fn config(&self) -> String {
        let pid_file = self.dir.path().join("pid");
        format!("[lxcfs]\npath = {:?}\npid_file = {pid_file:?}", self.path())
    }

    fn start(&mut self) {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--foreground")
            .arg(format!(
                "--pidfile={}",
                self.dir.path().join("pid").display()
            ))
            .arg(self.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(processes::spawn(&mut command));
        wait::until("lxcfs answers", || {
            std::fs::read_to_string(self.path().join("proc/uptime")).is_ok()
        });
    }

    /// It stops answering, and goes on again.
    fn signal(&self, signal: Signal) {
        processes::signal(self.child.as_ref().unwrap().id(), signal);
    }

    /// Its mount stays, and answers nobody.
    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn unmount(&self) {
        umount2(&self.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

impl Drop for Lxcfs {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = umount2(&self.path(), MntFlags::MNT_DETACH);
    }
}

/// Memory as the container sees it, KiB.
fn memory(ct: &Ct<'_>) -> Option<u64> {
    let shown = ct.exec(&["cat", "/proc/meminfo"]);
    let line = shown.stdout.lines().find(|l| l.starts_with("MemTotal:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn limited<'a>(host: &'a Host, id: &str) -> Ct<'a> {
    let ct = host.new_ct(id);
    host.osctl(&["ct", "set", "memory-limit", id, LIMIT]);
    ct
}

#[track_caller]
fn assert_own(ct: &Ct<'_>) {
    wait::until("it sees its own memory", || memory(ct) == Some(LIMIT_KB));
}

#[track_caller]
fn assert_kernels(ct: &Ct<'_>) {
    wait::until("it sees the kernel's file", || {
        memory(ct).is_some_and(|kb| kb > LIMIT_KB)
    });
}

#[test]
fn a_container_sees_its_own_limits_whoever_dies() {
    let Some(mut lxcfs) = Lxcfs::new() else {
        return;
    };
    lxcfs.start();
    let host = host!(&lxcfs.config());
    let ct = limited(&host, "web1");
    ct.start();
    assert_own(&ct);
    let shown = ct.show();
    assert!(shown.warnings.is_empty(), "{:?}", shown.warnings);
    let up = ct.sh("cat /proc/uptime");
    let seconds: f64 = up.split_whitespace().next().unwrap().parse().unwrap();
    assert!(seconds < 3600.0, "{up}");
    // It can't be written through, nor taken away for good by a reboot of the guest.
    assert!(!ct.exec(&["sh", "-c", "echo x > /proc/meminfo"]).success());

    lxcfs.kill();
    assert_kernels(&ct);
    // None of its files is left behind, which would give errors.
    wait::until("all are the kernel's", || {
        ct.sh("cat /proc/self/mountinfo")
            .lines()
            .all(|l| !l.contains("lxcfs"))
    });
    // What starts now is not kept waiting by the dead one.
    let other = limited(&host, "web2");
    other.start();
    assert_kernels(&other);
    lxcfs.unmount();
    lxcfs.start();
    assert_own(&ct);
    assert_own(&other);

    // One that nobody saw coming, as the daemon was away.
    host.kill_daemon();
    lxcfs.kill();
    lxcfs.unmount();
    lxcfs.start();
    host.start_daemon();
    assert_own(&ct);
    // Each file once, as in one that was started now.
    let mounts = |ct: &Ct<'_>| ct.sh("grep -c lxcfs /proc/self/mountinfo");
    other.kill();
    other.start();
    wait::until("all files are right", || mounts(&ct) == mounts(&other));
    for ct in [ct, other] {
        ct.kill();
        ct.delete();
    }
    drop(lxcfs);
    host.assert_clean();
}

/// Longer than it takes until one that hangs, or no longer does, is noticed.
const NOTICED: Duration = Duration::from_secs(90);

#[test]
fn one_that_hangs_is_noticed() {
    let Some(mut lxcfs) = Lxcfs::new() else {
        return;
    };
    lxcfs.start();
    let host = host!(&lxcfs.config());
    let ct = limited(&host, "web1");
    ct.start();
    assert_own(&ct);
    let sees_lxcfs = || ct.sh("cat /proc/self/mountinfo").contains("lxcfs");
    lxcfs.signal(Signal::SIGSTOP);
    let gone = wait::find(NOTICED, || (!sees_lxcfs()).then_some(()));
    if gone.is_none() {
        // Else it could not be cleaned up.
        lxcfs.signal(Signal::SIGCONT);
        panic!("it still has the files of one that hangs");
    }
    assert_kernels(&ct);
    let threads = processes::threads(host.daemon_pid());
    lxcfs.signal(Signal::SIGCONT);
    let own = wait::find(NOTICED, || sees_lxcfs().then_some(()));
    assert!(own.is_some(), "it has the kernel's files");
    assert_own(&ct);
    assert!(threads < 50, "{threads} threads");
    ct.kill();
    ct.delete();
    drop(lxcfs);
    host.assert_clean();
}

#[test]
fn what_the_guest_has_put_there_stays() {
    let Some(mut lxcfs) = Lxcfs::new() else {
        return;
    };
    let host = host!(&lxcfs.config());
    let ct = limited(&host, "web1");
    ct.json::<osctl_api::container::Set>(json!({ "hostname": "web1" }));
    ct.start();
    assert_kernels(&ct);
    ct.sh("echo mine > /tmp/mine && mount -o bind /tmp/mine /proc/meminfo");
    lxcfs.start();
    wait::until("other files are lxcfs'", || {
        ct.sh("cat /proc/self/mountinfo").contains("lxcfs")
    });
    assert_eq!(ct.sh("cat /proc/meminfo"), "mine\n");
    ct.sh("umount /proc/meminfo");
    ct.kill();
    ct.delete();
    drop(lxcfs);
    host.assert_clean();
}
