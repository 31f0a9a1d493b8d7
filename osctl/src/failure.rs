//! What a command comes to: an exit status, or a failure that has one.

use osctl_api::{Code, Error};

/// Exit status of a command that did what was asked.
pub const DONE: u8 = 0;
/// Exit status of a command that failed.
pub const FAILED: u8 = 1;
/// Exit status of a wrong command line.
pub const USAGE: u8 = 2;
/// Exit status when the daemon can't be reached.
pub const UNREACHABLE: u8 = 3;
/// Exit status of `ct exec` when the program could not be run, as container tools have it.
pub const NOT_RUN: u8 = 125;

/// An exit status, or why there is none.
pub type Outcome = Result<u8, Failure>;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(Error),
    /// The daemon can't be reached, or went away.
    #[error("{0}")]
    Unreachable(Error),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(Error),
    /// It failed, and has an exit status of its own.
    #[error("{1}")]
    Coded(u8, Error),
    /// What had to be said was said.
    #[error("exit status {0}")]
    Status(u8),
    /// Whoever read the output has gone: no failure.
    #[error("the reader of the output has gone")]
    Closed,
}

impl Failure {
    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::Usage(Error::new(Code::InvalidArgument, message))
    }

    /// An operation of this program itself that failed.
    pub fn local(
        message: impl Into<String>,
        source: &(dyn std::error::Error + 'static),
    ) -> Failure {
        Failure::Failed(Error::with_source(Code::Backend, message, source))
    }

    /// The status to exit with.
    pub fn status(&self) -> u8 {
        match self {
            Failure::Usage(_) => USAGE,
            Failure::Unreachable(_) => UNREACHABLE,
            Failure::Failed(_) => FAILED,
            Failure::Coded(status, _) | Failure::Status(status) => *status,
            Failure::Closed => DONE,
        }
    }

    /// What to tell the user, if anything.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Failure::Usage(e)
            | Failure::Unreachable(e)
            | Failure::Failed(e)
            | Failure::Coded(_, e) => Some(e),
            Failure::Status(_) | Failure::Closed => None,
        }
    }

    /// The same failure with another exit status; a wrong command line stays one.
    #[must_use]
    pub fn with_status(self, status: u8) -> Failure {
        match self {
            Failure::Unreachable(e) | Failure::Failed(e) => Failure::Coded(status, e),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_exit_status() {
        let e = || Error::new(Code::Backend, "x");
        assert_eq!(Failure::usage("x").status(), 2);
        assert_eq!(Failure::Unreachable(e()).status(), 3);
        assert_eq!(Failure::Failed(e()).status(), 1);
        assert_eq!(Failure::Coded(127, e()).status(), 127);
        assert_eq!(Failure::Status(9).status(), 9);
        assert_eq!(Failure::Closed.status(), 0);
        assert_eq!(Failure::Unreachable(e()).with_status(NOT_RUN).status(), 125);
        assert_eq!(Failure::usage("x").with_status(NOT_RUN).status(), 2);
    }
}
