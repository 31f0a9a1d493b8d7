//! Where the time of a start, an exec and a stop goes: the moments at which
//! the command passes from one process to the next, found in the kernel's
//! record.

use std::collections::HashSet;
use std::fs;

use super::Action;
use super::ours::Ours;
use super::samples::Summary;
use super::trace::{Event, Tracer};
use crate::error::{Error, Result};
use crate::ui;

/// The phases of one command; each lasts until the moment that it is named
/// for, and begins where the one before it ends.
#[derive(Debug, serde::Serialize)]
pub struct Phases {
    /// The command.
    pub command: &'static str,
    /// In the order in which they come; milliseconds.
    pub phases: Vec<(String, Summary)>,
}

/// The processes that take part.
struct Roles {
    cli: u32,
    daemon: HashSet<u32>,
    supervisor: Option<u32>,
    init: Option<u32>,
}

type Marks = Vec<(&'static str, Option<f64>)>;

/// Traces start, exec and stop; nothing where the kernel can't.
pub fn measure(ours: &mut Ours, rounds: u32) -> Result<Vec<Phases>> {
    let tracer = match Tracer::new() {
        Ok(tracer) => tracer,
        Err(Error::File { action, path, .. }) => {
            ui::detail(format!("no phases: cannot {action} {}", path.display()));
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let actions = [
        (Action::Start, "start"),
        (Action::Exec, "exec /bin/true"),
        (Action::Stop, "stop --kill"),
    ];
    let mut all: Vec<(&'static str, Vec<Marks>)> = actions
        .iter()
        .map(|(_, name)| (*name, Vec::new()))
        .collect();
    for _ in 0..rounds {
        for ((action, _), (_, marks)) in actions.into_iter().zip(&mut all) {
            super::pause()?;
            let running = match action {
                Action::Start => None,
                _ => Some((ours.supervisor("b0")?, ours.init("b0")?)),
            };
            let mut command = ours.action(action);
            let (cli, events) = tracer.record(|| super::traced(&mut command))?;
            let roles = Roles::find(&events, cli, ours.daemon_pid()?, running);
            marks.push(match action {
                Action::Start => start(&events, &roles),
                Action::Exec => exec(&events, &roles),
                Action::List | Action::Stop => stop(&events, &roles),
            });
        }
    }
    Ok(all
        .into_iter()
        .map(|(command, rounds)| Phases {
            command,
            phases: summarise(&rounds),
        })
        .collect())
}

impl Roles {
    fn find(events: &[Event], cli: u32, daemon: u32, running: Option<(u32, u32)>) -> Self {
        let mut threads = HashSet::from([daemon]);
        let tasks = fs::read_dir(format!("/proc/{daemon}/task"));
        threads.extend(
            tasks
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()),
        );
        let executed = |pid: &u32| {
            let exec = |event: &&Event| event.tid == *pid && is(event, "sched_process_exec:");
            events.iter().any(|event| exec(&event))
        };
        let child = |parents: &HashSet<u32>| {
            let children = events.iter().filter_map(|event| event.child_of(parents));
            children.into_iter().find(executed)
        };
        let (supervisor, init) = match running {
            Some((supervisor, init)) => (Some(supervisor), Some(init)),
            None => {
                let supervisor = child(&threads);
                (
                    supervisor,
                    supervisor.and_then(|pid| child(&HashSet::from([pid]))),
                )
            }
        };
        Self {
            cli,
            daemon: threads,
            supervisor,
            init,
        }
    }
}

fn is(event: &Event, beginning: &str) -> bool {
    event.text.starts_with(beginning)
}

/// When thread `tid` first did what begins so.
fn first(events: &[Event], tid: Option<u32>, beginning: &str) -> Option<f64> {
    let event = events
        .iter()
        .find(|event| Some(event.tid) == tid && is(event, beginning));
    event.map(|event| event.at)
}

/// When process `pid` was made.
fn birth(events: &[Event], pid: Option<u32>) -> Option<f64> {
    let is_birth = |event: &&Event| {
        is(event, "sched_process_fork:") && pid.is_some() && event.number("child_pid") == pid
    };
    events.iter().find(is_birth).map(|event| event.at)
}

/// What all commands begin with.
fn common(events: &[Event], roles: &Roles) -> Marks {
    let cli = Some(roles.cli);
    let connect = first(events, cli, "sys_connect(");
    let accepted = events
        .iter()
        .find(|event| {
            roles.daemon.contains(&event.tid)
                && is(event, "sys_accept4 -> 0x")
                && connect.is_some_and(|connect| event.at >= connect)
        })
        .map(|event| event.at);
    vec![
        ("", birth(events, cli)),
        ("CLI: exec", first(events, cli, "sched_process_exec:")),
        ("CLI: arguments", connect),
        ("wire: daemon has accepted", accepted),
    ]
}

fn start(events: &[Event], roles: &Roles) -> Marks {
    let Roles {
        supervisor, init, ..
    } = *roles;
    let mut marks = common(events, roles);
    marks.extend([
        ("daemon: plan", birth(events, supervisor)),
        (
            "spawn of the supervisor",
            first(events, supervisor, "sched_process_exec:"),
        ),
        (
            "supervisor: before clone",
            first(events, supervisor, "sys_clone3("),
        ),
        ("clone", birth(events, init)),
        (
            "init stage: mounts, waiting for ids and cgroups",
            first(events, init, "sys_pivot_root("),
        ),
        (
            "init stage: the rest, exec",
            first(events, init, "sched_process_exec:"),
        ),
    ]);
    end(marks, events, roles, "reply, CLI: end")
}

fn exec(events: &[Event], roles: &Roles) -> Marks {
    let first_child = |parent: Option<u32>| {
        let parents = parent.into_iter().collect();
        events.iter().find_map(|event| event.child_of(&parents))
    };
    // The first joins the namespaces, the second is born in them.
    let joining = first_child(roles.supervisor);
    let program = first_child(joining);
    let mut marks = common(events, roles);
    marks.extend([
        ("daemon and supervisor: until fork", birth(events, joining)),
        ("setns", first(events, joining, "sys_setns(")),
        ("second fork", birth(events, program)),
        (
            "credentials, filters, exec",
            first(events, program, "sched_process_exec:"),
        ),
        ("the program", first(events, program, "sched_process_exit:")),
    ]);
    end(marks, events, roles, "reply, CLI: end")
}

fn stop(events: &[Event], roles: &Roles) -> Marks {
    let mut marks = common(events, roles);
    marks.extend([
        (
            "daemon: plan, kill",
            first(events, roles.init, "sched_process_exit:"),
        ),
        (
            "end of init seen, end of the supervisor",
            first(events, roles.supervisor, "sched_process_exit:"),
        ),
    ]);
    end(marks, events, roles, "cgroups, reply, CLI: end")
}

fn end(mut marks: Marks, events: &[Event], roles: &Roles, name: &'static str) -> Marks {
    let exit = first(events, Some(roles.cli), "sched_process_exit:");
    marks.push((name, exit));
    marks
}

/// How long each phase took over all rounds; a mark that was not found makes
/// the next phase longer.
fn summarise(rounds: &[Marks]) -> Vec<(String, Summary)> {
    let names: Vec<&'static str> = match rounds.first() {
        Some(marks) => marks.iter().skip(1).map(|(name, _)| *name).collect(),
        None => return Vec::new(),
    };
    let lengths: Vec<Vec<(&'static str, f64)>> =
        rounds.iter().map(|marks| lengths(marks)).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let values: Vec<f64> = lengths
                .iter()
                .flatten()
                .filter(|(of, _)| *of == name)
                .map(|(_, length)| *length)
                .collect();
            Some((name.to_owned(), Summary::of(&values)?))
        })
        .collect()
}

fn lengths(marks: &Marks) -> Vec<(&'static str, f64)> {
    let mut before = None;
    let mut lengths = Vec::new();
    for (name, at) in marks {
        let Some(at) = *at else { continue };
        if let Some(before) = before {
            lengths.push((*name, at - before));
        }
        before = Some(at);
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_mark_belongs_to_the_next_phase() {
        let marks: Marks = vec![
            ("", Some(1.0)),
            ("a", Some(2.0)),
            ("b", None),
            ("c", Some(5.0)),
        ];
        assert_eq!(lengths(&marks), [("a", 1.0), ("c", 3.0)]);
        let summary = summarise(&[marks]);
        assert_eq!(summary.len(), 2);
        assert_eq!((summary[1].0.as_str(), summary[1].1.median), ("c", 3.0));
    }
}
