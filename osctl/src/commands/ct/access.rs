//! The console of a container, and passwords.

use osctl_api::container;
use osctl_api::names::Ref;

use crate::cli::command_line;
use crate::commands::args::one_line;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::console::{self, Attach, Beside, Task};
use crate::tree::Verb;
use crate::ui::{Stream, prompt};

/// Attach to the console of a container
///
/// Ctrl-a q detaches, Ctrl-a Ctrl-a sends one Ctrl-a. A stopped container is waited for, and the
/// console stays attached when the container restarts.
#[derive(Debug, clap::Args)]
pub struct Console {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
}

impl Verb for Console {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        let attach = attacher(cx, &id);
        console(cx, &id, attach, || Ok(Beside::Nothing))
    }
}

/// How to get the console of a container.
pub fn attacher(cx: &Context, id: &Ref) -> Attach {
    let params = container::Console {
        id: id.clone(),
        wait: true,
    };
    // its own thread and connection: it can take as long as the container is stopped
    let daemon = cx.daemon.another();
    Box::new(move || {
        let mut daemon = daemon.another();
        let params = params.clone();
        Task::start(move || daemon.call_session(&params, &[] as &[std::os::fd::OwnedFd]))
    })
}

/// Attaches to the console; `beside` begins once it is attached to or waited for.
///
/// # Errors
/// As the console, or `beside`.
pub fn console(
    cx: &Context,
    id: &Ref,
    attach: Attach,
    beside: impl FnOnce() -> Result<Beside, Failure>,
) -> Outcome {
    console::run(&cx.ui, id.to_string(), attach, beside)
}

/// Set the password of a user in a container
///
/// Without a password on the command line, it is asked for twice, or read from standard input
/// when that is no terminal. Passwords on the command line can be seen by other users.
#[derive(Debug, clap::Args)]
pub struct Passwd {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// User in the container
    #[arg(value_name = "USER")]
    name: String,
    /// New password
    password: Option<String>,
}

impl Verb for Passwd {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        one_line("the name of the user", &self.name)?;
        let password = match self.password {
            Some(password) => password,
            None => ask()?,
        };
        one_line("the password", &password)?;
        if password.is_empty() {
            return Err(Failure::usage("the password must not be empty"));
        }
        // the history keeps no secrets
        let cli = ["osctl", "ct", "passwd", &id.to_string(), &self.name].map(str::to_owned);
        cx.daemon.set_cli(command_line(&cli));
        cx.done(&container::Passwd {
            id,
            user: self.name,
            password,
        })
    }
}

fn ask() -> Result<String, Failure> {
    let none = || Failure::usage("no password was given");
    let password = prompt::secret("New password: ")?.ok_or_else(none)?;
    if Stream::In.is_tty() {
        let again = prompt::secret("Repeat password: ")?.ok_or_else(none)?;
        if again != password {
            return Err(Failure::usage("the two passwords differ"));
        }
    }
    Ok(password)
}
