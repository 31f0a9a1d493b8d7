//! What can go wrong with cgroups.

use std::{io, path::PathBuf, time::Duration};

use super::Node;

/// An error of the cgroup back end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's mounts could not be read.
    #[error("cannot read the mounts of this host")]
    Mounts(#[source] io::Error),
    /// The host mounts neither cgroup v2 nor a v1 controller that containers need.
    #[error("no cgroup hierarchy is mounted")]
    NoHierarchy,
    /// A name that cannot be a component of a cgroup path.
    #[error("{0:?} cannot be the name of a cgroup")]
    Name(String),
    /// The call needs a container's cgroup, or a group's.
    #[error("cgroup {node} is not a {wanted}")]
    Kind {
        /// The cgroup given.
        node: Node,
        /// What it should have been.
        wanted: &'static str,
    },
    /// A file or directory of a hierarchy refused an operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// Verb, such as `create` or `write "max" to`.
        action: String,
        /// The path in the cgroup file system.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Processes run in a cgroup that should have none.
    #[error("cgroup {0} has running processes")]
    Populated(Node),
    /// A group still has groups or containers below it.
    #[error("cgroup {0} still has groups or containers below it")]
    NotEmpty(Node),
    /// Something did not happen within its time limit.
    #[error("cgroup {node} did not become {state} within {:.1} s", limit.as_secs_f64())]
    Timeout {
        /// The cgroup.
        node: Node,
        /// `empty`, `frozen`, `thawed`.
        state: &'static str,
        /// The time limit.
        limit: Duration,
    },
    /// A cgroup tree is nested deeper or has more children than we follow.
    #[error("the cgroups below {} are too many or nested too deep", .0.display())]
    TooLarge(PathBuf),
    /// The host has no hierarchy that could carry this out.
    #[error("this host has no cgroup controller for {0}")]
    Unsupported(&'static str),
    /// The name of a raw parameter is malformed or not for administrators to set.
    #[error("cgroup parameter {name:?} is not valid: {reason}")]
    ParamName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The value of a parameter or limit is malformed.
    #[error("value {value:?} of {name} is not valid: {reason}")]
    Value {
        /// Parameter or limit.
        name: String,
        /// The value, shortened.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A device rule is malformed.
    #[error("device rule {rule:?} is not valid: {reason}")]
    DeviceRule {
        /// The rule as given.
        rule: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The kernel refused a device program.
    #[error("cannot set the device rules of cgroup {node}")]
    DeviceProgram {
        /// The cgroup.
        node: Node,
        /// The kernel call that failed.
        #[source]
        source: osctl_linux::error::Error,
    },
}

impl Error {
    /// The kernel's error number, if one is behind this error.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Error::Io { source, .. } | Error::Mounts(source) => source.raw_os_error(),
            _ => None,
        }
    }
}
