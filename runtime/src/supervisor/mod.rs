//! The supervisor: parent of a container's init from start to end.
//!
//! One thread around one poll. It outlives the daemon, and nothing that a guest or a client does
//! makes it wait; when it dies, the container dies with it.

mod cgroup;
mod console;
mod entries;
mod exit;
mod launch;
mod lock;
mod peers;
mod requests;
mod wait;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use nix::fcntl::OFlag;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use osctl_linux::beneath::{Mounts, Root, Symlinks};
use osctl_linux::error::Context;
use osctl_linux::fds;
use osctl_linux::process::{self, Ended, SingleThread};
use osctl_linux::seqpacket;
use osctl_runtime::control::{Event, How, MAX_MESSAGE, State};
use osctl_runtime::spec::{self, EXIT_FILE, SOCKET_FILE, Spec};

use cgroup::Cgroups;
use console::Console;
use entries::Entries;
pub use entries::Inside;
use exit::{never_started, record, write_record};
use launch::Launched;
use peers::Peers;

use crate::fault::{During, Fault, Outcome};
use crate::hostproc::HostProc;
use crate::policy;
use crate::report::{Order, Report};

/// How far init is, for the supervisor's own use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In its stage.
    Stage,
    /// Its stage is done, it waits.
    Ready,
    /// The exec is the next thing.
    Exec,
    /// Running.
    Running,
}

/// Everything about one container.
struct Supervisor {
    spec: Spec,
    witness: SingleThread,
    proc: HostProc,
    run_dir: Root,
    listener: OwnedFd,
    signals: SignalFd,
    peers: Peers,
    cgroups: Cgroups,
    console: Console,
    entries: Entries,
    launched: Launched,
    netns: Option<OwnedFd>,
    oom_score_adj: Option<i32>,
    phase: Phase,
    /// A held container may go on.
    proceed: bool,
    kill_requested: bool,
    end_when_idle: bool,
    started_at: Option<u64>,
    warnings: Vec<String>,
    failure: Option<(String, String)>,
}

/// What is there before the container is.
struct Base {
    spec: Spec,
    witness: SingleThread,
    proc: HostProc,
    run_dir: Root,
    listener: OwnedFd,
    signals: SignalFd,
    cgroups: Cgroups,
    console: Console,
}

/// Runs a container: the daemon is on fd 0 and says which.
pub fn run() -> ExitCode {
    let mut peers = Peers::default();
    let spec = match first_message(&mut peers) {
        Ok(spec) => spec,
        Err(fault) => return never_started(None, &mut peers, "spec", &fault),
    };
    let id = spec.id.clone();
    let base = match Base::new(spec) {
        Ok(base) => base,
        Err(fault) => return never_started(None, &mut peers, "supervisor", &fault),
    };
    match launch::launch(&base.spec, &base.witness, &base.proc, &base.cgroups) {
        Ok(launched) => Supervisor::new(base, peers, launched).run(),
        Err(error) => {
            let place = Some((&base.run_dir, id.as_str()));
            never_started(place, &mut peers, error.step, &error.fault)
        }
    }
}

/// Takes the daemon's socket from fd 0, which becomes `/dev/null`, and reads the spec.
fn first_message(peers: &mut Peers) -> Outcome<Spec> {
    let socket = fds::inherited_fd(0)?;
    let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .call(|| "open(\"/dev/null\")")?;
    fds::install_fds(&[null.as_fd(), null.as_fd()])?;
    drop(null);
    let packet = seqpacket::recv(socket.as_fd(), MAX_MESSAGE, false)?
        .ok_or_else(|| Fault::refused("the daemon closed the socket"))?;
    seqpacket::set_nonblocking(&socket, true)?;
    peers.add(socket);
    let spec: Spec = serde_json::from_slice(&packet.data)
        .map_err(|error| Fault::refused(format!("not understood: {error}")))?;
    if spec.version != spec::VERSION {
        let (theirs, ours) = (spec.version, spec::VERSION);
        return Err(Fault::refused(format!("version {theirs}, this is {ours}")));
    }
    policy::check(&spec)?;
    Ok(spec)
}

impl Base {
    fn new(spec: Spec) -> Outcome<Self> {
        let witness = SingleThread::check()?;
        process::set_undumpable()?;
        process::new_session_keyring()?;
        umask(Mode::empty());
        // None but SIGCHLD means anything: a host that shuts down signals everybody, and containers
        // are stopped by the daemon.
        let all = SigSet::all();
        all.thread_block().call(|| "sigprocmask")?;
        let mut child = SigSet::empty();
        child.add(nix::sys::signal::Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&child, flags).call(|| "signalfd")?;
        // Fails only for a process group leader, which then has left the daemon's already.
        let _ = nix::unistd::setsid();
        nix::unistd::chdir("/").call(|| "chdir(\"/\")")?;
        let run_dir = Root::open_tree(&spec.run_dir, Symlinks::Refuse, Mounts::Cross)?;
        // Of an earlier run, for a daemon that has had its time to read it.
        match run_dir.unlink(EXIT_FILE) {
            Err(error) if error.errno() != nix::errno::Errno::ENOENT => return Err(error.into()),
            _ => {}
        }
        let listener = seqpacket::listen_at(run_dir.as_fd(), SOCKET_FILE.as_ref())?;
        let cgroups = Cgroups::open(&spec)?;
        let console = Console::new(&spec.console).during(|| "cannot open the console log")?;
        Ok(Base {
            witness,
            proc: HostProc::open()?,
            run_dir,
            listener,
            signals,
            cgroups,
            console,
            spec,
        })
    }
}

/// Makes the supervisor the last to be chosen when memory runs out, where that is allowed: a
/// container should lose a process, not all of them. What its children are to have instead, if so.
fn protect(proc: &HostProc, wanted: Option<i32>) -> Option<i32> {
    use std::io::Read;
    let mut own = String::new();
    let file = proc.file("self/oom_score_adj", OFlag::O_RDONLY).ok()?;
    file.take(16).read_to_string(&mut own).ok()?;
    proc.write("self/oom_score_adj", "-999").ok()?;
    wanted.or_else(|| own.trim().parse().ok())
}

impl Supervisor {
    fn new(base: Base, peers: Peers, mut launched: Launched) -> Self {
        let warnings = std::mem::take(&mut launched.warnings);
        let oom_score_adj = protect(&base.proc, base.spec.oom_score_adj);
        Supervisor {
            spec: base.spec,
            witness: base.witness,
            proc: base.proc,
            run_dir: base.run_dir,
            listener: base.listener,
            signals: base.signals,
            peers,
            cgroups: base.cgroups,
            console: base.console,
            entries: Entries::default(),
            launched,
            netns: None,
            oom_score_adj,
            phase: Phase::Stage,
            proceed: false,
            kill_requested: false,
            end_when_idle: false,
            started_at: None,
            warnings,
            failure: None,
        }
    }

    /// Until the end of init.
    fn run(mut self) -> ExitCode {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                // Out of kernel memory, at worst: the next try may do.
                Err(_) => continue,
            };
            for source in ready {
                self.handle(source);
            }
            if let Some(how) = self.reap() {
                return self.finish(how);
            }
            let (entries, inside) = self.inside();
            entries.retry(inside);
            entries.sweep();
            self.let_go();
            if self.end_when_idle && self.entries.len() == 0 && !self.kill_requested {
                self.kill();
            }
        }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Running => State::Running,
            Phase::Ready if self.spec.hold && !self.proceed => State::Held,
            _ => State::Starting,
        }
    }

    /// What a daemon needs to follow init and to give it network links.
    fn init_fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = vec![self.launched.init.pidfd.as_fd()];
        fds.extend(self.netns.as_ref().map(AsFd::as_fd));
        fds
    }

    fn broadcast(&mut self, event: Event) {
        let mut peers = std::mem::take(&mut self.peers);
        peers.broadcast(event, &self.init_fds());
        self.peers = peers;
    }

    /// Runs init when it is ready and nobody holds it.
    fn let_go(&mut self) {
        if self.phase == Phase::Ready && (self.proceed || !self.spec.hold) {
            self.phase = Phase::Exec;
            // A process that is gone has an end that will be reaped.
            let _ = self.launched.channel.send(&Order::Go, &[]);
        }
        let waiting = matches!(self.phase, Phase::Stage | Phase::Ready);
        if self.spec.hold && waiting && !self.proceed && self.peers.is_empty() {
            self.kill();
        }
    }

    fn kill(&mut self) {
        self.kill_requested = true;
        let _ = process::pidfd_signal(self.launched.init.pidfd.as_fd(), libc::SIGKILL);
    }

    fn read_reports(&mut self) {
        while self.phase != Phase::Running {
            match self.launched.channel.try_recv::<Report>() {
                Ok(Some((report, fds))) => self.report(report, fds),
                Err(error) if error.errno() == nix::errno::Errno::EAGAIN => return,
                Ok(None) | Err(_) => return self.channel_closed(),
            }
        }
    }

    fn report(&mut self, report: Report, mut fds: Vec<OwnedFd>) {
        match report {
            Report::Namespaces => {
                let pid = self.launched.init.pid;
                self.netns = self.proc.namespace(pid, "net").ok();
                self.broadcast(Event::Created { pid });
            }
            Report::Console => {
                if let (Some(slave), Some(master)) = (fds.pop(), fds.pop())
                    && let Err(error) = self.console.connect(master, slave)
                {
                    self.warnings.push(format!("no console: {error}"));
                }
            }
            Report::Warning(text) => self.warnings.push(text),
            Report::Ready => self.phase = Phase::Ready,
            Report::Failed { step, error } => self.failure = Some((step, error)),
            _ => {}
        }
    }

    /// The exec has closed it, or the end of the process has.
    fn channel_closed(&mut self) {
        if self.phase == Phase::Exec && self.failure.is_none() {
            let pid = self.launched.init.pid;
            if let Some(wanted) = &self.spec.apparmor
                && let Err(fault) = policy::check_label(&self.proc, pid, wanted)
            {
                self.failure = Some(("LSM label".to_owned(), fault.text()));
                return self.kill();
            }
            self.phase = Phase::Running;
            self.started_at = Some(exit::now());
            let event = Event::Started {
                pid,
                warnings: self.warnings.clone(),
                started_at: self.started_at,
            };
            self.broadcast(event);
            self.forget_start();
        }
    }

    /// The parts of the spec that only the start needed, and the memory that it took.
    fn forget_start(&mut self) {
        self.spec.files = Vec::new();
        self.spec.mounts = Vec::new();
        self.spec.devices = Vec::new();
        self.spec.env = Vec::new();
        process::trim_heap();
    }

    /// Takes note of every child that has ended; the container's end when init is among them.
    fn reap(&mut self) -> Option<How> {
        while let Ok(Some((pid, ended))) = process::reap() {
            if pid == self.launched.init.pid {
                self.read_reports();
                return Some(self.verdict(ended));
            }
            self.entries.ended(pid, ended, &self.cgroups);
        }
        None
    }

    fn verdict(&mut self, ended: Ended) -> How {
        if let Some((step, error)) = self.failure.take() {
            return How::Failed { step, error };
        }
        if self.kill_requested {
            return How::Killed;
        }
        if self.phase != Phase::Running {
            let (step, error) = ("init".to_owned(), format!("init stage: {ended:?}"));
            return How::Failed { step, error };
        }
        match ended {
            // What the kernel makes of reboot(2) in a pid namespace: no other signal of this number
            // ends a process 1.
            Ended::Signaled(libc::SIGHUP) => How::Reboot,
            Ended::Signaled(libc::SIGINT) => How::Halt,
            Ended::Signaled(signal) => How::Signal(signal),
            Ended::Exited(status) => How::Exit(status),
        }
    }

    fn finish(mut self, how: How) -> ExitCode {
        self.console.read_output();
        self.entries.close(&self.cgroups);
        let record = record(&self.spec.id, how);
        write_record(&self.run_dir, &record);
        let event = match &record.how {
            How::Failed { step, error } => Event::Failed {
                step: step.clone(),
                error: error.clone(),
            },
            _ => Event::Exited(record),
        };
        let failed = matches!(event, Event::Failed { .. });
        self.peers.broadcast(event, &[]);
        let _ = self.run_dir.unlink(SOCKET_FILE);
        if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
