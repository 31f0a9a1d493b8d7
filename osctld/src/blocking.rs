//! Doing what waits for the disk on threads that may wait.
//!
//! What is soon done shares a bounded number of threads, [`blocking`]: starts, stops, lists and what
//! is saved wait for each other a little at most. What takes as long as there are data, or as
//! somebody outside likes, must not be among that: it has a thread of its own, [`lengthy`]. There
//! are as many of those as there are operations on containers.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Runs `work`, which is soon done, on a thread that may block. It runs to its end even when nobody
/// waits any more.
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
        Err(e) => Err(ended(e)),
    }
}

fn ended(e: impl std::error::Error + Send + Sync + 'static) -> Error {
    let what = "a part of the operation ended unexpectedly";
    Error::with(osctl_api::Code::Internal, what, e)
}

/// Runs `work`, which copies data or waits for somebody, on a thread of its own. It runs to its end
/// even when nobody waits any more.
///
/// # Errors
/// Those of `work`; `Internal` when it panicked, `Backend` when there is no thread for it.
pub async fn lengthy<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    let (sender, done) = oneshot::channel();
    // Who is slowed down, or reads a pipe, waits with timers and polls of the runtime.
    let runtime = Handle::current();
    let started = std::thread::Builder::new()
        .name("lengthy".to_owned())
        .spawn(move || {
            let _runtime = runtime.enter();
            // Nobody may wait any more.
            let _ = sender.send(work());
        });
    started.map_err(|e| Error::backend("cannot start a thread", e))?;
    // It is dropped only by a panic, of which the hook has told.
    done.await.unwrap_or_else(|e| Err(ended(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_keeps_nobody_waiting() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(try_it());
    }

    async fn try_it() {
        let (senders, jobs): (Vec<_>, Vec<_>) = (0..3)
            .map(|n| {
                let (sender, waiting) = std::sync::mpsc::channel::<()>();
                let work = move || {
                    // It ends with the sender.
                    let _ = waiting.recv();
                    Ok(n)
                };
                (sender, tokio::spawn(lengthy(work)))
            })
            .unzip();
        tokio::task::yield_now().await;
        assert_eq!(blocking(|| Ok(1)).await.unwrap(), 1);
        drop(senders);
        for (n, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await.unwrap().unwrap(), n);
        }
        let here = lengthy(|| Ok(Handle::current().block_on(async { 2 })));
        assert_eq!(here.await.unwrap(), 2);
        let failed: Result<()> = lengthy(|| Err(Error::state("x"))).await;
        assert_eq!(failed.unwrap_err().code(), osctl_api::Code::InvalidState);
        let panicked: Result<()> = lengthy(|| panic!("as is tried here")).await;
        assert_eq!(panicked.unwrap_err().code(), osctl_api::Code::Internal);
    }
}
