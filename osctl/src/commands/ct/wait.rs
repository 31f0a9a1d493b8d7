//! `osctl ct wait`.

use osctl_api::container::{self, State};
use osctl_api::daemon::{Event, EventKind, Subscribe};
use osctl_api::names::Ref;
use osctl_api::{Code, Error};

use crate::commands::monitor::is_of;
use crate::context::{Context, Daemon};
use crate::failure::{DONE, Failure, Outcome};
use crate::tree::Verb;

/// Wait until a container is in one of these states
#[derive(Debug, clap::Args)]
pub struct Wait {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// States
    #[arg(value_name = "STATE", required = true, value_enum)]
    states: Vec<State>,
}

impl Verb for Wait {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        let mut found = None;
        let mut other = cx.daemon.another();
        let params = Subscribe {
            kinds: vec![EventKind::State, EventKind::Db],
        };
        cx.daemon.events(&params, |event| {
            found = judge(&mut other, &id, &self.states, &event);
            found.is_none()
        })?;
        let gone = || {
            let e = Error::new(Code::Unavailable, "the daemon has gone");
            Err(Failure::Unreachable(e))
        };
        let state = found.unwrap_or_else(gone)?;
        if cx.ui.json {
            cx.ui.json(&serde_json::json!({ "state": state }))?;
        }
        Ok(DONE)
    }
}

/// What an event means for the one who waits: nothing, the state that was waited for, or that
/// there is nothing to wait for.
fn judge(
    daemon: &mut Daemon,
    id: &Ref,
    states: &[State],
    event: &Event,
) -> Option<Result<State, Failure>> {
    let wanted = |state: State| states.contains(&state).then_some(Ok(state));
    // once subscribed, what was before; after a loss, what was missed
    if event.kind == EventKind::Subscribed || event.lost.is_some() {
        return match daemon.call(&container::Show { id: id.clone() }) {
            Ok(container) => wanted(container.state),
            Err(failure) => Some(Err(failure)),
        };
    }
    if !is_of(event, id) {
        return None;
    }
    match event.kind {
        EventKind::State => event.state.and_then(wanted),
        EventKind::Db
            if event.object.as_deref() == Some("container")
                && event.action.as_deref() == Some("remove") =>
        {
            let message = format!("container {id} was deleted");
            Some(Err(Failure::Failed(Error::new(Code::NotFound, message))))
        }
        _ => None,
    }
}
