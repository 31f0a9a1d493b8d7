//! A guest's root that attacks the kernel, whoever enters, and its neighbours.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use osctl_tests::rootfs::ATTACKER;
use osctl_tests::{Ct, Host, Rootfs, cgroups, host, processes, wait};
use serde_json::json;

const PROGRAM: &str = "osctl-test-attacker";

fn attacker<'h>(host: &'h Host, id: &str) -> Ct<'h> {
    let rootfs = Rootfs::minimal().with_attacker(&host.program(PROGRAM));
    let ct = host.ct_of(id, &rootfs);
    ct.start();
    ct
}

/// What an attack reports: first word of a line, rest of it.
fn attack(ct: &Ct<'_>, words: &[&str]) -> BTreeMap<String, String> {
    let command: Vec<&str> = [&[ATTACKER], words].concat();
    let ran = ct
        .try_exec_with(&command, &json!({}), Duration::from_secs(60))
        .unwrap();
    assert!(ran.success(), "{words:?}: {ran:?}");
    ran.stdout
        .lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}

#[test]
fn system_calls_that_concern_the_whole_host_are_refused() {
    let host = host!();
    let ct = attacker(&host, "evil");
    let report = attack(&ct, &["calls"]);
    for (name, _) in osctl_linux::attempt::CALLS {
        assert_eq!(report[*name], "EPERM", "{name}");
    }
    let handles = attack(&ct, &["handles"]);
    for (what, result) in &handles {
        assert!(result.contains("Err(EPERM)"), "{what} {result}");
    }
    assert!(!ct.exec(&["insmod", "/etc/hosts"]).success());
    assert!(!ct.exec(&["mknod", "/tmp/disk", "b", "254", "0"]).success());
    assert!(!ct.exec(&["hwclock", "-w"]).success());
    let year = ct.exec(&["sh", "-c", "date -s 2001-01-01 >/dev/null 2>&1; date +%Y"]);
    assert_ne!(year.stdout, "2001\n");
    ct.delete();
    host.assert_clean();
}

#[test]
fn sockets_that_reach_past_the_network_namespace_are_refused() {
    let host = host!();
    let ct = attacker(&host, "evil");
    let report = attack(&ct, &["sockets"]);
    for family in [
        "alg", "vsock", "rds", "can", "tipc", "qipcrtr", "smc", "xdp",
    ] {
        assert_ne!(report[family], "DONE", "{family}");
    }
    for family in ["unix", "inet", "inet6", "netlink", "packet"] {
        assert_eq!(report[family], "DONE", "{family}");
    }
    ct.delete();
    host.assert_clean();
}

#[test]
fn programs_of_32_bits_are_filtered_and_not_killed() {
    let host = host!();
    let ct = attacker(&host, "evil");
    let report = attack(&ct, &["compat"]);
    if report["getpid"] == "-38" {
        osctl_tests::skip!("this kernel runs no 32-bit programs");
    }
    let number = |name: &str| report[name].parse::<i32>().unwrap();
    assert!(number("getpid") > 0, "{report:?}");
    for name in [
        "alg",
        "vsock",
        "kexec_load",
        "init_module",
        "open_by_handle_at",
    ] {
        assert!(number(name) < 0, "{name}: {report:?}");
    }
    assert_eq!(number("kexec_load"), -1, "{report:?}");
    assert_eq!(number("open_by_handle_at"), -1, "{report:?}");
    ct.delete();
    host.assert_clean();
}

#[test]
fn switches_of_the_host_cannot_be_written() {
    let host = host!();
    let ct = attacker(&host, "evil");
    let files = [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/kernel/printk",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/pid_max",
        "/proc/sys/kernel/threads-max",
        "/proc/sys/kernel/usermodehelper/bset",
        "/proc/sys/kernel/yama/ptrace_scope",
        "/proc/sys/kernel/unprivileged_bpf_disabled",
        "/proc/sys/kernel/kptr_restrict",
        "/proc/sys/kernel/dmesg_restrict",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/vm/panic_on_oom",
        "/proc/sys/vm/swappiness",
        "/proc/sys/fs/file-max",
        "/proc/sys/fs/suid_dumpable",
        "/proc/sys/fs/protected_symlinks",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/dev/tty/legacy_tiocsti",
        "/proc/sys/abi/vsyscall32",
        "/proc/kmsg",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/port",
        "/proc/kcore",
        "/proc/mtrr",
        "/proc/scsi/scsi",
        "/proc/irq/0/smp_affinity",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/ksm/run",
        "/sys/kernel/profiling",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/power/state",
        "/sys/power/disk",
        "/sys/kernel/kexec_crash_size",
        "/sys/module/kernel/parameters/panic",
        "/sys/bus/pci/rescan",
        "/sys/devices/system/cpu/cpu0/online",
        "/sys/fs/cgroup/cgroup.subtree_control/x",
    ];
    let report = attack(&ct, &[&["write"], &files[..]].concat());
    for file in files {
        assert_ne!(report[file], "DONE", "{file} can be written");
    }
    // A mount of its own is no way around it.
    let script = "mkdir -p /m; for t in proc sysfs; do mount -t $t x /m 2>/dev/null && echo mounted; \
         for f in /m/sysrq-trigger /m/sys/kernel/core_pattern /m/kernel/uevent_helper /m/power/state; do \
         [ -e $f ] && (echo > $f) 2>/dev/null && echo wrote $f; done; umount /m 2>/dev/null; done; true";
    let said = ct.sh(script);
    assert!(!said.contains("wrote"), "{said}");
    let script = "mount -o remount,rw /proc/sys; mount -o remount,rw /sys; mount -o remount,rw,bind /proc/sys; \
         umount /proc/sysrq-trigger; umount /proc/sys; umount -l /proc/sys; \
         (echo x > /proc/sys/kernel/core_pattern) && echo wrote; true";
    let said = ct.exec(&["sh", "-c", script]);
    assert!(!said.stdout.contains("wrote"), "{said:?}");
    // In namespaces of its own neither.
    let script = "unshare -Urmpf --mount-proc sh -c '(echo x > /proc/sys/kernel/core_pattern) && echo wrote; \
         (echo h > /proc/sysrq-trigger) && echo wrote'; true";
    let said = ct.exec(&["sh", "-c", script]);
    assert!(!said.stdout.contains("wrote"), "{said:?}");
    // What is the guest's own can be written.
    ct.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; hostname changed; [ $(hostname) = changed ]");
    ct.delete();
    host.assert_clean();
}

#[test]
fn secrets_of_the_host_and_other_tenants_cannot_be_read() {
    let host = host!();
    let neighbour = host.new_ct("neighbour-of-mine");
    neighbour.start();
    neighbour.sh("(exec -a secret-of-neighbour sleep 1000) >/dev/null 2>&1 </dev/null & true");
    let ct = attacker(&host, "evil");
    // In a file of its own, lest they are found in the command line of who looks for them.
    fs::write(
        ct.rootfs().join("patterns"),
        "neighbour-of-mine\nsecret-of-neighbour\n",
    )
    .unwrap();
    let files = [
        "/proc/kcore",
        "/proc/kallsyms",
        "/proc/kmsg",
        "/dev/kmsg",
        "/dev/mem",
        "/proc/slabinfo",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/vmallocinfo",
        "/sys/kernel/debug/sched/debug",
    ];
    let report = attack(&ct, &[&["read"], &files[..]].concat());
    for file in files {
        let empty = report[file] == "0" || report[file].parse::<u64>().is_err();
        assert!(empty, "{file}: {}", report[file]);
    }
    assert!(
        !ct.exec(&["sh", "-c", "dmesg 2>/dev/null | grep ."])
            .success()
    );
    let all = ct.sh(
        "find /proc /sys -xdev -type f ! -path '*/net/*' ! -path '*/task/*' -size -1000k 2>/dev/null \
         | head -20000 | while read f; do timeout 2 head -c 20000 \"$f\" 2>/dev/null; done | tr -d '\\0' \
         | grep -a -o -F -f /patterns | sort | uniq -c; true",
    );
    assert!(!all.contains("neighbour-of-mine"), "{all}");
    assert!(!all.contains("secret-of-neighbour"), "{all}");
    ct.delete();
    neighbour.delete();
    host.assert_clean();
}

#[test]
fn whoever_enters_cannot_be_used_to_get_out() {
    let host = host!();
    fs::write("/osctl-host-secret", "").unwrap();
    struct Secret;
    impl Drop for Secret {
        fn drop(&mut self) {
            let _ = fs::remove_file("/osctl-host-secret");
        }
    }
    let _secret = Secret;
    let ct = attacker(&host, "evil");
    let before: Vec<_> = ["osctld", "osctl", "osctl-runtime"]
        .map(|p| fs::read(host.program(p)).unwrap())
        .into();
    std::thread::scope(|scope| {
        let running: Vec<_> = ["peep", "overwrite"]
            .into_iter()
            .map(|word| {
                let ct = &ct;
                scope.spawn(move || {
                    let command = [ATTACKER, word, "6"];
                    ct.try_exec_with(&command, &json!({}), Duration::from_secs(60))
                        .unwrap()
                })
            })
            .collect();
        let end = Instant::now() + Duration::from_secs(6);
        let mut entered = 0;
        while entered < 200 || Instant::now() < end {
            assert!(ct.exec(&["/bin/true"]).success());
            entered += 1;
            if entered >= 200
                && running
                    .iter()
                    .all(std::thread::ScopedJoinHandle::is_finished)
            {
                break;
            }
        }
        println!("entered {entered} times");
        for thread in running {
            let ran = thread.join().unwrap();
            println!("{}", ran.stdout);
            assert!(!ran.stdout.contains("SEEN"), "{ran:?}");
            assert!(!ran.stdout.contains("WRITE"), "{ran:?}");
            assert!(ran.success(), "{ran:?}");
        }
    });
    // A shell that is a script for the program that runs it: the classic form of it.
    ct.sh("printf '#!/proc/self/exe\\n' > /bin/trap; chmod 755 /bin/trap");
    for _ in 0..20 {
        let _ = ct.exec(&["/bin/trap"]);
    }
    for (n, name) in ["osctld", "osctl", "osctl-runtime"].iter().enumerate() {
        assert!(
            fs::read(host.program(name)).unwrap() == before[n],
            "{name} was changed"
        );
    }
    assert_eq!(ct.sh("echo fine"), "fine\n");
    ct.delete();
    host.assert_clean();
}

/// Asserts that a process of a guest holds nothing of the host.
#[track_caller]
fn holds_nothing_of_the_host(pid: u32, ct: &Ct<'_>) {
    let status = |field: &str| processes::status(pid, field).unwrap_or_default();
    let name = processes::cmdline(pid);
    assert_eq!(status("Seccomp"), "2", "{pid} {name}");
    assert_eq!(status("CapInh"), "0000000000000000", "{pid} {name}");
    assert_eq!(status("CapAmb"), "0000000000000000", "{pid} {name}");
    let bounding = u64::from_str_radix(&status("CapBnd"), 16).unwrap();
    let (module, rawio, syslog) = (1 << 16, 1 << 17, 1u64 << 34);
    assert_eq!(
        bounding & (module | rawio | syslog),
        0,
        "{pid} {name}: {bounding:x}"
    );
    let uid: u32 = status("Uid")
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let map = ct.show().uid_map;
    let mapped = map
        .iter()
        .any(|m| uid >= m.host_id && uid - m.host_id < m.count);
    assert!(mapped, "{pid} {name} runs as {uid}");
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        let number = entry.file_name();
        let of_host =
            target.contains("osctl") || target.contains("memfd") || target.contains("pool-tank");
        let standard = ["0", "1", "2"].iter().any(|n| number == *n);
        assert!(
            !of_host || standard,
            "{pid} {name} holds {number:?} {target}"
        );
        if let Ok(meta) = fs::metadata(entry.path())
            && (meta.is_dir() || meta.is_file())
        {
            let inside = fs::metadata(format!("/proc/{pid}/root{target}"));
            let same = inside.is_ok_and(|i| {
                use std::os::unix::fs::MetadataExt;
                (i.dev(), i.ino()) == (meta.dev(), meta.ino())
            });
            assert!(same, "{pid} {name} holds {target} of the host");
        }
    }
    for namespace in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(
            of(&pid.to_string()),
            of("self"),
            "{pid} {name}: {namespace}"
        );
    }
}

#[test]
fn no_process_of_a_guest_holds_anything_of_the_host() {
    let host = host!();
    let ct = host.new_ct("evil");
    ct.start();
    let mut sessions = vec![
        ct.open_quiet(&["sleep", "1000"]),
        ct.open_tty(&["sleep", "1000"]),
    ];
    let null = || {
        fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into()
    };
    for user in ["alice", "1000", "0"] {
        let mut session = ct
            .open(
                &["sleep", "1000"],
                &json!({ "user": user }),
                &[null(), null(), null()],
            )
            .unwrap();
        session.started();
        sessions.push(session);
    }
    let pids = cgroups::pids(&host.cgroup);
    let init = ct.init_pid();
    let supervisor = processes::Stat::of(init).unwrap().parent;
    let guests: Vec<u32> = pids.into_iter().filter(|pid| *pid != supervisor).collect();
    assert!(guests.len() > sessions.len(), "{guests:?}");
    for pid in &guests {
        holds_nothing_of_the_host(*pid, &ct);
    }
    // The guest sees of itself: only its own.
    let seen: usize = ct.sh("ls /proc | grep -c '^[0-9]'").trim().parse().unwrap();
    assert!(seen <= guests.len() + 4, "the guest sees {seen} processes");
    let descriptors = processes::descriptors(init);
    assert!(descriptors <= 5, "init has {descriptors} descriptors");
    ct.delete();
    host.assert_clean();
}

#[test]
fn numbers_and_names_of_users_mean_what_they_say() {
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let id = |user: &str| {
        let more = json!({ "user": user });
        ct.try_exec_with(&["id", "-u"], &more, wait::SOON)
            .map(|r| r.stdout)
    };
    assert_eq!(id("1").unwrap(), "1\n");
    assert_eq!(id("1000").unwrap(), "1000\n");
    assert_eq!(id("alice").unwrap(), "1000\n");
    assert_eq!(id("0").unwrap(), "0\n");
    assert_eq!(id("root").unwrap(), "0\n");
    for bad in [
        "-1",
        "1:",
        ":1",
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "+1",
        " 1",
        "1 ",
        "0x1",
        "nobody-like-that",
        "",
        "a\0b",
        "../etc",
        "1\n",
    ] {
        let ran = ct.try_exec_with(&["id", "-u"], &json!({ "user": bad }), wait::SOON);
        let ran = ran.map(|r| (r.success(), r.stdout));
        assert!(!matches!(ran, Ok((true, _))), "{bad:?}: {ran:?}");
    }
    // Ids that are not mapped are refused, too.
    assert!(!matches!(id("70000"), Ok(text) if text == "70000\n"));
    for cwd in (3..65).map(|n| format!("/proc/self/fd/{n}")) {
        let ran = ct.try_exec_with(&["ls", "-a"], &json!({ "cwd": cwd }), wait::SOON);
        if let Ok(ran) = ran {
            assert!(!ran.stdout.contains("osctl"), "{cwd}: {ran:?}");
        }
    }
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_guest_cannot_type_into_the_terminal_of_who_enters() {
    let host = host!();
    let ct = attacker(&host, "evil");
    let mut session = ct.open_tty(&[ATTACKER, "type", "touch /pwned"]);
    let master = session.terminal.take().unwrap();
    let said = osctl_tests::session::read_until(&master, "pasted", wait::SOON);
    assert!(said.contains("typed EPERM"), "{said}");
    session.end();
    // Nor does it have the terminal of the one who types `osctl ct exec`.
    let command = host.osctl_command(&[
        "ct",
        "exec",
        "evil",
        "sh",
        "-c",
        "tty; stat -Lc %t:%T /dev/tty; echo done",
    ]);
    let mut terminal = osctl_tests::pty::Terminal::spawn(&command);
    let said = terminal.read_until("done");
    assert!(
        said.contains("/dev/pts/") || said.contains("/dev/console"),
        "{said}"
    );
    terminal.end();
    let inside = ct.sh("ls /dev/pts");
    assert!(inside.split_whitespace().count() <= 3, "{inside}");
    ct.delete();
    host.assert_clean();
}

#[test]
fn devices_outside_the_rules_cannot_be_made_or_opened() {
    let host = host!();
    let ct = host.new_ct("evil");
    ct.start();
    for (kind, major, minor) in [
        ("b", 254, 0),
        ("b", 8, 0),
        ("c", 1, 1),
        ("c", 1, 11),
        ("c", 10, 237),
        ("b", 7, 0),
    ] {
        let made = ct.exec(&[
            "mknod",
            "/dev/x",
            kind,
            &major.to_string(),
            &minor.to_string(),
        ]);
        assert!(!made.success(), "{kind} {major}:{minor}: {made:?}");
        let made = ct.exec(&["mknod", "/x", kind, &major.to_string(), &minor.to_string()]);
        let opened = ct.exec(&["dd", "if=/x", "of=/dev/null", "bs=1", "count=1"]);
        assert!(
            !made.success() || !opened.success(),
            "{kind} {major}:{minor}"
        );
        let _ = ct.exec(&["rm", "-f", "/x"]);
    }
    for node in ["null", "zero", "full", "random", "urandom", "tty"] {
        assert!(
            ct.exec(&["test", "-c", &format!("/dev/{node}")]).success(),
            "{node}"
        );
    }
    assert_eq!(ct.sh("head -c 4 /dev/zero | wc -c").trim(), "4");
    ct.delete();
    host.assert_clean();
}

#[test]
fn a_guest_cannot_use_the_release_agent_of_cgroups() {
    let host = host!();
    let ct = host.new_ct("evil");
    ct.start();
    let script = "for c in rdma memory cpu pids devices freezer; do mkdir -p /m; \
        mount -t cgroup -o $c x /m 2>/dev/null && { echo mounted; (echo /bin/sh > /m/release_agent) 2>/dev/null && echo wrote; umount /m; }; \
        unshare -UrmC sh -c \"mount -t cgroup -o $c x /m 2>/dev/null && (echo /bin/sh > /m/release_agent) 2>/dev/null && echo wrote\"; done; true";
    let ran = ct.exec(&["sh", "-c", script]);
    assert!(!ran.stdout.contains("wrote"), "{ran:?}");
    ct.delete();
    host.assert_clean();
}

#[test]
fn limits_of_a_container_cannot_be_lifted_from_the_inside() {
    let host = host!();
    let ct = host.new_ct("evil");
    ct.set(json!({ "memory_limit": { "memory": 64 * 1024 * 1024 } }));
    ct.start();
    let limit = ["memory.max", "memory.limit_in_bytes"]
        .iter()
        .find_map(|f| ct.cgroup_file(f).filter(|v| v == "67108864"));
    assert!(limit.is_some(), "the limit is not there");
    let script = "for f in $(find /sys/fs/cgroup -name memory.max -o -name memory.limit_in_bytes -o -name pids.max -o -name cgroup.max.descendants); do \
        (echo max > $f) 2>/dev/null; (echo -1 > $f) 2>/dev/null; done; true";
    ct.sh(script);
    let after = ["memory.max", "memory.limit_in_bytes"]
        .iter()
        .find_map(|f| ct.cgroup_file(f).filter(|v| v == "67108864"));
    assert!(after.is_some(), "the guest lifted its limit");
    ct.delete();
    host.assert_clean();
}

#[test]
fn bombs_of_a_guest_end_at_its_limits_and_its_neighbours_stay_responsive() {
    let host = host!();
    let neighbour = host.new_ct("neighbour");
    neighbour.start();
    let ct = attacker(&host, "evil");
    ct.set(
        json!({ "memory_limit": { "memory": 96 * 1024 * 1024 }, "cpu_limit": { "percent": 50 } }),
    );
    ct.json::<osctl_api::container::CgparamsSet>(
        json!({ "parameter": "pids.max", "value": ["100"] }),
    );
    let _memory = ct.open_quiet(&[ATTACKER, "allocate"]);
    let _forks = ct.open_quiet(&["sh", "-c", "b() { b | b & }; while :; do b; done"]);
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(neighbour.sh("echo fine"), "fine\n");
        slowest = slowest.max(begun.elapsed());
    }
    let begun = Instant::now();
    host.call(&osctl_api::container::List::default());
    slowest = slowest.max(begun.elapsed());
    println!("slowest answer {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let most =
        cgroups::read(&host.cgroup, "evil", "pids.current").and_then(|t| t.parse::<u64>().ok());
    assert!(most.is_none_or(|n| n <= 100), "{most:?}");
    ct.kill();
    neighbour.delete();
    ct.delete();
    host.assert_clean();
}

#[test]
fn an_allocation_bomb_is_killed_and_counted() {
    let host = host!();
    let ct = attacker(&host, "evil");
    ct.set(json!({ "memory_limit": { "memory": 64 * 1024 * 1024 } }));
    let ran = ct
        .try_exec_with(&[ATTACKER, "allocate"], &json!({}), Duration::from_secs(60))
        .unwrap();
    assert_eq!(ran.end, osctl_tests::session::End::Signaled(9), "{ran:?}");
    assert!(!ran.stdout.contains("128 MiB"), "{ran:?}");
    let list = host.json::<osctl_api::container::List>(json!({ "stats": true }));
    assert!(
        list.containers[0].oom_kills.unwrap_or(0) >= 1,
        "{:?}",
        list.containers[0]
    );
    assert_eq!(ct.sh("echo lives"), "lives\n");
    ct.delete();
    host.assert_clean();
}

#[test]
fn trees_of_the_host_are_closed_to_its_users() {
    use std::os::unix::fs::PermissionsExt;
    let host = host!();
    let ct = host.new_ct("web1");
    ct.start();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&host.pool_dir("tank")) & 0o077, 0);
    let mut todo = vec![host.run_dir()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() || meta.is_file() {
            assert_eq!(
                meta.permissions().mode() & 0o002,
                0,
                "{} is open to others",
                path.display()
            );
        }
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().flatten().map(|e| e.path()));
        }
    }
    let run = host.run_dir().join("pools/tank/ct/web1");
    assert_eq!(mode(&run) & 0o077, 0);
    ct.delete();
    host.assert_clean();
}

#[test]
fn whatever_a_guest_piles_up_is_gone_with_it() {
    let host = host!();
    let neighbour = host.new_ct("neighbour");
    neighbour.start();
    let ct = host.new_ct("evil");
    ct.start();
    let piles = "
        # Cgroups, deep and many.
        deep() { printf 'd/%.0s' $(seq $1); }
        cd /sys/fs/cgroup && mkdir -p $(deep 200)
        cd /sys/fs/cgroup && seq 500 | sed s/^/w/ | xargs mkdir
        # Mounts.
        mkdir -p /m; for i in $(seq 500); do mount -t tmpfs x /m || break; done
        # Files, deep and many, some with names that are hard to type.
        cd /srv 2>/dev/null || { mkdir /srv; cd /srv; }
        for i in 1 2 3; do mkdir -p $(deep 1000) && cd $(deep 1000) 2>/dev/null || break; done
        mkdir /srv/w; cd /srv/w; seq 20000 | xargs touch; touch -- '-rf' '*' 'a b'
        printf x > \"$(printf '\\351\\377\\n')\"; chmod 000 /srv; mkfifo /fifo
        # Processes that want to stay, in namespaces of their own.
        for i in $(seq 50); do unshare -Urmpf sleep 1000 >/dev/null 2>&1 </dev/null & done
        true";
    let ran = ct
        .try_exec_with(&["sh", "-c", piles], &json!({}), Duration::from_secs(180))
        .unwrap();
    println!(
        "{}",
        ran.stderr.lines().take(5).collect::<Vec<_>>().join("\n")
    );
    assert_eq!(neighbour.sh("echo fine"), "fine\n");
    let begun = Instant::now();
    ct.kill();
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    ct.start();
    ct.kill();
    ct.try_delete(false).unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    neighbour.delete();
    host.assert_clean();
}
