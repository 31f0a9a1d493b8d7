//! `cargo xtask vm`: the tests of the host image, each on hosts of its own
//! under QEMU. Owns what those tests find in their environment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::Message;
use rustix::fs::{FlockOperation, flock};

use crate::check::cargo;
use crate::error::{FileContext as _, Result};
use crate::process::{Program, Stop};
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
    /// Root's shell on a host with osctld, on this terminal. Hosts that run at
    /// the same time are on one network.
    Shell {
        /// Name of the host.
        #[arg(value_name = "HOST")]
        host: String,
    },
}

/// What runs the machines of tests.
const PACKAGES: &[apt::Package] = &[apt::QEMU, apt::QEMU_IMG, apt::ZSTD, apt::E2FSPROGS];

/// Tests that run in machines too: of the whole, and of the daemon's parts.
const TESTS: &[&str] = &["it", "osctld"];

/// What tests need that boot machines.
#[derive(Debug)]
pub struct Lab {
    built: os::Built,
    /// The system that a running host is switched to.
    next: PathBuf,
    /// Where hosts are kept that have booted.
    states: PathBuf,
    /// Tests that run in machines, as programs.
    tests: Option<PathBuf>,
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
        Self::of_tests().map(Some)
    }

    fn of_tests() -> Result<Self> {
        let tests = Some(tests()?);
        Ok(Self {
            tests,
            ..Self::build()?
        })
    }

    fn build() -> Result<Self> {
        apt::ensure(PACKAGES)?;
        let built = os::build(&os::Image::of_tests())?;
        let next = os::build_next()?;
        let states = workspace::cache().join("vm");
        fs::create_dir_all(&states).of("create", &states)?;
        let image = fs::canonicalize(&built.dist).of("find", &built.dist)?;
        forget_others(&states, &image)?;
        Ok(Self {
            built,
            next,
            states,
            tests: None,
        })
    }

    /// Tells it to `program`.
    pub fn tell(&self, program: &mut Command) {
        program.env("OSCTL_VM_DIST", &self.built.dist);
        program.env("OSCTL_VM_NETBOOT", &self.built.netboot);
        program.env("OSCTL_VM_NEXT", &self.next);
        program.env("OSCTL_VM_RUNNER", &self.built.runner);
        program.env("OSCTL_VM_STATES", &self.states);
        if let Some(tests) = &self.tests {
            program.env("OSCTL_VM_TESTS", tests);
        }
    }
}

/// Builds the tests that run in machines, without what debuggers want.
fn tests() -> Result<PathBuf> {
    ui::step("building the tests");
    let mut build = cargo();
    // All of them, so that nothing is built twice.
    build.args(["test", "--no-run", "--locked", "--workspace"]);
    build.arg("--message-format=json-render-diagnostics");
    let messages = process::output(&mut build, "cargo test --no-run")?;
    let directory = workspace::target().join("vm-tests");
    fs::create_dir_all(&directory).of("create", &directory)?;
    for message in Message::parse_stream(messages.as_bytes()).map_while(|it| it.ok()) {
        let Message::CompilerArtifact(artifact) = message else {
            continue;
        };
        if let Some(program) = artifact.executable
            && artifact.profile.test
            // A program of the same name has tests, too.
            && !artifact.target.is_bin()
            && TESTS.contains(&artifact.target.name.as_str())
        {
            os::strip(program.as_std_path(), &directory.join(artifact.target.name))?;
        }
    }
    let attacker = "osctl-test-attacker";
    let built = workspace::target().join("debug").join(attacker);
    os::strip(&built, &directory.join(attacker))?;
    Ok(directory)
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

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    match &args.task {
        Task::Test { runner } => {
            let lab = Lab::of_tests()?;
            test::runner(&["--workspace", "--test", "vm"], runner, Some(&lab))
        }
        Task::Shell { host } => shell(host),
    }
}

fn shell(host: &str) -> Result<()> {
    let lab = Lab::build()?;
    ui::step(format!("starting {host}"));
    let mut shell = Command::new(workspace::target().join("debug/osctl-vm-shell"));
    lab.tell(shell.arg(host));
    Program::spawn(&mut shell, "the shell", Stop::Gently)?.wait()
}
