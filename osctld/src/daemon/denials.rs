//! Following the kernel's log for what the profiles of containers refuse.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Weak};

use nix::errno::Errno;

use super::Daemon;
use crate::error::{Error, Result};
use crate::security::apparmor::Denial;

/// Longest record of the kernel's log, bytes; longer ones are cut by the kernel.
const RECORD: usize = 8192;

/// Notes all denials since the host was booted that the kernel still has, and those to come.
///
/// # Errors
/// `Backend` when no thread can be started.
pub(super) fn follow(daemon: &Arc<Daemon>) -> Result<()> {
    if !daemon.apparmor.is_active() {
        return Ok(());
    }
    tracing::info!("containers are confined by AppArmor");
    let daemon = Arc::downgrade(daemon);
    // It sleeps in the kernel until there is something to read, and ends with the process.
    let thread = std::thread::Builder::new().name("kmsg".to_owned());
    let started = thread.spawn(move || {
        if let Err(error) = read_all(&daemon) {
            tracing::warn!(%error, "what AppArmor refuses is not shown: the kernel's log can't be read");
        }
    });
    started
        .map(drop)
        .map_err(|e| Error::backend("cannot follow the kernel's log", e))
}

fn read_all(daemon: &Weak<Daemon>) -> io::Result<()> {
    let mut log = File::open("/dev/kmsg")?;
    let mut record = [0; RECORD];
    loop {
        let read = log.read(&mut record);
        let Some(daemon) = daemon.upgrade() else {
            return Ok(());
        };
        match read {
            Ok(size) => {
                let text = String::from_utf8_lossy(&record[..size]);
                if let Some(denial) = Denial::parse(&text, &daemon.apparmor.root()) {
                    tracing::debug!(?denial, "refused");
                    daemon.apparmor.log.note(denial);
                }
            }
            Err(e) => match Errno::from_raw(e.raw_os_error().unwrap_or(0)) {
                // Overwritten before it was read, or too long: the next one is read.
                Errno::EPIPE | Errno::EINVAL | Errno::EINTR => {}
                _ => return Err(e),
            },
        }
    }
}
