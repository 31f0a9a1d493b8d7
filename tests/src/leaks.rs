//! What is left of what is no more: processes, cgroups, mounts, directories, ids.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use osctl_api::container::{Container, List, State};
use osctl_api::id_range::{BlockType, TableList};
use osctl_api::user;
use serde_json::json;

use crate::host::Host;
use crate::{cgroups, processes, wait};

/// Panics when anything is left that belongs to no container that the daemon knows.
///
/// What is removed in the background gets a moment.
#[track_caller]
pub fn assert_clean(host: &Host) {
    let mut left = Vec::new();
    let clean = wait::find(wait::SOON, || {
        left = leftovers(host);
        left.is_empty().then_some(())
    });
    assert!(clean.is_some(), "left over:\n  {}", left.join("\n  "));
}

/// Everything that is there and should not be, or should be and is not.
pub fn leftovers(host: &Host) -> Vec<String> {
    let list = host.call(&List::default());
    let mut left = Vec::new();
    for container in &list.containers {
        if container.state == State::Error {
            left.push(format!(
                "{} in state error: {:?}",
                container.id, container.error
            ));
        }
    }
    let pools = host.call(&osctl_api::pool::List::default()).pools;
    for pool in &pools {
        left.extend(pool.problems.iter().map(|p| format!("problem: {p}")));
        let name = pool.name.as_str();
        let own: Vec<&Container> = list
            .containers
            .iter()
            .filter(|c| c.pool == pool.name)
            .collect();
        left.extend(directories(host, name, Path::new(&pool.path), &own));
        left.extend(ids(host, name, &own));
    }
    left.extend(runtime_state(host, &list.containers));
    left.extend(mounts(host));
    left
}

fn runs(container: &Container) -> bool {
    container.init_pid.is_some()
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

fn directories(host: &Host, pool: &str, path: &Path, own: &[&Container]) -> Vec<String> {
    let mut left = Vec::new();
    let known: BTreeSet<String> = own.iter().map(|c| c.id.to_string()).collect();
    let configs: BTreeSet<String> = known.iter().map(|id| format!("{id}.json")).collect();
    let running: BTreeSet<String> = own
        .iter()
        .filter(|c| runs(c))
        .map(|c| c.id.to_string())
        .collect();
    let mut compare = |dir: &Path, want: &BTreeSet<String>| {
        let found = names(dir);
        left.extend(
            found
                .difference(want)
                .map(|n| format!("{}", dir.join(n).display())),
        );
        left.extend(
            want.difference(&found)
                .map(|n| format!("{} is missing", dir.join(n).display())),
        );
    };
    compare(&path.join("ct"), &known);
    compare(&path.join("conf/ct"), &configs);
    compare(&path.join("trash"), &BTreeSet::new());
    let run = host.run_dir().join("pools").join(pool).join("ct");
    compare(&run, &running);
    for name in names(&path.join("conf/net")) {
        if !configs.contains(&name) {
            left.push(format!("state of the network {name}"));
        }
    }
    for name in names(&path.join("log/ct")) {
        if !known.iter().any(|id| name.starts_with(id.as_str())) {
            left.push(format!("log {name}"));
        }
    }
    for id in &known {
        if path.join("ct").join(id).join("new").exists() {
            left.push(format!("{id} is marked as new"));
        }
    }
    left
}

fn ids(host: &Host, pool: &str, own: &[&Container]) -> Vec<String> {
    let mut left = Vec::new();
    let users = host.call(&user::List::default()).users;
    let users: Vec<_> = users
        .into_iter()
        .filter(|u| u.pool.as_str() == pool)
        .collect();
    for user in &users {
        let used = own.iter().filter(|c| c.user == user.name).count() as u64;
        if user.containers != used {
            left.push(format!(
                "user {} counts {} containers of {used}",
                user.name, user.containers
            ));
        }
        if used == 0 && !user.standalone {
            left.push(format!("user {} is used by nobody", user.name));
        }
    }
    let range = format!("{pool}:default");
    let table = host.json::<TableList>(json!({ "id_range": range }));
    for row in table.rows.iter().filter(|r| r.kind == BlockType::Allocated) {
        let owner = row.owner.clone().unwrap_or_default();
        let owned = users.iter().any(|u| owner.contains(u.name.as_str()));
        if !owned {
            left.push(format!("ids {}-{} of {owner:?}", row.first_id, row.last_id));
        }
    }
    left
}

fn runtime_state(host: &Host, containers: &[Container]) -> Vec<String> {
    processes::reap_orphans();
    let mut left = Vec::new();
    let running: Vec<&str> = containers
        .iter()
        .filter(|c| runs(c))
        .map(|c| c.id.as_str())
        .collect();
    for (id, path) in cgroups::containers(&host.cgroup) {
        if !running.contains(&id.as_str()) {
            left.push(format!("cgroup {}", path.display()));
        }
    }
    if running.is_empty() {
        left.extend(processes_left(host));
        left.extend(interfaces_left(host));
    }
    left
}

/// Interfaces of containers that are there although no container runs.
fn interfaces_left(host: &Host) -> Vec<String> {
    let links = host.own_network().map(|n| n.host.links());
    let mark = format!("osctl/{}/", host.cgroup);
    let of_containers = |alias: &str| alias.strip_prefix(&mark).is_some_and(|a| a.contains(':'));
    let links = links.into_iter().flatten();
    links
        .filter(|l| of_containers(&l.alias))
        .map(|l| format!("interface {} ({})", l.name, l.alias))
        .collect()
}

/// Processes that are there although no container runs.
fn processes_left(host: &Host) -> Vec<String> {
    let daemon = host.daemon_pid();
    let mut pids = cgroups::pids(&host.cgroup);
    // With one process for each test, whatever descends from it is of this host.
    if std::env::var_os("NEXTEST").is_some() {
        pids.extend(processes::descendants());
    }
    pids.retain(|pid| *pid != daemon);
    pids.into_iter()
        .map(|pid| format!("process {pid} ({})", processes::cmdline(pid)))
        .collect()
}

fn mounts(host: &Host) -> Vec<String> {
    let dir = host.path("");
    let dir = dir.to_str().unwrap().trim_end_matches('/');
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = text.lines().filter(|l| l.contains(dir));
    own.map(|l| format!("mount {l}")).collect()
}

/// Unmounts whatever is mounted below a directory.
pub fn unmount_below(dir: &Path) {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets: Vec<&str> = text.lines().filter_map(|l| l.split(' ').nth(4)).collect();
    for target in targets
        .iter()
        .rev()
        .filter(|t| Path::new(t).starts_with(dir))
    {
        let _ = nix::mount::umount2(*target, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// The host's mounts, to be compared.
pub fn mountinfo() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}
