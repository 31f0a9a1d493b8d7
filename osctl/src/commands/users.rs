//! `osctl user`.

use std::collections::BTreeMap;

use osctl_api::names::{AttrName, Ref};
use osctl_api::user;

use super::tables;
use crate::context::{Context, to_value};
use crate::failure::Outcome;
use crate::list::{ListOptions, ShowOptions, View};
use crate::tree::Verb;

/// List users
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    #[command(flatten)]
    params: user::List,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::list(&tables::USER, &self.list)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.pool = cx.pool.clone();
        let reply = cx.daemon.call(&self.params)?;
        let rows = reply.users.iter().map(to_value).collect::<Result<_, _>>()?;
        view.print_list(cx, rows)
    }
}

/// Show one user
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Show {
    #[command(flatten)]
    params: user::Show,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Show {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::USER, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.user = cx.on_pool(self.params.user);
        let user = cx.daemon.call(&self.params)?;
        view.print_one(cx, &to_value(&user)?)
    }
}

/// List the id map of a user
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Map {
    #[command(flatten)]
    params: user::Map,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Map {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::MAP, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.user = cx.on_pool(self.params.user);
        let reply = cx.daemon.call(&self.params)?;
        let rows = reply.rows.iter().map(to_value).collect::<Result<_, _>>()?;
        view.print_list(cx, rows)
    }
}

fn standalone(cx: &mut Context, user: Ref, standalone: Option<bool>) -> Outcome {
    let user = cx.on_pool(user);
    cx.done(&user::Set {
        user,
        standalone,
        attrs: BTreeMap::new(),
    })
}

/// Let a user stay when its last container is deleted
#[derive(Debug, clap::Args)]
pub struct SetStandalone {
    /// Name of the user
    user: Ref,
}

impl Verb for SetStandalone {
    fn run(self, cx: &mut Context) -> Outcome {
        standalone(cx, self.user, Some(true))
    }
}

/// Delete a user together with its last container
#[derive(Debug, clap::Args)]
pub struct UnsetStandalone {
    /// Name of the user
    user: Ref,
}

impl Verb for UnsetStandalone {
    fn run(self, cx: &mut Context) -> Outcome {
        standalone(cx, self.user, Some(false))
    }
}

/// Set a user attribute of a user
#[derive(Debug, clap::Args)]
pub struct SetAttr {
    /// Name of the user
    user: Ref,
    /// Name of the attribute, vendor:key
    attribute: AttrName,
    /// Value
    value: String,
}

impl Verb for SetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        let user = cx.on_pool(self.user);
        cx.done(&user::Set {
            user,
            standalone: None,
            attrs: BTreeMap::from([(self.attribute, self.value)]),
        })
    }
}

/// Remove a user attribute of a user
#[derive(Debug, clap::Args)]
pub struct UnsetAttr {
    /// Name of the user
    user: Ref,
    /// Name of the attribute
    attribute: AttrName,
}

impl Verb for UnsetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        let user = cx.on_pool(self.user);
        cx.done(&user::Unset {
            user,
            attrs: vec![self.attribute],
        })
    }
}
