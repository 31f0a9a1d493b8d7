//! The console of a container: attached until the user leaves, whatever the container does.
//!
//! The call that waits for the container runs in a thread, so that the keys and signals that
//! detach are seen at any time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::Signal;
use osctl_api::session::{CONSOLE_DATA, CONSOLE_RESIZE, MAX_PACKET};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::keys::DetachKeys;
use super::{Signals, TerminalGuard};
use crate::failure::{DONE, Failure, Outcome};
use crate::ui::{Stream, Ui};

/// Most input that is kept for a guest that does not read it.
const MAX_PENDING: usize = 64 * 1024;

/// Something that is done in a thread; a byte is readable, or the end, when it is done.
#[derive(Debug)]
pub struct Task<T> {
    result: Receiver<T>,
    done: OwnedFd,
}

impl<T: Send + 'static> Task<T> {
    /// Starts `work`.
    ///
    /// # Errors
    /// When no thread or pipe can be made.
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Task<T>> {
        let (done, signal) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (sender, result) = channel();
        std::thread::Builder::new().spawn(move || {
            // nobody wants the result any more when the receiver has gone
            let _ = sender.send(work());
            drop(signal);
        })?;
        Ok(Task { result, done })
    }

    fn take(&self) -> Option<T> {
        self.result.try_recv().ok()
    }

    /// Waits for the result; `None` when the thread panicked.
    pub fn join(self) -> Option<T> {
        self.result.recv().ok()
    }
}

/// What goes on beside the console.
pub enum Beside {
    /// Nothing.
    Nothing,
    /// The container is started: a failure ends the console.
    Start(Task<Outcome>),
    /// The container is stopped: the console ends with it.
    Stop(Task<Outcome>),
}

/// How to get a session: waits until the container runs.
pub type Attach = Box<dyn FnMut() -> io::Result<Task<Result<OwnedFd, Failure>>>>;

struct Console<'a> {
    ui: &'a Ui,
    name: String,
    attach: Attach,
    waiting: Option<Task<Result<OwnedFd, Failure>>>,
    session: Option<OwnedFd>,
    beside: Beside,
    keys: DetachKeys,
    pending: Vec<u8>,
    input: bool,
    // in this order: a signal that is pending is let loose when the terminal is as it was
    guard: Option<TerminalGuard>,
    signals: Signals,
}

/// Attaches to the console of container `name` until the user detaches; `beside` is begun once
/// the terminal is ready.
///
/// # Errors
/// When the daemon can't be reached, or has no such container any more.
pub fn run(
    ui: &Ui,
    name: String,
    mut attach: Attach,
    beside: impl FnOnce() -> Result<Beside, Failure>,
) -> Outcome {
    let cannot = |e: &io::Error| Failure::local("cannot attach to the console", e);
    let signals = Signals::watch_session().map_err(|e| cannot(&e))?;
    let waiting = attach().map_err(|e| cannot(&e))?;
    let guard = if Stream::In.is_tty() {
        ui.note(&format!(
            "Console of {name}: press Ctrl-a q to detach, Ctrl-a Ctrl-a to send Ctrl-a"
        ));
        Some(TerminalGuard::raw().map_err(|e| cannot(&e))?)
    } else {
        None
    };
    let beside = beside()?;
    let mut console = Console {
        ui,
        name,
        attach,
        waiting: Some(waiting),
        session: None,
        beside,
        keys: DetachKeys::default(),
        pending: Vec::new(),
        input: true,
        guard,
        signals,
    };
    let outcome = console.relay();
    let line_end = console.guard.is_some() && !ui.quiet;
    let beside = std::mem::replace(&mut console.beside, Beside::Nothing);
    drop(console);
    if line_end {
        let _ = Stream::Err.write_all(b"\n");
    }
    match (outcome, beside) {
        // the user left before it was done: the exit status tells how it went all the same
        (Ok(DONE), Beside::Start(task) | Beside::Stop(task)) => task.join().unwrap_or(Ok(DONE)),
        (outcome, _) => outcome,
    }
}

/// Adds a file descriptor to what is polled; returns where it is.
fn add<'a>(
    fds: &mut Vec<PollFd<'a>>,
    fd: Option<BorrowedFd<'a>>,
    flags: PollFlags,
) -> Option<usize> {
    fds.push(PollFd::from_borrowed_fd(fd?, flags));
    Some(fds.len() - 1)
}

#[derive(Default)]
struct Ready {
    signals: bool,
    input: bool,
    waiting: bool,
    readable: bool,
    writable: bool,
    beside: bool,
}

impl Console<'_> {
    fn relay(&mut self) -> Outcome {
        loop {
            let ready = self.wait();
            if ready.signals {
                while let Some(signal) = self.signals.next() {
                    match signal {
                        Signal::SIGWINCH => self.resize(),
                        Signal::SIGCONT => {}
                        _ => return Ok(128 + signal as u8),
                    }
                }
            }
            if ready.input && self.typed() {
                return Ok(DONE);
            }
            if ready.waiting {
                self.attached()?;
            }
            if ready.readable && self.output()? {
                self.reattach()?;
            }
            if ready.writable {
                self.flush();
            }
            if ready.beside
                && let Some(outcome) = self.beside_done()
            {
                return outcome;
            }
        }
    }

    fn wait(&self) -> Ready {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let input = add(
            &mut fds,
            self.input.then(rustix::stdio::stdin),
            PollFlags::IN,
        );
        let waiting = add(
            &mut fds,
            self.waiting.as_ref().map(|w| w.done.as_fd()),
            PollFlags::IN,
        );
        let mut wanted = PollFlags::IN;
        if !self.pending.is_empty() {
            wanted |= PollFlags::OUT;
        }
        let session = add(&mut fds, self.session.as_ref().map(AsFd::as_fd), wanted);
        let beside = match &self.beside {
            Beside::Nothing => None,
            Beside::Start(task) | Beside::Stop(task) => {
                add(&mut fds, Some(task.done.as_fd()), PollFlags::IN)
            }
        };
        // an error here is EINTR: nothing is ready then
        if poll(&mut fds, None).is_err() {
            return Ready::default();
        }
        let got = |i: Option<usize>| i.map_or(PollFlags::empty(), |i| fds[i].revents());
        Ready {
            signals: !fds[0].revents().is_empty(),
            input: !got(input).is_empty(),
            waiting: !got(waiting).is_empty(),
            readable: !got(session).difference(PollFlags::OUT).is_empty(),
            writable: got(session).contains(PollFlags::OUT),
            beside: !got(beside).is_empty(),
        }
    }

    /// Takes what was typed. Returns whether the user wants to leave.
    fn typed(&mut self) -> bool {
        let mut buffer = [0u8; 4096];
        let n = match rustix::io::read(Stream::In, &mut buffer) {
            Ok(0) => 0,
            Ok(n) => n,
            Err(Errno::INTR | Errno::AGAIN) => return false,
            Err(_) => 0,
        };
        if n == 0 {
            self.input = false;
            // a terminal that is gone has nobody before it
            return self.guard.is_some();
        }
        let typed = if self.guard.is_some() {
            self.keys.feed(&buffer[..n])
        } else {
            super::keys::Typed {
                bytes: buffer[..n].to_vec(),
                detach: false,
            }
        };
        if self.session.is_some() || self.guard.is_none() {
            let room = MAX_PENDING.saturating_sub(self.pending.len());
            self.pending.extend(typed.bytes.iter().take(room));
        }
        self.flush();
        typed.detach
    }

    fn flush(&mut self) {
        let Some(session) = &self.session else { return };
        while !self.pending.is_empty() {
            let n = self.pending.len().min(MAX_PACKET - 1);
            let mut packet = Vec::with_capacity(n + 1);
            packet.push(CONSOLE_DATA);
            packet.extend_from_slice(&self.pending[..n]);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(session, &packet, flags) {
                Ok(_) => {
                    self.pending.drain(..n);
                }
                Err(Errno::AGAIN) => return,
                // the end of the session is seen when it is read
                Err(_) => self.pending.clear(),
            }
        }
    }

    fn resize(&self) {
        let (Some(session), Some((rows, cols))) = (&self.session, super::size()) else {
            return;
        };
        let mut packet = vec![CONSOLE_RESIZE];
        packet.extend(rows.to_le_bytes());
        packet.extend(cols.to_le_bytes());
        let _ = rustix::net::send(session, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    fn attached(&mut self) -> Result<(), Failure> {
        let Some(result) = self.waiting.take().and_then(|w| w.take()) else {
            return Err(Failure::Failed(osctl_api::Error::new(
                osctl_api::Code::Internal,
                "waiting for the console failed",
            )));
        };
        self.session = Some(result?);
        self.resize();
        self.flush();
        Ok(())
    }

    /// Passes output on. Returns whether the session has ended.
    fn output(&mut self) -> Result<bool, Failure> {
        let Some(session) = &self.session else {
            return Ok(false);
        };
        let mut buffer = vec![0u8; MAX_PACKET];
        match rustix::net::recv(session, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Ok(true),
            Ok((n, _)) => {
                self.ui.raw(&buffer[..n])?;
                Ok(false)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(false),
            Err(_) => Ok(true),
        }
    }

    fn reattach(&mut self) -> Result<(), Failure> {
        self.session = None;
        self.pending.clear();
        if matches!(self.beside, Beside::Stop(_)) {
            // it was meant to stop: what is left is how that went
            return Ok(());
        }
        if self.guard.is_some() {
            let text = format!("{} stopped; Ctrl-a q detaches", self.name);
            self.ui.session_note(&text);
        }
        let waiting = (self.attach)()
            .map_err(|e| Failure::local("cannot attach to the console again", &e))?;
        self.waiting = Some(waiting);
        Ok(())
    }

    fn beside_done(&mut self) -> Option<Outcome> {
        match std::mem::replace(&mut self.beside, Beside::Nothing) {
            Beside::Nothing => None,
            Beside::Start(task) => match task.take()? {
                Ok(_) => None,
                Err(e) => Some(Err(e)),
            },
            Beside::Stop(task) => task.take(),
        }
    }
}
