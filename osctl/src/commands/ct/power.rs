//! Starting, stopping and restarting containers, with their console or a shell if asked for.

use osctl_api::Method;
use osctl_api::container::{self, STOP_TIMEOUT, StopMode};
use osctl_api::names::Ref;

use super::{access, enter};
use crate::commands::args;
use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome};
use crate::terminal::console::{Beside, Task};
use crate::tree::Verb;

/// Start a container
///
/// Nothing happens when it runs already.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Seconds to wait until it runs, or infinity; 0 to return at once
    #[arg(short, long, value_name = "SECONDS", default_value = "120")]
    wait: args::Wait,
    /// Return at once
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Attach to the console first
    #[arg(short = 'F', long, conflicts_with = "attach")]
    foreground: bool,
    /// Join the autostart queue, rather than start at once
    #[arg(short, long)]
    queue: bool,
    /// Priority in the queue: smaller starts earlier
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 10,
        requires = "queue"
    )]
    priority: u32,
    /// Attach a shell once it runs
    #[arg(short, long)]
    attach: bool,
    /// With --attach: use the shell of root in the container
    #[arg(short, long, requires = "attach")]
    user_shell: bool,
}

impl Verb for Start {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        let params = container::Start {
            id: id.clone(),
            wait: if self.no_wait { Some(0) } else { self.wait.0 },
            queue: self.queue.then_some(self.priority),
        };
        if self.foreground {
            return beside_console(cx, id, params, Beside::Start);
        }
        cx.progress_done(&params)?;
        if self.attach {
            return enter::shell(cx, id, self.user_shell);
        }
        Ok(DONE)
    }
}

/// How a container is stopped.
#[derive(Debug, clap::Args)]
struct How {
    /// Seconds that it has to shut down
    #[arg(short, long, value_name = "SECONDS", default_value_t = STOP_TIMEOUT)]
    timeout: u64,
    /// Kill it now
    #[arg(short, long)]
    kill: bool,
    /// Fail, rather than kill it, when it has not shut down in time
    #[arg(long, conflicts_with = "kill")]
    dont_kill: bool,
    /// Message to the users who are logged in
    #[arg(short, long)]
    message: Option<String>,
}

impl How {
    fn mode(&self) -> StopMode {
        if self.kill {
            StopMode::Kill
        } else if self.dont_kill {
            StopMode::Shutdown
        } else {
            StopMode::ShutdownOrKill
        }
    }
}

/// Stop a container
///
/// It is asked to shut down, and killed when it has not done so in time.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Stop {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    #[command(flatten)]
    how: How,
    /// Attach to the console until it has stopped
    #[arg(short = 'F', long)]
    foreground: bool,
}

impl Verb for Stop {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        let params = container::Stop {
            id: id.clone(),
            mode: self.how.mode(),
            timeout: self.how.timeout,
            message: self.how.message,
        };
        if self.foreground {
            return beside_console(cx, id, params, Beside::Stop);
        }
        cx.progress_done(&params)
    }
}

/// Restart a container
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Restart {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    #[command(flatten)]
    how: How,
    /// Only ask its init to reboot
    #[arg(short, long, conflicts_with = "kill")]
    reboot: bool,
    /// Seconds to wait until it runs, or infinity; 0 to return at once
    #[arg(short, long, value_name = "SECONDS", default_value = "120")]
    wait: args::Wait,
    /// Attach to the console first
    #[arg(short = 'F', long, conflicts_with = "attach")]
    foreground: bool,
    /// Attach a shell once it runs
    #[arg(short, long)]
    attach: bool,
    /// With --attach: use the shell of root in the container
    #[arg(short, long, requires = "attach")]
    user_shell: bool,
}

impl Verb for Restart {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        let params = container::Restart {
            id: id.clone(),
            mode: self.how.mode(),
            timeout: self.how.timeout,
            reboot: self.reboot,
            wait: self.wait.0,
            message: self.how.message,
        };
        if self.foreground {
            return beside_console(cx, id, params, Beside::Start);
        }
        cx.progress_done(&params)?;
        if self.attach {
            return enter::shell(cx, id, self.user_shell);
        }
        Ok(DONE)
    }
}

/// Attaches to the console while the daemon does what `params` say.
fn beside_console<M: Method>(
    cx: &mut Context,
    id: Ref,
    params: M,
    beside: fn(Task<Outcome>) -> Beside,
) -> Outcome {
    let mut daemon = cx.daemon.another();
    let mut ui = cx.ui.clone();
    // the terminal belongs to the console
    ui.quiet = true;
    let attach = access::attacher(cx, &id);
    let work = move || {
        daemon.progress(&ui, &params)?;
        Ok(DONE)
    };
    access::console(cx, &id, attach, || {
        let task = Task::start(work).map_err(|e| Failure::local("cannot make a thread", &e))?;
        Ok(beside(task))
    })
}
