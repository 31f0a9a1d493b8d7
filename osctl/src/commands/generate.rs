//! Files for packages: completion scripts and man pages.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome};
use crate::tree::Verb;
use crate::{complete, man};

/// Shells with completion.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Shell {
    /// GNU bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// Print a script that makes a shell complete commands of osctl
#[derive(Debug, clap::Args)]
pub struct Completion {
    /// Shell
    shell: Shell,
}

impl Verb for Completion {
    fn run(self, cx: &mut Context) -> Outcome {
        let script = complete::registration(self.shell)
            .map_err(|e| Failure::local("cannot make the script", &e))?;
        cx.ui.raw(&script)?;
        Ok(DONE)
    }
}

/// Write man pages, one for each command
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Directory to write them to
    dir: PathBuf,
}

impl Verb for Man {
    fn run(self, _: &mut Context) -> Outcome {
        man::write(&self.dir).map_err(|e| {
            Failure::local(
                format!("cannot write man pages to {}", self.dir.display()),
                &e,
            )
        })?;
        Ok(DONE)
    }
}
