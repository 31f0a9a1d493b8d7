//! A program that runs in a container: its standard streams, its terminal, its signals, its end.
//!
//! A terminal of the host is never passed into a guest: where one of our streams is a terminal,
//! the guest gets a pipe, or a terminal of its own, and the bytes are relayed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::Signal;
use osctl_api::session::{FromSession, MAX_PACKET, ToSession};
use osctl_api::{Code, Error};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};

use super::pump::{End, Pump};
use super::{Signals, TerminalGuard};
use crate::failure::{Failure, NOT_RUN, Outcome};
use crate::ui::{Stream, Ui};

/// Most that is read from a program after its end: what pipes and terminals hold.
const DRAIN: usize = 256 * 1024;

/// What the guest gets as its standard streams.
#[derive(Debug)]
pub enum Streams {
    /// A terminal of its own.
    Terminal,
    /// Our streams, or pipes instead of those that are terminals.
    Plain(Plain),
}

/// Standard streams that are not a terminal.
#[derive(Debug)]
pub struct Plain {
    guest: [End; 3],
    pumps: Vec<Pump>,
}

impl Streams {
    /// A terminal if all of our streams are one, else plain streams.
    ///
    /// # Errors
    /// When a pipe can't be made.
    pub fn choose() -> io::Result<Streams> {
        let all = [Stream::In, Stream::Out, Stream::Err];
        if all.into_iter().all(Stream::is_tty) {
            Ok(Streams::Terminal)
        } else {
            Streams::plain()
        }
    }

    /// Plain streams.
    ///
    /// # Errors
    /// When a pipe can't be made.
    pub fn plain() -> io::Result<Streams> {
        Streams::with_input(End::Std(Stream::In))
    }

    /// Plain streams without input.
    ///
    /// # Errors
    /// When a pipe can't be made.
    pub fn without_input() -> io::Result<Streams> {
        let null = std::fs::File::open("/dev/null")?;
        Streams::with_input(End::Owned(null.into()))
    }

    fn with_input(input: End) -> io::Result<Streams> {
        let mut pumps = Vec::new();
        let input = match input {
            End::Std(s) if s.is_tty() => {
                let (read, write) = pipe()?;
                pumps.push(Pump::new(End::Std(s), End::Owned(write)));
                End::Owned(read)
            }
            other => other,
        };
        let mut output = |s: Stream| {
            if !s.is_tty() {
                return Ok(End::Std(s));
            }
            let (read, write) = pipe()?;
            pumps.push(Pump::new(End::Owned(read), End::Std(s)));
            Ok::<End, io::Error>(End::Owned(write))
        };
        let guest = [input, output(Stream::Out)?, output(Stream::Err)?];
        Ok(Streams::Plain(Plain { guest, pumps }))
    }

    /// File descriptors to pass with the call.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Streams::Terminal => Vec::new(),
            Streams::Plain(p) => p.guest.iter().map(AsFd::as_fd).collect(),
        }
    }

    /// Whether the guest gets a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Streams::Terminal)
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

struct Session<'a> {
    ui: &'a Ui,
    socket: OwnedFd,
    pumps: Vec<Pump>,
    /// Master of the guest's terminal, for its size.
    master: Option<OwnedFd>,
    terminal: bool,
    seen: Vec<Signal>,
    // in this order: a signal that is pending is let loose when the terminal is as it was
    guard: Option<TerminalGuard>,
    signals: Signals,
}

/// What a step of the session came to.
enum Step {
    Goes,
    Ends(Outcome),
}

/// Relays a session until the program ends; returns its exit status.
///
/// # Errors
/// With status 125 to 127 when the program could not be run or the session is lost.
pub fn run(ui: &Ui, socket: OwnedFd, streams: Streams) -> Outcome {
    let signals = Signals::watch_session().map_err(|e| not_run("cannot watch signals", &e))?;
    let terminal = streams.is_terminal();
    let pumps = match streams {
        Streams::Terminal => Vec::new(),
        // the guest's ends are closed here: only the guest holds them now
        Streams::Plain(p) => p.pumps,
    };
    let mut session = Session {
        ui,
        socket,
        pumps,
        master: None,
        terminal,
        seen: Vec::new(),
        guard: None,
        signals,
    };
    let outcome = session.relay();
    session.drain();
    outcome
}

fn not_run(message: &str, e: &io::Error) -> Failure {
    Failure::Coded(NOT_RUN, Error::with_source(Code::Backend, message, e))
}

impl Session<'_> {
    fn relay(&mut self) -> Outcome {
        loop {
            let (socket, signals, pumps) = self.wait();
            // signals first: a second one must end us whatever else goes on
            if signals {
                while let Some(signal) = self.signals.next() {
                    if let Step::Ends(outcome) = self.signal(signal) {
                        return outcome;
                    }
                }
            }
            for (i, ready) in pumps.into_iter().enumerate() {
                if ready {
                    self.pumps[i].step();
                }
            }
            if self.terminal && self.master.is_some() && self.input_ended() {
                return Ok(128 + Signal::SIGHUP as u8);
            }
            if socket && let Step::Ends(outcome) = self.message() {
                return outcome;
            }
        }
    }

    /// Waits for something to do: a message, a signal, pumps.
    fn wait(&self) -> (bool, bool, Vec<bool>) {
        let mut fds = vec![
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        let mut at = Vec::new();
        for pump in &self.pumps {
            at.push(pump.interest().map(|(fd, flags)| {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                fds.len() - 1
            }));
        }
        // an error here is EINTR: nothing is ready then
        let _ = poll(&mut fds, None);
        let ready = |i: usize| !fds[i].revents().is_empty();
        let pumps = at.iter().map(|i| i.is_some_and(ready)).collect();
        (ready(0), ready(1), pumps)
    }

    fn input_ended(&self) -> bool {
        self.pumps.first().is_some_and(Pump::has_lost_source)
    }

    fn signal(&mut self, signal: Signal) -> Step {
        match signal {
            Signal::SIGWINCH => self.resize(),
            Signal::SIGCONT => {}
            _ => {
                self.forward(signal);
                // with a terminal, shells ignore SIGTERM: leaving hangs the program up
                let leave = self.terminal && matches!(signal, Signal::SIGTERM | Signal::SIGHUP);
                if leave || self.seen.contains(&signal) {
                    return Step::Ends(Ok(128 + signal as u8));
                }
                self.seen.push(signal);
            }
        }
        Step::Goes
    }

    fn forward(&self, signal: Signal) {
        if let Ok(bytes) = serde_json::to_vec(&ToSession::Signal(signal as i32)) {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            // a session that can't be told has ended, which is seen by the loop
            let _ = rustix::net::send(&self.socket, &bytes, flags);
        }
    }

    fn resize(&self) {
        if let (Some(master), Ok(size)) = (&self.master, rustix::termios::tcgetwinsize(Stream::In))
        {
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }

    fn message(&mut self) -> Step {
        let (bytes, fds) = match receive(&self.socket) {
            Ok((bytes, fds)) => (bytes, fds),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Step::Goes,
            Err(e) => return Step::Ends(Err(not_run("the session was lost", &e))),
        };
        if bytes.is_empty() {
            let e = Error::new(
                Code::Unavailable,
                "the session ended before the program did",
            );
            return Step::Ends(Err(Failure::Coded(NOT_RUN, e)));
        }
        match serde_json::from_slice(&bytes) {
            Ok(FromSession::Pid(_)) => self.started(fds),
            Ok(FromSession::Warning(text)) => {
                self.warn(&text);
                Step::Goes
            }
            Ok(FromSession::Exited(status)) => Step::Ends(Ok(status)),
            Ok(FromSession::Signaled(n)) => {
                Step::Ends(Ok(u8::try_from(128 + i64::from(n)).unwrap_or(255)))
            }
            Ok(FromSession::Failed { code, error }) => {
                Step::Ends(Err(Failure::Coded(code, Error::new(Code::Backend, error))))
            }
            Err(e) => {
                let message = "the session sent a message that can't be understood";
                let e = Error::with_source(Code::Internal, message, &e);
                Step::Ends(Err(Failure::Coded(NOT_RUN, e)))
            }
        }
    }

    fn warn(&self, text: &str) {
        if self.guard.is_some() {
            self.ui.session_note(text);
        } else {
            self.ui.note(&format!("Warning: {text}"));
        }
    }

    fn started(&mut self, fds: Vec<OwnedFd>) -> Step {
        if !self.terminal || self.master.is_some() {
            return Step::Goes;
        }
        let Some(master) = fds.into_iter().next() else {
            let e = Error::new(Code::Internal, "the session came without its terminal");
            return Step::Ends(Err(Failure::Coded(NOT_RUN, e)));
        };
        match self.connect_terminal(master) {
            Ok(()) => Step::Goes,
            Err(e) => Step::Ends(Err(not_run("cannot prepare the terminal", &e))),
        }
    }

    fn connect_terminal(&mut self, master: OwnedFd) -> io::Result<()> {
        // a guest that does not read must not make us wait for it
        rustix::io::ioctl_fionbio(&master, true)?;
        let input = master.try_clone()?;
        let output = master.try_clone()?;
        self.guard = Some(TerminalGuard::raw()?);
        self.pumps = vec![
            Pump::new(End::Std(Stream::In), End::Owned(input)),
            Pump::new(End::Owned(output), End::Std(Stream::Out)),
        ];
        self.master = Some(master);
        self.resize();
        Ok(())
    }

    /// Passes on what the program wrote before it ended.
    fn drain(&mut self) {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        for pump in self.pumps.iter_mut().filter(|p| !p.is_input()) {
            let mut total = 0;
            while let Some((fd, flags)) = pump.interest() {
                // what was read is written, however long it takes, unless a signal says otherwise
                let timeout = (flags != PollFlags::OUT).then_some(&now);
                let mut fds = [
                    PollFd::from_borrowed_fd(fd, flags),
                    PollFd::new(&self.signals, PollFlags::IN),
                ];
                let _ = poll(&mut fds, timeout);
                if fds[0].revents().is_empty() || total > DRAIN {
                    break;
                }
                total += pump.step();
            }
        }
    }
}

/// One packet and the file descriptors beside it; no bytes are the end.
fn receive(socket: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, recvmsg};
    let mut bytes = vec![0u8; MAX_PACKET];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [io::IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = match recvmsg(socket, &mut slices, &mut ancillary, flags) {
        Ok(message) => message.bytes,
        Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::Interrupted.into()),
        Err(e) => return Err(e.into()),
    };
    bytes.truncate(got);
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((bytes, fds))
}
