//! `cargo xtask bench --vm`: containers on ZFS, which is in virtual machines only. Owns what is
//! built for it and where the report goes; what is measured is in `tests/tests/vm/bench.rs`.

use std::fs;
use std::process::Stdio;

use super::lxc;
use crate::check::cargo;
use crate::error::{FileContext as _, Result};
use crate::process::{Program, Stop};
use crate::vm::Lab;
use crate::{apt, release, ui, workspace};

/// Measures and writes the report.
pub fn run(rounds: u32) -> Result<()> {
    apt::require_root("run virtual machines")?;
    lxc::install()?;
    apt::ensure(&[apt::BUSYBOX])?;
    let programs = release::build()?;
    let Some(lab) = Lab::ensure()? else {
        return Ok(());
    };
    let directory = workspace::target().join("bench");
    fs::create_dir_all(&directory).of("create", &directory)?;
    let report = directory.join("vm.md");
    ui::step("measuring in a virtual machine");
    let mut tests = cargo();
    // Not by the runner of tests, which ends what takes long.
    tests.args(["test", "--quiet", "--locked", "--workspace", "--test", "vm"]);
    tests.args(["--", "--exact", "bench::figures", "--nocapture"]);
    tests.env("OSCTL_BENCH_PROGRAMS", &programs);
    tests.env("OSCTL_BENCH_ROUNDS", rounds.to_string());
    tests.env("OSCTL_BENCH_REPORT", &report);
    tests.env("OSCTL_TEST_IMAGES", workspace::images());
    tests.env("OSCTL_TEST_BINARIES", workspace::target().join("debug"));
    lab.tell(&mut tests);
    Program::spawn(tests.stdin(Stdio::null()), "the measurement", Stop::Gently)?.wait()?;
    ui::step(format!("written to {}", report.display()));
    Ok(())
}
