//! `osctl id-range`.

use std::collections::BTreeMap;

use osctl_api::id_range;
use osctl_api::names::{AttrName, Ref};

use super::tables;
use crate::context::{Context, to_value};
use crate::failure::Outcome;
use crate::list::{ListOptions, ShowOptions, View};
use crate::tree::Verb;

/// List id ranges
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    #[command(flatten)]
    params: id_range::List,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(mut self, cx: &mut Context) -> Outcome {
        View::list(&tables::ID_RANGE, &self.list)?.tell(cx, |cx| {
            self.params.pool = cx.pool.clone();
            Ok(cx.daemon.call(&self.params)?.id_ranges)
        })
    }
}

/// Show one id range
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Show {
    #[command(flatten)]
    params: id_range::Show,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Show {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::ID_RANGE, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.id_range = cx.on_pool(self.params.id_range);
        let id_range = cx.daemon.call(&self.params)?;
        view.print_one(cx, &to_value(&id_range)?)
    }
}

/// List the allocation table of an id range
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct TableLs {
    #[command(flatten)]
    params: id_range::TableList,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for TableLs {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::list(&tables::BLOCKS, &self.list)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.id_range = cx.on_pool(self.params.id_range);
        let reply = cx.daemon.call(&self.params)?;
        let rows = reply.rows.iter().map(to_value).collect::<Result<_, _>>()?;
        view.print_list(cx, rows)
    }
}

/// Show the row of the allocation table that holds a block
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct TableShow {
    #[command(flatten)]
    params: id_range::TableShow,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for TableShow {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::BLOCKS, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.id_range = cx.on_pool(self.params.id_range);
        let row = cx.daemon.call(&self.params)?;
        view.print_one(cx, &to_value(&row)?)
    }
}

/// Allocate consecutive blocks, and show them
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Allocate {
    #[command(flatten)]
    params: id_range::Allocate,
}

impl Verb for Allocate {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.params.id_range = cx.on_pool(self.params.id_range);
        let row = cx.daemon.call(&self.params)?;
        let view = View::show(&tables::BLOCKS, &ShowOptions::default())?;
        view.print_one(cx, &to_value(&row)?)
    }
}

/// Set a user attribute of an id range
#[derive(Debug, clap::Args)]
pub struct SetAttr {
    /// Name of the id range
    id_range: Ref,
    /// Name of the attribute, vendor:key
    attribute: AttrName,
    /// Value
    value: String,
}

impl Verb for SetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        let id_range = cx.on_pool(self.id_range);
        cx.done(&id_range::Set {
            id_range,
            attrs: BTreeMap::from([(self.attribute, self.value)]),
        })
    }
}

/// Remove a user attribute of an id range
#[derive(Debug, clap::Args)]
pub struct UnsetAttr {
    /// Name of the id range
    id_range: Ref,
    /// Name of the attribute
    attribute: AttrName,
}

impl Verb for UnsetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        let id_range = cx.on_pool(self.id_range);
        cx.done(&id_range::Unset {
            id_range,
            attrs: vec![self.attribute],
        })
    }
}
