//! A process 1 that does nothing but reap: for containers that are only entered.

use nix::sys::signal::{SigSet, Signal};
use osctl_linux::{fds, process};

/// Reaps until told to end by SIGTERM, SIGINT, SIGHUP or SIGPWR, as a guest's init would be.
pub fn run() -> ! {
    // What the supervisor left in this process, its channel above all, is of no use here; streams
    // included, so that the console is not held open for nobody.
    let _ = fds::close_all_but(&[]);
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGPWR,
    ] {
        signals.add(signal);
    }
    if signals.thread_block().is_err() {
        process::exit(1);
    }
    process::trim_heap();
    loop {
        while let Ok(Some(_)) = process::reap() {}
        match signals.wait() {
            Ok(Signal::SIGCHLD) | Err(_) => {}
            Ok(_) => process::exit(0),
        }
    }
}
