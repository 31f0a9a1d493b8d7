//! `osctl group`.

use std::collections::BTreeMap;

use osctl_api::group;
use osctl_api::names::{AttrName, GroupRef};

use super::args::{CpuLimitArgs, MemoryLimitArgs};
use super::tables;
use crate::context::{Context, to_value};
use crate::failure::Outcome;
use crate::list::{ListOptions, ShowOptions, View};
use crate::tree::Verb;

impl Verb for group::New {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.group = cx.group_on_pool(self.group);
        let object = cx.daemon.call(&self)?;
        cx.object(&object)
    }
}

impl Verb for group::Delete {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.group = cx.group_on_pool(self.group);
        cx.done(&self)
    }
}

/// List groups
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    #[command(flatten)]
    params: group::List,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(mut self, cx: &mut Context) -> Outcome {
        View::list(&tables::GROUP, &self.list)?.tell(cx, |cx| {
            self.params.pool = cx.pool.clone();
            Ok(cx.daemon.call(&self.params)?.groups)
        })
    }
}

/// Show one group
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Show {
    #[command(flatten)]
    params: group::Show,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Show {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::GROUP, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.group = cx.group_on_pool(self.params.group);
        let group = cx.daemon.call(&self.params)?;
        view.print_one(cx, &to_value(&group)?)
    }
}

fn set(cx: &mut Context, group: GroupRef, edit: impl FnOnce(&mut group::Set)) -> Outcome {
    let mut params = group::Set {
        group: cx.group_on_pool(group),
        cpu_limit: None,
        memory_limit: None,
        attrs: BTreeMap::new(),
    };
    edit(&mut params);
    cx.done(&params)
}

fn unset(cx: &mut Context, group: GroupRef, edit: impl FnOnce(&mut group::Unset)) -> Outcome {
    let mut params = group::Unset {
        group: cx.group_on_pool(group),
        cpu_limit: false,
        memory_limit: false,
        attrs: Vec::new(),
    };
    edit(&mut params);
    cx.done(&params)
}

/// Limit the processor time of a group
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct SetCpuLimit {
    /// Path of the group
    group: GroupRef,
    #[command(flatten)]
    limit: CpuLimitArgs,
}

impl Verb for SetCpuLimit {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.group, |p| p.cpu_limit = Some(self.limit.into()))
    }
}

/// Limit the memory of a group
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct SetMemoryLimit {
    /// Path of the group
    group: GroupRef,
    #[command(flatten)]
    limit: MemoryLimitArgs,
}

impl Verb for SetMemoryLimit {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.group, |p| p.memory_limit = Some(self.limit.into()))
    }
}

/// Set a user attribute of a group
#[derive(Debug, clap::Args)]
pub struct SetAttr {
    /// Path of the group
    group: GroupRef,
    /// Name of the attribute, vendor:key
    attribute: AttrName,
    /// Value
    value: String,
}

impl Verb for SetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.group, |p| {
            p.attrs.insert(self.attribute, self.value);
        })
    }
}

/// Remove the limit of processor time of a group
#[derive(Debug, clap::Args)]
pub struct UnsetCpuLimit {
    /// Path of the group
    group: GroupRef,
}

impl Verb for UnsetCpuLimit {
    fn run(self, cx: &mut Context) -> Outcome {
        unset(cx, self.group, |p| p.cpu_limit = true)
    }
}

/// Remove the limit of memory of a group
#[derive(Debug, clap::Args)]
pub struct UnsetMemoryLimit {
    /// Path of the group
    group: GroupRef,
}

impl Verb for UnsetMemoryLimit {
    fn run(self, cx: &mut Context) -> Outcome {
        unset(cx, self.group, |p| p.memory_limit = true)
    }
}

/// Remove a user attribute of a group
#[derive(Debug, clap::Args)]
pub struct UnsetAttr {
    /// Path of the group
    group: GroupRef,
    /// Name of the attribute
    attribute: AttrName,
}

impl Verb for UnsetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        unset(cx, self.group, |p| p.attrs.push(self.attribute))
    }
}
