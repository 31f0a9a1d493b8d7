//! Errors of the runtime's own process, and their text for the daemon.

/// Something that did not work.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A kernel call.
    #[error(transparent)]
    Call(#[from] osctl_linux::error::Error),
    /// Something the runtime will not do.
    #[error("{0}")]
    Refused(String),
    /// What was being done when something did not work.
    #[error("{what}")]
    During {
        /// What was being done.
        what: String,
        /// What did not work.
        #[source]
        source: Box<Fault>,
    },
}

/// Result of the runtime's own operations.
pub type Outcome<T = ()> = Result<T, Fault>;

impl Fault {
    /// Something the runtime will not do.
    pub fn refused(why: impl Into<String>) -> Self {
        Fault::Refused(why.into())
    }

    /// The errno of the kernel call at the bottom.
    pub fn errno(&self) -> Option<nix::errno::Errno> {
        match self {
            Fault::Call(error) => Some(error.errno()),
            Fault::Refused(_) => None,
            Fault::During { source, .. } => source.errno(),
        }
    }

    /// The whole chain in one line.
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            text = format!("{text}: {error}");
            next = error.source();
        }
        text
    }
}

/// Says what was being done.
pub trait During<T> {
    /// E.g. `.during(|| "cannot mount /proc")`.
    fn during<S: Into<String>>(self, what: impl FnOnce() -> S) -> Outcome<T>;
}

impl<T, E: Into<Fault>> During<T> for Result<T, E> {
    fn during<S: Into<String>>(self, what: impl FnOnce() -> S) -> Outcome<T> {
        self.map_err(|error| Fault::During {
            what: what().into(),
            source: Box::new(error.into()),
        })
    }
}
