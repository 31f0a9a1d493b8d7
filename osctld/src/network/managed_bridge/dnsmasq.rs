//! dnsmasq on the default bridge: started, found again by the next daemon, told what changes,
//! stopped.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use osctl_api::net::{Address, IfName};
use osctl_linux::beneath::{Mounts, Root, Symlinks};
use osctl_linux::process;
use tokio::sync::watch;

use super::config::{self, Client, Paths};
use crate::error::{Error, Result};
use crate::sync::Mutex;

/// Where the program may be.
const PROGRAMS: &[&str] = &["/usr/sbin/dnsmasq", "/run/current-system/sw/bin/dnsmasq"];
/// Users that it may run as, best first.
const USERS: &[&str] = &["dnsmasq", "nobody"];
/// Most bytes of its last words.
const MAX_WORDS: u64 = 64 * 1024;

/// A dnsmasq that runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its process id.
    pub pid: i32,
    /// Becomes readable when it ends.
    pub pidfd: Arc<OwnedFd>,
}

/// Whether there is one.
#[derive(Debug, Clone)]
pub enum Service {
    /// There should be none.
    Off,
    /// There should be one, which could not be started or has ended.
    Failed,
    /// There is.
    Runs(Running),
}

impl Service {
    fn running(&self) -> Option<&Running> {
        match self {
            Service::Runs(running) => Some(running),
            Service::Off | Service::Failed => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Dnsmasq {
    dir: PathBuf,
    service: watch::Sender<Service>,
    problem: Mutex<Option<String>>,
}

fn cannot(what: &str, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::backend(format!("cannot {what} dnsmasq"), e)
}

impl Dnsmasq {
    pub(super) fn new(dir: PathBuf) -> Dnsmasq {
        Dnsmasq {
            dir,
            service: watch::channel(Service::Off).0,
            problem: Mutex::default(),
        }
    }

    pub(super) fn service(&self) -> watch::Receiver<Service> {
        self.service.subscribe()
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Has it serve the bridge, with IPv6 if the host has it: one that runs already goes on unless it
    /// was told something else.
    pub(super) fn serve(
        &self,
        bridge: &IfName,
        (v4, v6): (Address, Option<Address>),
        domain: &str,
        clients: &[Client],
    ) -> Result<()> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.dir);
        made.map_err(|e| cannot("make the directory of", e))?;
        let paths = Paths {
            dir: &self.dir,
            user: self.user(),
        };
        let text = config::main(bridge, (v4, v6), domain, paths);
        let is_new = self.write("dnsmasq.conf", &text)?;
        let changed = self.write_clients(domain, clients)?;
        self.find_earlier();
        let runs = self.service.borrow().running().is_some();
        match (runs, is_new) {
            (true, false) => {
                if changed {
                    self.reload();
                }
                Ok(())
            }
            (true, true) => {
                self.stop()?;
                self.start()
            }
            (false, _) => self.start(),
        }
    }

    /// Tells it who is there now.
    pub(super) fn update(&self, domain: &str, clients: &[Client]) -> Result<()> {
        if self.write_clients(domain, clients)? {
            self.reload();
        }
        Ok(())
    }

    fn write_clients(&self, domain: &str, clients: &[Client]) -> Result<bool> {
        let clients_changed = self.write("clients", &config::clients(clients))?;
        let names_changed = self.write("names", &config::names(clients, domain))?;
        Ok(clients_changed || names_changed)
    }

    /// Writes one of its files, unless that is in it; says whether it was not.
    fn write(&self, name: &str, text: &str) -> Result<bool> {
        let path = self.dir.join(name);
        if fs::read_to_string(&path).is_ok_and(|has| has == text) {
            return Ok(false);
        }
        let write = || {
            let dir = Root::open_tree(&self.dir, Symlinks::Refuse, Mounts::Cross)?;
            let tmp = format!(".{name}.new");
            if dir.try_stat(&tmp)?.is_some() {
                dir.unlink(&tmp)?;
            }
            let mut file = dir.create_new(&tmp, 0o644)?;
            file.write_all(text.as_bytes())?;
            // It matters only until the next boot: it need not be on a disk.
            Ok(dir.rename(&tmp, name)?)
        };
        write()
            .map_err(|e: Box<dyn std::error::Error + Send + Sync>| cannot("write a file of", e))?;
        Ok(true)
    }

    /// Starts it once more, unless one runs that had not said so yet.
    pub(super) fn revive(&self) -> Result<()> {
        self.find_earlier();
        let runs = self.service.borrow().running().is_some();
        if runs { Ok(()) } else { self.start() }
    }

    /// Starts it. The configuration is there.
    fn start(&self) -> Result<()> {
        let started = self.try_start();
        *self.problem.lock() = started.as_ref().err().map(Error::chain);
        let (service, result) = match started {
            Ok(running) => (Service::Runs(running), Ok(())),
            Err(e) => (Service::Failed, Err(e)),
        };
        self.service.send_replace(service);
        result
    }

    fn try_start(&self) -> Result<Running> {
        let program = PROGRAMS
            .iter()
            .find(|p| Path::new(p).exists())
            .ok_or_else(|| {
                Error::unsupported("dnsmasq is not installed")
                    .hint("install the package dnsmasq-base")
            })?;
        let words = File::create(self.dir.join("log")).map_err(|e| cannot("start", e))?;
        let mut child = Command::new(program)
            .arg("--keep-in-foreground")
            // Containers make it talk without end. Why it does not start, it says on stderr.
            .arg("--log-facility=/dev/null")
            .arg(self.argument())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words)
            .spawn()
            .map_err(|e| cannot("start", e))?;
        let pid = i32::try_from(child.id()).map_err(|e| cannot("start", e))?;
        let pidfd = process::pidfd_open(pid).map_err(|e| cannot("start", e))?;
        let pidfd = Arc::new(pidfd);
        // Somebody has to be told when it ends, or it would stay as a zombie.
        std::thread::Builder::new()
            .name("dnsmasq".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || drop(child.wait()))
            .map_err(|e| cannot("wait for", e))?;
        tracing::info!(pid, "dnsmasq serves the default bridge");
        Ok(Running { pid, pidfd })
    }

    fn argument(&self) -> String {
        format!("--conf-file={}", self.dir.join("dnsmasq.conf").display())
    }

    /// Takes over one that an earlier daemon started.
    fn find_earlier(&self) {
        if self.service.borrow().running().is_none()
            && let Some(running) = self.find()
        {
            self.service.send_replace(Service::Runs(running));
        }
    }

    fn find(&self) -> Option<Running> {
        let text = fs::read_to_string(self.dir.join("dnsmasq.pid")).ok()?;
        let pid: i32 = text.trim().parse().ok().filter(|pid| *pid > 1)?;
        // First the descriptor, then the look: what is looked at is what the descriptor is of.
        let pidfd = process::pidfd_open(pid).ok()?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut arguments = arguments.split(|b| *b == 0);
        let ours = arguments.any(|a| a == self.argument().as_bytes());
        (ours && !ended(&pidfd)).then(|| Running {
            pid,
            pidfd: Arc::new(pidfd),
        })
    }

    fn reload(&self) {
        if let Service::Runs(running) = &*self.service.borrow() {
            // One that has ended reads everything when it is started again.
            drop(process::pidfd_signal(
                running.pidfd.as_fd(),
                nix::libc::SIGHUP,
            ));
        }
    }

    /// Ends it, and waits for that.
    pub(super) fn stop(&self) -> Result<()> {
        self.find_earlier();
        *self.problem.lock() = None;
        let Service::Runs(running) = self.service.send_replace(Service::Off) else {
            return Ok(());
        };
        // Nothing of it is lost: leases are in its file as soon as they are given.
        drop(process::pidfd_signal(
            running.pidfd.as_fd(),
            nix::libc::SIGKILL,
        ));
        let mut polled = [nix::poll::PollFd::new(
            running.pidfd.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        match nix::poll::poll(&mut polled, 5000u16) {
            Ok(0) => Err(Error::timeout("dnsmasq does not end")),
            _ => {
                drop(fs::remove_file(self.dir.join("dnsmasq.pid")));
                Ok(())
            }
        }
    }

    /// It ended by itself: what it said last.
    pub(super) fn last_words(&self) -> String {
        use std::io::Read;
        let mut text = Vec::new();
        let read =
            File::open(self.dir.join("log")).and_then(|f| f.take(MAX_WORDS).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        match read {
            Ok(_) => text.lines().last().unwrap_or_default().to_owned(),
            Err(_) => String::new(),
        }
    }

    /// Notes that this one has ended, unless there is another one by now; says what it said last.
    pub(super) fn note_end(&self, ended: &Running) -> Option<String> {
        let is_it = |r: &Running| Arc::ptr_eq(&r.pidfd, &ended.pidfd);
        if !self.service.borrow().running().is_some_and(is_it) {
            return None;
        }
        let problem = format!("dnsmasq ended: {}", self.last_words());
        *self.problem.lock() = Some(problem.clone());
        self.service.send_replace(Service::Failed);
        Some(problem)
    }

    /// The user that it is to be: once it is that, it reads its files anew, so it has to reach them.
    fn user(&self) -> &'static str {
        let open = |dir: &Path| fs::metadata(dir).is_ok_and(|m| m.mode() & 0o001 != 0);
        let reachable = self.dir.parent().is_some_and(|p| p.ancestors().all(open));
        let exists =
            |user: &&&str| nix::unistd::User::from_name(user).is_ok_and(|found| found.is_some());
        match USERS.iter().find(exists) {
            Some(user) if reachable => user,
            _ => "root",
        }
    }
}

fn ended(pidfd: &OwnedFd) -> bool {
    let mut polled = [nix::poll::PollFd::new(
        pidfd.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    nix::poll::poll(&mut polled, 0u16).is_ok_and(|n| n > 0)
}
