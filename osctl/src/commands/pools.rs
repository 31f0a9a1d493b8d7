//! `osctl pool`.

use std::collections::BTreeMap;

use osctl_api::names::{AttrName, Name};
use osctl_api::pool;

use super::tables;
use crate::cli::absolute;
use crate::context::{Context, to_value};
use crate::failure::Outcome;
use crate::list::{ListOptions, ShowOptions, View};
use crate::tree::Verb;

impl Verb for pool::Install {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.dir = self.dir.as_deref().map(absolute).transpose()?;
        let object = cx.daemon.call(&self)?;
        cx.object(&object)
    }
}

impl Verb for pool::Export {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.progress_done(&self)
    }
}

/// List imported pools
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    #[command(flatten)]
    params: pool::List,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::list(&tables::POOL, &self.list)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        if self.params.pools.is_empty() {
            self.params.pools.extend(cx.pool.clone());
        }
        let reply = cx.daemon.call(&self.params)?;
        let rows = reply.pools.iter().map(to_value).collect::<Result<_, _>>()?;
        view.print_list(cx, rows)
    }
}

/// Show one pool
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Show {
    #[command(flatten)]
    params: pool::Show,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Show {
    fn run(self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::POOL, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        let pool = cx.daemon.call(&self.params)?;
        view.print_one(cx, &to_value(&pool)?)
    }
}

/// List the containers that wait to be started
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Queue {
    #[command(flatten)]
    params: pool::AutostartQueue,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Queue {
    fn run(self, cx: &mut Context) -> Outcome {
        View::show(&tables::QUEUE, &self.show)?
            .tell(cx, |cx| Ok(cx.daemon.call(&self.params)?.containers))
    }
}

fn nothing(pool: Name) -> pool::Set {
    pool::Set {
        pool,
        parallel_start: None,
        parallel_stop: None,
        attrs: BTreeMap::new(),
    }
}

fn unset_nothing(pool: Name) -> pool::Unset {
    pool::Unset {
        pool,
        parallel_start: false,
        parallel_stop: false,
        attrs: Vec::new(),
    }
}

/// Set how many containers autostart starts at the same time
#[derive(Debug, clap::Args)]
pub struct SetParallelStart {
    /// Name of the pool
    pool: Name,
    /// How many, at least 1
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

impl Verb for SetParallelStart {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Set {
            parallel_start: Some(self.count),
            ..nothing(self.pool)
        })
    }
}

/// Set how many containers are stopped at the same time
#[derive(Debug, clap::Args)]
pub struct SetParallelStop {
    /// Name of the pool
    pool: Name,
    /// How many, at least 1
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

impl Verb for SetParallelStop {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Set {
            parallel_stop: Some(self.count),
            ..nothing(self.pool)
        })
    }
}

/// Set a user attribute of a pool
#[derive(Debug, clap::Args)]
pub struct SetAttr {
    /// Name of the pool
    pool: Name,
    /// Name of the attribute, vendor:key
    attribute: AttrName,
    /// Value
    value: String,
}

impl Verb for SetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Set {
            attrs: BTreeMap::from([(self.attribute, self.value)]),
            ..nothing(self.pool)
        })
    }
}

/// Return the number of containers that are started at the same time to its default
#[derive(Debug, clap::Args)]
pub struct UnsetParallelStart {
    /// Name of the pool
    pool: Name,
}

impl Verb for UnsetParallelStart {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Unset {
            parallel_start: true,
            ..unset_nothing(self.pool)
        })
    }
}

/// Return the number of containers that are stopped at the same time to its default
#[derive(Debug, clap::Args)]
pub struct UnsetParallelStop {
    /// Name of the pool
    pool: Name,
}

impl Verb for UnsetParallelStop {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Unset {
            parallel_stop: true,
            ..unset_nothing(self.pool)
        })
    }
}

/// Remove a user attribute of a pool
#[derive(Debug, clap::Args)]
pub struct UnsetAttr {
    /// Name of the pool
    pool: Name,
    /// Name of the attribute
    attribute: AttrName,
}

impl Verb for UnsetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Unset {
            attrs: vec![self.attribute],
            ..unset_nothing(self.pool)
        })
    }
}
