//! Tests of what Nix evaluates: `os/lib`, and the modules with a package set
//! that has nixpkgs' names. They build nothing.

use std::path::Path;
use std::process::Command;

use crate::{ui, workspace};

/// What Nix says of a file of `os`; nothing where there is no Nix.
fn ask(arguments: &[&str], file: &str) -> Option<String> {
    let program = Path::new("/usr/bin/nix-instantiate");
    if !program.exists() {
        ui::say("skipped: there is no Nix");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut nix = Command::new(program);
    // Only derivations are written, and into a store of its own.
    nix.env("NIX_REMOTE", directory.path())
        .args(arguments)
        .arg(workspace::root().join("os").join(file));
    let output = nix.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}: {errors}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn holds(file: &str) {
    if let Some(failed) = ask(&["--eval", "--strict"], file) {
        assert_eq!(failed, "[ ]", "{file}");
    }
}

#[test]
fn the_library_does_what_nixpkgs_does() {
    holds("tests/lib.nix");
}

#[test]
fn hosts_are_evaluated_with_the_names_of_nixpkgs() {
    holds("tests/hosts.nix");
    let nixpkgs = workspace::root().join("os/tests/nixpkgs");
    let path = format!("nixpkgs={}", nixpkgs.display());
    for attribute in ["toplevel", "dist", "netboot", "runner"] {
        if let Some(derivation) = ask(&["-I", &path, "--attr", attribute], "") {
            let named = derivation.contains("-osctl-host-") || derivation.contains("-run-lab-vm");
            assert!(named, "{derivation}");
        }
    }
}

#[test]
fn the_flake_is_one() {
    ask(&["--parse"], "flake.nix");
}
