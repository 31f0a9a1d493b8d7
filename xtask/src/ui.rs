//! What a task prints: progress lines with the seconds since the start, on
//! stderr. The only module that touches stdout or stderr.

use std::io::IsTerminal as _;
use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Starts the clock of the progress lines.
pub fn start_clock() {
    LazyLock::force(&START);
}

/// Whether somebody looks on: progress goes to a terminal.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// One line of progress.
pub fn step(text: impl AsRef<str>) {
    eprintln!(
        "[{:7.1} s] {}",
        START.elapsed().as_secs_f64(),
        text.as_ref()
    );
}

/// A line that belongs to the step before it.
pub fn detail(text: impl AsRef<str>) {
    step(format!("  {}", text.as_ref()));
}

/// Text for the user, as it is.
pub fn say(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

/// An error and its causes.
pub fn failure(error: &dyn std::error::Error) {
    eprintln!("Error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("Caused by: {error}");
        cause = error.source();
    }
}
