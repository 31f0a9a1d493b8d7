//! The error of the domain: a code, one sentence that names the thing, its cause and a hint.
//!
//! It owns no text of causes: `Display` is the message alone, the causes are the chain of sources.

use std::error::Error as StdError;

pub use osctl_api::Code;

/// Result of the domain.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;

/// An error of the domain.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    code: Code,
    message: String,
    #[source]
    source: Option<Source>,
    hint: Option<String>,
}

impl Error {
    /// An error without source and hint.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
            source: None,
            hint: None,
        }
    }

    /// An error with a source.
    pub fn with(code: Code, message: impl Into<String>, source: impl Into<Source>) -> Error {
        Error {
            source: Some(source.into()),
            ..Error::new(code, message)
        }
    }

    /// There is no such object.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Code::NotFound, message)
    }

    /// There is such an object already.
    pub fn exists(message: impl Into<String>) -> Error {
        Error::new(Code::AlreadyExists, message)
    }

    /// A parameter can't be accepted.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidArgument, message)
    }

    /// A parameter can't be accepted, for the reason that `source` tells.
    pub fn invalid_with(message: impl Into<String>, source: impl Into<Source>) -> Error {
        Error::with(Code::InvalidArgument, message, source)
    }

    /// Not possible in the object's state.
    pub fn state(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidState, message)
    }

    /// Another operation, which the message names, holds the object.
    pub fn busy(message: impl Into<String>) -> Error {
        Error::new(Code::Busy, message)
    }

    /// The caller may not do this.
    pub fn denied(message: impl Into<String>) -> Error {
        Error::new(Code::PermissionDenied, message)
    }

    /// This host or kernel can't do it.
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(Code::Unsupported, message)
    }

    /// The operation was cancelled.
    pub fn cancelled(message: impl Into<String>) -> Error {
        Error::new(Code::Cancelled, message)
    }

    /// A deadline passed.
    pub fn timeout(message: impl Into<String>) -> Error {
        Error::new(Code::Timeout, message)
    }

    /// The daemon or a part of it is not ready or is shutting down.
    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(Code::Unavailable, message)
    }

    /// The kernel, a file system or a helper program failed.
    pub fn backend(message: impl Into<String>, source: impl Into<Source>) -> Error {
        Error::with(Code::Backend, message, source)
    }

    /// A state file can't be read or written.
    pub fn store(message: impl Into<String>, source: crate::store::Error) -> Error {
        let code = match source {
            crate::store::Error::Exists(_) => Code::AlreadyExists,
            crate::store::Error::Waits(_) => Code::Unavailable,
            _ => Code::Backend,
        };
        Error::with(code, message, source)
    }

    /// A defect in the daemon.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Code::Internal, message)
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// The error as the cause of a wider failure, which keeps its code and hint.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Error {
        Error {
            code: self.code,
            hint: self.hint.clone(),
            message: message.into(),
            source: Some(Box::new(self)),
        }
    }

    /// What kind of failure.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The message and all causes in one line, for logs and lists of problems.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and all its causes in one line.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(e) = next {
        text.push_str(": ");
        text.push_str(&e.to_string());
        next = e.source();
    }
    text
}

impl From<Error> for osctl_api::Error {
    fn from(e: Error) -> osctl_api::Error {
        let mut wire = match e.source.as_deref() {
            Some(source) => osctl_api::Error::with_source(e.code, e.message, source),
            None => osctl_api::Error::new(e.code, e.message),
        };
        wire.hint = e.hint;
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_cross_the_wire_once_and_in_order() {
        let io = std::io::Error::other("disk is full");
        let inner = Error::backend("cannot write a.json", io).hint("make room");
        let outer = inner.context("cannot make user a");
        assert_eq!(
            outer.chain(),
            "cannot make user a: cannot write a.json: disk is full"
        );
        let wire = osctl_api::Error::from(outer);
        assert_eq!(wire.code, Code::Backend);
        assert_eq!(wire.message, "cannot make user a");
        assert_eq!(wire.causes, ["cannot write a.json", "disk is full"]);
        assert_eq!(wire.hint.as_deref(), Some("make room"));
    }
}
