//! `osctl shutdown`.

use osctl_api::{Code, Error, daemon};

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::tree::Verb;
use crate::ui::prompt;

/// Stop all containers and export all pools, for the host to go down
///
/// Nothing is started any more until the daemon is started anew after the marker file `shutdown`
/// in its run directory has been removed, or the host was booted.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Shutdown {
    #[command(flatten)]
    params: daemon::Shutdown,
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Verb for Shutdown {
    fn run(self, cx: &mut Context) -> Outcome {
        if !self.force && !self.params.abort {
            let question = "This stops all containers and exports all pools. \
                            Type \"yes\" to go on: ";
            let answer = prompt::ask(question)?;
            if answer.as_deref().map(str::trim) != Some("yes") {
                let e = Error::new(Code::Cancelled, "nothing was done");
                return Err(Failure::Failed(e.hint("type yes, or use --force")));
            }
        }
        cx.progress_done(&self.params)
    }
}
