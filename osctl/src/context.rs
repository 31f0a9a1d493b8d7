//! What every command is given: the user interface, the options that all commands share, and the
//! daemon, connected to when it is first needed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use osctl_api::client::{Answer, Client};
use osctl_api::names::{GroupRef, Name, Ref};
use osctl_api::{Code, Error, Method};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::failure::{DONE, Failure, Outcome};
use crate::ui::Ui;

/// The daemon and how to talk to it.
pub struct Daemon {
    socket: PathBuf,
    cli: String,
    client: Option<Client>,
}

impl Daemon {
    /// A daemon that listens at `socket`; `cli` is the command line for its history.
    pub fn new(socket: PathBuf, cli: String) -> Daemon {
        Daemon {
            socket,
            cli,
            client: None,
        }
    }

    /// The same daemon over a connection of its own.
    pub fn another(&self) -> Daemon {
        Daemon::new(self.socket.clone(), self.cli.clone())
    }

    /// Where it listens.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Tells another command line to the daemon than the one that was typed: one without a secret.
    pub fn set_cli(&mut self, cli: String) {
        self.cli = cli;
    }

    fn with<T>(
        &mut self,
        call: impl FnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let client = match &mut self.client {
            Some(client) => client,
            none => {
                let client = Client::connect(&self.socket).map_err(Failure::Unreachable)?;
                none.insert(client.with_cli(self.cli.clone()))
            }
        };
        call(client).map_err(|e| {
            if e.code == Code::Unavailable && hung_up(client) {
                Failure::Unreachable(e)
            } else {
                Failure::Failed(e)
            }
        })
    }

    /// Calls a method that replies once.
    ///
    /// # Errors
    /// What the daemon replies; unreachable when there is none.
    pub fn call<M: Method>(&mut self, params: &M) -> Result<M::Reply, Failure> {
        self.with(|c| c.call(params))
    }

    /// Calls a method that replies once; `read` is given its reply as JSON text and may take only
    /// part of it.
    ///
    /// # Errors
    /// As [`Daemon::call`].
    pub fn call_read<M: Method, T>(
        &mut self,
        params: &M,
        read: impl FnOnce(&str) -> serde_json::Result<T>,
    ) -> Result<T, Failure> {
        self.with(|c| c.call_read(params, read))
    }

    /// Calls a method that replies once, with file descriptors both ways.
    ///
    /// # Errors
    /// As [`Daemon::call`].
    pub fn call_fds<M: Method>(
        &mut self,
        params: &M,
        fds: &[impl AsFd],
    ) -> Result<Answer<M::Reply>, Failure> {
        self.with(|c| c.call_fds(params, fds))
    }

    /// Calls a method that hands out a file descriptor, whose index `index` finds in the reply.
    ///
    /// # Errors
    /// As [`Daemon::call`]; when the file descriptor did not come.
    pub fn call_session<M: Method<Reply = osctl_api::container::Session>>(
        &mut self,
        params: &M,
        fds: &[impl AsFd],
    ) -> Result<OwnedFd, Failure> {
        let answer = self.call_fds(params, fds)?;
        let index = answer.reply.session_fd as usize;
        answer.fds.into_iter().nth(index).ok_or_else(|| {
            let message = "the daemon replied without the session's file descriptor";
            Failure::Failed(Error::new(Code::Internal, message))
        })
    }

    /// Calls a method that replies with progress, which is shown.
    ///
    /// # Errors
    /// As [`Daemon::call`].
    pub fn progress<M: Method>(&mut self, ui: &Ui, params: &M) -> Result<M::Reply, Failure> {
        let mut view = ui.progress();
        self.with(|c| c.call_progress(params, |p| view.step(&p)))
    }

    /// Calls a method that replies with progress, which is shown, with a file descriptor.
    ///
    /// # Errors
    /// As [`Daemon::call`].
    pub fn progress_fd<M: Method>(
        &mut self,
        ui: &Ui,
        params: &M,
        fd: impl AsFd,
    ) -> Result<M::Reply, Failure> {
        let mut view = ui.progress();
        self.with(|c| c.call_progress_fds(params, &[fd], |p| view.step(&p)))
    }

    /// Calls a method that replies with events, until `each` returns `false`.
    ///
    /// # Errors
    /// As [`Daemon::call`].
    pub fn events<M: Method>(
        &mut self,
        params: &M,
        each: impl FnMut(M::Reply) -> bool,
    ) -> Result<(), Failure> {
        self.with(|c| c.call_events(params, each))
    }
}

fn hung_up(client: &Client) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let fd = client.as_fd();
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    matches!(poll(&mut fds, Some(&now)), Ok(n) if n > 0)
}

/// What every command is given.
pub struct Context {
    /// The user.
    pub ui: Ui,
    /// The pool of objects that are named without one.
    pub pool: Option<Name>,
    /// The daemon.
    pub daemon: Daemon,
}

impl Context {
    /// The object, on the pool that was given with --pool unless it names one itself.
    #[must_use]
    pub fn on_pool(&self, object: Ref) -> Ref {
        object.on(self.pool.as_ref())
    }

    /// The group, on the pool that was given with --pool unless it names one itself.
    #[must_use]
    pub fn group_on_pool(&self, group: GroupRef) -> GroupRef {
        group.on(self.pool.as_ref())
    }

    /// Calls a method of which only success matters.
    ///
    /// # Errors
    /// As [`Daemon::call`].
    pub fn done<M: Method>(&mut self, params: &M) -> Outcome {
        self.daemon.call(params)?;
        Ok(DONE)
    }

    /// Calls a method with progress of which only success matters.
    ///
    /// # Errors
    /// As [`Daemon::call`].
    pub fn progress_done<M: Method>(&mut self, params: &M) -> Outcome {
        self.daemon.progress(&self.ui, params)?;
        Ok(DONE)
    }

    /// Prints an object as JSON if JSON was asked for.
    ///
    /// # Errors
    /// When stdout can't be written.
    pub fn object(&self, object: &impl serde::Serialize) -> Outcome {
        if self.ui.json {
            self.ui.json(&to_value(object)?)?;
        }
        Ok(DONE)
    }
}

/// A reply as JSON.
///
/// # Errors
/// Never for the types of the api.
pub fn to_value(object: &impl serde::Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(object).map_err(|e| Failure::local("cannot show a reply", &e))
}
