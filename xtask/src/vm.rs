//! `cargo xtask vm`: the tests of the host image, each on hosts of its own
//! under QEMU. Owns what those tests find in their environment.

use std::process::Stdio;

use crate::check::cargo;
use crate::error::Result;
use crate::process::{Program, Stop};
use crate::{apt, os, ui};

/// Arguments of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Build the image and run the tests that boot it.
    Test {
        /// A part of the names of tests.
        #[arg(value_name = "PATTERN")]
        pattern: Option<String>,
    },
}

/// Runs the tests.
pub fn run(args: &Args) -> Result<()> {
    let Task::Test { pattern } = &args.task;
    apt::ensure(&[apt::QEMU])?;
    let dist = os::build(&os::Image::of_tests())?;
    ui::step("running the tests in virtual machines");
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--locked", "--package", "osctl-tests"]);
    tests.args(["--test", "vm", "--"]).args(pattern);
    // Machines are emulated: more than one at a time only makes all of them slow.
    tests.args(["--test-threads=1", "--nocapture"]);
    tests.env("OSCTL_VM_DIST", dist);
    Program::spawn(tests.stdin(Stdio::null()), "the tests", Stop::Gently)?.wait()
}
