//! `cargo xtask man` and `completions`: what the built osctl says about
//! itself, as files for packages.

use std::fs;
use std::process::Command;

use crate::check::cargo;
use crate::error::{FileContext as _, Result};
use crate::{process, ui, workspace};

/// Shells and what a package calls their completion of osctl.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "osctl.bash"),
    ("zsh", "_osctl"),
    ("fish", "osctl.fish"),
];

/// Writes the man pages to `target/man`.
pub fn man() -> Result<()> {
    let osctl = built_osctl()?;
    let directory = workspace::target().join("man");
    if directory.exists() {
        fs::remove_dir_all(&directory).of("remove", &directory)?;
    }
    fs::create_dir_all(&directory).of("create", &directory)?;
    process::run(
        Command::new(osctl).arg("gen-man").arg(&directory),
        "osctl gen-man",
    )?;
    ui::say(directory.display().to_string());
    Ok(())
}

/// Writes the completion scripts to `target/completions`.
pub fn completions() -> Result<()> {
    let osctl = built_osctl()?;
    let directory = workspace::target().join("completions");
    fs::create_dir_all(&directory).of("create", &directory)?;
    for (shell, file) in COMPLETIONS {
        let mut command = Command::new(&osctl);
        let script = process::output(
            command.args(["gen-completion", shell]),
            "osctl gen-completion",
        )?;
        let path = directory.join(file);
        fs::write(&path, script).of("write", &path)?;
    }
    ui::say(directory.display().to_string());
    Ok(())
}

fn built_osctl() -> Result<std::path::PathBuf> {
    ui::step("building osctl");
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "--package", "osctl"]);
    process::run(&mut build, "cargo build")?;
    Ok(workspace::target().join("debug/osctl"))
}
