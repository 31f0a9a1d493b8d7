//! Processes of containers, as the host sees them in /proc.
//!
//! A process may end while it is looked at: then it is left out.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use osctl_api::container::{PidRow, Process};
use osctl_api::names::Name;
use osctl_api::user::Mapping;

use super::Container;
use crate::daemon::Daemon;
use crate::error::Error;

/// Clock ticks per second in /proc, which is the same on all architectures: see proc(5).
const TICKS: u64 = 100;
/// Longest command line that is told, bytes.
const MAX_COMMAND: usize = 4096;
const PAGE: u64 = 4096;

/// The processes of these containers.
///
/// # Errors
/// `Backend` when cgroups can't be read.
pub fn list(daemon: &Daemon, containers: &[Arc<Container>]) -> Result<Vec<Process>, Error> {
    let boot = boot_time();
    let mut processes = Vec::new();
    for container in containers.iter().filter(|c| c.run().is_some()) {
        let Ok((_, pool)) = container.home() else {
            continue;
        };
        let user = pool.user(&container.config().user);
        let (uids, gids) = user.map(|u| (u.uid_map(), u.gid_map())).unwrap_or_default();
        let pids = daemon.cgroups.procs(&container.node()?).map_err(|e| {
            Error::backend(format!("cannot list processes of {}", container.label()), e)
        })?;
        for pid in pids {
            if let Some(process) = read(pid, boot, container, &uids, &gids) {
                processes.push(process);
            }
        }
    }
    Ok(processes)
}

/// The containers of host processes.
pub fn lookup(daemon: &Daemon, pids: &[u32]) -> Vec<PidRow> {
    let names: HashMap<String, String> = daemon
        .containers()
        .iter()
        .filter_map(|c| Some((daemon.cgroups.name_of(&c.node().ok()?), c.label())))
        .collect();
    pids.iter()
        .filter_map(|pid| {
            let status = status(*pid)?;
            let cgroups =
                std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let container = cgroups
                .lines()
                .filter_map(|line| line.splitn(3, ':').nth(2))
                .find_map(|path| owner(path, &names));
            let ctpid = container.as_ref().and(status.ctpid);
            Some(PidRow {
                pid: *pid,
                container,
                ctpid,
                name: status.name,
            })
        })
        .collect()
}

/// The container whose cgroup is `path` or above it.
fn owner(path: &str, names: &HashMap<String, String>) -> Option<String> {
    Path::new(path)
        .ancestors()
        .find_map(|p| names.get(p.to_str()?.trim_start_matches('/')).cloned())
}

/// What is wanted of /proc/<pid>/status.
#[derive(Debug, Default)]
struct Status {
    name: String,
    state: String,
    uids: [u32; 2],
    gids: [u32; 2],
    ctpid: Option<u32>,
}

fn status(pid: u32) -> Option<Status> {
    let text = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut status = Status::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        let mut numbers = value
            .split_ascii_whitespace()
            .map_while(|n| n.parse::<u32>().ok());
        match key {
            "Name" => status.name = value.to_owned(),
            "State" => status.state = value.chars().take(1).collect(),
            "Uid" => status.uids = [numbers.next()?, numbers.next()?],
            "Gid" => status.gids = [numbers.next()?, numbers.next()?],
            "NSpid" => status.ctpid = numbers.nth(1),
            _ => {}
        }
    }
    Some(status)
}

fn read(
    pid: u32,
    boot: i64,
    container: &Container,
    uids: &[Mapping],
    gids: &[Mapping],
) -> Option<Process> {
    let status = status(pid)?;
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name may hold anything, parentheses too: fields are counted from its end.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    let mut command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.truncate(MAX_COMMAND);
    let command = String::from_utf8_lossy(&command)
        .trim_end_matches('\0')
        .replace('\0', " ");
    let start = boot + i64::try_from(field(22)? / TICKS).ok()?;
    Some(Process {
        pool: container.pool.clone(),
        ctid: container.id.clone(),
        pid,
        ctpid: status.ctpid.unwrap_or(0),
        ruid: status.uids[0],
        rgid: status.gids[0],
        euid: status.uids[1],
        egid: status.gids[1],
        ctruid: inside(uids, status.uids[0]),
        ctrgid: inside(gids, status.gids[0]),
        cteuid: inside(uids, status.uids[1]),
        ctegid: inside(gids, status.gids[1]),
        vmsize: field(23)?,
        rss: field(24)?.saturating_mul(PAGE),
        state: status.state,
        start,
        time: (field(14)? + field(15)?) * (1_000_000 / TICKS),
        command: if command.is_empty() {
            format!("[{}]", status.name)
        } else {
            command
        },
        name: status.name,
    })
}

/// The id in the container of an id of the host.
fn inside(map: &[Mapping], id: u32) -> Option<u32> {
    map.iter().find_map(|m| {
        let offset = id.checked_sub(m.host_id).filter(|o| *o < m.count)?;
        Some(m.ns_id + offset)
    })
}

/// When the host was booted, seconds since 1970-01-01 00:00 UTC.
fn boot_time() -> i64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines()
        .find_map(|l| l.strip_prefix("btime "))
        .and_then(|t| t.trim().parse().ok())
        .unwrap_or(0)
}

/// Containers that a listing of processes is for: those named, or all of a pool, or all.
pub fn chosen(
    daemon: &Daemon,
    ids: &[osctl_api::names::Ref],
    pool: Option<&Name>,
) -> Result<Vec<Arc<Container>>, Error> {
    if ids.is_empty() {
        let all = daemon.containers();
        return Ok(all
            .into_iter()
            .filter(|c| pool.is_none_or(|p| *p == c.pool))
            .collect());
    }
    ids.iter()
        .map(|id| daemon.container(&id.clone().on(pool)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_back() {
        let map = [
            Mapping {
                ns_id: 0,
                host_id: 1000,
                count: 10,
            },
            Mapping {
                ns_id: 100,
                host_id: 5000,
                count: 1,
            },
        ];
        assert_eq!(inside(&map, 1000), Some(0));
        assert_eq!(inside(&map, 1009), Some(9));
        assert_eq!(inside(&map, 1010), None);
        assert_eq!(inside(&map, 5000), Some(100));
        assert_eq!(inside(&map, 999), None);
    }

    #[test]
    fn a_process_of_a_nested_cgroup_belongs_to_its_container() {
        let names = HashMap::from([("osctl/pool.a/ct.b".to_owned(), "a:b".to_owned())]);
        assert_eq!(
            owner("/osctl/pool.a/ct.b/payload/x", &names).as_deref(),
            Some("a:b")
        );
        assert_eq!(owner("/osctl/pool.a/ct.bc", &names), None);
    }

    #[test]
    fn this_process_is_seen() {
        let me = std::process::id();
        assert!(!status(me).unwrap().name.is_empty());
        assert!(boot_time() > 0);
    }
}
