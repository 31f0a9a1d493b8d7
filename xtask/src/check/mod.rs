//! `cargo xtask check`: everything about the source that a machine can judge
//! without running it. Owns the order: what is quick comes first.

mod arrows;
mod sources;
mod words;

use std::process::Command;

use crate::error::{Error, Result};
use crate::{process, ui, workspace};

/// Something in the source that a rule does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    file: String,
    line: usize,
    what: String,
}

/// Runs all checks.
pub fn run() -> Result<()> {
    ui::step("checking the formatting");
    process::run(
        cargo().args(["fmt", "--all", "--check"]),
        "cargo fmt --check",
    )?;
    ui::step("checking words and heads of files");
    judge(words::check(workspace::root())?)?;
    ui::step("checking who uses whom");
    judge(arrows::check(workspace::root())?)?;
    ui::step("checking with clippy");
    let mut clippy = quiet_cargo("clippy");
    clippy.args(["--locked", "--workspace", "--all-targets"]);
    process::run(clippy.args(["--", "-D", "warnings"]), "cargo clippy")
}

/// Cargo in the root of the repository.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    command
}

/// Cargo that shows its progress to those who look on, and else only what is wrong.
pub fn quiet_cargo(verb: &str) -> Command {
    let mut command = cargo();
    command.arg(verb);
    if !ui::is_watched() {
        command.arg("--quiet");
    }
    command
}

fn judge(findings: Vec<Finding>) -> Result<()> {
    for Finding { file, line, what } in &findings {
        ui::detail(format!("{file}:{line}: {what}"));
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(Error::Other(format!("{count} lines are against the rules"))),
    }
}
