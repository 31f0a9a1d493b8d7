//! The tree of commands: from tables of verbs to clap's tree and back to the verb that was named.
//!
//! The commands below a noun are described to clap only when that noun was typed, which keeps the
//! start short.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// A command: its options and arguments, and what it does.
pub trait Verb: clap::Args {
    /// Does it.
    ///
    /// # Errors
    /// When it fails.
    fn run(self, cx: &mut Context) -> Outcome;
}

/// A word of the command line.
#[derive(Debug)]
pub struct Node {
    names: &'static [&'static str],
    hidden: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Verb {
        augment: fn(Command) -> Command,
        run: fn(&ArgMatches, &mut Context) -> Outcome,
    },
    Group {
        about: &'static str,
        nodes: &'static [Node],
    },
}

/// A verb, by its name and aliases.
pub const fn verb<T: Verb>(names: &'static [&'static str]) -> Node {
    Node {
        names,
        hidden: false,
        body: Body::Verb {
            augment: T::augment_args,
            run: run::<T>,
        },
    }
}

/// A word that has others below it.
pub const fn group(
    names: &'static [&'static str],
    about: &'static str,
    nodes: &'static [Node],
) -> Node {
    Node {
        names,
        hidden: false,
        body: Body::Group { about, nodes },
    }
}

impl Node {
    /// The same node, not shown in help.
    #[must_use]
    pub const fn hidden(mut self) -> Node {
        self.hidden = true;
        self
    }

    fn name(&self) -> &'static str {
        self.names[0]
    }

    fn command(&self) -> Command {
        let command = Command::new(self.name())
            .visible_aliases(&self.names[1..])
            .hide(self.hidden);
        match &self.body {
            Body::Verb { augment, .. } => without_clashes(augment(command)),
            Body::Group { about, nodes } => {
                let command = prepare(command.about(*about));
                command.subcommands(nodes.iter().map(Node::command))
            }
        }
    }

    fn deferred(&self) -> Command {
        match &self.body {
            Body::Verb { .. } => self.command(),
            Body::Group { about, .. } => prepare(
                Command::new(self.name())
                    .visible_aliases(&self.names[1..])
                    .hide(self.hidden)
                    .about(*about),
            )
            .defer(fill),
        }
    }
}

fn run<T: Verb>(matches: &ArgMatches, cx: &mut Context) -> Outcome {
    let verb = T::from_arg_matches(matches)
        .map_err(|e| crate::ui::usage_failure(&e.render().to_string()))?;
    verb.run(cx)
}

fn prepare(command: Command) -> Command {
    command
        .infer_subcommands(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("Commands")
}

/// Describes what is below a noun of the root.
fn fill(command: Command) -> Command {
    let node = crate::commands::ROOT
        .iter()
        .find(|n| n.name() == command.get_name());
    match node.map(|n| &n.body) {
        Some(Body::Group { nodes, .. }) => command.subcommands(nodes.iter().map(Node::command)),
        _ => command,
    }
}

/// Options that every command has.
fn globals() -> [Arg; 7] {
    let flag = |id: &'static str, long: &'static str, help: &'static str| {
        Arg::new(id)
            .long(long)
            .help(help)
            .action(ArgAction::SetTrue)
            .global(true)
            .help_heading("Global options")
    };
    let value = |id: &'static str, long: &'static str, name: &'static str, help: &'static str| {
        Arg::new(id)
            .long(long)
            .value_name(name)
            .help(help)
            .global(true)
            .help_heading("Global options")
    };
    [
        flag("g_json", "json", "Print JSON").short('j'),
        flag("g_parsable", "parsable", "Print raw numbers").short('p'),
        flag("g_color", "color", "Print colours").overrides_with("g_no_color"),
        flag("g_no_color", "no-color", "Print no colours").overrides_with("g_color"),
        flag("g_quiet", "quiet", "Print no progress and no notes").short('q'),
        value(
            "g_pool",
            "pool",
            "POOL",
            "Pool of objects that are named without one",
        )
        .value_parser(clap::builder::ValueParser::new(
            str::parse::<osctl_api::names::Name>,
        )),
        value(
            "g_socket",
            "socket",
            "PATH",
            "Socket of the daemon [env: OSCTL_SOCKET] [default: /run/osctl/osctld.sock]",
        )
        .value_parser(clap::value_parser!(std::path::PathBuf)),
    ]
}

/// Global options lose their short name where a command has one of its own that is the same.
fn without_clashes(command: Command) -> Command {
    let mut clashing = Vec::new();
    for global in globals() {
        let short = global.get_short();
        if short.is_some() && command.get_arguments().any(|a| a.get_short() == short) {
            clashing.push(global.short(None));
        }
    }
    command.args(clashing)
}

fn root() -> Command {
    let command = Command::new("osctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Manage system containers")
        .long_about(
            "Manage system containers\n\n\
             Every word of a command may be abbreviated, as long as it stays unique: \
             `osctl ct st web1`.",
        )
        .after_help(
            "Exit status: 0 done, 1 failed, 2 wrong command line, 3 daemon unreachable. \
             `ct exec` returns the status of the program, or 125, 126, 127.",
        )
        .args(globals());
    prepare(command)
}

/// The tree as it is parsed with.
pub fn lazy() -> Command {
    root().subcommands(crate::commands::ROOT.iter().map(Node::deferred))
}

/// The whole tree.
pub fn whole() -> Command {
    root().subcommands(crate::commands::ROOT.iter().map(Node::command))
}

/// Does what was named.
///
/// # Errors
/// When it fails.
pub fn dispatch(matches: &ArgMatches, cx: &mut Context) -> Outcome {
    let mut nodes = crate::commands::ROOT;
    let mut matches = matches;
    while let Some((name, below)) = matches.subcommand() {
        match nodes.iter().find(|n| n.name() == name).map(|n| &n.body) {
            Some(Body::Verb { run, .. }) => return run(below, cx),
            Some(Body::Group { nodes: inner, .. }) => {
                nodes = inner;
                matches = below;
            }
            None => break,
        }
    }
    Err(Failure::usage("no command was given"))
}
