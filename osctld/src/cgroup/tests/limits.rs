//! Limits, parameters and statistics on running processes.

use super::*;

fn value(scratch: &Scratch, name: &str) -> String {
    let read = scratch.tree.read(&scratch.ct, name).unwrap();
    read.unwrap_or_else(|| panic!("{name} is missing"))
}

/// Applies a limit; `false` if the host does not have the controller for it.
fn apply(scratch: &Scratch, subsystem: &str, params: &[Param]) -> Option<Version> {
    let version = scratch.tree.version_of(subsystem);
    if version.is_none() {
        println!("skipped: no {subsystem} controller");
    }
    scratch.tree.apply(&scratch.ct, params).unwrap();
    version
}

#[test]
fn cpu() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let set = |percent, period| {
        let limit = CpuLimit::new(percent, period).unwrap();
        apply(&scratch, "cpu", &limit.params())
    };
    for (percent, period, quota) in [(150, 100_000, 150_000), (50, 20_000, 10_000)] {
        match set(percent, period) {
            Some(Version::V1) => {
                assert_eq!(value(&scratch, "cpu.cfs_quota_us"), quota.to_string());
                assert_eq!(value(&scratch, "cpu.cfs_period_us"), period.to_string());
            }
            Some(Version::V2) => {
                assert_eq!(value(&scratch, "cpu.max"), format!("{quota} {period}"));
            }
            None => return,
        }
    }
    let params = CpuLimit::new(50, 20_000).unwrap().params();
    scratch.tree.reset(&scratch.ct, &params).unwrap();
    match scratch.tree.version_of("cpu") {
        Some(Version::V1) => assert_eq!(value(&scratch, "cpu.cfs_quota_us"), "-1"),
        _ => assert_eq!(value(&scratch, "cpu.max"), "max 100000"),
    }
}

/// The kernel refuses period and quota in one order or the other when the group above is limited.
#[test]
fn cpu_below_a_limited_group() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let Scratch { tree, ct, .. } = &scratch;
    let group = ct.parent().unwrap();
    tree.apply(&group, &CpuLimit::new(100, 100_000).unwrap().params())
        .unwrap();
    for period in [100_000, 20_000, 200_000] {
        let limit = CpuLimit::new(100, period).unwrap();
        tree.apply(ct, &limit.params()).unwrap();
    }
    if tree.version_of("cpu") == Some(Version::V1) {
        let beyond = CpuLimit::new(200, 100_000).unwrap();
        assert!(tree.apply(ct, &beyond.params()).is_err());
    }
}

#[test]
fn memory_up_and_down() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    const MIB: u64 = 1 << 20;
    for (memory, swap) in [(64, None), (256, Some(64)), (32, None), (512, None)] {
        let swap = swap.map(|s: u64| s * MIB);
        let limit = MemoryLimit::new(memory * MIB, swap).unwrap();
        let text = (memory * MIB).to_string();
        match apply(&scratch, "memory", &limit.params()) {
            Some(Version::V1) => {
                assert_eq!(value(&scratch, "memory.limit_in_bytes"), text);
                let both = (memory * MIB + swap.unwrap_or(0)).to_string();
                let read = scratch
                    .tree
                    .read(&scratch.ct, "memory.memsw.limit_in_bytes");
                assert!(read.unwrap().is_none_or(|v| v == both));
            }
            Some(Version::V2) => assert_eq!(value(&scratch, "memory.max"), text),
            None => return,
        }
    }
    let params = MemoryLimit::new(MIB, None).unwrap().params();
    scratch.tree.reset(&scratch.ct, &params).unwrap();
    let stats = Sampler::new().stats(&scratch.tree, &scratch.ct);
    assert_eq!(stats.memory_limit, None);
}

#[test]
fn memory_kills() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let limit = MemoryLimit::new(16 << 20, None).unwrap();
    if apply(&scratch, "memory", &limit.params()).is_none() {
        return;
    }
    let mut guest = scratch.run("head -c 100M /dev/zero | tail -n 1 > /dev/null; echo $?");
    assert_eq!(guest.line(), "137");
    let stats = Sampler::new().stats(&scratch.tree, &scratch.ct);
    assert!(stats.oom_kills.unwrap() >= 1, "{stats:?}");
    assert_eq!(stats.memory_limit, Some(16 << 20));
    assert!(stats.memory_pct.unwrap() <= 100.0);
}

#[test]
fn pids() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    if apply(&scratch, "pids", &Param::pids_max(1)).is_none() {
        return;
    }
    let mut guest = scratch.run("(:) 2>&- && echo forked");
    assert_eq!(guest.line(), "", "the shell gives up when it cannot fork");
    // Live, on what runs.
    let mut guest = scratch.run("read go; (:) && echo forked");
    scratch
        .tree
        .apply(&scratch.ct, &Param::pids_max(5))
        .unwrap();
    guest.send("");
    assert_eq!(guest.line(), "forked");
    scratch
        .tree
        .reset(&scratch.ct, &Param::pids_max(5))
        .unwrap();
    assert_eq!(value(&scratch, "pids.max"), "max");
}

#[test]
fn cpuset_follows_its_group() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let Scratch { tree, ct, .. } = &scratch;
    let group = ct.parent().unwrap();
    let set = |node: &Node, list: &str| {
        let params = Param::cpuset_cpus(list).unwrap();
        tree.apply(node, &params).unwrap();
    };
    let before = match tree.version_of("cpuset") {
        Some(Version::V1) => value(&scratch, "cpuset.cpus"),
        _ => {
            println!("skipped: no v1 cpuset");
            return;
        }
    };
    set(&group, "0");
    assert_eq!(value(&scratch, "cpuset.cpus"), "0");
    set(&group, &before);
    assert_eq!(value(&scratch, "cpuset.cpus"), before);
    let guest = scratch.run("exec sleep 600");
    set(ct, "0");
    let status = read(Path::new(&format!("/proc/{}/status", guest.child.id())));
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    tree.reset(ct, &Param::cpuset_cpus("0").unwrap()).unwrap();
    assert_eq!(value(&scratch, "cpuset.cpus"), before);
}

#[test]
fn weights_or_warns() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let params = Param::io_weight(50).unwrap();
    let warnings = scratch.tree.apply(&scratch.ct, &params).unwrap();
    println!("{warnings:?}");
    assert!(warnings.len() <= 1);
}

#[test]
fn refuses_unknown_and_foreign() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let Scratch { tree, ct, .. } = &scratch;
    let Some(version) = tree.version_of("memory") else {
        println!("skipped: no memory controller");
        return;
    };
    let unknown = Param::new(version, "memory.no_such_thing", vec!["1".into()]).unwrap();
    assert!(tree.apply(ct, std::slice::from_ref(&unknown)).is_err());
    assert_eq!(tree.read(ct, "memory.no_such_thing").unwrap(), None);
    assert_eq!(
        tree.reset(ct, std::slice::from_ref(&unknown))
            .unwrap()
            .len(),
        1
    );
    let other = match version {
        Version::V1 => Version::V2,
        Version::V2 => Version::V1,
    };
    // For the version that is not running: nothing to do, nothing to complain about.
    let foreign = Param {
        version: other,
        ..unknown
    };
    assert!(tree.apply(ct, &[foreign]).unwrap().is_empty());
    let bad = Param::new(version, "pids.max", vec!["many".into()]).unwrap();
    if tree.version_of("pids") == Some(version) {
        assert!(tree.apply(ct, &[bad]).is_err());
    }
}

#[test]
fn statistics() {
    let Some(scratch) = Scratch::here() else {
        return;
    };
    let Scratch { tree, ct, .. } = &scratch;
    let mut sampler = Sampler::new();
    let mut guest = scratch.run("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo; read x");
    guest.line();
    let stats = sampler.stats(tree, ct);
    assert!(stats.cpu_us.is_some_and(|c| c > 1_000), "{stats:?}");
    assert!(stats.cpu_user_us.is_some());
    if tree.version_of("pids").is_some() {
        assert_eq!(stats.pids, Some(1));
    }
    if tree.version_of("memory").is_some() {
        assert!(stats.memory.is_some_and(|m| m > 4096), "{stats:?}");
        assert!(stats.memory_pct.is_some_and(|p| p > 0.0 && p < 100.0));
    }
    let none = Node::pool("no-such").unwrap();
    let empty = sampler.stats(tree, &none);
    assert_eq!(empty, Stats::default());
}
