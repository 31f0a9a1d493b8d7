//! The socket: listening, one task per connection, and bounds on how many there are.
//!
//! It owns the socket file. It knows no method: that is `handlers`.

mod access;
mod connection;
mod registry;
mod socket;
mod varlink;

use std::os::fd::AsFd;
use std::sync::Arc;

use osctl_api::{Code, wire};
use tokio::net::{UnixListener, UnixStream};

pub use access::Peer;
pub use registry::MAX_CONNECTIONS;
pub use socket::{Socket, bind};

use crate::daemon::Daemon;
use registry::Registry;

/// Serves connections until the daemon stops, then waits for those that there are: each ends when
/// its call is replied to.
pub async fn serve(daemon: Arc<Daemon>, listener: UnixListener) {
    let registry = Arc::new(Registry::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = daemon.stopped() => break,
        };
        match accepted {
            Ok((stream, _)) => admit(&daemon, &registry, stream),
            Err(e) => {
                tracing::error!("cannot accept a connection: {e}");
                // Out of file descriptors, most likely: the next attempt needs one to be closed.
                registry.make_room();
                tokio::select! {
                    () = registry.closed() => {}
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
                }
            }
        }
    }
    registry.drained().await;
}

fn admit(daemon: &Arc<Daemon>, registry: &Arc<Registry>, stream: UnixStream) {
    let peer = match Peer::of(stream.as_fd()) {
        Ok(peer) => peer,
        Err(e) => {
            tracing::warn!("refused a connection without credentials: {e}");
            return;
        }
    };
    match registry.enter(peer.uid) {
        Some(slot) => {
            tokio::spawn(connection::run(daemon.clone(), stream, peer, slot));
        }
        None => refuse(&stream),
    }
}

/// Tells a client why it is not served; without waiting, since it may not read.
fn refuse(stream: &UnixStream) {
    let error = osctl_api::Error::new(
        Code::Unavailable,
        format!("{MAX_CONNECTIONS} connections are busy, more are not served"),
    )
    .hint("wait until one of them ends");
    let frame = wire::encode_error(&error);
    let none: [std::os::fd::OwnedFd; 0] = [];
    let _ = stream.try_io(tokio::io::Interest::WRITABLE, || {
        wire::send(stream.as_fd(), &frame, &none)
    });
}
