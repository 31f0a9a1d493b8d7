//! Doing what waits for the disk on threads that may wait.

use crate::error::{Error, Result};

/// Runs `work` on a thread that may block. It runs to its end even when nobody waits any more.
///
/// # Errors
/// Those of `work`; `Internal` when it panicked.
pub async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::with(
            osctl_api::Code::Internal,
            "a part of the operation ended unexpectedly",
            e,
        )),
    }
}
