//! `osctl-runtime`: supervises, starts and enters one container. Not meant to be run by hand.
//!
//! One process with one thread per container; see `supervisor` for its life, `stage` for what
//! becomes the container's init and `enter` for what joins later.

mod devices;
mod enter;
mod fault;
mod files;
mod hostproc;
mod policy;
mod program;
mod report;
mod stage;
mod supervisor;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next();
    match (verb.as_ref().and_then(|v| v.to_str()), arguments.next()) {
        // A name may follow: it is for those who look at the list of processes.
        (Some("supervise"), _) => supervisor::run(),
        (Some("--version"), None) => {
            println!("osctl-runtime {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: osctl-runtime supervise (started by osctld, which is on fd 0)");
            ExitCode::from(2)
        }
    }
}
