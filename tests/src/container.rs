//! One container as a test handles it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use osctl_api::Error;
use osctl_api::container::{self, Container, State};
use serde_json::{Value, json};

use crate::host::{Host, POOL, params};
use crate::network::Namespace;
use crate::session::{End, Session, collect};
use crate::{cgroups, wait};

/// A container of a host.
#[derive(Debug, Clone)]
pub struct Ct<'h> {
    /// Its host.
    pub host: &'h Host,
    /// Its id.
    pub id: String,
}

/// What a program did.
#[derive(Debug, Clone)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// What it wrote.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ran {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.end == End::Exited(0)
    }
}

impl<'h> Ct<'h> {
    pub(crate) fn new(host: &'h Host, id: &str) -> Ct<'h> {
        Ct {
            host,
            id: id.to_owned(),
        }
    }

    /// What the daemon says of it.
    #[track_caller]
    pub fn show(&self) -> Container {
        self.host.json::<container::Show>(json!({ "id": self.id }))
    }

    /// Its state.
    #[track_caller]
    pub fn state(&self) -> State {
        self.show().state
    }

    /// Waits until it is in a state.
    #[track_caller]
    pub fn await_state(&self, state: State) {
        wait::until(&format!("{} is {state}", self.id), || self.state() == state);
    }

    /// Process id of its init on the host.
    #[track_caller]
    pub fn init_pid(&self) -> u32 {
        self.show().init_pid.expect("it runs")
    }

    /// The network namespace of its init.
    #[track_caller]
    pub fn netns(&self) -> Namespace {
        Namespace::of_process(self.init_pid())
    }

    /// Starts it.
    #[track_caller]
    pub fn start(&self) -> &Self {
        self.try_start()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}\n{}", self.id, self.console_log()));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// What the daemon replies.
    pub fn try_start(&self) -> Result<(), Error> {
        self.host
            .try_json::<container::Start>(json!({ "id": self.id }))
            .map(drop)
    }

    /// Stops it.
    ///
    /// # Errors
    /// What the daemon replies.
    pub fn try_stop(&self, mode: &str, timeout: u64) -> Result<(), Error> {
        let stop = json!({ "id": self.id, "mode": mode, "timeout": timeout });
        self.host.try_json::<container::Stop>(stop).map(drop)
    }

    /// Kills it.
    #[track_caller]
    pub fn kill(&self) {
        self.try_stop("kill", 60).unwrap();
    }

    /// Deletes it.
    ///
    /// # Errors
    /// What the daemon replies.
    pub fn try_delete(&self, force: bool) -> Result<(), Error> {
        let delete = json!({ "id": self.id, "force": force });
        self.host.try_json::<container::Delete>(delete).map(drop)
    }

    /// Deletes it, running or not.
    #[track_caller]
    pub fn delete(&self) {
        self.try_delete(true).unwrap();
    }

    /// Changes settings, given as JSON.
    ///
    /// # Errors
    /// What the daemon replies.
    pub fn try_set(&self, mut settings: Value) -> Result<(), Error> {
        settings["id"] = json!(self.id);
        self.host.try_json::<container::Set>(settings).map(drop)
    }

    /// Changes settings, given as JSON.
    #[track_caller]
    pub fn set(&self, settings: Value) -> &Self {
        self.try_set(settings).unwrap();
        self
    }

    /// Calls a method whose parameters are JSON and the container's id.
    ///
    /// # Errors
    /// What the daemon replies.
    pub fn try_json<M: osctl_api::Method>(&self, mut value: Value) -> Result<M::Reply, Error> {
        value["id"] = json!(self.id);
        self.host.try_json::<M>(value)
    }

    /// As [`Ct::try_json`], for what succeeds.
    #[track_caller]
    pub fn json<M: osctl_api::Method>(&self, value: Value) -> M::Reply {
        self.try_json::<M>(value).unwrap()
    }

    /// Begins to run a program with these streams; `more` is added to the call.
    ///
    /// # Errors
    /// What the daemon replies.
    pub fn open(&self, command: &[&str], more: &Value, fds: &[OwnedFd]) -> Result<Session, Error> {
        let mut call = json!({ "id": self.id, "command": command });
        for (key, value) in more.as_object().into_iter().flatten() {
            call[key] = value.clone();
        }
        let call = params::<container::Exec>(call);
        let answer = self.host.connect()?.call_fds(&call, fds)?;
        let at = answer.reply.session_fd as usize;
        let fd = answer.fds.into_iter().nth(at).expect("a session");
        Ok(Session::new(fd))
    }

    /// Begins to run a program on a terminal.
    #[track_caller]
    pub fn open_tty(&self, command: &[&str]) -> Session {
        let mut session = self.open(command, &json!({ "tty": true }), &[]).unwrap();
        session.started();
        session
    }

    /// Begins to run a program that nobody listens to.
    #[track_caller]
    pub fn open_quiet(&self, command: &[&str]) -> Session {
        let null = || {
            OwnedFd::from(
                File::options()
                    .read(true)
                    .write(true)
                    .open("/dev/null")
                    .unwrap(),
            )
        };
        let mut session = self
            .open(command, &json!({}), &[null(), null(), null()])
            .unwrap();
        session.started();
        session
    }

    /// Runs a shell script that may be the container's last, and waits for its end.
    #[track_caller]
    pub fn last_words(&self, script: &str) {
        self.open_quiet(&["/bin/sh", "-c", script]).end();
    }

    /// Runs a program with an empty input; `more` is added to the call.
    ///
    /// # Errors
    /// What the daemon replies.
    pub fn try_exec_with(
        &self,
        command: &[&str],
        more: &Value,
        limit: Duration,
    ) -> Result<Ran, Error> {
        let null = OwnedFd::from(File::open("/dev/null").unwrap());
        let (out, out_end) = std::io::pipe().unwrap();
        let (err, err_end) = std::io::pipe().unwrap();
        let fds = [null, out_end.into(), err_end.into()];
        let opened = self.open(command, more, &fds);
        drop(fds);
        let mut session = opened?;
        let (out, err) = (collect(out), collect(err));
        let end = session.end_within(limit);
        let text = |from: std::sync::mpsc::Receiver<Vec<u8>>| {
            let bytes = from
                .recv_timeout(wait::SOON)
                .expect("the end of its output");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ok(Ran {
            end,
            stdout: text(out),
            stderr: text(err),
        })
    }

    /// Runs a program.
    #[track_caller]
    pub fn exec(&self, command: &[&str]) -> Ran {
        self.try_exec_with(command, &json!({}), wait::SOON).unwrap()
    }

    /// Runs a shell script that succeeds; what it prints.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let ran = self.exec(&["/bin/sh", "-c", script]);
        assert!(ran.success(), "{script}: {ran:?}");
        ran.stdout
    }

    /// Its root file system on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.host
            .pool_dir(POOL)
            .join("ct")
            .join(&self.id)
            .join("private")
    }

    /// What was written to its console.
    pub fn console_log(&self) -> String {
        let path = self
            .try_json::<container::LogPath>(json!({}))
            .map(|p| p.path);
        let bytes = path
            .ok()
            .and_then(|p| std::fs::read(p).ok())
            .unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A file of its cgroup, from the hierarchy that has it.
    pub fn cgroup_file(&self, file: &str) -> Option<String> {
        cgroups::read(&self.host.cgroup, &self.id, file)
    }
}
