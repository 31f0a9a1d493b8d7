//! From the arguments of the program to its exit status.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::error::ErrorKind;
use osctl_api::names::Name;

use crate::context::{Context, Daemon};
use crate::failure::{DONE, Failure, USAGE};
use crate::tree;
use crate::ui::{Colour, Stream, Ui, usage_failure};

/// Names of links to this program that stand for one of its commands.
const SHORTCUTS: [&str; 6] = ["ct", "group", "healthcheck", "id-range", "pool", "user"];

/// Runs the command that `arguments` name and returns the exit status.
pub fn run(arguments: Vec<OsString>) -> u8 {
    let arguments = with_shortcut(arguments);
    let matches = match tree::parse(&arguments) {
        Ok(matches) => matches,
        Err(e) => return not_parsed(&e, &arguments),
    };
    let mut cx = context(&matches, &arguments);
    match tree::dispatch(&matches, &mut cx) {
        Ok(status) => status,
        Err(failure) => {
            cx.ui.failure(&failure);
            failure.status()
        }
    }
}

fn with_shortcut(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().and_then(|a| Path::new(a).file_name());
    let shortcut = SHORTCUTS
        .iter()
        .find(|s| name == Some(OsStr::new(s)))
        .map(OsString::from);
    if let Some(shortcut) = shortcut {
        arguments.insert(1, shortcut);
    }
    arguments
}

fn context(matches: &ArgMatches, arguments: &[OsString]) -> Context {
    // clap carries the value of a global option from wherever it stood to the innermost command
    let mut inner = matches;
    while let Some((_, below)) = inner.subcommand() {
        inner = below;
    }
    let flag = |id: &str| inner.get_flag(id);
    let colour = if flag("g_color") {
        Colour::Always
    } else if flag("g_no_color") {
        Colour::Never
    } else {
        Colour::Auto
    };
    let ui = Ui::new(flag("g_json"), flag("g_parsable"), flag("g_quiet"), colour);
    let socket = inner
        .get_one::<PathBuf>("g_socket")
        .cloned()
        .unwrap_or_else(default_socket);
    Context {
        ui,
        pool: inner.get_one::<Name>("g_pool").cloned(),
        daemon: Daemon::new(socket, command_line(arguments)),
    }
}

/// Where the daemon listens unless the command line says otherwise.
pub fn default_socket() -> PathBuf {
    match std::env::var_os("OSCTL_SOCKET") {
        Some(path) if !path.is_empty() => path.into(),
        _ => osctl_api::DEFAULT_SOCKET.into(),
    }
}

/// The arguments as one would type them.
pub fn command_line(arguments: &[impl AsRef<OsStr>]) -> String {
    let quote = |a: &OsStr| {
        let text = a.to_string_lossy();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(&b);
        if !text.is_empty() && text.bytes().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    };
    let words = arguments.iter().skip(1).map(|a| quote(a.as_ref()));
    std::iter::once("osctl".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn not_parsed(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let json = wants_json(arguments);
    let ui = Ui::new(json, false, false, Colour::Auto);
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let text = if ui.coloured(Stream::Out) {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        };
        return match ui.raw(text.as_bytes()) {
            Ok(()) => DONE,
            Err(failure) => {
                ui.failure(&failure);
                failure.status()
            }
        };
    }
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !json {
        let _ = Stream::Err.write_all(text.as_bytes());
    } else {
        ui.failure(&usage_failure(&text));
    }
    USAGE
}

/// Whether JSON was asked for on a command line that can't be parsed.
fn wants_json(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .skip(1)
        .take_while(|a| *a != "--")
        .any(|a| a == "--json" || a == "-j")
}

/// A path as the daemon finds it, whatever its working directory is.
///
/// # Errors
/// When the path is empty, or not UTF-8.
pub fn absolute(path: &str) -> Result<String, Failure> {
    let absolute = std::path::absolute(path)
        .map_err(|e| Failure::usage(format!("{path:?} is not a path: {e}")))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| Failure::usage("the working directory has a name that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ArgMatches, clap::Error> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        tree::parse(&arguments)
    }

    fn words(line: &str) -> Vec<String> {
        let matches = parse(line).unwrap();
        let mut inner = &matches;
        let mut words = Vec::new();
        while let Some((name, below)) = inner.subcommand() {
            words.push(name.to_owned());
            inner = below;
        }
        words
    }

    #[test]
    fn the_whole_tree_is_sound() {
        tree::whole().debug_assert();
    }

    #[test]
    fn what_was_typed_is_parsed_as_by_the_whole_tree() {
        let text = |result: Result<ArgMatches, clap::Error>| match result {
            Ok(matches) => format!("{matches:?}"),
            Err(error) => error.render().to_string(),
        };
        for line in [
            "osctl",
            "osctl ct",
            "osctl c",
            "osctl xt",
            "osctl xt start p",
            "osctl --help",
            "osctl -h",
            "osctl help ct",
            "osctl hel ct st",
            "osctl ct -jh",
            "osctl ct --help",
            "osctl ct st web1",
            "osctl ct strat web1",
            "osctl ct foo start",
            "osctl ct start",
            "osctl ct start a b",
            "osctl ct start --nope a",
            "osctl ct set",
            "osctl ct set memory web1",
            "osctl ct set memory-limit web1 1G",
            "osctl ct exec web1 ct ls -h",
            "osctl -j ct ls -o id -S running",
            "osctl ct log path",
            "osctl pool autostart",
            "osctl user ls ct",
            "osctl --version",
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let whole = tree::whole().try_get_matches_from(&arguments);
            assert_eq!(text(parse(line)), text(whole), "{line}");
        }
    }

    #[test]
    fn words_may_be_abbreviated() {
        assert_eq!(words("osctl c li"), ["ct", "ls"]);
        assert_eq!(words("osctl user l"), ["user", "ls"]);
        assert!(parse("osctl c l").is_err(), "ls and log");
    }

    #[test]
    fn unique_prefixes_and_aliases_are_found() {
        for (line, want) in [
            ("osctl ct ls", &["ct", "ls"][..]),
            ("osctl vps list", &["ct", "ls"]),
            ("osctl id-ranges tab sh r 1", &["id-range", "table", "show"]),
            (
                "osctl id-r n r --start-id 1 --block-count 1",
                &["id-range", "new"],
            ),
            ("osctl us ma u", &["user", "map"]),
            ("osctl ct star web1", &["ct", "start"]),
            ("osctl ct thaw web1", &["ct", "unfreeze"]),
            ("osctl ct enter web1", &["ct", "attach"]),
            ("osctl ct se aut web1", &["ct", "set", "autostart"]),
            ("osctl po autos q tank", &["pool", "autostart", "queue"]),
            ("osctl hea", &["healthcheck"]),
        ] {
            assert_eq!(words(line), want, "{line}");
        }
        for ambiguous in ["osctl p ls", "osctl ct re web1", "osctl ct s web1"] {
            assert!(parse(ambiguous).is_err(), "{ambiguous}");
        }
    }

    #[test]
    fn global_options_may_stand_anywhere() {
        for line in [
            "osctl -j -p -q --pool tank --socket /x ct show web1",
            "osctl ct show web1 -j -p -q --pool tank --socket /x",
            "osctl --json ct --parsable show --quiet web1 --pool tank --socket=/x",
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let cx = context(&parse(line).unwrap(), &arguments);
            assert!(cx.ui.json && cx.ui.parsable && cx.ui.quiet, "{line}");
            assert_eq!(cx.pool.unwrap().as_str(), "tank", "{line}");
            assert_eq!(cx.daemon.socket(), Path::new("/x"), "{line}");
        }
    }

    #[test]
    fn a_short_option_of_a_command_wins() {
        let line = "osctl -p ct ls -p";
        let cx = context(&parse(line).unwrap(), &[]);
        assert!(cx.ui.parsable);
        let cx = context(&parse("osctl ct ls -p").unwrap(), &[]);
        assert!(!cx.ui.parsable);
        let cx = context(&parse("osctl ct ls --parsable").unwrap(), &[]);
        assert!(cx.ui.parsable);
    }

    #[test]
    fn command_lines_are_quoted() {
        let line = ["osctl", "ct", "exec", "a", "sh", "-c", "echo 'x'", ""];
        assert_eq!(
            command_line(&line),
            "osctl ct exec a sh -c 'echo '\\''x'\\''' ''"
        );
    }

    #[test]
    fn links_are_shortcuts() {
        let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            with_shortcut(line(&["/usr/bin/ct", "ls"])),
            line(&["/usr/bin/ct", "ct", "ls"])
        );
        assert_eq!(
            with_shortcut(line(&["osctl", "ct"])),
            line(&["osctl", "ct"])
        );
    }
}
