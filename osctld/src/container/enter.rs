//! Entering a container: programs, scripts, the console, passwords and files.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use osctl_api::container as api;
use osctl_api::container::State;
use osctl_runtime::control::{Action, Exec, WindowSize};

use super::logins::{self, Login, UserSpec};
use super::plan::Mode;
use super::{Container, Hold, Run};
use crate::error::Error;
use crate::supervisor::{Link, finish, finish_soon};

/// Where programs of a guest are looked for, whatever distribution it is.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:\
/run/current-system/sw/bin:/nix/var/nix/profiles/system/sw/bin:\
/run/current-system/profile/bin:/run/current-system/profile/sbin:\
/var/guix/profiles/system/profile/bin:/var/guix/profiles/system/profile/sbin";

/// A login shell for root: the best there is, without its start-up files.
const SHELL: &str = "if command -v bash >/dev/null 2>&1; then exec bash --norc; else exec sh; fi";

/// Most words of a command, and most environment variables.
const MAX_WORDS: usize = 4096;
/// Largest file that `ct cat` reads, bytes.
const MAX_CAT: u64 = 1 << 40;

/// The environment of a program in a container.
pub(super) fn environment(user: &str, home: &str, term: Option<&str>) -> Vec<(String, String)> {
    let mut env = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), home.to_owned()),
        ("USER".to_owned(), user.to_owned()),
        ("LOGNAME".to_owned(), user.to_owned()),
    ];
    if let Some(term) = term {
        env.push(("TERM".to_owned(), term.to_owned()));
    }
    env
}

impl Container {
    /// Runs a program; returns the client's end of the session.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidState`, `NotFound` for a user that isn't there.
    pub async fn exec(
        self: &Arc<Self>,
        params: &api::Exec,
        fds: &[OwnedFd],
    ) -> Result<OwnedFd, Error> {
        let extra = checked(params)?;
        let user = params.user.as_deref().map(UserSpec::parse).transpose()?;
        let (run, started) = self.run_for(params.run, "run a program in").await?;
        let entered = async {
            let login = match &user {
                None if params.user_shell => logins::find(&run.link, &UserSpec::Id(0)).await?,
                None | Some(UserSpec::Id(0)) => Login::root(),
                Some(user) => logins::find(&run.link, user).await?,
            };
            let exec = self.program(params, login, extra);
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            run.link.enter(Action::Exec(exec), &fds).await
        };
        let session = entered.await;
        self.only_for(&run, started, session).await
    }

    fn program(&self, params: &api::Exec, login: Login, extra: BTreeMap<String, String>) -> Exec {
        let mut env: BTreeMap<String, String> = environment(&login.name, &login.home, None)
            .into_iter()
            .collect();
        let argv = if !params.command.is_empty() {
            params.command.clone()
        } else if params.user_shell {
            vec![login.shell.clone(), "-l".to_owned()]
        } else {
            let prompt = format!("[CT {}] \\u@\\h:\\w\\$ ", self.id);
            env.insert("PS1".to_owned(), prompt);
            env.insert(
                "HISTFILE".to_owned(),
                "/root/.osctl_ct_attach_history".to_owned(),
            );
            vec!["/bin/sh".to_owned(), "-c".to_owned(), SHELL.to_owned()]
        };
        env.extend(extra);
        let cwd = match (&params.cwd, params.command.is_empty()) {
            (Some(cwd), _) => cwd.clone(),
            (None, true) => login.home.clone(),
            (None, false) => "/".to_owned(),
        };
        let size = WindowSize {
            rows: params.rows.unwrap_or(24),
            cols: params.cols.unwrap_or(80),
        };
        Exec {
            argv,
            env: env.into_iter().collect(),
            uid: login.uid,
            gid: login.gid,
            groups: login.groups,
            cwd: cwd.into(),
            cwd_required: params.cwd.is_some(),
            tty: params.tty.then_some(size),
            script: false,
        }
    }

    /// Runs the script behind `script`; `fds` are its standard streams.
    ///
    /// It is executed from sealed memory: no file of the guest is made.
    ///
    /// # Errors
    /// As [`Container::exec`].
    pub async fn run_script(
        self: &Arc<Self>,
        params: &api::RunScript,
        script: OwnedFd,
        fds: &[OwnedFd],
    ) -> Result<OwnedFd, Error> {
        let mut command = vec!["script".to_owned()];
        command.extend(params.arguments.iter().cloned());
        let words = api::Exec {
            id: params.id.clone(),
            command,
            tty: false,
            rows: None,
            cols: None,
            run: params.run,
            user: None,
            cwd: None,
            env: Vec::new(),
            user_shell: false,
        };
        checked(&words)?;
        let (run, started) = self.run_for(params.run, "run a script in").await?;
        let exec = Exec {
            script: true,
            ..self.program(&words, Login::root(), BTreeMap::new())
        };
        let mut all: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        all.push(script.as_fd());
        let session = run.link.enter(Action::Exec(exec), &all).await;
        self.only_for(&run, started, session).await
    }

    /// Attaches to the console; returns the client's end.
    ///
    /// # Errors
    /// `InvalidState` when it doesn't run and is not to be waited for.
    pub async fn console(self: &Arc<Self>, wait: bool) -> Result<OwnedFd, Error> {
        let mut states = self.watch_state();
        loop {
            states.mark_unchanged();
            if self.seen.lock().deleted {
                return Err(Error::not_found(format!(
                    "container {} is no more",
                    self.label()
                )));
            }
            if let Some(run) = self.run() {
                match run.link.console().await {
                    Err(e) if wait && e.code() == osctl_api::Code::Unavailable => {}
                    other => return other,
                }
            } else if !wait {
                let run = self.entered("attach to the console of")?;
                return run.link.console().await;
            }
            if states.changed().await.is_err() {
                return Err(Error::unavailable("the daemon lets go of the container"));
            }
        }
    }

    /// Sets a password with the guest's own chpasswd(8), starting the container for it if needed.
    ///
    /// # Errors
    /// `InvalidArgument` for what can't be a user or a password; `Backend` when chpasswd fails.
    pub async fn passwd(self: &Arc<Self>, user: &str, password: &str) -> Result<(), Error> {
        let name = match UserSpec::parse(user)? {
            UserSpec::Name(name) => name,
            UserSpec::Id(_) => return Err(Error::invalid("give the user's name, not a number")),
        };
        let clean = !password.is_empty()
            && password.len() <= 1024
            && !password.chars().any(|c| c.is_control());
        if !clean {
            return Err(Error::invalid(
                "the password must have 1 to 1024 bytes and no control characters",
            ));
        }
        let entry = self.visit("set a password in").await?;
        let line = format!("{name}:{password}\n");
        let argv: &[&str] = match self.config().in_force().distribution.as_str() {
            "guix" | "void" | "chimera" => &["chpasswd", "-c", "SHA512"],
            _ => &["chpasswd"],
        };
        let code = logins::run_quietly(&entry.run.link, argv, line.as_bytes()).await;
        entry.leave().await?;
        match code? {
            0 => Ok(()),
            code => Err(Error::backend(
                format!(
                    "cannot set the password of {name} in container {}",
                    self.label()
                ),
                format!("chpasswd exited with status {code}"),
            )
            .hint("check that the user exists")),
        }
    }

    /// Copies a file of the guest to `out`, starting the container for it if needed.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument` when it is no regular file.
    pub async fn cat(self: &Arc<Self>, path: &str, out: OwnedFd) -> Result<(), Error> {
        if !path.starts_with('/') || path.contains('\0') || path.len() > 4096 {
            return Err(Error::invalid(
                "the path must be absolute and at most 4096 bytes long",
            ));
        }
        let entry = self.visit("read a file of").await?;
        let action = Action::ReadFile {
            path: path.into(),
            max_bytes: MAX_CAT,
        };
        let read = match entry.run.link.enter(action, &[out.as_fd()]).await {
            Ok(session) => {
                drop(out);
                finish(session).await
            }
            Err(e) => Err(e),
        };
        entry.leave().await?;
        read.map(drop)
            .map_err(|e| e.context(format!("cannot read {path} of container {}", self.label())))
    }

    /// Writes files of a guest that runs; one that doesn't gets them when it starts.
    pub(super) async fn write_files(
        &self,
        link: &Link,
        files: Vec<osctl_runtime::spec::FileOp>,
    ) -> Result<(), Error> {
        let session = link.enter(Action::WriteFiles { files }, &[]).await?;
        finish_soon(session).await.map(drop)
    }

    /// The run to enter; a stopped container is started with a minimal init when `start` says so.
    /// Tells also whether it was.
    async fn run_for(self: &Arc<Self>, start: bool, what: &str) -> Result<(Arc<Run>, bool), Error> {
        self.settle().await;
        let started = start && self.state() == State::Stopped;
        if started {
            self.start(Mode::Run).await?;
        }
        Ok((self.entered(what)?, started))
    }

    /// The last entry into a container that was started for it only: it ends with it, or at once
    /// when there was none.
    async fn only_for(
        self: &Arc<Self>,
        run: &Run,
        started: bool,
        session: Result<OwnedFd, Error>,
    ) -> Result<OwnedFd, Error> {
        if started {
            match &session {
                Ok(_) => run.link.end_when_idle().await?,
                Err(_) => self.kill().await?,
            }
        }
        session
    }

    /// Enters for a moment: a stopped container is started with a minimal init, and stopped after.
    async fn visit(self: &Arc<Self>, what: &'static str) -> Result<Visit, Error> {
        self.settle().await;
        if self.state() == State::Stopped {
            let hold = self.hold(what)?;
            if self.state() == State::Stopped {
                self.start_held(Mode::Run, &hold).await?;
                let run = self.entered(what)?;
                return Ok(Visit {
                    container: Arc::clone(self),
                    run,
                    hold: Some(hold),
                });
            }
        }
        let run = self.entered(what)?;
        Ok(Visit {
            container: Arc::clone(self),
            run,
            hold: None,
        })
    }
}

/// A short stay in a container.
struct Visit {
    container: Arc<Container>,
    run: Arc<Run>,
    /// Held when the container was started for this visit only.
    hold: Option<Hold>,
}

impl Visit {
    async fn leave(self) -> Result<(), Error> {
        if let Some(_hold) = self.hold {
            self.container.kill().await?;
        }
        Ok(())
    }
}

/// Checks words and environment; returns the variables to add.
fn checked(params: &api::Exec) -> Result<BTreeMap<String, String>, Error> {
    let size: usize = params
        .command
        .iter()
        .chain(&params.env)
        .map(|w| w.len() + 1)
        .sum();
    if params.command.len() + params.env.len() > MAX_WORDS || size > 96 * 1024 {
        return Err(Error::invalid(
            "the command and its environment are too long",
        ));
    }
    let nul = |s: &String| s.contains('\0');
    if params.command.iter().any(nul) || params.env.iter().any(nul) {
        return Err(Error::invalid(
            "the command or its environment has a NUL byte",
        ));
    }
    if params.command.first().is_some_and(String::is_empty) {
        return Err(Error::invalid("the name of the program is empty"));
    }
    if let Some(cwd) = &params.cwd {
        // A path below /proc could lead out through a descriptor that somebody left open.
        if !cwd.starts_with('/') || cwd.contains('\0') || cwd.len() > 4096 {
            return Err(Error::invalid(
                "the working directory must be an absolute path",
            ));
        }
    }
    params
        .env
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Error::invalid(
                "an environment variable is not of the form NAME=VALUE",
            )),
        })
        .collect()
}
