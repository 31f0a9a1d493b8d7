//! The error of every task. Owns how causes are told and which exit code they
//! give; printing is `ui`'s.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user ended the task.
    #[error("interrupted")]
    Interrupted,
    /// An operation on a file or directory.
    #[error("cannot {action} {}", path.display())]
    File {
        /// The verb: `read`, `rename`, …
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A program that did not start.
    #[error("cannot run {program}")]
    Spawn {
        /// Its name.
        program: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A program that did not end with 0.
    #[error("{program} failed: {status}")]
    Program {
        /// Its name and what it was told to do.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A data file of the repository that makes no sense.
    #[error("{} is not valid", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Anything that one sentence says.
    #[error("{0}")]
    Other(String),
}

/// Result of a task or a part of one.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Exit code of the process: that of the program whose failure this is,
    /// 130 after a signal, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => 130,
            Self::Program { status, .. } => status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1),
            _ => 1,
        }
    }
}

/// Names the file and the verb of an `io::Error`.
pub trait FileContext<T> {
    /// `cannot ACTION PATH`.
    fn of(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> FileContext<T> for std::result::Result<T, E> {
    fn of(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::File {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}
