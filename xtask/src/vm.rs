//! `cargo xtask vm`: the tests of the host image, each on hosts of its own
//! under QEMU. Owns what those tests find in their environment.

use std::path::PathBuf;
use std::process::Command;

use crate::error::Result;
use crate::{apt, os, process, test, ui};

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
        /// Parts of the names of tests, and other arguments of the test runner.
        #[arg(
            value_name = "PATTERN",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        runner: Vec<String>,
    },
}

/// What tests need that boot machines.
#[derive(Debug)]
pub struct Lab {
    dist: PathBuf,
}

impl Lab {
    /// Builds it; nothing, having said why, where it cannot be installed.
    pub fn ensure() -> Result<Option<Self>> {
        if std::env::consts::ARCH != "x86_64" {
            ui::step("no virtual machines: the image is one for x86_64");
            return Ok(None);
        }
        if let Err(error) = apt::ensure(&[apt::QEMU, apt::NIX]) {
            process::check_interrupted()?;
            ui::step(format!("no virtual machines: {error}"));
            return Ok(None);
        }
        Self::build().map(Some)
    }

    fn build() -> Result<Self> {
        apt::ensure(&[apt::QEMU])?;
        let dist = os::build(&os::Image::of_tests())?;
        Ok(Self { dist })
    }

    /// Tells it to `tests`.
    pub fn tell(&self, tests: &mut Command) {
        tests.env("OSCTL_VM_DIST", &self.dist);
    }
}

/// Runs the tests.
pub fn run(args: &Args) -> Result<()> {
    let Task::Test { runner } = &args.task;
    let lab = Lab::build()?;
    test::runner(
        &["--package", "osctl-tests", "--test", "vm"],
        runner,
        Some(&lab),
    )
}
