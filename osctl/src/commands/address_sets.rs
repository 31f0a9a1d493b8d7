//! `osctl firewall set`: named sets of addresses.

use osctl_api::firewall::{SetAdd, SetDelete, SetList, SetNew, SetRemove, SetShow};

use super::tables;
use crate::context::{Context, to_value};
use crate::failure::Outcome;
use crate::list::{ListOptions, ShowOptions, View};
use crate::tree::{Node, Verb, verb};

/// The tree below `osctl firewall set`.
pub const NODES: &[Node] = &[
    verb::<SetNew>(&["new", "create"]),
    verb::<SetDelete>(&["del", "delete"]),
    verb::<Ls>(&["ls", "list"]),
    verb::<Show>(&["show", "info"]),
    verb::<SetAdd>(&["add"]),
    verb::<SetRemove>(&["remove"]),
];

/// List named sets of addresses
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(self, cx: &mut Context) -> Outcome {
        View::list(&tables::ADDRESS_SET, &self.list)?.tell(cx, |cx| {
            let pool = cx.pool.clone();
            Ok(cx.daemon.call(&SetList { pool })?.sets)
        })
    }
}

/// Show a named set of addresses
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Show {
    #[command(flatten)]
    params: SetShow,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Show {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::ADDRESS_SET, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.set = cx.on_pool(self.params.set);
        let set = cx.daemon.call(&self.params)?;
        view.print_one(cx, &to_value(&set)?)
    }
}
