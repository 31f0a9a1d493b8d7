//! Store paths that a machine gets while it runs, as deployment tools copy them.

use std::path::Path;
use std::process::Command;

use super::machine::Machine;
use crate::processes;

impl Machine {
    /// Copies a path of this machine's store, and all that it refers to, into
    /// the host's, unless it is there.
    #[track_caller]
    pub fn copy_closure(&mut self, path: &Path) {
        let mut query = Command::new("nix-store");
        query.args(["--query", "--requisites"]).arg(path);
        let closure = succeed(&mut query);
        let missing = "while read -r path; do [ -e \"$path\" ] || echo \"$path\"; done";
        let missing = self.run_with(&["bash", "-c", missing], &closure).ok();
        let mut tar = Command::new("tar");
        tar.args(["--create", "--zstd", "--directory=/"]);
        for path in missing.text().lines() {
            tar.arg(path.trim_start_matches('/'));
        }
        let archive = succeed(&mut tar);
        self.run_with(&["tar", "-x", "--zstd", "-C", "/"], &archive)
            .ok();
    }
}

/// The stdout of a command that works.
#[track_caller]
fn succeed(command: &mut Command) -> Vec<u8> {
    let output = processes::output(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output.stdout
}
