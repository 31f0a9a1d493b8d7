//! The closed set of errors that cross the wire.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of failure it is; a closed set that clients may match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Code {
    /// The object named does not exist.
    NotFound,
    /// An object of that name exists already.
    AlreadyExists,
    /// A parameter has a value that can't be accepted.
    InvalidArgument,
    /// The object is in a state in which this is not possible.
    InvalidState,
    /// Another operation holds the object; the message names it.
    Busy,
    /// The caller may not do this.
    PermissionDenied,
    /// This host or kernel can't do it.
    Unsupported,
    /// The operation was cancelled.
    Cancelled,
    /// A deadline passed.
    Timeout,
    /// The daemon or a part of it is not ready or is shutting down.
    Unavailable,
    /// The kernel, a file system or a helper program failed.
    Backend,
    /// A defect in the daemon.
    Internal,
}

impl Code {
    /// Every code there is.
    pub const ALL: [Code; 12] = [
        Code::NotFound,
        Code::AlreadyExists,
        Code::InvalidArgument,
        Code::InvalidState,
        Code::Busy,
        Code::PermissionDenied,
        Code::Unsupported,
        Code::Cancelled,
        Code::Timeout,
        Code::Unavailable,
        Code::Backend,
        Code::Internal,
    ];

    /// The name as it appears on the wire, without the interface.
    pub fn name(self) -> &'static str {
        match self {
            Code::NotFound => "NotFound",
            Code::AlreadyExists => "AlreadyExists",
            Code::InvalidArgument => "InvalidArgument",
            Code::InvalidState => "InvalidState",
            Code::Busy => "Busy",
            Code::PermissionDenied => "PermissionDenied",
            Code::Unsupported => "Unsupported",
            Code::Cancelled => "Cancelled",
            Code::Timeout => "Timeout",
            Code::Unavailable => "Unavailable",
            Code::Backend => "Backend",
            Code::Internal => "Internal",
        }
    }

    /// The code of a name as it appears on the wire, without the interface.
    pub fn from_name(name: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// A failure as it crosses the wire: message, its causes (outermost first) and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// One sentence that names the thing.
    pub message: String,
    /// Why, outermost cause first.
    pub causes: Vec<String>,
    /// What the user can do about it.
    pub hint: Option<String>,
}

/// Parameters of an error reply.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ErrorParameters {
    /// One sentence that names the thing.
    #[serde(default)]
    pub message: String,
    /// Why, outermost cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What the user can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Error {
    /// An error without causes and hint.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// An error whose causes are the chain of `source`.
    pub fn with_source(
        code: Code,
        message: impl Into<String>,
        source: &(dyn std::error::Error + 'static),
    ) -> Error {
        let mut causes = Vec::new();
        let mut next = Some(source);
        while let Some(e) = next {
            causes.push(e.to_string());
            next = e.source();
        }
        Error {
            code,
            message: message.into(),
            causes,
            hint: None,
        }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
