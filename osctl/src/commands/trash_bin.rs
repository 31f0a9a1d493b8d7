//! `osctl trash-bin` and `osctl garbage-collector`.

use osctl_api::trash_bin::{Collect, DatasetAdd, List, Prune};

use super::tables;
use crate::context::{Context, to_value};
use crate::failure::{DONE, Outcome};
use crate::list::{ListOptions, View};
use crate::tree::Verb;
use crate::ui::escape;

/// List what was deleted and waits to be removed, and why it waits
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    #[command(flatten)]
    params: List,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::list(&tables::TRASH, &self.list)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        if self.params.pools.is_empty() {
            self.params.pools.extend(cx.pool.clone());
        }
        let reply = cx.daemon.call(&self.params)?;
        let rows = reply.items.iter().map(to_value).collect::<Result<_, _>>()?;
        view.print_list(cx, rows)
    }
}

impl Verb for DatasetAdd {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&self)
    }
}

impl Verb for Prune {
    fn run(mut self, cx: &mut Context) -> Outcome {
        if self.pools.is_empty() {
            self.pools.extend(cx.pool.clone());
        }
        cx.done(&self)
    }
}

impl Verb for Collect {
    fn run(mut self, cx: &mut Context) -> Outcome {
        if self.pools.is_empty() {
            self.pools.extend(cx.pool.clone());
        }
        let reply = cx.daemon.call(&self)?;
        if cx.ui.json {
            cx.ui.json(&to_value(&reply.notes)?)?;
            return Ok(DONE);
        }
        for note in &reply.notes {
            cx.ui
                .line(&format!("{}: {}", note.pool, escape::line(&note.text)))?;
        }
        Ok(DONE)
    }
}
