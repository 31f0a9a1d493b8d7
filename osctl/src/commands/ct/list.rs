//! `osctl ct ls` and `osctl ct show`.

use osctl_api::container;

use crate::commands::tables;
use crate::context::{Context, to_value};
use crate::failure::Outcome;
use crate::list::{ListOptions, ShowOptions, View};
use crate::tree::Verb;

/// List containers
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    #[command(flatten)]
    params: container::List,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::list(&tables::CONTAINER, &self.list)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.pool = cx.pool.clone();
        self.params.stats = view.uses(tables::CONTAINER_STATS);
        self.params.space = view.uses(tables::CONTAINER_SPACE);
        let rows = view.call(cx, &self.params, "containers")?;
        view.print_list(cx, rows)
    }
}

/// Show one container
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Show {
    #[command(flatten)]
    params: container::Show,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Show {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::CONTAINER, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.id = cx.on_pool(self.params.id);
        let container = cx.daemon.call(&self.params)?;
        view.print_one(cx, &to_value(&container)?)
    }
}
