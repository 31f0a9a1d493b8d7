//! One connection: reads calls, has each carried out in a task of its own, writes replies in the
//! order of the calls.
//!
//! Nothing that a client does or fails to do here makes anybody else wait.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use osctl_api::wire::{self, Call, Decoder, Frame, MAX_CALL};
use osctl_api::{Code, INTERFACE, Kind};
use serde_json::value::RawValue;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::access::{self, Peer};
use super::registry::Slot;
use super::varlink;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::handlers::{self, Cancel, Context, Entry, Outcome};

/// How long the rest of a call that has begun may take to arrive.
const REST_OF_CALL: Duration = Duration::from_secs(30);
/// How long a client may take to read any of a reply. Replies to [`Kind::Events`] may take for
/// ever: what waits for them is bounded.
const READ_REPLY: Duration = Duration::from_secs(120);
/// Most replies that wait for a client to read them.
const REPLIES: usize = 16;

/// Why a connection ends.
enum End {
    /// The client is gone, or doesn't read.
    Gone,
    /// The client is told why, and nothing more is read.
    Because(osctl_api::Error),
}

impl From<Error> for End {
    fn from(e: Error) -> End {
        End::Because(e.into())
    }
}

/// Serves a connection until the client goes or the daemon stops.
pub(super) async fn run(daemon: Arc<Daemon>, stream: UnixStream, peer: Peer, slot: Slot) {
    let mut connection = Connection {
        daemon,
        stream,
        peer,
        slot,
        decoder: Decoder::new(MAX_CALL),
        buffered: 0,
        ended: false,
    };
    if let Err(End::Because(error)) = connection.serve().await {
        tracing::debug!(uid = peer.uid, pid = peer.pid, "connection closed: {error}");
        let frame = wire::encode_error(&error);
        let _ = connection.send(&frame, &[], Some(READ_REPLY)).await;
    }
}

struct Connection {
    daemon: Arc<Daemon>,
    stream: UnixStream,
    peer: Peer,
    slot: Slot,
    decoder: Decoder,
    /// Bytes received that belong to no call yet.
    buffered: usize,
    /// The client sends nothing more.
    ended: bool,
}

impl Connection {
    async fn serve(&mut self) -> Result<(), End> {
        while let Some(frame) = self.next_call().await? {
            self.slot.busy();
            self.call(frame).await?;
            self.slot.idle();
        }
        Ok(())
    }

    async fn next_call(&mut self) -> Result<Option<Frame>, End> {
        loop {
            if self.daemon.is_stopping() {
                return Ok(None);
            }
            if let Some(frame) = self.decoder.next_frame().map_err(End::Because)? {
                self.buffered = self.buffered.saturating_sub(frame.bytes.len() + 1);
                return Ok(Some(frame));
            }
            if self.ended {
                return Ok(None);
            }
            let begun = self.buffered > 0;
            let daemon = self.daemon.clone();
            tokio::select! {
                received = receive(&self.stream, &mut self.decoder) => match received {
                    Ok(0) => self.ended = true,
                    Ok(n) => self.buffered += n,
                    Err(_) => return Err(End::Gone),
                },
                () = tokio::time::sleep(REST_OF_CALL), if begun => {
                    return Err(Error::timeout("the rest of a call did not arrive").into());
                }
                () = self.slot.evicted() => {
                    let message = "too many connections, and this one was idle for longest";
                    return Err(Error::unavailable(message).into());
                }
                () = daemon.stopped() => return Ok(None),
            }
        }
    }

    /// Carries out one call and replies to it.
    async fn call(&mut self, frame: Frame) -> Result<(), End> {
        let call: Call<'_> = serde_json::from_slice(&frame.bytes)
            .map_err(|e| End::from(Error::invalid_with("this is not a varlink call", e)))?;
        if call.upgrade {
            let error = Error::unsupported("no method of this service can be upgraded");
            return self
                .reply(&call, &wire::encode_error(&error.into()), &[])
                .await;
        }
        match find(&call, self) {
            Found::Answer(frame) => self.reply(&call, &frame, &[]).await,
            Found::Method(entry, parameters) => self.run(&call, frame.fds, entry, parameters).await,
        }
    }

    async fn run(
        &mut self,
        call: &Call<'_>,
        fds: Vec<OwnedFd>,
        entry: Entry,
        parameters: Box<RawValue>,
    ) -> Result<(), End> {
        let (gone, cancel) = Cancel::new();
        let (sender, mut replies) = mpsc::channel(REPLIES);
        let many = call.more && !call.oneway;
        let context = Context {
            daemon: self.daemon.clone(),
            peer: self.peer,
            cli: call.cli.as_deref().map(str::to_owned),
            more: call.more,
            fds: fds.into_iter().map(Some).collect(),
            reply_fds: Vec::new(),
            cancel,
            replies: many.then_some(sender),
        };
        let events = entry.kind == Kind::Events;
        let patience = (!events).then_some(READ_REPLY);
        let mut task = self.daemon.operation((entry.run)(context, parameters));
        let followed = self.follow(&mut task, &mut replies, patience, &gone).await;
        match followed {
            Ok(outcome) => {
                while let Ok(frame) = replies.try_recv() {
                    self.send(&frame, &[], patience).await?;
                }
                let outcome = outcome.unwrap_or_else(|e| {
                    tracing::error!("{} ended unexpectedly: {e}", entry.name);
                    let error = Error::internal("the operation ended unexpectedly");
                    Outcome {
                        frame: wire::encode_error(&error.into()),
                        fds: Vec::new(),
                    }
                });
                self.reply(call, &outcome.frame, &outcome.fds).await
            }
            Err(end) => {
                gone.send_replace(true);
                if events {
                    task.abort();
                }
                Err(end)
            }
        }
    }

    /// Waits for a task, passing on its replies, until it is done or the client is gone. When the
    /// daemon stops, what waits in the task is told to end.
    async fn follow(
        &mut self,
        task: &mut JoinHandle<Outcome>,
        replies: &mut mpsc::Receiver<Vec<u8>>,
        patience: Option<Duration>,
        cancel: &watch::Sender<bool>,
    ) -> Result<Result<Outcome, tokio::task::JoinError>, End> {
        let mut more_replies = true;
        let daemon = self.daemon.clone();
        loop {
            tokio::select! {
                () = daemon.stopped(), if !*cancel.borrow() => {
                    cancel.send_replace(true);
                }
                reply = replies.recv(), if more_replies => match reply {
                    Some(frame) => self.send(&frame, &[], patience).await?,
                    None => more_replies = false,
                },
                outcome = &mut *task => return Ok(outcome),
                gone = until_gone(&self.stream, &mut self.decoder, &mut self.buffered, &mut self.ended) => {
                    return Err(gone);
                }
            }
        }
    }

    async fn reply(&mut self, call: &Call<'_>, frame: &[u8], fds: &[OwnedFd]) -> Result<(), End> {
        if call.oneway {
            return Ok(());
        }
        // All that is left to do is the client's: to read.
        self.slot.idle();
        self.send(frame, fds, Some(READ_REPLY)).await
    }

    /// Sends a frame; gives up when the client reads nothing of it for longer than `patience`, or
    /// when others need the place of this connection.
    async fn send(
        &mut self,
        frame: &[u8],
        fds: &[OwnedFd],
        patience: Option<Duration>,
    ) -> Result<(), End> {
        let mut at = 0;
        while at < frame.len() {
            tokio::select! {
                biased;
                ready = self.stream.writable() => ready.map_err(|_| End::Gone)?,
                () = tokio::time::sleep(patience.unwrap_or_default()), if patience.is_some() => {
                    return Err(End::Gone);
                }
                () = self.slot.evicted() => return Err(End::Gone),
            }
            let fds = if at == 0 { fds } else { &[] };
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                wire::send(self.stream.as_fd(), &frame[at..], fds)
            });
            match sent {
                Ok(n) => at += n,
                Err(e) if again(&e) => {}
                Err(_) => return Err(End::Gone),
            }
        }
        Ok(())
    }
}

enum Found {
    Answer(Vec<u8>),
    Method(Entry, Box<RawValue>),
}

fn find(call: &Call<'_>, connection: &Connection) -> Found {
    let parameters = match call.parameters {
        None => RawValue::NULL.to_owned(),
        Some(raw) => raw.to_owned(),
    };
    let parameters = match parameters.get() {
        "null" => empty_object(),
        text if text.starts_with('{') => parameters,
        _ => return Found::Answer(varlink::invalid_parameter("parameters")),
    };
    let (interface, method) = call.method.rsplit_once('.').unwrap_or((&call.method, ""));
    match interface {
        varlink::SERVICE => Found::Answer(
            varlink::answer(method, &parameters)
                .unwrap_or_else(|| varlink::method_not_found(&call.method)),
        ),
        INTERFACE => match handlers::find(method) {
            Some(entry) if entry.kind == Kind::Events && (!call.more || call.oneway) => {
                Found::Answer(varlink::expected_more())
            }
            Some(entry) => {
                let group = connection.daemon.config.group_access;
                match access::authorise(connection.peer, entry.class, group) {
                    Ok(()) => Found::Method(entry, parameters),
                    Err(e) => Found::Answer(wire::encode_error(&e.into())),
                }
            }
            None => Found::Answer(varlink::method_not_found(&call.method)),
        },
        other => Found::Answer(varlink::interface_not_found(other)),
    }
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn again(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

async fn receive(stream: &UnixStream, decoder: &mut Decoder) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || decoder.receive(stream.as_fd())) {
            Err(e) if again(&e) => {}
            other => return other,
        }
    }
}

/// Returns when the client is gone; meanwhile takes the calls that it sends ahead.
async fn until_gone(
    stream: &UnixStream,
    decoder: &mut Decoder,
    buffered: &mut usize,
    ended: &mut bool,
) -> End {
    while !*ended {
        if *buffered > MAX_CALL {
            return End::Because(osctl_api::Error::new(
                Code::InvalidArgument,
                "too many calls were sent ahead of replies",
            ));
        }
        match receive(stream, decoder).await {
            Ok(0) => *ended = true,
            Ok(n) => *buffered += n,
            Err(_) => return End::Gone,
        }
    }
    // It sends nothing more, but may still read: only when it has closed both ways is it gone.
    hung_up(stream).await;
    End::Gone
}

async fn hung_up(stream: &UnixStream) {
    // The stream's own readiness is kept for sending, so this waits on a descriptor of its own.
    let copy = stream.as_fd().try_clone_to_owned();
    let copy = copy.and_then(|fd| UnixStream::from_std(fd.into()));
    let Ok(copy) = copy else {
        return;
    };
    while let Ok(ready) = copy.ready(Interest::WRITABLE).await {
        if ready.is_write_closed() {
            return;
        }
        // Forgets that it is writable, so that the next wait is for what changes.
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = copy.try_io(Interest::WRITABLE, nothing);
    }
}
