//! Entries into the container (exec and the like) as the supervisor follows them: from the process
//! that enters, over the one that stays, to the message about its end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use osctl_linux::process::{self, Child, Cloned, Ended, Parent, SingleThread, clone3};
use osctl_linux::{seqpacket, tty};
use osctl_runtime::control::{Action, Enter, SessionMessage, SessionRequest};
use osctl_runtime::spec::{Mount, Spec};

use super::cgroup::{Cgroups, Placement};
use super::launch::bind_source;
use super::lock::Locker;
use crate::enter;
use crate::fault::{During, Fault, Outcome};
use crate::hostproc::HostProc;
use crate::report::{Channel, Order, Report};

/// Entries at the same time. Each takes three descriptors, of the usual limit of 1024.
const ENTRIES: usize = 256;
/// The largest message of a client, in bytes.
const REQUEST: usize = 256;

/// What is needed of a running container to enter it.
#[derive(Debug, Clone, Copy)]
pub struct Inside<'a> {
    /// The container.
    pub spec: &'a Spec,
    /// Its first process.
    pub pidfd: BorrowedFd<'a>,
    /// Its user namespace.
    pub userns: BorrowedFd<'a>,
    /// Its cgroups.
    pub cgroups: &'a Cgroups,
    /// The host's.
    pub proc: &'a HostProc,
    /// To be set in what enters, when the supervisor's own is something else.
    pub oom_score_adj: Option<i32>,
    /// Of the supervisor.
    pub witness: &'a SingleThread,
}

/// One entry.
#[derive(Debug)]
struct Entry {
    /// Of the process that enters.
    scout: Option<i32>,
    /// The process that stays.
    resident: Option<Child>,
    placement: Placement,
    channel: Option<Channel>,
    session: Option<OwnedFd>,
    /// Of the guest's, not a process of ours.
    is_program: bool,
    /// The client has yet to be told the pid.
    announces: bool,
    tty: bool,
    master: Option<OwnedFd>,
    /// What is needed to begin anew, until that is not needed any more.
    again: Option<(Enter, Vec<OwnedFd>)>,
    crowded: bool,
    end: Option<SessionMessage>,
}

/// All entries of a container.
#[derive(Debug, Default)]
pub struct Entries(Vec<Entry>);

/// A descriptor of an entry that can be polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Reports of the processes.
    Channel,
    /// Requests of the client.
    Session,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// To be polled, with the position of the entry.
    pub fn sources(&self) -> impl Iterator<Item = (usize, Source, BorrowedFd<'_>)> {
        self.0.iter().enumerate().flat_map(|(index, entry)| {
            let channel = entry.channel.as_ref().map(|c| (Source::Channel, c.as_fd()));
            let session = entry.session.as_ref().map(|s| (Source::Session, s.as_fd()));
            channel
                .into_iter()
                .chain(session)
                .map(move |(source, fd)| (index, source, fd))
        })
    }

    /// Starts an entry. `fds` are those of the request.
    pub fn start(&mut self, request: Enter, mut fds: Vec<OwnedFd>, inside: Inside<'_>) -> Outcome {
        if self.0.len() >= ENTRIES {
            return Err(Fault::refused(format!(
                "{ENTRIES} entries are open already"
            )));
        }
        if fds.is_empty() {
            return Err(Fault::refused("the session socket is missing"));
        }
        let session = fds.remove(0);
        check_descriptors(&request.action, &fds)?;
        let bind = match &request.action {
            Action::Mount(wanted) => locked_source(wanted, inside)
                .during(|| format!("cannot mount {:?}", wanted.target))?,
            _ => None,
        };
        fds.extend(bind);
        let (program, tty) = match &request.action {
            Action::Exec(exec) => (true, exec.tty.is_some()),
            _ => (false, false),
        };
        let mut entry = Entry {
            scout: None,
            resident: None,
            placement: Placement::Inside,
            channel: None,
            session: Some(session),
            is_program: program,
            announces: program,
            tty,
            master: None,
            again: Some((request, fds)),
            crowded: false,
            end: None,
        };
        entry.launch(inside)?;
        self.0.push(entry);
        Ok(())
    }

    /// Begins entries anew that found the container full.
    pub fn retry(&mut self, inside: Inside<'_>) {
        for entry in &mut self.0 {
            if entry.scout.is_none()
                && entry.resident.is_none()
                && entry.crowded
                && entry.placement == Placement::Inside
                && let Err(fault) = entry.launch(inside)
            {
                entry.end = Some(failed(&fault.text()));
            }
        }
    }

    /// The container has ended: tells the clients of what has not been told.
    pub fn close(&mut self, cgroups: &Cgroups) {
        for entry in &mut self.0 {
            entry.read_reports(cgroups);
            entry.scout = None;
            entry.resident = None;
            entry
                .end
                .get_or_insert_with(|| failed("the container has ended"));
        }
        self.sweep();
    }

    /// Reads what is waiting at a source.
    pub fn ready(&mut self, index: usize, source: Source, cgroups: &Cgroups) {
        let Some(entry) = self.0.get_mut(index) else {
            return;
        };
        match source {
            Source::Channel => entry.read_reports(cgroups),
            Source::Session => entry.read_request(),
        }
    }

    /// A child of the supervisor has ended. False when it was none of these.
    pub fn ended(&mut self, pid: i32, how: Ended, cgroups: &Cgroups) -> bool {
        let is = |entry: &&mut Entry| {
            entry.scout == Some(pid) || entry.resident.as_ref().is_some_and(|c| c.pid == pid)
        };
        let Some(entry) = self.0.iter_mut().find(is) else {
            return false;
        };
        entry.read_reports(cgroups);
        if entry.scout == Some(pid) {
            entry.scout = None;
            let again = entry.crowded && entry.placement == Placement::Inside;
            if entry.resident.is_none() && entry.end.is_none() && !again {
                entry.end = Some(failed("the entering process has ended"));
            }
        } else if let Some(child) = entry.resident.take() {
            entry.announce(child.pid);
            entry.end = entry.end.take().or(Some(match how {
                Ended::Exited(status) => SessionMessage::Exited(status),
                Ended::Signaled(signal) => SessionMessage::Signaled(signal),
            }));
        }
        true
    }

    /// Tells clients of entries that have ended, and forgets those.
    pub fn sweep(&mut self) {
        self.0.retain_mut(|entry| {
            if entry.scout.is_some() || entry.resident.is_some() {
                return true;
            }
            if let Some(end) = entry.end.take() {
                entry.tell(&end, &[]);
            }
            false
        });
    }
}

fn locked_source(wanted: &Mount, inside: Inside<'_>) -> Outcome<Option<OwnedFd>> {
    let Some(tree) = bind_source(wanted, inside.userns)? else {
        return Ok(None);
    };
    let locker = Locker::start(inside.witness)?;
    Ok(locker.lock(inside.userns, &[tree.as_fd()])?.pop())
}

fn failed(error: &str) -> SessionMessage {
    SessionMessage::Failed {
        code: 125,
        error: error.to_owned(),
    }
}

/// A guest gets no terminal of the host (it could type into it) and no directory of the host (it
/// could walk from it); and each action has its number of descriptors.
fn check_descriptors(action: &Action, fds: &[OwnedFd]) -> Outcome {
    let wanted = match action {
        Action::Exec(exec) => {
            let streams = if exec.tty.is_some() { 0 } else { 3 };
            streams + usize::from(exec.script)
        }
        Action::ReadFile { .. } => 1,
        Action::WriteFiles { .. } | Action::Mount(_) | Action::Unmount { .. } => 0,
    };
    if fds.len() != wanted {
        let got = fds.len();
        return Err(Fault::refused(format!(
            "{got} descriptors instead of {wanted}"
        )));
    }
    for fd in fds {
        use osctl_linux::beneath::{Kind, Stat};
        use osctl_linux::error::Context;
        let stat = Stat::from(nix::sys::stat::fstat(fd).call(|| "fstat")?);
        if matches!(stat.kind(), Kind::Dir | Kind::Symlink) {
            return Err(Fault::refused("a directory is no stream for a container"));
        }
        if tty::is_terminal(fd) {
            return Err(Fault::refused(
                "a terminal of the host is no stream for a container",
            ));
        }
    }
    Ok(())
}

impl Entry {
    /// Makes the scout; outside if the container was found full.
    fn launch(&mut self, inside: Inside<'_>) -> Outcome {
        let Some((request, fds)) = &self.again else {
            return Err(Fault::refused("the entry has begun already"));
        };
        let (channel, theirs) = Channel::pair()?;
        let clone = |cgroup: Option<BorrowedFd<'_>>| {
            clone3(inside.witness, CloneFlags::empty(), Parent::Caller, cgroup)
        };
        let (cloned, placement) = if self.crowded {
            inside.cgroups.clone_outside(clone)?
        } else {
            // Without a leaf it is done beside init, as far as the kernel allows.
            let leaf = inside.cgroups.leaf().ok().flatten();
            let cgroup = leaf.as_ref().map(AsFd::as_fd).or(inside.cgroups.payload());
            inside.cgroups.clone_into(cgroup, clone)?
        };
        match cloned {
            Cloned::Child => enter::run(request, fds, theirs, inside),
            Cloned::Parent(child) => self.scout = Some(child.pid),
        }
        self.placement = placement;
        self.channel = Some(channel);
        Ok(())
    }

    fn tell(&mut self, message: &SessionMessage, fds: &[BorrowedFd<'_>]) {
        let Some(session) = &self.session else {
            return;
        };
        let sent = serde_json::to_vec(message)
            .is_ok_and(|data| seqpacket::send(session.as_fd(), &data, fds, true).is_ok());
        if !sent {
            self.hang_up();
        }
    }

    /// The client is gone, or as good as.
    fn hang_up(&mut self) {
        self.session = None;
        self.end_resident();
    }

    /// The guest may have stopped or frozen what entered. As with a terminal that hangs up, a
    /// program of the guest's goes on with a hangup; our own process just ends.
    fn end_resident(&self) {
        if self.is_program {
            self.signal(libc::SIGHUP, true);
            self.signal(libc::SIGCONT, true);
        } else {
            self.signal(libc::SIGKILL, false);
        }
    }

    fn signal(&self, signal: i32, group: bool) {
        if let Some(child) = &self.resident {
            // It may have ended without being reaped yet.
            let pidfd = child.pidfd.as_fd();
            let grouped = group && process::pidfd_signal_group(pidfd, child.pid, signal).is_ok();
            // It leads a group of its own only after its first steps.
            if !grouped {
                let _ = process::pidfd_signal(pidfd, signal);
            }
        }
    }

    fn announce(&mut self, pid: i32) {
        if self.announces && self.end.is_none() {
            self.announces = false;
            let master = self.master.take();
            let fds: Vec<BorrowedFd<'_>> = master.iter().map(AsFd::as_fd).collect();
            self.tell(&SessionMessage::Pid(pid), &fds);
        }
    }

    fn read_reports(&mut self, cgroups: &Cgroups) {
        loop {
            let Some(channel) = &self.channel else {
                return;
            };
            match channel.try_recv::<Report>() {
                Ok(Some((report, fds))) => self.report(report, fds, cgroups),
                Err(error) if error.errno() == Errno::EAGAIN => return,
                Ok(None) | Err(_) => {
                    self.channel = None;
                    if let Some(pid) = self.resident.as_ref().map(|child| child.pid) {
                        self.announce(pid);
                    }
                    return;
                }
            }
        }
    }

    fn report(&mut self, report: Report, mut fds: Vec<OwnedFd>, cgroups: &Cgroups) {
        match report {
            Report::Crowded => self.crowded = true,
            Report::Spawned { pid } => {
                self.again = None;
                if let Some(pidfd) = fds.pop() {
                    self.follow(Child { pid, pidfd }, cgroups);
                }
            }
            Report::Terminal => self.master = fds.pop(),
            Report::Warning(text) => self.tell(&SessionMessage::Warning(text), &[]),
            Report::Rejected { code, error } => {
                self.end = Some(SessionMessage::Failed { code, error });
            }
            _ => {}
        }
    }

    /// The process that stays waits to be known here before it goes on: else it could have ended
    /// and its end gone unnoticed.
    fn follow(&mut self, child: Child, cgroups: &Cgroups) {
        if process::pidfd_signal(child.pidfd.as_fd(), 0).is_err() {
            let text = "the process was killed before it began";
            self.end.get_or_insert_with(|| failed(text));
            return;
        }
        let placed = match self.placement {
            Placement::Inside => Ok(()),
            Placement::Outside => cgroups.place_entered(child.pid),
        };
        let go = placed.and_then(|()| match &self.channel {
            Some(channel) => channel.send(&Order::Go, &[]),
            None => Ok(()),
        });
        if let Err(error) = go {
            // It may have said why it is gone already.
            self.end.get_or_insert_with(|| failed(&error.to_string()));
            let _ = process::pidfd_signal(child.pidfd.as_fd(), libc::SIGKILL);
        }
        self.resident = Some(child);
        if self.session.is_none() {
            self.end_resident();
        }
    }

    fn read_request(&mut self) {
        let Some(session) = &self.session else {
            return;
        };
        match seqpacket::recv(session.as_fd(), REQUEST, true) {
            Ok(Some(packet)) => match serde_json::from_slice(&packet.data) {
                Ok(SessionRequest::Signal(signal @ 1..=64)) => self.signal(signal, self.tty),
                _ => self.hang_up(),
            },
            Err(error) if error.errno() == Errno::EAGAIN => {}
            Ok(None) | Err(_) => self.hang_up(),
        }
    }
}
