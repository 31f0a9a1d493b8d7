//! What can go wrong with nf_tables.

use nix::errno::Errno;

/// How the step that adds a rule is called.
pub(super) const ADD_RULE: &str = "add a rule to chain";

/// What can go wrong with nf_tables.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused one step of a batch; so nothing of it took effect.
    #[error("cannot {step}: {errno:?}")]
    Refused {
        /// Which step: `make chain from-web1 of table bridge osctl`.
        step: String,
        /// Why.
        errno: Errno,
    },
    /// A system call on the socket failed.
    #[error("{call} on a netlink socket of nf_tables failed")]
    Socket {
        /// The system call.
        call: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel's answer makes no sense.
    #[error("the kernel did not confirm a change of nf_tables")]
    Unconfirmed,
    /// A dump was disturbed again and again by changes.
    #[error("nf_tables changed too often to be read")]
    Disturbed,
}

impl Error {
    /// Why the kernel refused, when it did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether it was a rule that the kernel refused, rather than what it is in.
    pub fn is_about_rule(&self) -> bool {
        matches!(self, Error::Refused { step, .. } if step.starts_with(ADD_RULE))
    }

    pub(super) fn socket(call: &'static str) -> impl Fn(Errno) -> Error {
        move |errno| Error::Socket {
            call,
            source: errno.into(),
        }
    }
}
