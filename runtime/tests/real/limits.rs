//! What restrains a container, and what its supervisor costs.

use std::fs;
use std::time::Instant;

use osctl_runtime::spec::{Init, Rlimit};

use crate::harness::{Place, SLEEP, able};

fn limit(name: &str, soft: u64, hard: u64) -> Rlimit {
    Rlimit {
        name: name.into(),
        soft: Some(soft),
        hard: Some(hard),
    }
}

#[test]
fn resource_limits_hold_for_init_and_entries() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.rlimits = vec![limit("nofile", 50, 60), limit("RLIMIT_CORE", 0, 0)];
    let mut ct = place.start(&spec);
    assert!(ct.warnings.is_empty(), "{:?}", ct.warnings);
    let limits = [ct.proc("limits"), ct.say("cat /proc/self/limits")];
    for text in limits {
        let line = text
            .lines()
            .find(|l| l.starts_with("Max open files"))
            .unwrap();
        let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
        assert_eq!(numbers, ["50", "60"]);
    }
}

#[test]
fn a_limit_that_the_host_does_not_allow_is_lowered_and_said() {
    if !able() {
        return;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let caps = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:\t"))
        .unwrap();
    if u64::from_str_radix(caps, 16).unwrap() & (1 << 24) != 0 {
        println!("skipped: with CAP_SYS_RESOURCE every limit is allowed");
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.rlimits = vec![limit("nproc", 1 << 40, 1 << 40)];
    spec.oom_score_adj = Some(-1000);
    let mut ct = place.start(&spec);
    assert_eq!(ct.warnings.len(), 2, "{:?}", ct.warnings);
    assert_eq!(ct.say("echo runs"), "runs");
}

#[test]
fn dropped_capabilities_are_gone_for_good() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.drop_capabilities = vec!["cap_sys_module".into(), "CAP_SYS_TIME".into()];
    let mut ct = place.start(&spec);
    let dropped: u64 = 1 << 16 | 1 << 25;
    for status in [ct.proc("status"), ct.say("cat /proc/self/status")] {
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let line = status.lines().find(|l| l.starts_with(set)).unwrap();
            let value = u64::from_str_radix(line.split('\t').nth(1).unwrap(), 16).unwrap();
            assert_eq!(value & dropped, 0, "{line}");
            assert_ne!(value, 0);
        }
    }
}

/// The last call that fails would be exec itself.
#[test]
fn a_seccomp_program_binds_init_and_entries() {
    if !able() {
        return;
    }
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    let ins = osctl_runtime::spec::instruction;
    // syscall number; if sethostname then EPERM else allow.
    spec.seccomp = vec![vec![
        ins(0x20, 0, 0, 0),
        ins(0x15, 0, 1, libc::SYS_sethostname as u32),
        ins(0x06, 0, 0, 0x0005_0000 | libc::EPERM as u32),
        ins(0x06, 0, 0, 0x7fff_0000),
    ]];
    let mut ct = place.start(&spec);
    assert!(ct.proc("status").contains("Seccomp:\t2"));
    assert_ne!(ct.sh("hostname other").status(), 0);
    assert_eq!(ct.say("hostname"), "box");
}

/// Pages that no other process shares.
fn private_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = rollup.lines().filter(|l| l.starts_with("Private_"));
    private
        .map(|l| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn an_idle_supervisor_is_small() {
    if !able() {
        return;
    }
    // Two, as on any real host: the program's text is shared.
    let place = Place::new();
    let _other = place.run(SLEEP);
    let place = Place::new();
    let mut spec = place.spec(SLEEP);
    spec.env = vec![("X".into(), "x".repeat(50_000))];
    let mut ct = place.start(&spec);
    for _ in 0..5 {
        ct.say("true");
    }
    let kib = private_kib(ct.child.id());
    println!("private memory of an idle supervisor: {kib} KiB");
    assert!(kib <= 1536, "{kib} KiB");
}

/// Not a limit, a measurement: `cargo test --release -- --ignored --nocapture latency`.
#[test]
#[ignore = "a measurement"]
fn latency() {
    if !able() {
        return;
    }
    let controllers = [
        "cpu", "cpuacct", "cpuset", "memory", "devices", "pids", "blkio",
    ];
    for (name, v1) in [("v2", &controllers[..0]), ("v1 and v2", &controllers)] {
        let mut starts = Vec::new();
        let mut execs = Vec::new();
        for _ in 0..50 {
            let mut place = Place::new();
            let mut spec = place.spec(SLEEP);
            place.v2(&mut spec);
            for controller in v1 {
                if let Some(dir) = place.v1(&mut spec, controller)
                    && *controller == "cpuset"
                {
                    for file in ["cpuset.cpus", "cpuset.mems"] {
                        let above = dir.parent().unwrap().join(file);
                        fs::write(dir.join(file), fs::read(above).unwrap()).unwrap();
                    }
                }
            }
            spec.init = Init::Exec {
                argv: vec!["/bin/sleep".into(), "1000".into()],
            };
            let begin = Instant::now();
            let mut ct = place.start(&spec);
            starts.push(begin.elapsed().as_micros());
            let begin = Instant::now();
            ct.exec(crate::harness::program(&["/bin/true"]));
            execs.push(begin.elapsed().as_micros());
        }
        for (what, mut list) in [("start", starts), ("exec", execs)] {
            list.sort_unstable();
            let (min, median, max) = (list[0], list[25], list[49]);
            println!("{name}: {what}: min {min} median {median} max {max} µs");
        }
    }
}
