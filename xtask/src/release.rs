//! The programs as they are meant to run: built with all optimisation. Owns
//! how they are linked.

use std::path::PathBuf;

use crate::check::quiet_cargo;
use crate::error::{Error, Result};
use crate::{process, ui, workspace};

/// Builds osctl, osctld and osctl-runtime; the directory that they are in.
///
/// Only osctl holds the C library itself, with which it begins in half the
/// time. For the runtime this would be private memory of each container, and
/// the daemon looks up groups, which a static C library can't.
pub fn build() -> Result<PathBuf> {
    ui::step("building osctl, osctld and osctl-runtime");
    cargo_build("build", &["osctld", "osctl-runtime"], &[])?;
    let static_link = ["--", "-C", "target-feature=+crt-static"];
    match cargo_build("rustc", &["osctl"], &static_link) {
        Err(Error::Program { .. }) => {
            ui::detail("osctl is linked dynamically instead");
            cargo_build("build", &["osctl"], &[])?;
        }
        other => other?,
    }
    Ok(workspace::target().join("release"))
}

fn cargo_build(verb: &str, packages: &[&str], arguments: &[&str]) -> Result<()> {
    let mut command = quiet_cargo(verb);
    command.args(["--release", "--locked"]);
    for package in packages {
        command.args(["--package", package, "--bin", package]);
    }
    command.args(arguments);
    process::run(&mut command, &format!("cargo {verb}"))
}
