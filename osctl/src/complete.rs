//! Completion for shells. The shell asks this program, which asks the daemon for names: quickly,
//! and silently when there is no answer.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::{Arg, Command};
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter,
};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};
use osctl_api::client::Client;
use osctl_api::{Method, container, firewall, group, id_range, netif, pool, snapshot, user};

use crate::cli::default_socket;
use crate::commands::generate::Shell;
use crate::tree;

/// Set by the scripts when they want candidates.
const VARIABLE: &str = "COMPLETE";
/// How long a user who presses Tab is kept waiting for names.
const DEADLINE: Duration = Duration::from_millis(500);

/// Whether a shell asks for candidates, or for its script.
pub fn requested() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|v| !v.is_empty() && v != "0")
}

/// Answers the shell.
pub fn run() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let directory = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(tree_with_completers)
        .var(VARIABLE)
        .bin("osctl")
        .try_complete(arguments, directory.as_deref());
    match answered {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The script that makes a shell ask.
///
/// # Errors
/// Never: it is written to memory.
pub fn registration(shell: Shell) -> std::io::Result<Vec<u8>> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "osctl", "osctl", "osctl", &mut script)?;
    Ok(script)
}

fn tree_with_completers() -> Command {
    with_completers(tree::whole(), false)
}

fn with_completers(command: Command, makes_names: bool) -> Command {
    command
        .mut_args(|arg| with_completer(arg, makes_names))
        .mut_subcommands(|sub| {
            let makes_names = ["new", "install"].contains(&sub.get_name());
            with_completers(sub, makes_names)
        })
}

fn with_completer(arg: Arg, makes_names: bool) -> Arg {
    // a name that is being given to a new object can't be one that exists
    if makes_names && arg.is_positional() {
        return arg;
    }
    let names = |list: fn() -> Vec<String>| {
        ArgValueCandidates::new(move || list().into_iter().map(CompletionCandidate::new).collect())
    };
    let shows = |name: &str| {
        arg.get_value_names()
            .is_some_and(|n| n.iter().any(|n| n == name))
    };
    match arg.get_id().as_str() {
        "id" | "ids" if shows("CTID") => arg.add(names(containers)),
        "name" if shows("IFNAME") => arg.add(names(netifs)),
        "snapshot" => arg.add(names(snapshots)),
        "set" => arg.add(names(address_sets)),
        "pool" | "pools" | "g_pool" => arg.add(names(pools)),
        "user" | "users" | "as_user" => arg.add(names(users)),
        "group" | "groups" | "as_group" => arg.add(names(groups)),
        "id_range" | "id_ranges" => arg.add(names(id_ranges)),
        "fs" | "from_archive" | "script" | "profile" | "g_socket" => {
            arg.add(ArgValueCompleter::new(PathCompleter::any()))
        }
        "dir" => arg.add(ArgValueCompleter::new(PathCompleter::dir())),
        _ => arg,
    }
}

/// Asks the daemon; nothing when it does not answer in time.
fn ask<M: Method>(params: M) -> Option<M::Reply> {
    let (sender, receiver) = channel();
    // in a thread, since connecting has no deadline of its own
    std::thread::Builder::new()
        .spawn(move || {
            let reply = Client::connect(&default_socket()).ok().and_then(|mut c| {
                c.set_timeout(Some(DEADLINE)).ok()?;
                c.call(&params).ok()
            });
            let _ = sender.send(reply);
        })
        .ok()?;
    receiver.recv_timeout(DEADLINE).ok().flatten()
}

fn containers() -> Vec<String> {
    let reply = ask(container::List::default());
    let all = reply.map(|r| r.containers).unwrap_or_default();
    all.into_iter().map(|c| c.id.to_string()).collect()
}

/// Of all containers: which one is meant is not known here.
fn netifs() -> Vec<String> {
    let reply = ask(netif::List::default());
    let all = reply.map(|r| r.netifs).unwrap_or_default();
    let names = all.into_iter().map(|n| n.name.to_string());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Of all containers: which one is meant is not known here.
fn snapshots() -> Vec<String> {
    let reply = ask(snapshot::List::default());
    let all = reply.map(|r| r.snapshots).unwrap_or_default();
    let names = all.into_iter().map(|s| s.name);
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

fn address_sets() -> Vec<String> {
    let reply = ask(firewall::SetList::default());
    let all = reply.map(|r| r.sets).unwrap_or_default();
    all.into_iter().map(|s| s.name.to_string()).collect()
}

fn pools() -> Vec<String> {
    let reply = ask(pool::List::default());
    let all = reply.map(|r| r.pools).unwrap_or_default();
    all.into_iter().map(|p| p.name.to_string()).collect()
}

fn users() -> Vec<String> {
    let reply = ask(user::List::default());
    let all = reply.map(|r| r.users).unwrap_or_default();
    all.into_iter().map(|u| u.name.to_string()).collect()
}

fn groups() -> Vec<String> {
    let reply = ask(group::List::default());
    let all = reply.map(|r| r.groups).unwrap_or_default();
    all.into_iter().map(|g| g.name.to_string()).collect()
}

fn id_ranges() -> Vec<String> {
    let reply = ask(id_range::List::default());
    let all = reply.map(|r| r.id_ranges).unwrap_or_default();
    all.into_iter().map(|r| r.name.to_string()).collect()
}
