//! `osctl monitor` and `osctl ct monitor`: what happens, line by line.

use osctl_api::daemon::{Event, EventKind, Subscribe};
use osctl_api::names::Ref;
use osctl_api::{Code, Error};

use crate::context::{Context, to_value};
use crate::failure::{Failure, Outcome};
use crate::tree::Verb;

/// Watch what happens, until the daemon goes away
#[derive(Debug, clap::Args)]
pub struct Monitor {}

impl Verb for Monitor {
    fn run(self, cx: &mut Context) -> Outcome {
        watch(cx, &Subscribe::default(), |_| true)
    }
}

/// Watch containers change their states, until the daemon goes away
#[derive(Debug, clap::Args)]
pub struct OfContainers {
    /// Only these containers
    #[arg(value_name = "CTID")]
    ids: Vec<Ref>,
}

impl Verb for OfContainers {
    fn run(self, cx: &mut Context) -> Outcome {
        let ids: Vec<Ref> = self.ids.into_iter().map(|id| cx.on_pool(id)).collect();
        let pool = cx.pool.clone();
        let params = Subscribe {
            kinds: vec![EventKind::State],
        };
        watch(cx, &params, |event| {
            let on_pool = pool.is_none() || event.pool == pool;
            let named = ids.is_empty() || ids.iter().any(|id| is_of(event, id));
            event.kind == EventKind::State && on_pool && named
        })
    }
}

/// Whether an event is about a container.
pub fn is_of(event: &Event, id: &Ref) -> bool {
    event.id.as_deref() == Some(id.name.as_str()) && (id.pool.is_none() || id.pool == event.pool)
}

fn watch(cx: &mut Context, params: &Subscribe, wanted: impl Fn(&Event) -> bool) -> Outcome {
    let ui = cx.ui.clone();
    let mut failed = None;
    cx.daemon.events(params, |event| {
        if let Some(lost) = event.lost {
            ui.note(&format!(
                "{lost} events were lost: they were read too slowly"
            ));
        }
        if !wanted(&event) {
            return true;
        }
        let printed = if ui.json {
            to_value(&event).and_then(|v| ui.json(&v))
        } else {
            describe(&event).map_or(Ok(()), |line| ui.line(&line))
        };
        failed = printed.err();
        failed.is_none()
    })?;
    Err(failed.unwrap_or_else(|| {
        Failure::Unreachable(Error::new(Code::Unavailable, "the daemon has gone"))
    }))
}

fn describe(event: &Event) -> Option<String> {
    let pool = event.pool.as_ref().map_or("-", |p| p.as_str());
    let id = event.id.as_deref().unwrap_or("-");
    let word = |w: &Option<String>| w.clone().unwrap_or_else(|| "-".to_owned());
    Some(match event.kind {
        EventKind::Subscribed => return None,
        EventKind::State => {
            let state = event.state.map_or("-", |s| s.as_str());
            format!("state {pool} {id} {state}")
        }
        EventKind::Management => {
            let (action, method) = (word(&event.action), word(&event.method));
            format!("management {action} {method} {pool} {id}")
        }
        EventKind::Db => {
            let (action, object) = (word(&event.action), word(&event.object));
            format!("db {action} {object} {pool} {id}")
        }
        EventKind::CtInitPid => {
            let pid = event.init_pid.map_or("-".to_owned(), |p| p.to_string());
            format!("ct_init_pid {pool} {id} {pid}")
        }
        EventKind::CtNetif => {
            let (action, name) = (word(&event.action), event.name.as_ref());
            let name = name.map_or("-", |n| n.as_str());
            let other = event.new_name.as_ref().or(event.veth.as_ref());
            let other = other.map_or("-", |n| n.as_str());
            format!("ct_netif {action} {pool} {id} {name} {other}")
        }
        EventKind::Shutdown => "shutdown".to_owned(),
    })
}
