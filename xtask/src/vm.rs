//! `cargo xtask vm`: the tests of the host image, each on hosts of its own
//! under QEMU. Owns what those tests find in their environment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::error::{FileContext as _, Result};
use crate::{apt, os, process, test, ui, workspace};

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

/// What runs the machines of tests.
const PACKAGES: &[apt::Package] = &[apt::QEMU, apt::QEMU_IMG];

/// What tests need that boot machines.
#[derive(Debug)]
pub struct Lab {
    dist: PathBuf,
    /// Where hosts are kept that have booted.
    states: PathBuf,
}

impl Lab {
    /// Builds it; nothing, having said why, where it cannot be installed.
    pub fn ensure() -> Result<Option<Self>> {
        if std::env::consts::ARCH != "x86_64" {
            ui::step("no virtual machines: the image is one for x86_64");
            return Ok(None);
        }
        if let Err(error) = apt::ensure(PACKAGES).and_then(|()| apt::ensure(&[apt::NIX])) {
            process::check_interrupted()?;
            ui::step(format!("no virtual machines: {error}"));
            return Ok(None);
        }
        Self::build().map(Some)
    }

    fn build() -> Result<Self> {
        apt::ensure(PACKAGES)?;
        let dist = os::build(&os::Image::of_tests())?;
        let states = workspace::cache().join("vm");
        fs::create_dir_all(&states).of("create", &states)?;
        let image = fs::canonicalize(&dist).of("find", &dist)?;
        forget_others(&states, &image)?;
        Ok(Self { dist, states })
    }

    /// Tells it to `tests`.
    pub fn tell(&self, tests: &mut Command) {
        tests.env("OSCTL_VM_DIST", &self.dist);
        tests.env("OSCTL_VM_STATES", &self.states);
    }
}

/// Removes the states of other images that no test is using.
fn forget_others(states: &Path, image: &Path) -> Result<()> {
    for entry in fs::read_dir(states).of("read", states)? {
        let entry = entry.of("read", states)?;
        if Some(entry.file_name().as_os_str()) == image.file_name() {
            continue;
        }
        let path = entry.path();
        let lock = path.join("lock");
        let file = File::options().create(true).append(true).open(&lock);
        let file = file.of("open", &lock)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_dir_all(&path).of("remove", &path)?;
        }
    }
    Ok(())
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
