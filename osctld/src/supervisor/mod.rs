//! Supervisors: starting them, finding those that run already, and talking to them.
//!
//! A supervisor lives as long as its container and outlives the daemon. This module knows the
//! control protocol of `osctl_runtime::control`; what the messages mean for a container is not its
//! business.

mod binary;
mod link;
mod socket;

use std::process::Stdio;

use osctl_runtime::control::Connection;
use osctl_runtime::spec::Spec;
use std::path::Path;

pub use binary::RuntimeBinary;
pub use link::{Event, Events, Link, finish, finish_soon, unsigned};

use crate::error::Error;

/// Starts a supervisor and hands it its specification.
///
/// It goes on by itself from here on, whatever becomes of this process.
///
/// # Errors
/// `Backend` when it can't be started or doesn't take the specification.
pub async fn launch(
    binary: &RuntimeBinary,
    spec: &Spec,
) -> Result<(std::sync::Arc<Link>, Events), Error> {
    let failed =
        |e: osctl_runtime::control::Error| Error::backend("cannot hand over a specification", e);
    let (ours, theirs) = Connection::pair().map_err(failed)?;
    let mut command = tokio::process::Command::new(binary.path());
    command
        .arg0("osctl-runtime")
        .args(["supervise", &spec.id])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    let child = command
        .spawn()
        .map_err(|e| Error::backend(format!("cannot start the supervisor of {}", spec.id), e))?;
    drop(command);
    // Reaped by tokio when it ends; it is told apart by its socket, not by its process id.
    drop(child);
    crate::failpoint!("start.spawned");
    ours.send_spec(spec).map_err(failed)?;
    Link::over(ours)
}

/// Connects to the supervisor that serves `run_dir`; `None` when there is none.
///
/// # Errors
/// `Backend` when there is one but it can't be talked to.
pub async fn adopt(run_dir: &Path) -> Result<Option<(std::sync::Arc<Link>, Events)>, Error> {
    match Connection::open(run_dir) {
        Ok(connection) => Ok(Some(Link::over(connection)?)),
        Err(osctl_runtime::control::Error::Io(e))
            if [nix::errno::Errno::ENOENT, nix::errno::Errno::ECONNREFUSED]
                .contains(&e.errno()) =>
        {
            Ok(None)
        }
        Err(osctl_runtime::control::Error::Closed) => Ok(None),
        Err(e) => Err(Error::backend(
            format!("cannot talk to the supervisor in {}", run_dir.display()),
            e,
        )),
    }
}
