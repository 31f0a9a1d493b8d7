//! `osctl ct snapshot`, and `osctl ct set snapshots`.

use osctl_api::names::Ref;
use osctl_api::snapshot;
use osctl_api::snapshot::{Delete, List, Mount, New, Rollback, Schedule, Unmount, Unschedule};

use crate::commands::tables;
use crate::context::Context;
use crate::failure::{DONE, Outcome};
use crate::list::{ListOptions, View};
use crate::tree::{Node, Verb, verb};

/// The tree below `osctl ct snapshot`.
pub const NODES: &[Node] = &[
    verb::<New>(&["new", "create"]),
    verb::<Ls>(&["ls", "list"]),
    verb::<Delete>(&["del", "delete"]),
    verb::<Rollback>(&["rollback"]),
    verb::<snapshot::Clone>(&["clone"]),
    verb::<Mount>(&["mount"]),
    verb::<Unmount>(&["umount", "unmount"]),
];

done!(
    Delete { id };
    Rollback { id };
    Unmount { id };
    Schedule { id };
    Unschedule { id };
);

object!(snapshot::Clone { id });

impl Verb for New {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.id = cx.on_pool(self.id);
        let snapshot = cx.daemon.call(&self)?;
        if cx.ui.json {
            return cx.object(&snapshot);
        }
        cx.ui.line(&snapshot.name)?;
        Ok(DONE)
    }
}

impl Verb for Mount {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.id = cx.on_pool(self.id);
        let place = cx.daemon.call(&self)?;
        if cx.ui.json {
            return cx.object(&place);
        }
        cx.ui.line(&place.path)?;
        Ok(DONE)
    }
}

/// List snapshots of containers
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    /// Of these containers; of all when absent
    #[arg(value_name = "CTID")]
    ids: Vec<Ref>,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(self, cx: &mut Context) -> Outcome {
        View::list(&tables::SNAPSHOT, &self.list)?.tell(cx, |cx| {
            let ids = self.ids.into_iter().map(|id| cx.on_pool(id)).collect();
            let wanted = List {
                ids,
                pool: cx.pool.clone(),
            };
            Ok(cx.daemon.call(&wanted)?.snapshots)
        })
    }
}
