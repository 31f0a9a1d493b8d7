//! The log: one line per event on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// Starts logging what `filter` lets through.
///
/// # Errors
/// `InvalidArgument` when it is no filter.
pub(super) fn init(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|e| Error::invalid_with(format!("{filter:?} is no log level or filter"), e))?;
    let tty = std::io::stderr().is_terminal();
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(tty)
        .with_target(false)
        .try_init();
    started.map_err(|e| Error::with(osctl_api::Code::Internal, "cannot start logging", e))
}
