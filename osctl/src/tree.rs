//! The tree of commands: from tables of verbs to clap's tree and back to the verb that was named.
//!
//! What the command line can't mean is there for clap by its name only, which keeps the start short.

use std::ffi::OsString;

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
        let command = self.bare();
        match &self.body {
            Body::Verb { augment, .. } => without_clashes(augment(command)),
            Body::Group { about, nodes } => {
                let command = prepare(command.about(*about));
                command.subcommands(nodes.iter().map(Node::command))
            }
        }
    }

    /// Whether clap may take one of `words` for it.
    fn may_be(&self, words: &[&str]) -> bool {
        let named = |word: &&str| self.names.iter().any(|name| name.starts_with(word));
        words.iter().any(named)
    }

    /// Described as far as `words` may be about it.
    fn sketch(&self, words: &[&str]) -> Command {
        match &self.body {
            Body::Group { about, nodes } if self.may_be(words) => {
                let command = prepare(self.bare().about(*about));
                command.subcommands(sketches(nodes, words))
            }
            Body::Verb { .. } if self.may_be(words) => self.command(),
            _ => self.bare(),
        }
    }

    fn bare(&self) -> Command {
        Command::new(self.name())
            .visible_aliases(&self.names[1..])
            .hide(self.hidden)
    }
}

fn sketches(nodes: &'static [Node], words: &[&str]) -> impl Iterator<Item = Command> {
    nodes.iter().map(|node| node.sketch(words))
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

/// What `arguments` mean.
///
/// # Errors
/// What there is to tell the user instead: a mistake of theirs, or the help that they asked for.
pub fn parse(arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let words: Vec<&str> = arguments
        .iter()
        .skip(1)
        .filter_map(|a| a.to_str())
        .collect();
    let mut sketch = root().subcommands(sketches(crate::commands::ROOT, &words));
    let parsed = sketch.try_get_matches_from_mut(arguments);
    // Taking it apart takes as long as building it, and this process does not live long.
    std::mem::forget(sketch);
    // What is told to people is told by the whole tree.
    parsed.or_else(|_| whole().try_get_matches_from(arguments))
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
