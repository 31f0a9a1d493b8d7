//! `cargo xtask test`: the checks and then all tests, on a machine that has
//! nothing but Rust. Owns what tests find in their environment.

use std::process::Stdio;

use crate::check::{self, cargo};
use crate::error::Result;
use crate::process::{self, Program, Stop};
use crate::vm::Lab;
use crate::{apt, template, ui, workspace};

/// What the tests run on this machine.
const PACKAGES: &[apt::Package] = &[
    apt::BUSYBOX,
    apt::MMDEBSTRAP,
    apt::KEYRING_TRIXIE,
    apt::ZSTD,
    apt::DNSMASQ,
    apt::NFTABLES,
    apt::IPROUTE,
    apt::LXCFS,
    apt::APPARMOR,
];

/// The images the tests make containers from.
const IMAGES: &[&str] = &[
    "minimal",
    "debian/trixie",
    "debian/bookworm",
    "debian/bookworm/networkd",
    "debian/bookworm/networkmanager",
    "debian/trixie/networkd",
    "debian/trixie/networkmanager",
    "debian/trixie/bare",
    "debian/trixie/sysvinit",
    "debian/trixie/openrc",
    "debian/trixie/runit",
];

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the tests, without the checks before them.
    #[arg(long)]
    no_check: bool,
    /// Not in virtual machines: tests that need one are skipped.
    #[arg(long)]
    no_vm: bool,
    /// Arguments of the test runner, such as a part of the names of tests.
    #[arg(
        value_name = "ARGUMENT",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    runner: Vec<String>,
}

/// Runs the checks and the tests.
pub fn run(args: &Args) -> Result<()> {
    apt::require_root("run the tests: they make containers")?;
    if !args.no_check {
        check::run()?;
    }
    apt::ensure(PACKAGES)?;
    ui::step("building the programs");
    let mut build = cargo();
    build.args(test_programs());
    process::run(&mut build, "cargo build")?;
    for image in IMAGES {
        template::ensure(image)?;
    }
    let lab = match args.no_vm {
        true => None,
        false => Lab::ensure()?,
    };
    runner(&["--workspace"], &args.runner, lab.as_ref())
}

/// Arguments of cargo that build all programs of a debug build. Tests have other features of some
/// libraries: with the tests themselves, nothing is built twice.
pub fn test_programs() -> [&'static str; 6] {
    [
        "build",
        "--quiet",
        "--locked",
        "--workspace",
        "--bins",
        "--tests",
    ]
}

/// Runs those tests that `selection` and `arguments` name, and ends with the
/// summary of the program that does it.
pub fn runner(selection: &[&str], arguments: &[String], lab: Option<&Lab>) -> Result<()> {
    let has_nextest = cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let mut tests = cargo();
    if has_nextest {
        ui::step("running the tests with cargo nextest");
        tests.args(["nextest", "run"]);
    } else {
        ui::step("running the tests with cargo test");
        tests.arg("test");
    }
    tests.arg("--locked").args(selection).args(arguments);
    tests.env("OSCTL_TEST_IMAGES", workspace::images());
    tests.env("OSCTL_TEST_BINARIES", workspace::target().join("debug"));
    if let Some(lab) = lab {
        lab.tell(&mut tests);
    }
    // nextest ends its tests when it is asked to; give it the time.
    Program::spawn(tests.stdin(Stdio::null()), "the tests", Stop::Gently)?.wait()
}
