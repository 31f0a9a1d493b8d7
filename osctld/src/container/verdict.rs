//! Which request is legal in which state: a pure function.
//!
//! It knows no locks: whether another operation holds the container is asked elsewhere.

use osctl_api::container::State;

/// What somebody wants of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Start its init.
    Start,
    /// Start it with a minimal init, to run one command.
    Run,
    /// Ask it to shut down.
    Shutdown,
    /// Kill it.
    Kill,
    /// Freeze its processes.
    Freeze,
    /// Thaw them.
    Unfreeze,
    /// Enter it: exec, console, files.
    Enter,
    /// Change its configuration.
    Configure,
    /// Copy it to an archive.
    Export,
    /// Change what can't change while it runs: its id, user or group.
    Rebuild,
    /// Delete it.
    Delete,
    /// Delete it, whatever state it is in.
    ForceDelete,
    /// Find out its state anew, or remove what is left of it.
    Recover,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Do it.
    Go,
    /// There is nothing to do.
    Nothing,
    /// It can't be done in this state.
    Refuse,
}

/// The verdict on a request.
pub fn verdict(state: State, request: Request) -> Verdict {
    use Request::{
        Configure, Delete, Enter, Export, ForceDelete, Freeze, Kill, Rebuild, Recover, Run,
        Shutdown, Start, Unfreeze,
    };
    use Verdict::{Go, Nothing, Refuse};
    match (state, request) {
        (_, ForceDelete) | (State::Error, Recover) => Go,
        (State::Staged | State::Error, _) => Refuse,
        (_, Configure) => Go,
        (State::Stopped | State::Running | State::Frozen, Export) => Go,

        (State::Stopped, Start | Run | Rebuild | Delete | Recover) => Go,
        (State::Stopped, Shutdown | Kill) => Nothing,
        (State::Stopped, Freeze | Unfreeze | Enter) => Refuse,

        (State::Starting, Start) => Nothing,
        (State::Starting | State::Stopping, Kill) => Go,
        (State::Starting | State::Stopping, _) => Refuse,

        (State::Running, Start | Unfreeze) => Nothing,
        (State::Running, Shutdown | Kill | Freeze | Enter | Recover) => Go,
        (State::Running, Run | Rebuild | Delete) => Refuse,

        (State::Frozen, Kill | Unfreeze | Recover) => Go,
        (State::Frozen, Freeze) => Nothing,
        (State::Frozen, Start | Run | Shutdown | Enter | Rebuild | Delete) => Refuse,
    }
}

/// What to do instead, when a request is refused.
pub fn hint(state: State, request: Request) -> Option<&'static str> {
    match (state, request) {
        (State::Error, _) => Some(
            "look at `osctl ct show`, then `osctl ct recover state`, `osctl ct recover cleanup` or `osctl ct del --force`",
        ),
        (State::Stopped, Request::Enter) => {
            Some("start it first, or use -r to start it for this command only")
        }
        (State::Frozen, _) => Some("`osctl ct unfreeze` it first, or `osctl ct stop --kill` it"),
        (State::Running, Request::Delete) => Some("stop it first, or use --force"),
        (State::Running, Request::Rebuild) => Some("stop it first"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 7] = [
        State::Staged,
        State::Stopped,
        State::Starting,
        State::Running,
        State::Stopping,
        State::Frozen,
        State::Error,
    ];

    #[test]
    fn whatever_has_processes_can_be_killed() {
        for state in [
            State::Starting,
            State::Running,
            State::Stopping,
            State::Frozen,
        ] {
            assert_eq!(verdict(state, Request::Kill), Verdict::Go, "{state}");
        }
    }

    #[test]
    fn every_state_can_be_left_by_force() {
        for state in STATES {
            assert_eq!(verdict(state, Request::ForceDelete), Verdict::Go, "{state}");
        }
    }

    #[test]
    fn what_runs_keeps_its_identity() {
        for state in [
            State::Starting,
            State::Running,
            State::Stopping,
            State::Frozen,
        ] {
            assert_eq!(verdict(state, Request::Rebuild), Verdict::Refuse, "{state}");
            assert_eq!(verdict(state, Request::Delete), Verdict::Refuse, "{state}");
        }
    }

    #[test]
    fn in_error_only_recovery_and_forced_deletion_are_legal() {
        for request in [
            Request::Start,
            Request::Kill,
            Request::Configure,
            Request::Delete,
        ] {
            assert_eq!(
                verdict(State::Error, request),
                Verdict::Refuse,
                "{request:?}"
            );
        }
        assert_eq!(verdict(State::Error, Request::Recover), Verdict::Go);
    }
}
