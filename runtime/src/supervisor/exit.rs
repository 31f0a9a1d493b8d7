//! The record of a container's end, for the daemon that listens and for one that does not.

use std::process::ExitCode;
use std::time::SystemTime;

use osctl_linux::beneath::Root;
use osctl_runtime::control::{Event, ExitRecord, How, VERSION};
use osctl_runtime::spec::{EXIT_FILE, SOCKET_FILE};

use super::peers::Peers;
use crate::fault::Fault;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// Tells of a container that did not come to be.
pub fn never_started(
    place: Option<(&Root, &str)>,
    peers: &mut Peers,
    step: &str,
    fault: &Fault,
) -> ExitCode {
    let (step, error) = (step.to_owned(), fault.text());
    if let Some((run_dir, id)) = place {
        let how = How::Failed {
            step: step.clone(),
            error: error.clone(),
        };
        write_record(run_dir, &record(id, how));
        let _ = run_dir.unlink(SOCKET_FILE);
    }
    peers.broadcast(Event::Failed { step, error }, &[]);
    ExitCode::FAILURE
}

/// How a container ended, now.
pub fn record(id: &str, how: How) -> ExitRecord {
    ExitRecord {
        version: VERSION,
        id: id.to_owned(),
        how,
        at: now(),
    }
}

/// Leaves the record for a daemon that is not there: whatever goes wrong here, nobody is left to hear of it.
pub fn write_record(run_dir: &Root, record: &ExitRecord) {
    use std::io::Write;
    let temporary = format!("{EXIT_FILE}.new");
    let Ok(data) = serde_json::to_vec(record) else {
        return;
    };
    let _ = run_dir.unlink(&temporary);
    let written = run_dir
        .create_new(&temporary, 0o600)
        .is_ok_and(|mut file| file.write_all(&data).is_ok());
    if written {
        let _ = run_dir.rename(&temporary, EXIT_FILE);
    }
}
